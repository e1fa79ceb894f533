// Elementwise kernels: unary, binary, where. One contiguous loop per kind and dtype; loops.h brings any layout there.
#include "cpu/families.h"
#include "cpu/loops.h"
#include "cpu/math.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

// y <- x for one kind of T -> T
template <class T>
void unaryPiece(UnaryKind kind, double alpha, double beta, const Piece<2>& p) {
  using V = Vec<T>;
  const V zero = V::zero(), one = V::broadcast(T(1)), a = V::broadcast(T(alpha)), b = V::broadcast(T(beta));
  switch (kind) {
    case UnaryKind::Neg:
      return mapVec<T>(p, [](V v) { return neg(v); });
    case UnaryKind::Abs:
      return mapVec<T>(p, [](V v) { return abs(v); });
    case UnaryKind::Sign:
      return mapVec<T>(p, [=](V v) { return select(v > zero, one, select(v < zero, neg(one), v)); });
    case UnaryKind::Exp:
      return mapVec<T>(p, [](V v) { return exp(v); });
    case UnaryKind::Expm1:
      return mapVec<T>(p, [](V v) { return expm1(v); });
    case UnaryKind::Log:
      return mapVec<T>(p, [](V v) { return log(v); });
    case UnaryKind::Log1p:
      return mapVec<T>(p, [](V v) { return log1p(v); });
    case UnaryKind::Sqrt:
      return mapVec<T>(p, [](V v) { return sqrt(v); });
    case UnaryKind::Rsqrt:
      return mapVec<T>(p, [=](V v) { return one / sqrt(v); });
    case UnaryKind::Square:
      return mapVec<T>(p, [](V v) { return v * v; });
    case UnaryKind::Reciprocal:
      return mapVec<T>(p, [=](V v) { return one / v; });
    case UnaryKind::Sin:
      return mapVec<T>(p, [](V v) { return sin(v); });
    case UnaryKind::Cos:
      return mapVec<T>(p, [](V v) { return cos(v); });
    case UnaryKind::Tanh:
      return mapVec<T>(p, [](V v) { return tanh(v); });
    case UnaryKind::Sigmoid:
      return mapVec<T>(p, [](V v) { return sigmoid(v); });
    case UnaryKind::Softplus:
      return mapVec<T>(p, [=](V v) { return log1p(exp(neg(abs(v)))) + max(zero, v); });
    case UnaryKind::Relu:
      return mapVec<T>(p, [=](V v) { return max(zero, v); });
    case UnaryKind::LeakyRelu:
      return mapVec<T>(p, [=](V v) { return select(v < zero, a * v, v); });
    case UnaryKind::Elu:
      return mapVec<T>(p, [=](V v) { return select(v < zero, a * expm1(v), v); });
    case UnaryKind::Gelu:
      return mapVec<T>(p, [](V v) { return v * normalCdf(v); });
    case UnaryKind::Silu:
      return mapVec<T>(p, [](V v) { return v * sigmoid(v); });
    case UnaryKind::Erf:
      return mapVec<T>(p, [](V v) { return erf(v); });
    case UnaryKind::Floor:
      return mapVec<T>(p, [](V v) { return floor(v); });
    case UnaryKind::Ceil:
      return mapVec<T>(p, [](V v) { return ceil(v); });
    case UnaryKind::Round:
      return mapVec<T>(p, [](V v) { return round(v); });
    case UnaryKind::Clamp:
      return mapVec<T>(p, [=](V v) {
        const V low = select(v < a, a, v);
        return select(low > b, b, low);
      });
    case UnaryKind::Affine:
      return mapVec<T>(p, [=](V v) { return fma(a, v, b); });
    default:  // PowScalar
      if (alpha == 2) return mapVec<T>(p, [](V v) { return v * v; });
      if (alpha == 3) return mapVec<T>(p, [](V v) { return v * v * v; });
      if (alpha == -1) return mapVec<T>(p, [=](V v) { return one / v; });
      return mapVec<T>(p, [=](V v) { return pow(v, a); });
  }
}

GYRUS_INLINE int32_t saturate(double v) {
  return v != v ? 0 : v <= -2147483648.0 ? INT32_MIN : v >= 2147483647.0 ? INT32_MAX : static_cast<int32_t>(v);
}

void unaryInt(UnaryKind kind, double alpha, double beta, int32_t* y, const int32_t* x, int64_t n) {
  switch (kind) {
    case UnaryKind::Neg:
      return mapVec(y, x, n, [](VecI v) { return neg(v); });
    case UnaryKind::Abs:
      return mapVec(y, x, n, [](VecI v) { return abs(v); });
    case UnaryKind::Sign:
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] > 0) - (x[i] < 0);
      return;
    case UnaryKind::Square:
      return mapVec(y, x, n, [](VecI v) { return v * v; });
    case UnaryKind::Relu:
      return mapVec(y, x, n, [](VecI v) { return max(v, VecI::zero()); });
    case UnaryKind::Clamp:
      for (int64_t i = 0; i < n; ++i) {
        const double low = x[i] < alpha ? alpha : x[i];
        y[i] = saturate(low > beta ? beta : low);
      }
      return;
    default:  // Affine
      for (int64_t i = 0; i < n; ++i) y[i] = saturate(alpha * x[i] + beta);
  }
}

// y bool <- x
template <class T>
void classify(UnaryKind kind, uint8_t* y, const T* x, int64_t n) {
  constexpr T inf = static_cast<T>(INFINITY);
  if (kind == UnaryKind::IsNaN)
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] != x[i];
  else if (kind == UnaryKind::IsInf)
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] == inf) | (x[i] == -inf);
  else if (kind == UnaryKind::IsFinite)
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] > -inf) & (x[i] < inf);
  else  // LogicalNot
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] == T(0);
}

template <class T>
void classifyInt(UnaryKind kind, uint8_t* y, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = kind == UnaryKind::LogicalNot ? x[i] == 0 : kind == UnaryKind::IsFinite;
}

bool givesBool(UnaryKind kind) {
  return kind == UnaryKind::IsNaN || kind == UnaryKind::IsFinite || kind == UnaryKind::IsInf ||
         kind == UnaryKind::LogicalNot;
}

// y <- x
void unary(const Args& args) {
  const auto& p = args.as<UnaryParams>();
  const auto kind = static_cast<UnaryKind>(static_cast<int>(p.kind));
  const DType dtype = args.in[0].dtype;
  const View* const v[2] = {&args.out[0], &args.in[0]};
  const double alpha = p.alpha, beta = p.beta;
  if (givesBool(kind))
    return mapBlocks(v, [=](void* const* q, int64_t n) {
      auto* y = static_cast<uint8_t*>(q[0]);
      if (dtype == DType::F32) return classify(kind, y, static_cast<const float*>(q[1]), n);
      if (dtype == DType::F64) return classify(kind, y, static_cast<const double*>(q[1]), n);
      if (dtype == DType::I32) return classifyInt(kind, y, static_cast<const int32_t*>(q[1]), n);
      return classifyInt(kind, y, static_cast<const uint8_t*>(q[1]), n);
    });
  if (dtype == DType::I32)
    return mapBlocks(v, [=](void* const* q, int64_t n) {
      unaryInt(kind, alpha, beta, static_cast<int32_t*>(q[0]), static_cast<const int32_t*>(q[1]), n);
    });
  if (dtype == DType::F32)
    mapPieces<false, true>(v, [=](const Piece<2>& piece) { unaryPiece<float>(kind, alpha, beta, piece); });
  else
    mapPieces<false, false>(v, [=](const Piece<2>& piece) { unaryPiece<double>(kind, alpha, beta, piece); });
}

// y bool <- a, b
template <class T>
void compare(BinaryKind kind, uint8_t* y, const T* a, const T* b, int64_t n) {
  switch (kind) {
    case BinaryKind::Equal:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] == b[i];
      return;
    case BinaryKind::NotEqual:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] != b[i];
      return;
    case BinaryKind::Less:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] < b[i];
      return;
    case BinaryKind::LessEqual:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] <= b[i];
      return;
    case BinaryKind::Greater:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] > b[i];
      return;
    case BinaryKind::GreaterEqual:
      for (int64_t i = 0; i < n; ++i) y[i] = a[i] >= b[i];
      return;
    case BinaryKind::LogicalAnd:
      for (int64_t i = 0; i < n; ++i) y[i] = (a[i] != T(0)) & (b[i] != T(0));
      return;
    case BinaryKind::LogicalOr:
      for (int64_t i = 0; i < n; ++i) y[i] = (a[i] != T(0)) | (b[i] != T(0));
      return;
    default:  // LogicalXor
      for (int64_t i = 0; i < n; ++i) y[i] = (a[i] != T(0)) != (b[i] != T(0));
  }
}

// y <- a, b for one kind of T, T -> T
template <class T>
void binaryPiece(BinaryKind kind, const Piece<3>& p) {
  using V = Vec<T>;
  const V zero = V::zero(), one = V::broadcast(T(1));
  switch (kind) {
    case BinaryKind::Add:
      return mapVec<T>(p, [](V u, V v) { return u + v; });
    case BinaryKind::Sub:
      return mapVec<T>(p, [](V u, V v) { return u - v; });
    case BinaryKind::Mul:
      return mapVec<T>(p, [](V u, V v) { return u * v; });
    case BinaryKind::Div:
      return mapVec<T>(p, [](V u, V v) { return u / v; });
    case BinaryKind::Pow:
      return mapVec<T>(p, [](V u, V v) { return pow(u, v); });
    case BinaryKind::Maximum:
      return mapVec<T>(p, [](V u, V v) { return maxNaN(u, v); });
    case BinaryKind::Minimum:
      return mapVec<T>(p, [](V u, V v) { return minNaN(u, v); });
    case BinaryKind::ReluGrad:
      return mapVec<T>(p, [=](V g, V r) { return select(r > zero, g, zero); });
    case BinaryKind::TanhGrad:
      return mapVec<T>(p, [=](V g, V r) { return g * (one - r * r); });
    case BinaryKind::SigmoidGrad:
      return mapVec<T>(p, [=](V g, V r) { return g * r * (one - r); });
    case BinaryKind::GeluGrad: {
      const V half = V::broadcast(T(-0.5)), scale = V::broadcast(T(0.39894228040143267794));
      return mapVec<T>(p, [=](V g, V x) {
        const V density = scale * exp(half * x * x);
        return g * (normalCdf(x) + x * density);
      });
    }
    default:  // SiluGrad
      return mapVec<T>(p, [=](V g, V x) {
        const V s = sigmoid(x);
        return g * s * (one + x * (one - s));
      });
  }
}

void binaryInt(BinaryKind kind, const Piece<3>& p) {
  switch (kind) {
    case BinaryKind::Add:
      return mapVec<int32_t>(p, [](VecI u, VecI v) { return u + v; });
    case BinaryKind::Sub:
      return mapVec<int32_t>(p, [](VecI u, VecI v) { return u - v; });
    case BinaryKind::Mul:
      return mapVec<int32_t>(p, [](VecI u, VecI v) { return u * v; });
    case BinaryKind::Maximum:
      return mapVec<int32_t>(p, [](VecI u, VecI v) { return max(u, v); });
    default:  // Minimum
      return mapVec<int32_t>(p, [](VecI u, VecI v) { return min(u, v); });
  }
}

bool isComparison(BinaryKind kind) { return kind >= BinaryKind::Equal && kind <= BinaryKind::LogicalXor; }

// y <- a, b
void binary(const Args& args) {
  const auto kind = static_cast<BinaryKind>(static_cast<int>(args.as<BinaryParams>().kind));
  const DType dtype = args.in[0].dtype;
  const View* const v[3] = {&args.out[0], &args.in[0], &args.in[1]};
  if (isComparison(kind) || (dtype != DType::F32 && dtype != DType::F64 && dtype != DType::I32))
    return mapBlocks(v, [=](void* const* q, int64_t n) {
      auto* y = static_cast<uint8_t*>(q[0]);
      if (dtype == DType::F32)
        compare(kind, y, static_cast<const float*>(q[1]), static_cast<const float*>(q[2]), n);
      else if (dtype == DType::F64)
        compare(kind, y, static_cast<const double*>(q[1]), static_cast<const double*>(q[2]), n);
      else if (dtype == DType::I32)
        compare(kind, y, static_cast<const int32_t*>(q[1]), static_cast<const int32_t*>(q[2]), n);
      else
        compare(kind, y, static_cast<const uint8_t*>(q[1]), static_cast<const uint8_t*>(q[2]), n);
    });
  mapPieces<true, false>(v, [=](const Piece<3>& piece) {
    if (dtype == DType::F32)
      binaryPiece<float>(kind, piece);
    else if (dtype == DType::F64)
      binaryPiece<double>(kind, piece);
    else
      binaryInt(kind, piece);
  });
}

template <class U>
void choose(void* const* q, int64_t n) {
  const auto* c = static_cast<const uint8_t*>(q[1]);
  for (int64_t i = 0; i < n; ++i) {
    const U a = loadBits<U>(q[2], i), b = loadBits<U>(q[3], i);
    storeBits<U>(q[0], i, c[i] ? a : b);
  }
}

// y <- c ? a : b, moving bits only
void where(const Args& args) {
  const View* const v[4] = {&args.out[0], &args.in[0], &args.in[1], &args.in[2]};
  const DType dtype = args.out[0].dtype;
  mapBlocks(v, [=](void* const* q, int64_t n) {
    if (dtype == DType::F64)
      choose<uint64_t>(q, n);
    else if (dtype == DType::F32 || dtype == DType::I32)
      choose<uint32_t>(q, n);
    else
      choose<uint8_t>(q, n);
  });
}

}  // namespace

void registerElementwise(KernelTable& t) {
  t.set(Op::Unary, unary);
  t.set(Op::Binary, binary);
  t.set(Op::Where, where);
}

}  // namespace gyrus::cpu::GYRUS_ISA
