// Naive elementwise kernels: each formula once, in double; int32 in 64-bit integers that wrap.
#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/strided.h"

namespace gyrus::cpu::naive {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
// Standard normal: distribution and density.
double normalCdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
double normalPdf(double x) { return 0.39894228040143267794 * std::exp(-0.5 * x * x); }

double unaryValue(UnaryKind kind, double x, double alpha, double beta) {
  switch (kind) {
    case UnaryKind::Neg:
      return -x;
    case UnaryKind::Abs:
      return std::fabs(x);
    case UnaryKind::Sign:
      return x > 0 ? 1 : x < 0 ? -1 : x;
    case UnaryKind::Exp:
      return std::exp(x);
    case UnaryKind::Expm1:
      return std::expm1(x);
    case UnaryKind::Log:
      return std::log(x);
    case UnaryKind::Log1p:
      return std::log1p(x);
    case UnaryKind::Sqrt:
      return std::sqrt(x);
    case UnaryKind::Rsqrt:
      return 1 / std::sqrt(x);
    case UnaryKind::Square:
      return x * x;
    case UnaryKind::Reciprocal:
      return 1 / x;
    case UnaryKind::Sin:
      return std::sin(x);
    case UnaryKind::Cos:
      return std::cos(x);
    case UnaryKind::Tanh:
      return std::tanh(x);
    case UnaryKind::Sigmoid:
      return sigmoid(x);
    case UnaryKind::Softplus:
      return std::log1p(std::exp(-std::fabs(x))) + (x < 0 ? 0 : x);
    case UnaryKind::Relu:
      return x < 0 ? 0 : x;
    case UnaryKind::LeakyRelu:
      return x < 0 ? alpha * x : x;
    case UnaryKind::Elu:
      return x < 0 ? alpha * std::expm1(x) : x;
    case UnaryKind::Gelu:
      return x * normalCdf(x);
    case UnaryKind::Silu:
      return x * sigmoid(x);
    case UnaryKind::Erf:
      return std::erf(x);
    case UnaryKind::Floor:
      return std::floor(x);
    case UnaryKind::Ceil:
      return std::ceil(x);
    case UnaryKind::Round:
      return std::rint(x);
    case UnaryKind::Clamp: {
      const double low = x < alpha ? alpha : x;
      return low > beta ? beta : low;
    }
    case UnaryKind::Affine:
      return alpha * x + beta;
    case UnaryKind::PowScalar:
      return std::pow(x, alpha);
    case UnaryKind::IsNaN:
      return std::isnan(x);
    case UnaryKind::IsFinite:
      return std::isfinite(x);
    case UnaryKind::IsInf:
      return std::isinf(x);
    default:  // LogicalNot
      return x == 0;
  }
}

// y <- x
void unary(const Args& args) {
  const auto& p = args.as<UnaryParams>();
  const auto kind = static_cast<UnaryKind>(static_cast<int>(p.kind));
  const View &y = args.out[0], &x = args.in[0];
  const bool wraps =
      x.dtype == DType::I32 && (kind == UnaryKind::Neg || kind == UnaryKind::Abs || kind == UnaryKind::Square);
  for (Walk w(y); !w.done(); w.next()) {
    const double v = fetch(x, w.in(x));
    if (wraps) {
      const std::int64_t i = static_cast<std::int64_t>(v);
      y.as<std::int32_t>()[w.in(y)] = wrap(kind == UnaryKind::Square         ? i * i
                                           : kind == UnaryKind::Neg || i < 0 ? -i
                                                                             : i);
    } else {
      put(y, w.in(y), unaryValue(kind, v, p.alpha, p.beta));
    }
  }
}

double binaryValue(BinaryKind kind, double a, double b) {
  switch (kind) {
    case BinaryKind::Add:
      return a + b;
    case BinaryKind::Sub:
      return a - b;
    case BinaryKind::Mul:
      return a * b;
    case BinaryKind::Div:
      return a / b;
    case BinaryKind::Pow:
      return std::pow(a, b);
    case BinaryKind::Maximum:
      return std::isnan(a) ? a : std::isnan(b) ? b : a > b ? a : b;
    case BinaryKind::Minimum:
      return std::isnan(a) ? a : std::isnan(b) ? b : a < b ? a : b;
    case BinaryKind::Equal:
      return a == b;
    case BinaryKind::NotEqual:
      return a != b;
    case BinaryKind::Less:
      return a < b;
    case BinaryKind::LessEqual:
      return a <= b;
    case BinaryKind::Greater:
      return a > b;
    case BinaryKind::GreaterEqual:
      return a >= b;
    case BinaryKind::LogicalAnd:
      return a != 0 && b != 0;
    case BinaryKind::LogicalOr:
      return a != 0 || b != 0;
    case BinaryKind::LogicalXor:
      return (a != 0) != (b != 0);
    case BinaryKind::ReluGrad:
      return b > 0 ? a : 0;
    case BinaryKind::TanhGrad:
      return a * (1 - b * b);
    case BinaryKind::SigmoidGrad:
      return a * b * (1 - b);
    case BinaryKind::GeluGrad:
      return a * (normalCdf(b) + b * normalPdf(b));
    default: {  // SiluGrad
      const double s = sigmoid(b);
      return a * s * (1 + b * (1 - s));
    }
  }
}

// y <- a, b
void binary(const Args& args) {
  const auto kind = static_cast<BinaryKind>(static_cast<int>(args.as<BinaryParams>().kind));
  const View &y = args.out[0], &a = args.in[0], &b = args.in[1];
  // Only a product can leave the exact range of double.
  const bool product = y.dtype == DType::I32 && kind == BinaryKind::Mul;
  for (Walk w(y); !w.done(); w.next()) {
    const double u = fetch(a, w.in(a)), v = fetch(b, w.in(b));
    if (product)
      y.as<std::int32_t>()[w.in(y)] = wrap(static_cast<std::int64_t>(u) * static_cast<std::int64_t>(v));
    else if (y.dtype == DType::I32)
      y.as<std::int32_t>()[w.in(y)] = wrap(static_cast<std::int64_t>(binaryValue(kind, u, v)));
    else
      put(y, w.in(y), binaryValue(kind, u, v));
  }
}

// y <- c ? a : b
void where(const Args& args) {
  const View &y = args.out[0], &c = args.in[0], &a = args.in[1], &b = args.in[2];
  for (Walk w(y); !w.done(); w.next()) put(y, w.in(y), fetch(c, w.in(c)) != 0 ? fetch(a, w.in(a)) : fetch(b, w.in(b)));
}

}  // namespace

void registerElementwise(KernelTable& t) {
  t.set(Op::Unary, unary);
  t.set(Op::Binary, binary);
  t.set(Op::Where, where);
}

}  // namespace gyrus::cpu::naive
