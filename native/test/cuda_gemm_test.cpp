// Paths of the CUDA device's matrix products that the sizes of gemm_test.cpp don't reach: large tiles, aligned and
// unaligned operands, split sums, tensor cores, lists that must not be followed.
#ifdef GYRUS_CUDA_TESTS
#include <bit>

#include "cuda/gate.cuh"
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

float toTf32(float x) { return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & ~0x1FFFu); }
float toBf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFFu + (bits >> 16 & 1)) & 0xFFFF0000u);
}

Tensor rounded(Tensor t, cuda::Precision p) {
  if (p == cuda::Precision::F32) return t;
  t = t.clone();
  for (std::int64_t i = 0; i < t.size(); ++i) {
    const auto x = static_cast<float>(t.at(i));
    t.set(i, p == cuda::Precision::TF32 ? toTf32(x) : toBf16(x));
  }
  return t;
}

constexpr cuda::Precision kPrecisions[] = {cuda::Precision::F32, cuda::Precision::TF32, cuda::Precision::BF16};
constexpr Tolerance kTolerance{1e-5, 1e-4};

// In one order of threads only: for what takes long.
std::vector<std::vector<Tensor>> runOnce(Op op, const std::vector<Tensor>& out, const std::vector<Tensor>& in,
                                         const std::vector<double>& record) {
  std::vector<std::vector<Tensor>> all = {cloneAll(out)};
  inShuffledOrder([&] { runKernel(*cudaTable(), op, all[0], in, record); });
  return all;
}

// The device's result in a precision against the naive one of inputs rounded: the first two.
void expectPrecision(cuda::Precision p, Op op, const std::vector<Tensor>& out, const std::vector<Tensor>& in,
                     const std::vector<double>& record, bool once = false) {
  std::vector<Tensor> exact = in;
  for (int i = 0; i < 2; ++i) exact[static_cast<std::size_t>(i)] = rounded(in[static_cast<std::size_t>(i)], p);
  const std::vector<Tensor> expected = cloneAll(out);
  runKernel(naiveTable(), op, expected, exact, record);
  const cuda::PrecisionScope scope(p);
  const auto runs = once ? runOnce(op, out, in, record) : runInEveryWay(*cudaTable(), op, out, in, record);
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (const auto& run : runs) {
      const bool same = sameBytes(runs[0][i], run[i]);
      CHECK_MESSAGE(same, nameOf(op), ": output ", i, " depends on the order of threads");
    }
    const std::string wrong = mismatch(runs[0][i], expected[i], kTolerance);
    CHECK_MESSAGE(wrong.empty(), nameOf(op), ", precision ", static_cast<int>(p), ", output ", i, ": ", wrong);
  }
}

void expectMatmul(cuda::Precision p, std::int64_t batch, std::int64_t M, std::int64_t N, std::int64_t K, Layout a,
                  Layout b) {
  CAPTURE(M);
  CAPTURE(N);
  CAPTURE(K);
  const auto matrix = [&](std::int64_t rows, std::int64_t cols, unsigned seed, Layout layout) {
    const Tensor t = randomTensor(DType::F32, {1, rows, cols}, seed, -1, 1, layout);
    return batch > 1 ? broadcastAxis(t, 0, batch) : t;
  };
  // b is of rank 3 with a batch of its own, so that the batch doesn't flatten.
  Tensor right = randomTensor(DType::F32, {batch, K, N}, 2, -1, 1, b);
  expectPrecision(p, Op::Matmul, {make(DType::F32, {batch, M, N})}, {matrix(M, K, 1, a), right}, {},
                  batch * M * N > 1 << 17);
}

}  // namespace

TEST_CASE("cuda linear: counts of active neurons in every size of tile, split sums, on FMAs and tensor cores") {
  struct Case {
    std::int64_t M, N, K;
    double n, k;
    bool once;
  };
  const Case cases[] = {{1408, 1536, 20, 700, 17, true},
                        {2817, 1536, 150, 100, 147, true},
                        {40, 72, 900, 33, 300, false},
                        {40, 72, 900, 72, 0, false},
                        {130, 200, 300, 129, 255, false}};
  for (const cuda::Precision p : kPrecisions)
    for (const Case& c : cases) {
      const Tensor x = randomTensor(DType::F32, {c.M, c.K}, 1, -1, 1),
                   w = randomTensor(DType::F32, {c.N, c.K}, 2, -1, 1);
      const Tensor g = randomTensor(DType::F32, {c.M, c.N}, 3, -1, 1), bias = randomTensor(DType::F32, {c.N}, 4, -1, 1);
      const Tensor n = of(DType::I32, {1}, {c.n}), k = of(DType::I32, {1}, {c.k});
      expectPrecision(p, Op::Linear, {make(DType::F32, {c.M, c.N})}, {x, w, bias, n, k}, {1, 1, 0, 2, 2}, c.once);
      if (c.once) continue;
      expectPrecision(p, Op::LinearGradInput, {make(DType::F32, {c.M, c.K})}, {g, w, n, k}, {0, 1, 2, 2});
      expectPrecision(p, Op::LinearGradWeight, {make(DType::F32, {c.N, c.K})}, {g, x, n, k}, {0, 2, 2});
    }
}

TEST_CASE("cuda matmul: tiles of 128, every pair of layouts and ragged edges, on FMAs and tensor cores") {
  const Layout plain = Layout::Contiguous, turned = Layout::Transposed;
  for (const cuda::Precision p : kPrecisions) {
    for (const Layout a : {plain, turned})
      for (const Layout b : {plain, turned}) expectMatmul(p, 32, 132, 136, 20, a, b);
    expectMatmul(p, 32, 129, 131, 19, Layout::Padded, Layout::Spread);
  }
}

TEST_CASE("cuda matmul: tiles of 256 x 128 and 128 x 64, every pair of layouts, on tensor cores") {
  const Layout plain = Layout::Contiguous, turned = Layout::Transposed;
  for (const cuda::Precision p : {cuda::Precision::TF32, cuda::Precision::BF16}) {
    for (const Layout a : {plain, turned})
      for (const Layout b : {plain, turned}) {
        if (p == cuda::Precision::TF32) expectMatmul(p, 32, 260, 132, 20, a, b);
        expectMatmul(p, 24, 132, 68, 20, a, b);
      }
    expectMatmul(p, 24, 130, 67, 99, Layout::Padded, Layout::Spread);
  }
}

TEST_CASE("cuda matmul, linear: operands that are packed before, in every layout and with lists") {
  const cuda::Precision p = cuda::Precision::BF16;
  const Layout plain = Layout::Contiguous, turned = Layout::Transposed;
  for (const Layout a : {plain, turned})
    for (const Layout b : {plain, turned}) expectMatmul(p, 1, 1412, 1541, 21, a, b);
  expectMatmul(p, 1, 2816, 1536, 72, plain, turned);
  const std::int64_t M = 1410, N = 1600, K = 90, n = 1503, k = 75;
  Tensor outputs = make(DType::I32, {n}), inputs = make(DType::I32, {k});
  for (std::int64_t i = 0; i < n; ++i) outputs.set(i, static_cast<double>(i * N / n));
  for (std::int64_t i = 0; i < k; ++i) inputs.set(i, static_cast<double>(i * K / k));
  const Tensor w = randomTensor(DType::F32, {N, K}, 1, -1, 1), x = randomTensor(DType::F32, {M, k}, 2, -1, 1),
               bias = randomTensor(DType::F32, {N}, 3, -1, 1), residual = randomTensor(DType::F32, {M, n}, 4, -1, 1);
  expectPrecision(p, Op::Linear, {make(DType::F32, {M, n})}, {x, w, bias, residual, outputs, inputs}, {1, 1, 1, 1, 1},
                  true);
}

TEST_CASE("cuda matmul: tensor cores round their inputs and nothing else") {
  const std::int64_t sizes[] = {1, 7, 16, 33, 64, 65};
  int turn = 0;
  for (const cuda::Precision p : {cuda::Precision::TF32, cuda::Precision::BF16}) {
    for (const std::int64_t M : sizes)
      for (const std::int64_t N : sizes)
        for (const std::int64_t K : {0, 1, 8, 16, 37}) {
          expectMatmul(p, 1, M, N, K, kLayouts[turn % 4], kLayouts[turn / 4 % 4]);
          ++turn;
        }
    for (const Layout a : kLayouts)
      for (const Layout b : kLayouts) expectMatmul(p, 2, 36, 68, 40, a, b);
    expectMatmul(p, 1, 40, 36, 700, Layout::Contiguous, Layout::Transposed);  // split
  }
}

TEST_CASE("cuda matmul: NaN and infinity keep to their row and column on tensor cores") {
  for (const cuda::Precision p : kPrecisions) {
    Tensor a = randomTensor(DType::F32, {17, 9}, 1, -1, 1), b = randomTensor(DType::F32, {9, 33}, 2, -1, 1);
    const cuda::PrecisionScope scope(p);
    a.set(3 * 9 + 4, NAN);
    a.set(16 * 9 + 8, INFINITY);
    Tensor c = make(DType::F32, {17, 33});
    runKernel(*cudaTable(), Op::Matmul, {c}, {a, b}, {});
    for (std::int64_t i = 0; i < 17; ++i)
      for (std::int64_t j = 0; j < 33; ++j) {
        const double x = c.at(i * 33 + j);
        CHECK((i == 3 ? std::isnan(x) : i == 16 ? std::isinf(x) : std::isfinite(x)));
      }
  }
}

TEST_CASE("cuda matmul: sums split along K, whole lines and single numbers, with and without a batch") {
  for (const DType d : {DType::F32, DType::F64}) {
    const Tolerance tolerance = d == DType::F32 ? kTolerance : Tolerance{1e-12, 1e-11};
    const auto run = [&](Shape a, Shape b, Shape c) {
      expectAgreement(Op::Matmul, {make(d, c)}, {randomTensor(d, a, 1, -1, 1), randomTensor(d, b, 2, -1, 1)}, {},
                      tolerance);
    };
    run({8, 1024}, {1024, 16}, {8, 16});
    run({5, 1000}, {1000, 7}, {5, 7});
    run({3, 4, 260}, {3, 260, 8}, {3, 4, 8});
  }
}

#ifdef GYRUS_CUDA_EMULATED
TEST_CASE("cuda matmul, linearGradInput: every tile within the shared memory of compute capability 7.5") {
  struct Turing {
    Turing() { cuda::emulation::setComputeCapability(75); }
    ~Turing() { cuda::emulation::setComputeCapability(86); }
  } turing;
  const Layout plain = Layout::Contiguous, turned = Layout::Transposed;
  for (const Layout a : {plain, turned})
    for (const Layout b : {plain, turned}) {
      expectMatmul(cuda::Precision::F32, 1, 40, 36, 100, a, b);
      expectMatmul(cuda::Precision::F32, 1, 70, 72, 900, a, b);
      expectMatmul(cuda::Precision::F32, 32, 132, 136, 20, a, b);
    }
  for (const std::int64_t classes : {3, 56}) {
    const std::int64_t M = classes == 3 ? 100 : 70, K = classes == 3 ? 70 : 16300, N = classes == 3 ? 70 : 4;
    const Tensor g = randomTensor(DType::F32, {M, N}, 1, -1, 1), w = randomTensor(DType::F32, {N, K}, 2, -1, 1),
                 a = randomTensor(DType::F32, {M, K}, 3, -1, 1),
                 labels = randomTensor(DType::I32, {M}, 7, 0, static_cast<double>(classes)),
                 stats = randomTensor(DType::F32, {classes + 4, K}, 5, 0, 2);
    expectPrecision(cuda::Precision::F32, Op::LinearGradInput, {make(DType::F32, {M, K}), stats}, {g, w, a, labels},
                    {1, 8, 0, 0}, classes == 56);
  }
}
#endif

TEST_CASE("cuda dense layer: lists, epilogues and split sums in every precision") {
  const std::int64_t M = 20, N = 44, K = 600, n = 28, k = 520;
  Tensor outputs = make(DType::I32, {n}), inputs = make(DType::I32, {k});
  for (std::int64_t i = 0; i < n; ++i) outputs.set(i, static_cast<double>(i * N / n));
  for (std::int64_t i = 0; i < k; ++i) inputs.set(i, static_cast<double>(i * K / k));
  const Tensor w = randomTensor(DType::F32, {N, K}, 1, -1, 1), x = randomTensor(DType::F32, {M, k}, 2, -1, 1),
               g = randomTensor(DType::F32, {M, n}, 3, -1, 1), bias = randomTensor(DType::F32, {N}, 4, -1, 1),
               residual = randomTensor(DType::F32, {M, n}, 5, -1, 1),
               tall = randomTensor(DType::F32, {400, n}, 6, -1, 1),
               wide = randomTensor(DType::F32, {400, 40}, 7, -1, 1);
  Tensor few = make(DType::I32, {40});
  for (std::int64_t i = 0; i < 40; ++i) few.set(i, static_cast<double>(i + i / 7));
  for (const cuda::Precision p : kPrecisions) {
    for (const double activation : {0.0, 1.0, 2.0, 3.0, 4.0, 5.0})
      expectPrecision(p, Op::Linear, {make(DType::F32, {M, n})}, {x, w, bias, residual, outputs, inputs},
                      {1, activation, 1, 1, 1});
    expectPrecision(p, Op::LinearGradInput, {make(DType::F32, {M, k})}, {g, w, outputs, inputs}, {0, 1, 1, 1});
    // The sums of the bias are of f32 in every precision: they have a test of their own.
    expectPrecision(p, Op::LinearGradWeight, {make(DType::F32, {N, 50})}, {tall, wide, outputs, few}, {0, 1, 1});
  }
}

TEST_CASE("cuda linearGradWeight: the bias gradient of many rows") {
  for (const DType d : {DType::F32, DType::F64})
    for (const std::int64_t M : {255, 600, 1537}) {
      const Tensor g = randomTensor(d, {M, 37}, 1, -1, 1, Layout::Padded), x = randomTensor(d, {M, 3}, 2, -1, 1);
      expectAgreement(Op::LinearGradWeight, {make(d, {37, 3}), make(d, {37}, Layout::Spread)}, {g, x}, {1, 0, 0},
                      d == DType::F32 ? kTolerance : Tolerance{1e-12, 1e-11});
    }
}

TEST_CASE("cuda linearGradInput: scores of more rows than a slice, more classes than a block, and a bad label") {
  for (const DType d : {DType::F32, DType::F64}) {
    const std::int64_t M = 700, K = 37, classes = 70;
    const Tensor g = randomTensor(d, {M, 5}, 1, -1, 1), w = randomTensor(d, {5, K}, 2, -1, 1);
    Tensor a = randomTensor(d, {M, K}, 3, -1, 1), labels = randomTensor(DType::I32, {M}, 7, 0, classes);
    for (std::int64_t i = 0; i < a.size(); i += 5) a.set(i, 0);
    const Tensor stats = randomTensor(DType::F32, {classes + 4, K}, 5, 0, 2, Layout::Padded);
    expectAgreement(Op::LinearGradInput, {make(d, {M, K}), stats}, {g, w, a, labels}, {1, 8, 0, 0}, {1e-4, 1e-3});
    labels.set(699, 70);
    labels.set(300, -1);
    const Tensor after = stats.clone();
    CHECK_THROWS_WITH(
        runKernel(*cudaTable(), Op::LinearGradInput, {make(d, {M, K}), after}, {g, w, a, labels}, {1, 8, 0, 0}),
        "linearGradInput: label -1 at row 300 is outside 0..69");
    const bool untouched = sameBytes(after, stats);
    CHECK(untouched);
  }
}

namespace {

// Samples, units, outputs, classes; the rows of a tile that the size of the product asks for, and whether tiles pay.
struct Scored {
  std::int64_t M, K, N, classes, rows;
  bool byTiles, once;
};
struct ScoredCall {
  Tensor dx, stats;
  std::vector<Tensor> in;  // g, w, a, labels
};
ScoredCall scoredCall(DType d, const Scored& c, Layout layout, bool oneClass = false) {
  Tensor a = randomTensor(d, {c.M, c.K}, 3, -1, 1, layout);
  for (std::int64_t i = 0; i < a.size(); i += 5) a.set(i, 0);
  return {make(d, {c.M, c.K}),
          randomTensor(DType::F32, {c.classes + 4, c.K}, 5, 0, 2, Layout::Padded),
          {randomTensor(d, {c.M, c.N}, 1, -1, 1), randomTensor(d, {c.N, c.K}, 2, -1, 1, Layout::Padded), a,
           randomTensor(DType::I32, {c.M}, 7, 0, oneClass ? 1 : static_cast<double>(c.classes), Layout::Spread)}};
}

}  // namespace

TEST_CASE("cuda linearGradInput: scores in the store of every size of tile, and in a pass where tiles do not pay") {
  const Scored cases[] = {
      {1, 7, 5, 3, 32, true, false},        {32, 33, 17, 40, 32, true, false},   {33, 36, 12, 1, 32, true, false},
      {100, 37, 17, 3, 32, true, false},    {100, 40, 12, 10, 32, false, false}, {128, 40, 12, 10, 32, true, false},
      {40, 12, 0, 3, 32, true, false},      {600, 20, 6, 9, 32, true, false},    {64, 70, 8, 57, 32, false, false},
      {100, 70, 70, 3, 32, true, false},    {97, 65, 100, 5, 32, true, false},   {700, 600, 20, 7, 64, true, true},
      {1100, 1900, 12, 5, 128, true, true}, {70, 16300, 4, 56, 128, true, true}};
  int turn = 0;
  for (const Scored& c : cases) {
    CAPTURE(c.M);
    CAPTURE(c.K);
    CHECK(cuda::gatePaysByTiles(c.M, c.classes, c.rows) == c.byTiles);
    for (const DType d : {DType::F32, DType::F64}) {
      if (c.once && d == DType::F64) continue;
      const ScoredCall call = scoredCall(d, c, kLayouts[turn % 4], turn % 3 == 0);
      ++turn;
      if (!c.once) {
        expectAgreement(Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 8, 0, 0}, {1e-5, 1e-3});
        continue;
      }
      const std::vector<Tensor> expected = cloneAll({call.dx, call.stats});
      runKernel(naiveTable(), Op::LinearGradInput, expected, call.in, {1, 8, 0, 0});
      const auto run = runOnce(Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 8, 0, 0});
      for (std::size_t i = 0; i < 2; ++i) {
        const std::string wrong = mismatch(run[0][i], expected[i], {1e-5, 1e-3});
        CHECK_MESSAGE(wrong.empty(), "output ", i, ": ", wrong);
      }
    }
  }
}

TEST_CASE("cuda linearGradInput: scores in the store with lists, counts, NaN and infinity, on tensor cores") {
  const Scored c{100, 40, 70, 3, 32, true, false};
  const ScoredCall call = scoredCall(DType::F32, c, Layout::Contiguous);
  const Tensor few = of(DType::I32, {1}, {33}), none = of(DType::I32, {1}, {0}), outputs = of(DType::I32, {1}, {50});
  for (const Tensor& count : {few, none}) {
    std::vector<Tensor> in = call.in;
    in.push_back(outputs);
    in.push_back(count);
    expectAgreement(Op::LinearGradInput, {call.dx, call.stats}, in, {1, 8, 2, 2}, {1e-5, 1e-3});
  }
  std::vector<Tensor> listed = call.in;
  listed[1] = randomTensor(DType::F32, {90, 47}, 2, -1, 1);
  Tensor rows = make(DType::I32, {70}), columns = make(DType::I32, {40});
  for (std::int64_t i = 0; i < 70; ++i) rows.set(i, static_cast<double>(i + i / 4));
  for (std::int64_t i = 0; i < 40; ++i) columns.set(i, static_cast<double>(i + i / 6));
  listed.push_back(rows);
  listed.push_back(columns);
  expectAgreement(Op::LinearGradInput, {call.dx, call.stats}, listed, {1, 8, 1, 1}, {1e-5, 1e-3});

  std::vector<Tensor> special = call.in;
  for (std::size_t i : {0, 2}) special[i] = special[i].clone();
  special[0].set(3, NAN);
  special[2].set(40 * 50 + 7, NAN);
  special[2].set(40 * 99 + 39, INFINITY);
  special[2].set(40 * 64, -INFINITY);
  expectAgreement(Op::LinearGradInput, {call.dx, call.stats}, special, {1, 8, 0, 0}, {1e-5, 1e-3});

  for (const cuda::Precision p : kPrecisions)
    expectPrecision(p, Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 1, 0, 0});
}

TEST_CASE("cuda linearGradInput: a bad label in the store's tiles is named, the first of them, and stats stay") {
  for (const DType d : {DType::F32, DType::F64})
    for (const std::int64_t M : {20, 100})
      for (const double bad : {-1.0, 3.0}) {
        CAPTURE(M);
        const Scored c{M, 40, 9, 3, 32, true, false};
        const ScoredCall call = scoredCall(d, c, Layout::Contiguous);
        Tensor labels = call.in[3];
        labels.set(M - 1, 77);
        labels.set(M * 2 / 3, bad);
        const Tensor before = call.stats.clone();
        const std::string expected = "linearGradInput: label " + std::to_string(static_cast<int>(bad)) + " at row " +
                                     std::to_string(M * 2 / 3) + " is outside 0..2";
        CHECK_THROWS_WITH(runKernel(*cudaTable(), Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 8, 0, 0}),
                          expected.c_str());
        const bool untouched = sameBytes(before, call.stats);
        CHECK(untouched);
      }
  // Of no units there is nothing to add, but labels are labels.
  const Scored none{5, 0, 9, 3, 32, true, false};
  const ScoredCall call = scoredCall(DType::F32, none, Layout::Contiguous);
  CHECK_NOTHROW(runKernel(*cudaTable(), Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 8, 0, 0}));
  Tensor labels = call.in[3];
  labels.set(4, 3);
  CHECK_THROWS_WITH(runKernel(*cudaTable(), Op::LinearGradInput, {call.dx, call.stats}, call.in, {1, 8, 0, 0}),
                    "linearGradInput: label 3 at row 4 is outside 0..2");
}

TEST_CASE("cuda dense layer: the first bad index of the first bad list is named") {
  const Tensor x = randomTensor(DType::F32, {2, 3}, 1), w = randomTensor(DType::F32, {5, 4}, 2);
  const auto run = [&](const std::vector<double>& outputs, const std::vector<double>& inputs) {
    runKernel(*cudaTable(), Op::Linear, {make(DType::F32, {2, 2})},
              {x, w, of(DType::I32, {2}, outputs), of(DType::I32, {3}, inputs)}, {0, 0, 0, 1, 1});
  };
  CHECK_NOTHROW(run({0, 4}, {0, 2, 3}));
  CHECK_THROWS_WITH(run({3, 5}, {0, 0, 9}), "linear: index 5 is outside 0..4");
  CHECK_THROWS_WITH(run({3, 3}, {9, 0, 9}),
                    "linear: outputs: expected strictly ascending indices, got one that is not at 1");
  CHECK_THROWS_WITH(run({3, 4}, {0, 3, 1}),
                    "linear: inputs: expected strictly ascending indices, got one that is not at 2");
  CHECK_THROWS_WITH(run({3, 4}, {-1, 3, 7}), "linear: index -1 is outside 0..3");
}
#endif
