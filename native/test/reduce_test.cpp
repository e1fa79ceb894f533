// Reductions of every table against the naive ones (which sum in f64): kinds, dtypes, layouts, odd sizes, NaN, empty
// axes, and the accuracy of long f32 sums.
#include <limits>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const ReduceKind kFloatKinds[] = {ReduceKind::Sum, ReduceKind::Mean,     ReduceKind::Max,
                                  ReduceKind::Min, ReduceKind::Variance, ReduceKind::Prod};

std::vector<Tensor> reduceCase(ReduceKind kind, const Tensor& x, int axes, Tolerance tol, double correction = 1) {
  Shape kept(x.view.shape, x.view.shape + x.view.rank - axes);
  return expectAgreement(Op::Reduce, {make(x.view.dtype, kept)}, {x}, {double(int(kind)), double(axes), correction},
                         tol);
}

Tolerance toleranceOf(DType d) { return d == DType::F64 ? Tolerance{1e-11, 1e-12} : Tolerance{2e-6, 2e-6}; }

}  // namespace

TEST_CASE("reduce: rows, columns and whole tensors of odd sizes") {
  for (const DType d : {DType::F32, DType::F64})
    for (const ReduceKind kind : kFloatKinds)
      for (const std::int64_t n : {1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 1000, 40003}) {
        INFO(nameOf(kind), " ", nameOf(d), " ", n);
        // Factors near 1, so that a product stays in range.
        const double low = kind == ReduceKind::Prod ? 0.999 : -1, high = kind == ReduceKind::Prod ? 1.001 : 2;
        const Tolerance tol =
            kind == ReduceKind::Sum && d == DType::F32 ? Tolerance{2e-6, 2e-7 * double(n)} : toleranceOf(d);
        reduceCase(kind, randomTensor(d, {n}, 1, low, high), 1, tol);
        reduceCase(kind, randomTensor(d, {3, n}, 2, low, high), 1, tol);
        reduceCase(kind, randomTensor(d, {n, 5}, 3, low, high, Layout::Transposed), 1, tol);
        if (n < 2000) reduceCase(kind, randomTensor(d, {n, 70}, 4, low, high, Layout::Transposed), 1, tol);
        if (n < 2000) reduceCase(kind, randomTensor(d, {300, n}, 5, low, high, Layout::Transposed), 1, tol);
      }
}

TEST_CASE("reduce: several axes, layouts and broadcasts") {
  for (const ReduceKind kind : kFloatKinds)
    for (const Layout layout : kLayouts)
      for (int axes = 0; axes <= 3; ++axes) {
        INFO(nameOf(kind), " ", int(layout), " ", axes);
        reduceCase(kind, randomTensor(DType::F32, {6, 11, 35}, 7, 0.9, 1.1, layout), axes, {3e-5, 1e-5});
      }
  const Tensor wide = broadcastAxis(randomTensor(DType::F32, {4, 1, 9}, 3), 1, 50);
  for (int axes = 1; axes <= 3; ++axes) reduceCase(ReduceKind::Sum, wide, axes, {1e-5, 1e-4});
}

TEST_CASE("reduce: NaN and infinity pass through max and min") {
  for (const std::int64_t n : {3, 17, 100})
    for (std::int64_t at = 0; at < n; at += 5)
      for (const ReduceKind kind : {ReduceKind::Max, ReduceKind::Min, ReduceKind::Sum})
        for (const double v : {kNaN, kInf, -kInf}) {
          Tensor row = randomTensor(DType::F32, {2, n}, 3),
                 column = randomTensor(DType::F32, {9, n}, 3, -1, 1, Layout::Transposed);
          row.set(at, v);
          column.set(n + at, v);
          reduceCase(kind, row, 1, {1e-5, 1e-5});
          reduceCase(kind, column, 1, {1e-5, 1e-5});
        }
}

TEST_CASE("reduce: empty axes") {
  for (const DType d : {DType::F32, DType::F64}) {
    const Tensor x = make(d, {3, 0});
    CHECK(reduceCase(ReduceKind::Sum, x, 1, {})[0].at(0) == 0);
    CHECK(reduceCase(ReduceKind::Prod, x, 1, {})[0].at(0) == 1);
    CHECK(std::isnan(reduceCase(ReduceKind::Mean, x, 1, {})[0].at(0)));
    reduceCase(ReduceKind::Sum, make(d, {0, 3}), 1, {});
  }
  CHECK(reduceCase(ReduceKind::Any, make(DType::Bool, {2, 0}), 1, {})[0].at(1) == 0);
  CHECK(reduceCase(ReduceKind::All, make(DType::Bool, {2, 0}), 1, {})[0].at(1) == 1);
  CHECK(std::isnan(reduceCase(ReduceKind::Variance, of(DType::F32, {1}, {3}), 1, {})[0].at(0)));
}

TEST_CASE("reduce: int32 wraps; any and all") {
  for (const Layout layout : kLayouts) {
    for (const ReduceKind kind : {ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max, ReduceKind::Min})
      reduceCase(kind, randomTensor(DType::I32, {7, 1003}, 1, -2e9, 2e9, layout), 1, {});
    for (const ReduceKind kind : {ReduceKind::Any, ReduceKind::All})
      for (const double low : {0.0, 1.0}) {
        Tensor x = zeros(DType::Bool, {5, 67}, layout);
        for (std::int64_t i = 0; i < x.size(); ++i) x.set(i, low);
        x.set(80, 1 - low);
        reduceCase(kind, x, 1, {});
      }
  }
}

TEST_CASE("reduce: rows of whole packs, of every dtype") {
  for (const std::int64_t n : {32, 2048, 12288}) {
    for (const ReduceKind kind : {ReduceKind::Sum, ReduceKind::Prod, ReduceKind::Max})
      reduceCase(kind, randomTensor(DType::I32, {3, n}, 1, -2e9, 2e9), 1, {});
    for (const double one : {0.0, 1.0}) {
      Tensor x = zeros(DType::Bool, {3, n});
      for (std::int64_t i = 0; i < x.size(); ++i) x.set(i, one);
      x.set(2 * n - 1, 1 - one);
      for (const ReduceKind kind : {ReduceKind::Any, ReduceKind::All}) reduceCase(kind, x, 1, {});
    }
  }
}

TEST_CASE("reduce: long f32 sums stay accurate") {
  Tensor ones = zeros(DType::F32, {1000003});
  for (std::int64_t i = 0; i < ones.size(); ++i) ones.set(i, 1);
  const Tensor values = randomTensor(DType::F32, {1000003}, 11, 0, 1);
  const Tensor columns = randomTensor(DType::F32, {3, 300007}, 12, 0, 1, Layout::Transposed);
  reduceCase(ReduceKind::Sum, ones, 1, {0, 0});
  reduceCase(ReduceKind::Sum, values, 1, {2e-7, 0});
  reduceCase(ReduceKind::Sum, columns, 1, {2e-7, 0});
  // A mean far from 0 must not eat the variance.
  reduceCase(ReduceKind::Variance, randomTensor(DType::F32, {200000}, 13, 1000, 1001), 1, {1e-5, 0});
}

TEST_CASE("argReduce: first extreme, NaN first, layouts and dtypes") {
  for (const ArgKind kind : {ArgKind::ArgMax, ArgKind::ArgMin})
    for (const DType d : {DType::F32, DType::F64, DType::I32})
      for (const Layout layout : kLayouts)
        for (const std::int64_t n : {1, 2, 15, 17, 31, 32, 33, 47, 100, 1003}) {
          // Few distinct values: ties are common.
          Tensor x = zeros(d, {40, n}, layout);
          const Tensor r = randomTensor(DType::I32, {40, n}, 3, -5, 5);
          for (std::int64_t i = 0; i < x.size(); ++i) x.set(i, r.at(i));
          if (d != DType::I32) {
            x.set(n + n / 2, kNaN);
            for (std::int64_t i = 0; i < n; ++i) {
              x.set(2 * n + i, -kInf);
              x.set(3 * n + i, kInf);
              x.set(4 * n + i, i % 2 == 0 ? -0.0 : 0.0);
            }
          }
          expectAgreement(Op::ArgReduce, {make(DType::I32, {40})}, {x}, {double(int(kind))});
        }
  const Tensor y = make(DType::I32, {});
  runKernel(naiveTable(), Op::ArgReduce, {y}, {of(DType::F32, {5}, {1, 3, kNaN, 3, kNaN})}, {0});
  CHECK(y.at(0) == 2);
}

TEST_CASE("argReduce: long rows, ties across pieces, NaN") {
  for (const DType d : {DType::F32, DType::F64, DType::I32})
    for (const double kind : {0.0, 1.0}) {
      Tensor x = randomTensor(d, {140003}, 1, -100, 100);
      for (const std::int64_t i : {70001, 70002, 140002}) x.set(i, kind == 0 ? 200 : -200);
      expectAgreement(Op::ArgReduce, {make(DType::I32, {})}, {x}, {kind});
      if (d == DType::I32) continue;
      x.set(99999, NAN);
      x.set(120000, NAN);
      expectAgreement(Op::ArgReduce, {make(DType::I32, {})}, {x}, {kind});
      expectAgreement(Op::ArgReduce, {make(DType::I32, {11})}, {randomTensor(d, {11, 301}, 3)}, {kind});
    }
}
