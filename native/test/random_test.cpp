// Random kernels: the same bits on every table and for any thread count, streams that continue, moments and
// Kolmogorov-Smirnov distances, permutations, categorical frequencies and their errors.
#include <algorithm>
#include <limits>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

Tensor seeded(int low, int counter = 0) { return of(DType::I32, {4}, {double(low), 77, double(counter), 0}); }

std::vector<double> draw(RandomKind kind, double a, double b, std::int64_t n, int seed) {
  const Tensor y = make(DType::F32, {n}), state = seeded(seed);
  runKernel(*allTables().back(), Op::Random, {y, state}, {}, {double(int(kind)), a, b});
  std::vector<double> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = y.at(i);
  return values;
}

// Largest distance between the empirical distribution of `values` and F, times sqrt(n).
template <class F>
double kolmogorov(std::vector<double> values, F cdf) {
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double f = cdf(values[i]);
    worst = std::max({worst, std::fabs(f - static_cast<double>(i) / n), std::fabs(f - static_cast<double>(i + 1) / n)});
  }
  return worst * std::sqrt(n);
}

// A GPU's logarithm, sine and cosine may differ from the host's in the last bit.
Tolerance ofNormals(DType d) {
  if (kHostArithmetic) return {};
  return d == DType::F32 ? Tolerance{1.2e-7, 0} : Tolerance{0, 4e-15};
}

}  // namespace

TEST_CASE("random: the same bits on every table and thread count, the counter moves on") {
  for (const RandomKind kind : {RandomKind::Uniform, RandomKind::Normal, RandomKind::Bernoulli})
    for (const DType d : {DType::F32, DType::F64})
      for (const std::int64_t n : {0, 1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 1000, 40003}) {
        const auto out = expectAgreement(Op::Random, {make(d, {n}), seeded(5)}, {}, {double(int(kind)), 0.3, 2.0},
                                         kind == RandomKind::Normal ? ofNormals(d) : Tolerance{});
        CHECK(out[1].at(2) == static_cast<double>((n + 3) / 4));
      }
}

TEST_CASE("random: an output that begins at any element") {
  for (const DType d : {DType::F32, DType::F64}) {
    Tensor y = make(d, {1201});
    y.view.shape[0] = 1200;
    y.view.data = y.view.as<char>() + sizeOf(d);
    expectAgreement(Op::Random, {y, seeded(5)}, {}, {double(int(RandomKind::Normal)), 0, 1}, ofNormals(d));
  }
}

TEST_CASE("random: a stream continues where it stopped, and carries into the high word") {
  const std::vector<double> record = {double(int(RandomKind::Uniform)), 0, 1};
  const Tensor whole = make(DType::F32, {24}), first = make(DType::F32, {8}), second = make(DType::F32, {16});
  Tensor state = seeded(9);
  runKernel(naiveTable(), Op::Random, {whole, state}, {}, record);
  state = seeded(9);
  runKernel(naiveTable(), Op::Random, {first, state}, {}, record);
  runKernel(naiveTable(), Op::Random, {second, state}, {}, record);
  for (std::int64_t i = 0; i < 24; ++i) CHECK(whole.at(i) == (i < 8 ? first.at(i) : second.at(i - 8)));
  const auto out = expectAgreement(Op::Random, {make(DType::F32, {8}), seeded(9, -1)}, {}, record);
  CHECK(out[1].at(2) == 1);
  CHECK(out[1].at(3) == 1);
}

TEST_CASE("random: uniform stays in [a, b), with the right moments and distribution") {
  const auto u = draw(RandomKind::Uniform, 5, 6, 100000, 1);
  double mean = 0, square = 0;
  for (const double v : u) {
    CHECK_FALSE((v < 5 || v >= 6));
    mean += v / 1e5;
    square += (v - 5.5) * (v - 5.5) / 1e5;
  }
  CHECK(std::fabs(mean - 5.5) < 0.005);
  CHECK(std::fabs(square - 1.0 / 12) < 0.002);
  CHECK(kolmogorov(u, [](double x) { return x - 5; }) < 1.95);  // p = 0.001
}

TEST_CASE("random: normal and bernoulli") {
  const auto z = draw(RandomKind::Normal, 2, 3, 100000, 2);
  double m1 = 0, m2 = 0, m4 = 0, lag = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double s = (z[i] - 2) / 3;
    m1 += s / 1e5, m2 += s * s / 1e5, m4 += s * s * s * s / 1e5;
    if (i > 0) lag += s * (z[i - 1] - 2) / 3 / 1e5;
  }
  CHECK(std::fabs(m1) < 0.015);
  CHECK(std::fabs(m2 - 1) < 0.02);
  CHECK(std::fabs(m4 - 3) < 0.2);
  CHECK(std::fabs(lag) < 0.015);
  CHECK(kolmogorov(z, [](double x) { return 0.5 * std::erfc(-(x - 2) / 3 / std::sqrt(2.0)); }) < 1.95);
  double ones = 0;
  for (const double v : draw(RandomKind::Bernoulli, 0.25, 4, 100000, 3)) {
    CHECK_FALSE((v != 0 && v != 4));
    ones += v / 4;
  }
  CHECK(std::fabs(ones / 1e5 - 0.25) < 0.006);
  for (const double v : draw(RandomKind::Bernoulli, 1, 2, 1000, 3)) CHECK(v == 2);
  for (const double v : draw(RandomKind::Bernoulli, 0, 2, 1000, 3)) CHECK(v == 0);
}

TEST_CASE("permutation: each number once, each order about as often") {
  for (const std::int64_t n : {0, 1, 2, 3, 17, 1000, 5003}) {
    const Layout layout = n == 1000 ? Layout::Spread : Layout::Contiguous;
    const auto out = expectAgreement(Op::Permutation, {make(DType::I32, {n}, layout), seeded(4)}, {}, {});
    std::vector<bool> seen(static_cast<std::size_t>(n), false);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto v = static_cast<std::size_t>(out[0].at(i));
      REQUIRE(v < seen.size());
      CHECK_FALSE(seen[v]);
      seen[v] = true;
    }
  }
  int count[6] = {};
  const Tensor y = make(DType::I32, {3}), state = seeded(8);
  for (int i = 0; i < 6000; ++i) {
    runKernel(naiveTable(), Op::Permutation, {y, state}, {}, {});
    ++count[static_cast<int>(y.at(0)) * 2 + (y.at(1) > y.at(2))];
  }
  for (const int c : count) CHECK(std::abs(c - 1000) < 130);
}

TEST_CASE("categorical: more classes than a warp has lanes, one row and many") {
  int turn = 0;
  for (const std::int64_t rows : {1, 70})
    for (const std::int64_t classes : {1, 31, 32, 33, 150}) {
      const Layout layout = kLayouts[turn++ % 4];
      expectAgreement(Op::Categorical, {make(DType::I32, {rows, 9}, layout), seeded(6, 3)},
                      {randomTensor(DType::F32, {rows, classes}, 1, 0, 5, layout)}, {});
    }
}

TEST_CASE("categorical: frequencies, zero weights, layouts, errors") {
  for (const DType d : {DType::F32, DType::F64})
    for (const Layout layout : kLayouts) {
      const Tensor w = of(d, {3, 4}, {1, 2, 3, 4, 0, 0, 5, 0, 0.5, 0, 0.5, 0}, layout);
      const auto out = expectAgreement(Op::Categorical, {make(DType::I32, {3, 5001}, layout), seeded(6)}, {w}, {});
      double count[3][4] = {};
      for (std::int64_t r = 0; r < 3; ++r)
        for (std::int64_t s = 0; s < 5001; ++s) ++count[r][static_cast<int>(out[0].at(r * 5001 + s))];
      for (int c = 0; c < 4; ++c) CHECK(std::fabs(count[0][c] / 5001 - (c + 1) / 10.0) < 0.03);
      CHECK(count[1][2] == 5001);
      CHECK(count[2][1] + count[2][3] == 0);
      CHECK(out[1].at(2) == (3 * 5001 + 3) / 4);
    }
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& bad : {std::vector<double>{0, 0}, {1, -1}, {nan, 1}, {inf, 1}})
    for (const KernelTable* table : allTables()) {
      const Tensor w = of(DType::F32, {2, 2}, {1, 1, bad[0], bad[1]});
      CHECK_THROWS_WITH_AS(runKernel(*table, Op::Categorical, {make(DType::I32, {2, 3}), seeded(1)}, {w}, {}),
                           "categorical: weights of row 1 must be finite, non-negative and not all zero", Error);
    }
}
