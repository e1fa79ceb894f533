// Movement kernels of every table against the naive ones: dtypes, casts, layouts, odd sizes, and the typed errors for
// indices out of range.
#include <limits>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const DType kAll[] = {DType::F32, DType::F64, DType::I32, DType::U8, DType::Bool};
const DType kNumbers[] = {DType::F32, DType::F64, DType::I32};
const std::int64_t kSizes[] = {0, 1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 1000, 40003};

// The error every table must throw.
void expectError(Op op, const std::vector<Tensor>& out, const std::vector<Tensor>& in, const std::vector<double>& rec,
                 const std::string& message) {
  for (const KernelTable* table : allTables()) {
    std::string got;
    try {
      runKernel(*table, op, cloneAll(out), in, rec);
    } catch (const Error& e) {
      got = e.what();
    }
    CHECK_MESSAGE(got == message, table->isa, ": ", got);
  }
}

}  // namespace

TEST_CASE("fill and arange") {
  for (const DType d : kAll)
    for (const std::int64_t n : kSizes) {
      expectAgreement(Op::Fill, {make(d, {n})}, {}, {3.0});
      if (n < 2000)
        for (const Layout layout : kLayouts) expectAgreement(Op::Fill, {make(d, {3, n}, layout)}, {}, {1.0});
    }
  for (const double v : {kNaN, kInf, -kInf, 1e20, -1e20, 300.7, -3.7, 0.0})
    for (const DType d : kAll) expectAgreement(Op::Fill, {make(d, {9})}, {}, {v});
  for (const DType d : kNumbers)
    for (const std::int64_t n : kSizes)
      expectAgreement(Op::Arange, {make(d, {n}, Layout::Spread)}, {}, {-5.0, d == DType::I32 ? 3.0 : 0.1});
}

TEST_CASE("copy: every pair of dtypes, every pair of layouts") {
  for (const DType to : kAll)
    for (const DType from : kAll) {
      for (const Layout in : kLayouts)
        for (const Layout out : kLayouts)
          expectAgreement(Op::Copy, {make(to, {3, 21, 38}, out)}, {randomTensor(from, {3, 21, 38}, 4, -300, 300, in)},
                          {});
      for (const std::int64_t n : kSizes)
        expectAgreement(Op::Copy, {make(to, {n})}, {randomTensor(from, {n}, 5, -300, 300)}, {});
    }
  const Tensor special = of(DType::F64, {10}, {kNaN, kInf, -kInf, 1e10, -1e10, 0.9, -0.9, 255.9, 2147483647.5, -1});
  for (const DType to : kAll) expectAgreement(Op::Copy, {make(to, {10})}, {special}, {});
}

TEST_CASE("copy: transposes, broadcasts and permuted axes") {
  for (const DType d : kAll) {
    for (const std::int64_t n : {2, 15, 16, 17, 33, 65})
      expectAgreement(Op::Copy, {make(d, {n, 47})}, {randomTensor(d, {n, 47}, 2, 0, 9, Layout::Transposed)}, {});
    expectAgreement(Op::Copy, {make(d, {300, 200})}, {randomTensor(d, {300, 200}, 2, 0, 9, Layout::Transposed)}, {});
    expectAgreement(Op::Copy, {make(d, {7, 90})}, {broadcastAxis(randomTensor(d, {7, 1}, 2), 1, 90)}, {});
    expectAgreement(Op::Copy, {make(d, {7, 90})}, {broadcastAxis(randomTensor(d, {1, 90}, 2), 0, 7)}, {});
    Tensor x = randomTensor(d, {4, 6, 5, 7}, 3);  // NHWC <- NCHW
    std::swap(x.view.shape[1], x.view.shape[3]);
    std::swap(x.view.stride[1], x.view.stride[3]);
    expectAgreement(Op::Copy, {make(d, {4, 7, 5, 6})}, {x}, {});
  }
  expectAgreement(Op::Copy, {make(DType::F32, {})}, {number(DType::F32, 3)}, {});
}

TEST_CASE("gather and scatterAdd along each axis") {
  for (const DType d : kNumbers)
    for (const Layout layout : kLayouts)
      for (int axis = 0; axis < 3; ++axis) {
        Shape xs = {5, 9, 13}, is = xs;
        is[static_cast<std::size_t>(axis)] = 21;
        const double n = static_cast<double>(xs[static_cast<std::size_t>(axis)]);
        const Tensor index = randomTensor(DType::I32, is, 3, 0, n, layout);
        const Tensor x = randomTensor(d, xs, 4, -9, 9, layout), source = randomTensor(d, is, 5, -9, 9, layout);
        expectAgreement(Op::Gather, {make(d, is, layout)}, {x, index}, {double(axis)});
        expectAgreement(Op::ScatterAdd, {x}, {index, source}, {double(axis)});
      }
  const Tensor x = randomTensor(DType::F32, {6, 40000}, 1);
  expectAgreement(Op::Gather, {make(DType::F32, {2, 40000})}, {x, randomTensor(DType::I32, {2, 40000}, 2, 0, 6)}, {0});
  expectAgreement(Op::ScatterAdd, {randomTensor(DType::F32, {10}, 2)},
                  {randomTensor(DType::I32, {40003}, 2, 0, 10), randomTensor(DType::F32, {40003}, 3)}, {0});
}

TEST_CASE("indexSelect and indexAdd along each axis, -1 included") {
  for (const Layout layout : kLayouts)
    for (int axis = 0; axis < 3; ++axis)
      for (const std::int64_t k : {0, 1, 33}) {
        Shape xs = {5, 9, 34}, ys = xs;
        ys[static_cast<std::size_t>(axis)] = k;
        const Tensor index = randomTensor(DType::I32, {k}, 3, -1.9, 5);
        for (const DType d : kAll)
          expectAgreement(Op::IndexSelect, {make(d, ys, layout)}, {randomTensor(d, xs, 4, -9, 9, layout), index},
                          {double(axis), 1.0});
        for (const DType d : kNumbers)
          expectAgreement(Op::IndexAdd, {randomTensor(d, xs, 4, -9, 9, layout)},
                          {index, randomTensor(d, ys, 5, -9, 9, layout)}, {double(axis)});
      }
  const Tensor table = randomTensor(DType::F32, {50, 700}, 1), index = randomTensor(DType::I32, {300}, 2, 0, 50);
  expectAgreement(Op::IndexSelect, {make(DType::F32, {300, 700})}, {table, index}, {0, 0});
  expectAgreement(Op::IndexAdd, {table}, {index, randomTensor(DType::F32, {300, 700}, 3)}, {0});
}

TEST_CASE("indexAdd and scatterAdd: long lists") {
  const Tensor index = randomTensor(DType::I32, {4500}, 2, -1.9, 7);
  expectAgreement(Op::IndexAdd, {randomTensor(DType::F32, {7, 3}, 1)},
                  {index, randomTensor(DType::F32, {4500, 3}, 3, -9, 9)}, {0});
  for (const DType d : kNumbers)
    for (const Layout layout : kLayouts)
      expectAgreement(Op::ScatterAdd, {randomTensor(d, {3, 50}, 1, -9, 9, layout)},
                      {randomTensor(DType::I32, {3, 300}, 2, 0, 50, layout), randomTensor(d, {3, 300}, 3, -9, 9)}, {1});
}

TEST_CASE("oneHot") {
  for (const DType d : kAll)
    for (const Layout layout : kLayouts)
      expectAgreement(Op::OneHot, {make(d, {6, 7, 19}, layout)}, {randomTensor(DType::I32, {6, 7}, 1, 0, 19, layout)},
                      {1.0, 0.0});
  expectAgreement(Op::OneHot, {make(DType::F32, {5000, 10})}, {randomTensor(DType::I32, {5000}, 1, 0, 10)},
                  {0.9, 0.01});
}

TEST_CASE("gatherRows: bytes and floats") {
  for (const DType d : {DType::U8, DType::F32})
    for (const Layout layout : kLayouts)
      for (const std::int64_t f : {1, 7, 16, 33, 784})
        expectAgreement(Op::GatherRows, {make(DType::F32, {70, f}, layout)},
                        {randomTensor(d, {40, f}, 1, -3, 3, layout), randomTensor(DType::I32, {70}, 2, 0, 40)},
                        {1.0 / 255, -0.5}, {1e-6, 1e-6});
}

TEST_CASE("indices out of range are typed errors") {
  const Tensor x = randomTensor(DType::F32, {4, 3}, 1), low = of(DType::I32, {2}, {0, -2}),
               high = of(DType::I32, {2}, {4, 0});
  expectError(Op::IndexSelect, {make(DType::F32, {2, 3})}, {x, high}, {0, 0}, "indexSelect: index 4 is outside 0..3");
  expectError(Op::IndexSelect, {make(DType::F32, {2, 3})}, {x, low}, {0, 0}, "indexSelect: index -2 is outside 0..3");
  expectError(Op::IndexAdd, {x}, {high, randomTensor(DType::F32, {2, 3}, 2)}, {0}, "indexAdd: index 4 is outside 0..3");
  expectError(Op::GatherRows, {make(DType::F32, {2, 3})}, {x, low}, {1, 0}, "gatherRows: index -2 is outside 0..3");
  expectError(Op::OneHot, {make(DType::F32, {2, 4})}, {high}, {1, 0}, "oneHot: index 4 is outside 0..3");
  expectError(Op::OneHot, {make(DType::F32, {2, 0})}, {high}, {1, 0}, "oneHot: index 4 into an empty axis");
  const Tensor grid = of(DType::I32, {1, 3}, {0, -1, 2});
  expectError(Op::Gather, {make(DType::F32, {1, 3})}, {x, grid}, {0}, "gather: index -1 is outside 0..3");
  expectError(Op::ScatterAdd, {x}, {grid, randomTensor(DType::F32, {1, 3}, 2)}, {0},
              "scatterAdd: index -1 is outside 0..3");
}

TEST_CASE("outputs far larger than the caches: streamed, from odd addresses") {
  const std::int64_t n = (std::int64_t{32} << 17) + 1027;  // f64: a little above 32 MiB
  const Tensor a = randomTensor(DType::F64, {n}, 1), b = randomTensor(DType::F64, {n}, 2);
  const double *x = a.view.as<double>(), *y = b.view.as<double>();
  for (const KernelTable* table : allTables()) {
    Threads two(2);
    const Tensor out = make(DType::F64, {n});
    const double* z = out.view.as<double>();
    runKernel(*table, Op::Copy, {out}, {a}, {});
    CHECK(sameBytes(out, a));
    runKernel(*table, Op::Binary, {out}, {a, b}, {static_cast<double>(BinaryKind::Add)});
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < n; ++i) wrong += z[i] != x[i] + y[i];
    CHECK(wrong == 0);
    runKernel(*table, Op::Fill, {out}, {}, {2.5});
    wrong = 0;
    for (std::int64_t i = 0; i < n; ++i) wrong += z[i] != 2.5;
    CHECK(wrong == 0);
  }
}

TEST_CASE("a transpose far larger than the caches") {
  const std::int64_t rows = 2051, cols = 4103;  // f32: a little above 32 MiB
  Tensor x = randomTensor(DType::F32, {cols, rows}, 1);
  std::swap(x.view.shape[0], x.view.shape[1]);
  std::swap(x.view.stride[0], x.view.stride[1]);
  for (const KernelTable* table : allTables()) {
    Threads two(2);
    const Tensor out = make(DType::F32, {rows, cols});
    runKernel(*table, Op::Copy, {out}, {x}, {});
    std::int64_t wrong = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        wrong += out.view.as<float>()[r * cols + c] != x.view.as<float>()[c * rows + r];
    CHECK(wrong == 0);
  }
}
