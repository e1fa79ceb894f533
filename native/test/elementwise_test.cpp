// Elementwise kernels of every table against the naive ones: all kinds, dtypes, layouts and odd sizes, special values,
// and the accuracy that cpu/math.h promises.
#include <algorithm>
#include <cfloat>
#include <limits>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const std::int64_t kSizes[] = {0, 1, 2, 7, 15, 16, 17, 31, 33, 63, 65, 1000, 40003};
const std::vector<double> kSpecial = {0,     -0.0, 1,     -1,    kInf,   -kInf, kNaN,  1e-45, -1e-45, 1e-38,
                                      0.5,   -0.5, 1.5,   2.5,   -2.5,   88.7,  -88.7, 100,   -104,   3e38,
                                      -3e38, 1e-8, -1e-8, 0.999, -0.999, 20,    -20,   9.1,   -9.1};

Tolerance toleranceOf(DType d) { return d == DType::F64 ? Tolerance{1e-12, 1e-14} : Tolerance{3e-6, 1e-6}; }

bool boolResult(UnaryKind k) {
  return k == UnaryKind::IsNaN || k == UnaryKind::IsFinite || k == UnaryKind::IsInf || k == UnaryKind::LogicalNot;
}
bool comparison(BinaryKind k) { return k >= BinaryKind::Equal && k <= BinaryKind::GreaterEqual; }
bool logical(BinaryKind k) { return k >= BinaryKind::LogicalAnd && k <= BinaryKind::LogicalXor; }

// A domain in which the kind is well conditioned, for random values.
void domain(UnaryKind k, double& low, double& high) {
  low = -4;
  high = 4;
  if (k == UnaryKind::Log || k == UnaryKind::Sqrt || k == UnaryKind::Rsqrt || k == UnaryKind::PowScalar) low = 0.01;
  if (k == UnaryKind::Log1p) low = -0.9;
  if (k == UnaryKind::Reciprocal) low = 0.1;
}

double ulps(float got, double want) {
  const float rounded = static_cast<float>(want);
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : 1e9;
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded || std::fabs(got) > 3.4028e38 ? 0 : 1e9;
  int exponent = 0;
  std::frexp(want, &exponent);
  return std::fabs(got - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

}  // namespace

TEST_CASE("unary: every kind, size and dtype agrees with the naive kernel") {
  for (int k = 0; k < kUnaryKindCount; ++k) {
    const auto kind = static_cast<UnaryKind>(k);
    if (kind == UnaryKind::LogicalNot) continue;
    double low, high;
    domain(kind, low, high);
    for (const DType d : {DType::F32, DType::F64})
      for (const std::int64_t n : kSizes) {
        INFO(nameOf(kind), " ", nameOf(d), " ", n);
        const Tensor x = randomTensor(d, {n}, 1 + k, low, high);
        expectAgreement(Op::Unary, {make(boolResult(kind) ? DType::Bool : d, {n})}, {x}, {double(k), 0.7, 1.25},
                        toleranceOf(d));
      }
  }
}

TEST_CASE("unary: layouts of input and output") {
  for (const Layout in : kLayouts)
    for (const Layout out : kLayouts)
      for (const UnaryKind kind : {UnaryKind::Exp, UnaryKind::Affine, UnaryKind::IsNaN}) {
        const DType d = boolResult(kind) ? DType::Bool : DType::F32;
        const Tensor x = randomTensor(DType::F32, {3, 17, 41}, 5, -3, 3, in);
        expectAgreement(Op::Unary, {make(d, {3, 17, 41}, out)}, {x}, {double(int(kind)), 2, 1}, {3e-6, 1e-6});
      }
}

TEST_CASE("unary: special values") {
  for (int k = 0; k < kUnaryKindCount; ++k) {
    const auto kind = static_cast<UnaryKind>(k);
    if (kind == UnaryKind::LogicalNot) continue;
    INFO(nameOf(kind));
    const auto n = static_cast<std::int64_t>(kSpecial.size());
    for (const DType d : {DType::F32, DType::F64})
      expectAgreement(Op::Unary, {make(boolResult(kind) ? DType::Bool : d, {n})}, {of(d, {n}, kSpecial)},
                      {double(k), -1.5, 2.0}, toleranceOf(d));
  }
}

TEST_CASE("unary: int32 wraps and saturates, bool negates") {
  const Tensor x = of(DType::I32, {6}, {-2147483648.0, 2147483647.0, -7, 0, 7, 65536});
  for (const UnaryKind kind : {UnaryKind::Neg, UnaryKind::Abs, UnaryKind::Sign, UnaryKind::Square, UnaryKind::Relu,
                               UnaryKind::Clamp, UnaryKind::Affine}) {
    expectAgreement(Op::Unary, {make(DType::I32, {6})}, {x}, {double(int(kind)), -3, 5});
    expectAgreement(Op::Unary, {make(DType::I32, {40003})}, {randomTensor(DType::I32, {40003}, 3, -1e5, 1e5)},
                    {double(int(kind)), -3, 5});
  }
  for (const std::int64_t n : kSizes)
    expectAgreement(Op::Unary, {make(DType::Bool, {n})}, {randomTensor(DType::Bool, {n}, 9)},
                    {double(int(UnaryKind::LogicalNot)), 0, 0});
}

TEST_CASE("math: errors in units in the last place") {
  struct Case {
    UnaryKind kind;
    double limit;
    double (*exact)(double);
  };
  const Case cases[] = {
      {UnaryKind::Exp, 2, [](double x) { return std::exp(x); }},
      {UnaryKind::Expm1, 3, [](double x) { return std::expm1(x); }},
      {UnaryKind::Log, 2, [](double x) { return std::log(x); }},
      {UnaryKind::Log1p, 3, [](double x) { return std::log1p(x); }},
      {UnaryKind::Tanh, 4, [](double x) { return std::tanh(x); }},
      {UnaryKind::Sigmoid, 4, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {UnaryKind::Erf, 4, [](double x) { return std::erf(x); }},
      {UnaryKind::Gelu, 256, [](double x) { return x == -kInf ? kNaN : x * 0.5 * std::erfc(-x * std::sqrt(0.5)); }},
  };
  // A sweep over all bit patterns, a million of them: every exponent, both signs, infinities and NaN.
  constexpr std::uint32_t step = 4093;
  const std::int64_t n = static_cast<std::int64_t>((std::uint64_t{1} << 32) / step);
  Tensor x = zeros(DType::F32, {n});
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(i) * step;
    std::memcpy(x.view.as<float>() + i, &bits, 4);
  }
  for (const Case& c : cases) {
    std::vector<double> exact(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) exact[static_cast<std::size_t>(i)] = c.exact(x.view.as<float>()[i]);
    for (const KernelTable* table : allTables()) {
      const Tensor y = make(DType::F32, {n});
      runKernel(*table, Op::Unary, {y}, {x}, {double(int(c.kind)), 0, 0});
      double worst = 0;
      float at = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double u = ulps(y.view.as<float>()[i], exact[static_cast<std::size_t>(i)]);
        if (u > worst) worst = u, at = x.view.as<float>()[i];
      }
      CHECK_MESSAGE(worst <= c.limit, table->isa, " ", nameOf(c.kind), ": ", worst, " ulp at ", at);
    }
  }
}

TEST_CASE("math: the bits of a number do not depend on its neighbours") {
  // Numbers of the plain range beside one that takes the other branch of a vector.
  for (const KernelTable* table : allTables())
    for (const UnaryKind kind : {UnaryKind::Exp, UnaryKind::Tanh, UnaryKind::Sigmoid, UnaryKind::Gelu, UnaryKind::Erf})
      for (const double rare : {-100.0, -3.0, 3.0, 95.0, kNaN}) {
        const Tensor x = randomTensor(DType::F32, {1024}, 4, -0.9, 0.9), y = make(DType::F32, {1024});
        Tensor mixed = x.clone();
        for (std::int64_t i = 0; i < 1024; i += 3) mixed.set(i, rare);
        const Tensor z = make(DType::F32, {1024});
        runKernel(*table, Op::Unary, {y}, {x}, {double(int(kind)), 0, 0});
        runKernel(*table, Op::Unary, {z}, {mixed}, {double(int(kind)), 0, 0});
        bool same = true;
        for (std::int64_t i = 0; i < 1024; ++i) same = same && (i % 3 == 0 || y.at(i) == z.at(i));
        CHECK_MESSAGE(same, table->isa, " ", nameOf(kind), " beside ", rare);
      }
}

TEST_CASE("binary: every kind, size and dtype agrees with the naive kernel") {
  for (int k = 0; k < kBinaryKindCount; ++k) {
    const auto kind = static_cast<BinaryKind>(k);
    if (logical(kind)) continue;
    for (const DType d : {DType::F32, DType::F64})
      for (const std::int64_t n : kSizes) {
        INFO(nameOf(kind), " ", nameOf(d), " ", n);
        const Tensor a = randomTensor(d, {n}, 1 + k, kind == BinaryKind::Pow ? 0.1 : -3, 3);
        const Tensor b = randomTensor(d, {n}, 2 + k, kind == BinaryKind::Div ? 0.2 : -2, 2);
        expectAgreement(Op::Binary, {make(comparison(kind) ? DType::Bool : d, {n})}, {a, b}, {double(k)},
                        toleranceOf(d));
      }
  }
}

TEST_CASE("binary: broadcasts and layouts") {
  const Shape shape = {5, 19, 37};
  for (const BinaryKind kind : {BinaryKind::Add, BinaryKind::Less}) {
    const DType d = kind == BinaryKind::Less ? DType::Bool : DType::F32;
    const Tensor scalar =
        broadcastAxis(broadcastAxis(broadcastAxis(randomTensor(DType::F32, {1, 1, 1}, 3), 0, 5), 1, 19), 2, 37);
    const Tensor row = broadcastAxis(broadcastAxis(randomTensor(DType::F32, {1, 1, 37}, 4), 0, 5), 1, 19);
    const Tensor column = broadcastAxis(randomTensor(DType::F32, {5, 19, 1}, 5), 2, 37);
    const Tensor middle = broadcastAxis(randomTensor(DType::F32, {5, 1, 37}, 6), 1, 19);
    for (const Layout in : kLayouts)
      for (const Layout out : kLayouts)
        for (const Tensor& other : {scalar, row, column, middle}) {
          const Tensor a = randomTensor(DType::F32, shape, 7, -3, 3, in);
          expectAgreement(Op::Binary, {make(d, shape, out)}, {a, other}, {double(int(kind))});
          expectAgreement(Op::Binary, {make(d, shape, out)}, {other, a}, {double(int(kind))});
        }
  }
  // A row longer than one parallel piece, against a broadcast number.
  const Tensor one = broadcastAxis(broadcastAxis(randomTensor(DType::F32, {1, 1}, 3), 0, 2), 1, 70001);
  expectAgreement(Op::Binary, {make(DType::F32, {2, 70001})}, {randomTensor(DType::F32, {2, 70001}, 8), one},
                  {double(int(BinaryKind::Mul))});
}

TEST_CASE("outputs far larger than the caches: rows and columns across a matrix, from odd addresses") {
  const std::int64_t sizes[][2] = {{84001, 100}, {130003, 67}, {17, 500009}};
  for (const auto& [R, C] : sizes)
    for (const bool shifted : {false, true}) {
      const auto matrix = [&](unsigned seed) {
        Tensor t = make(DType::F32, {R * C + shifted});
        std::uint32_t bits = seed;
        for (std::int64_t i = 0; i < R * C + shifted; ++i)
          t.view.as<float>()[i] = static_cast<float>((bits = bits * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
        t.view.data = t.view.as<float>() + shifted;
        t.view.rank = 2;
        t.view.shape[0] = R, t.view.shape[1] = C;
        t.view.stride[0] = C, t.view.stride[1] = 1;
        return t;
      };
      const Tensor x = matrix(1), y = matrix(2), y1 = matrix(3);
      const float* in = x.view.as<float>();
      for (const KernelTable* table : allTables())
        for (const int threads : {1, 3}) {
          Threads scope(threads);
          for (const bool column : {false, true}) {
            Tensor line = x;
            line.view.stride[column ? 1 : 0] = 0;
            runKernel(*table, Op::Binary, {y}, {x, line}, {double(int(BinaryKind::Add))});
            std::int64_t wrong = 0;
            for (std::int64_t r = 0; r < R; ++r)
              for (std::int64_t c = 0; c < C; ++c)
                wrong += y.view.as<float>()[r * C + c] != in[r * C + c] + (column ? in[r * C] : in[c]);
            CHECK_MESSAGE(wrong == 0, table->isa, " ", R, "x", C, column ? " column" : " row");
          }
          runKernel(*table, Op::Unary, {y1}, {x}, {double(int(UnaryKind::Relu)), 0, 0});
          CHECK(std::memcmp(y1.view.data, in, static_cast<std::size_t>(R * C) * 4) == 0);
        }
    }
}

TEST_CASE("binary: special values, int32, bool and u8") {
  std::vector<double> left, right;
  for (const double a : kSpecial)
    for (const double b : kSpecial) {
      left.push_back(a);
      right.push_back(b);
    }
  const auto n = static_cast<std::int64_t>(left.size());
  for (int k = 0; k < kBinaryKindCount; ++k) {
    const auto kind = static_cast<BinaryKind>(k);
    // Their products overflow f32 on the way where the naive f64 does not.
    if (logical(kind) || kind == BinaryKind::SigmoidGrad || kind == BinaryKind::TanhGrad ||
        kind == BinaryKind::SiluGrad || kind == BinaryKind::GeluGrad)
      continue;
    INFO(nameOf(kind));
    for (const DType d : {DType::F32, DType::F64})
      expectAgreement(Op::Binary, {make(comparison(kind) ? DType::Bool : d, {n})},
                      {of(d, {n}, left), of(d, {n}, right)}, {double(k)}, toleranceOf(d));
  }
  for (const BinaryKind kind : {BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Maximum,
                                BinaryKind::Minimum, BinaryKind::Equal, BinaryKind::Greater})
    expectAgreement(Op::Binary, {make(comparison(kind) ? DType::Bool : DType::I32, {1003})},
                    {randomTensor(DType::I32, {1003}, 1, -2e9, 2e9), randomTensor(DType::I32, {1003}, 2, -2e9, 2e9)},
                    {double(int(kind))});
  for (const BinaryKind kind :
       {BinaryKind::LogicalAnd, BinaryKind::LogicalOr, BinaryKind::LogicalXor, BinaryKind::Equal, BinaryKind::NotEqual})
    expectAgreement(Op::Binary, {make(DType::Bool, {1003})},
                    {randomTensor(DType::Bool, {1003}, 1), randomTensor(DType::Bool, {1003}, 2)}, {double(int(kind))});
  expectAgreement(Op::Binary, {make(DType::Bool, {1003})},
                  {randomTensor(DType::U8, {1003}, 1), randomTensor(DType::U8, {1003}, 2)},
                  {double(int(BinaryKind::LessEqual))});
}

TEST_CASE("where: every dtype and layout") {
  for (const DType d : {DType::F32, DType::F64, DType::I32, DType::U8, DType::Bool})
    for (const Layout layout : kLayouts)
      for (const std::int64_t n : {1, 17, 1000}) {
        const Tensor c = randomTensor(DType::Bool, {3, n}, 1, 0, 2, layout);
        const Tensor a = randomTensor(d, {3, n}, 2), b = broadcastAxis(randomTensor(d, {1, n}, 3), 0, 3);
        expectAgreement(Op::Where, {make(d, {3, n}, layout)}, {c, a, b}, {});
      }
}
