// Elementwise kernels: unary, binary, where. Contiguous f32 has a kernel per kind, of 16-byte accesses; every other
// layout and dtype chooses the kind as it goes.
#include "cuda/convert.cuh"
#include "cuda/families.h"
#include "cuda/map.cuh"

namespace gyrus::cuda {
namespace {

// Of the exponential that can't overflow.
template <class T>
__device__ __forceinline__ T sigmoid(T x) {
  const T e = exp(-fabs(x));
  return (x < T(0) ? e : T(1)) / (T(1) + e);
}
// Standard normal: distribution and density.
template <class T>
__device__ __forceinline__ T normalCdf(T x) {
  return T(0.5) * erfc(-x * T(0.70710678118654752440));
}
template <class T>
__device__ __forceinline__ T normalPdf(T x) {
  return T(0.39894228040143267794) * exp(T(-0.5) * x * x);
}

template <class T>
__device__ __forceinline__ T unaryValue(UnaryKind kind, T x, T alpha, T beta) {
  switch (kind) {
    case UnaryKind::Neg:
      return -x;
    case UnaryKind::Abs:
      return fabs(x);
    case UnaryKind::Sign:
      return x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
    case UnaryKind::Exp:
      return exp(x);
    case UnaryKind::Expm1:
      return expm1(x);
    case UnaryKind::Log:
      return log(x);
    case UnaryKind::Log1p:
      return log1p(x);
    case UnaryKind::Sqrt:
      return sqrt(x);
    case UnaryKind::Rsqrt:
      return T(1) / sqrt(x);
    case UnaryKind::Square:
      return x * x;
    case UnaryKind::Reciprocal:
      return T(1) / x;
    case UnaryKind::Sin:
      return sin(x);
    case UnaryKind::Cos:
      return cos(x);
    case UnaryKind::Tanh:
      return tanh(x);
    case UnaryKind::Sigmoid:
      return sigmoid(x);
    case UnaryKind::Softplus:
      return log1p(exp(-fabs(x))) + (x < T(0) ? T(0) : x);
    case UnaryKind::Relu:
      return x < T(0) ? T(0) : x;
    case UnaryKind::LeakyRelu:
      return x < T(0) ? alpha * x : x;
    case UnaryKind::Elu:
      return x < T(0) ? alpha * expm1(x) : x;
    case UnaryKind::Gelu:
      return x * normalCdf(x);
    case UnaryKind::Silu:
      return x * sigmoid(x);
    case UnaryKind::Erf:
      return erf(x);
    case UnaryKind::Floor:
      return floor(x);
    case UnaryKind::Ceil:
      return ceil(x);
    case UnaryKind::Round:
      return rint(x);
    case UnaryKind::Clamp: {
      const T low = x < alpha ? alpha : x;
      return low > beta ? beta : low;
    }
    case UnaryKind::Affine:
      return fma(alpha, x, beta);
    default:  // PowScalar
      return pow(x, alpha);
  }
}

template <UnaryKind kind>
struct UnaryOf {
  float alpha, beta;
  __device__ float operator()(float x) const { return unaryValue(kind, x, alpha, beta); }
};
template <class T>
struct Unary {
  UnaryKind kind;
  T alpha, beta;
  __device__ T operator()(T x) const { return unaryValue(kind, x, alpha, beta); }
};

struct UnaryInt {
  UnaryKind kind;
  double alpha, beta;
  __device__ std::int32_t operator()(std::int32_t x) const {
    const auto bits = static_cast<std::uint32_t>(x);  // they wrap
    switch (kind) {
      case UnaryKind::Neg:
        return static_cast<std::int32_t>(0u - bits);
      case UnaryKind::Abs:
        return static_cast<std::int32_t>(x < 0 ? 0u - bits : bits);
      case UnaryKind::Sign:
        return (x > 0) - (x < 0);
      case UnaryKind::Square:
        return static_cast<std::int32_t>(bits * bits);
      case UnaryKind::Relu:
        return x < 0 ? 0 : x;
      case UnaryKind::Clamp: {
        const double low = x < alpha ? alpha : x;
        return convert<std::int32_t>(low > beta ? beta : low);
      }
      default:  // Affine
        return convert<std::int32_t>(alpha * x + beta);
    }
  }
};

template <class T>
struct Classify {
  UnaryKind kind;
  __device__ std::uint8_t operator()(T x) const {
    if (kind == UnaryKind::LogicalNot) return x == T(0);
    if constexpr (std::is_floating_point_v<T>) {
      const T inf = static_cast<T>(INFINITY);
      if (kind == UnaryKind::IsNaN) return x != x;
      if (kind == UnaryKind::IsInf) return x == inf || x == -inf;
      return x > -inf && x < inf;
    } else {
      return kind == UnaryKind::IsFinite;
    }
  }
};

bool givesBool(UnaryKind kind) {
  return kind == UnaryKind::IsNaN || kind == UnaryKind::IsFinite || kind == UnaryKind::IsInf ||
         kind == UnaryKind::LogicalNot;
}

template <UnaryKind kind>
void unaryFours(const View& y, const View& x, const Nest<2>& nest, float alpha, float beta) {
  if constexpr (kind < UnaryKind::IsNaN) mapFours(y, x, nest, UnaryOf<kind>{alpha, beta});
}

// y <- x
void unary(const Args& args) {
  const auto& p = args.as<UnaryParams>();
  auto kind = static_cast<UnaryKind>(static_cast<int>(p.kind));
  const View &y = args.out[0], &x = args.in[0];
  const View* const v[2] = {&y, &x};
  const Nest<2> nest(v);
  if (nest.count == 0) return;
  if (givesBool(kind)) {
    if (x.dtype == DType::F32) return mapAny<std::uint8_t, float>(y, x, nest, Classify<float>{kind});
    if (x.dtype == DType::F64) return mapAny<std::uint8_t, double>(y, x, nest, Classify<double>{kind});
    if (x.dtype == DType::I32) return mapAny<std::uint8_t, std::int32_t>(y, x, nest, Classify<std::int32_t>{kind});
    return mapAny<std::uint8_t, std::uint8_t>(y, x, nest, Classify<std::uint8_t>{kind});
  }
  if (x.dtype == DType::I32) return mapAny<std::int32_t, std::int32_t>(y, x, nest, UnaryInt{kind, p.alpha, p.beta});
  if (kind == UnaryKind::PowScalar && p.alpha == 2) kind = UnaryKind::Square;
  if (kind == UnaryKind::PowScalar && p.alpha == -1) kind = UnaryKind::Reciprocal;
  if (x.dtype == DType::F64) return mapAny<double, double>(y, x, nest, Unary<double>{kind, p.alpha, p.beta});
  const auto alpha = static_cast<float>(p.alpha), beta = static_cast<float>(p.beta);
  if (!inFours(v, nest)) return mapAny<float, float>(y, x, nest, Unary<float>{kind, alpha, beta});
  switch (kind) {
#define GYRUS_CASE(id, name) \
  case UnaryKind::id:        \
    return unaryFours<UnaryKind::id>(y, x, nest, alpha, beta);
    GYRUS_UNARY_KINDS(GYRUS_CASE)
#undef GYRUS_CASE
    default:
      return;
  }
}

template <class T>
__device__ __forceinline__ T binaryValue(BinaryKind kind, T a, T b) {
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
      return pow(a, b);
    case BinaryKind::Maximum:
      return a != a || a > b ? a : b;
    case BinaryKind::Minimum:
      return a != a || a < b ? a : b;
    case BinaryKind::ReluGrad:
      return b > T(0) ? a : T(0);
    case BinaryKind::TanhGrad:
      return a * (T(1) - b * b);
    case BinaryKind::SigmoidGrad:
      return a * b * (T(1) - b);
    case BinaryKind::GeluGrad:
      return a * (normalCdf(b) + b * normalPdf(b));
    default: {  // SiluGrad
      const T s = sigmoid(b);
      return a * s * (T(1) + b * (T(1) - s));
    }
  }
}

template <BinaryKind kind>
struct BinaryOf {
  __device__ float operator()(float a, float b) const { return binaryValue(kind, a, b); }
};
template <class T>
struct Binary {
  BinaryKind kind;
  __device__ T operator()(T a, T b) const { return binaryValue(kind, a, b); }
};

struct BinaryInt {
  BinaryKind kind;
  __device__ std::int32_t operator()(std::int32_t a, std::int32_t b) const {
    const auto u = static_cast<std::uint32_t>(a), v = static_cast<std::uint32_t>(b);  // they wrap
    switch (kind) {
      case BinaryKind::Add:
        return static_cast<std::int32_t>(u + v);
      case BinaryKind::Sub:
        return static_cast<std::int32_t>(u - v);
      case BinaryKind::Mul:
        return static_cast<std::int32_t>(u * v);
      case BinaryKind::Maximum:
        return a > b ? a : b;
      default:  // Minimum
        return a < b ? a : b;
    }
  }
};

template <class T>
struct Compare {
  BinaryKind kind;
  __device__ std::uint8_t operator()(T a, T b) const {
    switch (kind) {
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
        return a != T(0) && b != T(0);
      case BinaryKind::LogicalOr:
        return a != T(0) || b != T(0);
      default:  // LogicalXor
        return (a != T(0)) != (b != T(0));
    }
  }
};

constexpr bool isComparison(BinaryKind kind) { return kind >= BinaryKind::Equal && kind <= BinaryKind::LogicalXor; }

template <BinaryKind kind>
void binaryFours(const View& y, const View& a, const View& b, const Nest<3>& nest) {
  if constexpr (!isComparison(kind)) mapFours(y, a, b, nest, BinaryOf<kind>{});
}

// y <- a, b
void binary(const Args& args) {
  const auto kind = static_cast<BinaryKind>(static_cast<int>(args.as<BinaryParams>().kind));
  const View &y = args.out[0], &a = args.in[0], &b = args.in[1];
  const View* const v[3] = {&y, &a, &b};
  const Nest<3> nest(v);
  if (nest.count == 0) return;
  const auto compare = [&]<class T>() { mapAny<std::uint8_t, T, T>(y, a, b, nest, Compare<T>{kind}); };
  switch (a.dtype) {
    case DType::F64:
      if (isComparison(kind)) return compare.template operator()<double>();
      return mapAny<double, double, double>(y, a, b, nest, Binary<double>{kind});
    case DType::I32:
      if (isComparison(kind)) return compare.template operator()<std::int32_t>();
      return mapAny<std::int32_t, std::int32_t, std::int32_t>(y, a, b, nest, BinaryInt{kind});
    case DType::F32:
      if (isComparison(kind)) return compare.template operator()<float>();
      break;
    default:
      return compare.template operator()<std::uint8_t>();
  }
  if (!inFours(v, nest)) return mapAny<float, float, float>(y, a, b, nest, Binary<float>{kind});
  switch (kind) {
#define GYRUS_CASE(id, name) \
  case BinaryKind::id:       \
    return binaryFours<BinaryKind::id>(y, a, b, nest);
    GYRUS_BINARY_KINDS(GYRUS_CASE)
#undef GYRUS_CASE
    default:
      return;
  }
}

template <class U>
struct Choose {
  __device__ U operator()(std::uint8_t c, U a, U b) const { return c ? a : b; }
};

// y <- c ? a : b, moving bits only
void where(const Args& args) {
  const View &y = args.out[0], &c = args.in[0], &a = args.in[1], &b = args.in[2];
  const View* const v[4] = {&y, &c, &a, &b};
  const Nest<4> nest(v);
  if (nest.count == 0) return;
  bySize(sizeOf(y.dtype), [&]<class U>() { mapAny<U, std::uint8_t, U, U>(y, c, a, b, nest, Choose<U>{}); });
}

}  // namespace

void registerElementwise(KernelTable& t) {
  t.set(Op::Unary, unary);
  t.set(Op::Binary, binary);
  t.set(Op::Where, where);
}

}  // namespace gyrus::cuda
