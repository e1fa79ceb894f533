// Matrix products against the naive kernels: sizes around every tile edge, all layouts, both precisions.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};
constexpr std::int64_t kSizes[] = {0, 1, 2, 7, 15, 16, 17, 31, 33, 65, 129};

Tolerance tolerance(DType d) { return d == DType::F32 ? Tolerance{1e-5, 1e-4} : Tolerance{1e-13, 1e-12}; }

void expectMatmul(DType d, std::int64_t M, std::int64_t N, std::int64_t K, Layout la, Layout lb) {
  CAPTURE(M);
  CAPTURE(N);
  CAPTURE(K);
  const Tensor a = randomTensor(d, {M, K}, 1, -1, 1, la), b = randomTensor(d, {K, N}, 2, -1, 1, lb);
  expectAgreement(Op::Matmul, {make(d, {M, N})}, {a, b}, {}, tolerance(d));
}

Tensor labelsFor(std::int64_t n, int classes) { return randomTensor(DType::I32, {n}, 7, 0, classes); }

}  // namespace

TEST_CASE("matmul: sizes around the tiles") {
  int turn = 0;
  for (const DType d : kFloats)
    for (const std::int64_t M : kSizes)
      for (const std::int64_t N : kSizes)
        for (const std::int64_t K : {0, 1, 7, 17, 33}) {
          // The layouts take turns; each meets every size of M and N over the two precisions.
          expectMatmul(d, M, N, K, kLayouts[turn % 4], kLayouts[turn / 4 % 4]);
          ++turn;
        }
}

TEST_CASE("matmul: every pair of layouts, and more than one block of K") {
  for (const DType d : kFloats)
    for (const Layout la : kLayouts)
      for (const Layout lb : kLayouts) expectMatmul(d, 33, 65, 129, la, lb);
  expectMatmul(DType::F32, 129, 65, 1100, Layout::Padded, Layout::Transposed);
  expectMatmul(DType::F64, 17, 33, 600, Layout::Contiguous, Layout::Contiguous);
  expectMatmul(DType::F32, 300, 300, 129, Layout::Contiguous, Layout::Contiguous);
  expectMatmul(DType::F32, 1, 300, 300, Layout::Contiguous, Layout::Contiguous);
  expectMatmul(DType::F32, 2, 300, 600, Layout::Contiguous, Layout::Transposed);
  expectMatmul(DType::F32, 5000, 3, 4, Layout::Contiguous, Layout::Contiguous);
}

TEST_CASE("matmul: the ways for few rows or columns, and for panels read in place") {
  struct Case {
    std::int64_t M, N, K;
    Layout a, b;
  };
  const Layout plain = Layout::Contiguous, turned = Layout::Transposed, padded = Layout::Padded;
  const Case cases[] = {
      {128, 10, 256, plain, turned}, {5, 33, 70, padded, turned},   {3, 16, 700, plain, turned},  // dot products
      {100, 10, 37, plain, plain},   {64, 7, 400, padded, padded},                                // B transposed first
      {1, 300, 37, plain, plain},    {3, 1100, 19, padded, padded}, {2, 5, 8, turned, plain},     // sweeps
      {70, 10, 33, turned, plain},   {17, 80, 40, plain, turned},   {40, 3, 50, turned, padded},  // C transposed
      {90, 11, 500, turned, plain},  {33, 150, 410, plain, turned}, {64, 64, 64, plain, plain},
      {13, 48, 64, plain, plain},    {100, 144, 401, plain, plain},  // B in place
      {70, 600, 900, turned, plain},                                 // blocks of K
  };
  for (const DType d : kFloats)
    for (const Case& c : cases) expectMatmul(d, c.M, c.N, c.K, c.a, c.b);
}

TEST_CASE("matmul: batches, shared operands, many items") {
  for (const DType d : kFloats) {
    const Tensor a = randomTensor(d, {3, 2, 17, 9}, 1, -1, 1), b = randomTensor(d, {3, 2, 9, 33}, 2, -1, 1);
    expectAgreement(Op::Matmul, {make(d, {3, 2, 17, 33})}, {a, b}, {}, tolerance(d));
    const Tensor one = broadcastAxis(randomTensor(d, {1, 9, 33}, 3, -1, 1), 0, 5);
    expectAgreement(Op::Matmul, {make(d, {5, 17, 33})}, {randomTensor(d, {5, 17, 9}, 4, -1, 1), one}, {}, tolerance(d));
    const Tensor spread = randomTensor(d, {5, 17, 9}, 4, -1, 1, Layout::Transposed);
    expectAgreement(Op::Matmul, {make(d, {5, 17, 33})}, {spread, one}, {}, tolerance(d));
    const Tensor left = broadcastAxis(randomTensor(d, {1, 17, 9}, 5, -1, 1), 0, 5);
    expectAgreement(Op::Matmul, {make(d, {5, 17, 33})}, {left, randomTensor(d, {5, 9, 33}, 6, -1, 1)}, {},
                    tolerance(d));
    expectAgreement(Op::Matmul, {make(d, {200, 16, 16})},
                    {randomTensor(d, {200, 16, 16}, 8, -1, 1), randomTensor(d, {200, 16, 16}, 9, -1, 1)}, {},
                    tolerance(d));
    expectAgreement(Op::Matmul, {make(d, {2, 300, 129})},
                    {randomTensor(d, {2, 300, 129}, 8, -1, 1), randomTensor(d, {2, 129, 129}, 9, -1, 1)}, {},
                    tolerance(d));
    expectAgreement(Op::Matmul, {make(d, {0, 3, 4})}, {make(d, {0, 3, 5}), make(d, {0, 5, 4})}, {});
  }
}

TEST_CASE("matmul: NaN and infinity stay in their row and column") {
  const double inf = INFINITY;
  for (const DType d : kFloats) {
    Tensor a = randomTensor(d, {17, 9}, 1, -1, 1), b = randomTensor(d, {9, 33}, 2, -1, 1);
    a.set(3 * 9 + 4, NAN);
    a.set(16 * 9 + 8, inf);
    b.set(5 * 33 + 32, -inf);
    expectAgreement(Op::Matmul, {make(d, {17, 33})}, {a, b}, {}, tolerance(d));
  }
}

TEST_CASE("linear: bias and activations, padded weights") {
  for (const DType d : kFloats)
    for (const double activation : {0.0, 1.0, 2.0, 3.0, 4.0, 5.0})
      for (const double bias : {0.0, 1.0})
        for (const std::int64_t K : {0, 5, 64, 600}) {
          const std::int64_t M = 19, N = 37;
          std::vector<Tensor> in = {randomTensor(d, {M, K}, 1, -1, 1),
                                    randomTensor(d, {N, K}, 2, -1, 1, K > 5 ? Layout::Padded : Layout::Transposed)};
          if (bias != 0) in.push_back(randomTensor(d, {N}, 3, -1, 1, K == 64 ? Layout::Spread : Layout::Contiguous));
          expectAgreement(Op::Linear, {make(d, {M, N})}, in, {bias, activation, 0, 0, 0}, tolerance(d));
        }
}

TEST_CASE("linear: one to four rows, dot products along K") {
  for (const DType d : kFloats)
    for (const std::int64_t M : {1, 2, 3, 4})
      for (const std::int64_t N : {1, 3, 4, 37})
        for (const std::int64_t K : {1, 15, 16, 33, 785})
          for (const double activation : {0.0, 1.0, 2.0})
            expectAgreement(Op::Linear, {make(d, {M, N})},
                            {randomTensor(d, {M, K}, 1, -1, 1, Layout::Padded),
                             randomTensor(d, {N, K}, 2, -1, 1, Layout::Padded), randomTensor(d, {N}, 3, -1, 1)},
                            {1, activation, 0, 0, 0}, tolerance(d));
  expectAgreement(Op::Linear, {make(DType::F32, {1, 2500})},
                  {randomTensor(DType::F32, {1, 784}, 1, -1, 1), randomTensor(DType::F32, {2500, 784}, 2, -1, 1)},
                  {0, 0, 0, 0, 0}, tolerance(DType::F32));
}

TEST_CASE("linear: relu hands NaN on") {
  Tensor x = randomTensor(DType::F32, {3, 4}, 1);
  x.set(5, NAN);
  expectAgreement(Op::Linear, {make(DType::F32, {3, 9})}, {x, randomTensor(DType::F32, {9, 4}, 2)}, {0, 1, 0, 0, 0},
                  tolerance(DType::F32));
}

TEST_CASE("linearGradWeight: with and without the bias gradient") {
  for (const DType d : kFloats)
    for (const std::int64_t M : {0, 1, 33, 300, 700})
      for (const Layout layout : kLayouts) {
        const Tensor g = randomTensor(d, {M, 37}, 1, -1, 1, layout), x = randomTensor(d, {M, 19}, 2, -1, 1);
        expectAgreement(Op::LinearGradWeight, {make(d, {37, 19})}, {g, x}, {0, 0, 0}, tolerance(d));
        expectAgreement(Op::LinearGradWeight, {make(d, {37, 19}), make(d, {37})}, {g, x}, {1, 0, 0}, tolerance(d));
      }
}

// On a CUDA device they are where the scores are a pass of their own, as it is in these sizes.
TEST_CASE("linearGradInput: the score epilogue equals gateStats, bit for bit") {
  for (const DType d : kFloats)
    for (const std::int64_t M : {1, 33, 129})
      for (const std::int64_t K : {1, 7, 65, 300}) {
        const std::int64_t N = 17;
        const Tensor g = randomTensor(d, {M, N}, 1, -1, 1), w = randomTensor(d, {N, K}, 2, -1, 1, Layout::Padded);
        Tensor a = randomTensor(d, {M, K}, 3, -1, 1);
        for (std::int64_t i = 0; i < a.size(); i += 3) a.set(i, 0);
        const Tensor labels = labelsFor(M, 10), stats = randomTensor(DType::F32, {14, K}, 5, 0, 2, Layout::Padded);
        expectAgreement(Op::LinearGradInput, {make(d, {M, K})}, {g, w}, {0, 1, 0, 0}, tolerance(d));
        expectAgreement(Op::LinearGradInput, {make(d, {M, K}), stats}, {g, w, a, labels}, {1, 64, 0, 0}, {1e-4, 1e-3});
        for (const KernelTable* table : allTables()) {
          const Tensor dx = make(d, {M, K}), fused = stats.clone(), alone = stats.clone();
          runKernel(*table, Op::LinearGradInput, {dx, fused}, {g, w, a, labels}, {1, 64, 0, 0});
          runKernel(*table, Op::GateStats, {alone}, {a, dx, labels}, {64, 1});
          const bool same = sameBytes(fused, alone);
          CHECK_MESSAGE(same, table->isa);
        }
      }
}

namespace {

// n of `size` indices, ascending: evenly spread, the last ones, or some and some after a gap.
enum class Kind { Even, Run, Gaps };
Tensor list(std::int64_t n, std::int64_t size, Kind kind, Layout layout = Layout::Contiguous) {
  Tensor t = make(DType::I32, {n}, layout);
  std::int64_t gaps = size - n;
  for (std::int64_t i = 0, at = 0; i < n; ++i, ++at) {
    if (kind == Kind::Gaps && i * 7 % 5 > 2)
      for (; gaps > size / 8; --gaps) ++at;
    if (kind == Kind::Gaps && i % 3 == 0 && gaps > 0) ++at, --gaps;
    t.set(i, static_cast<double>(kind == Kind::Even ? i * size / n : kind == Kind::Run ? size - n + i : at));
  }
  return t;
}

}  // namespace

TEST_CASE("dense layer: lists of active neurons, outputs or inputs or both") {
  struct Case {
    std::int64_t M, N, K, n, k;
  };
  const Case cases[] = {{19, 37, 45, 20, 31}, {5, 40, 33, 16, 8},      {130, 48, 70, 33, 70},
                        {1, 9, 12, 0, 5},     {0, 8, 8, 3, 3},         {130, 40, 8, 20, 6},
                        {3, 9, 5, 4, 0},      {7, 600, 450, 590, 401}, {410, 60, 90, 23, 50}};
  for (const DType d : kFloats)
    for (const Case& c : cases)
      for (int flags = 0; flags < 16; ++flags) {
        const double outputs = flags & 1, inputs = flags >> 1 & 1;
        const Kind kind = flags & 4 ? Kind::Run : flags & 8 ? Kind::Gaps : Kind::Even;
        if (flags >= 12) continue;
        const std::int64_t n = outputs != 0 ? c.n : c.N, k = inputs != 0 ? c.k : c.K;
        const Tensor w = randomTensor(d, {c.N, c.K}, 1, -1, 1, Layout::Padded);
        const Tensor x = randomTensor(d, {c.M, k}, 2, -1, 1), g = randomTensor(d, {c.M, n}, 3, -1, 1);
        const Tensor bias = randomTensor(d, {c.N}, 4, -1, 1), residual = randomTensor(d, {c.M, n}, 5, -1, 1);
        std::vector<Tensor> lists;
        if (outputs != 0) lists.push_back(list(n, c.N, kind, Layout::Spread));
        if (inputs != 0) lists.push_back(list(k, c.K, kind));
        const auto with = [&](std::vector<Tensor> in) {
          in.insert(in.end(), lists.begin(), lists.end());
          return in;
        };
        expectAgreement(Op::Linear, {make(d, {c.M, n})}, with({x, w, bias, residual}), {1, 1, 1, outputs, inputs},
                        tolerance(d));
        expectAgreement(Op::Linear, {make(d, {c.M, n})}, with({x, w}), {0, 4, 0, outputs, inputs}, tolerance(d));
        expectAgreement(Op::LinearGradInput, {make(d, {c.M, k})}, with({g, w}), {0, 1, outputs, inputs}, tolerance(d));
        expectAgreement(Op::LinearGradWeight, {make(d, {c.N, c.K}), make(d, {c.N})}, with({g, x}), {1, outputs, inputs},
                        tolerance(d));
      }
}

TEST_CASE("dense layer: lists out of range or out of order are refused") {
  const Tensor x = randomTensor(DType::F32, {2, 4}, 1), w = randomTensor(DType::F32, {5, 4}, 2);
  for (const double bad : {5.0, -1.0, 1.0}) {
    Tensor outputs = list(2, 5, Kind::Even);
    outputs.set(0, 1);
    outputs.set(1, bad);
    for (const KernelTable* table : allTables())
      CHECK_THROWS_AS(runKernel(*table, Op::Linear, {make(DType::F32, {2, 2})}, {x, w, outputs}, {0, 0, 0, 1, 0}),
                      Error);
  }
}

TEST_CASE("linear: a residual behind every way of computing the product") {
  for (const DType d : kFloats)
    for (const std::int64_t M : {1, 3, 20, 40, 130})
      for (const std::int64_t N : {5, 16, 80, 200})
        for (const double activation : {0.0, 1.0, 5.0})
          expectAgreement(Op::Linear, {make(d, {M, N})},
                          {randomTensor(d, {M, 70}, 1, -1, 1), randomTensor(d, {N, 70}, 2, -1, 1),
                           randomTensor(d, {M, N}, 3, -1, 1)},
                          {0, activation, 1, 0, 0}, tolerance(d));
}
