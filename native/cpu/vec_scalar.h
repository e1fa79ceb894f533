// Vec<T> with one lane: the fallback for any CPU. Included by vec.h only.
#pragma once

namespace gyrus::cpu::GYRUS_ISA {

struct Mask1 {
  bool v;
  static GYRUS_INLINE Mask1 firstN(int n) { return {n > 0}; }
  static GYRUS_INLINE Mask1 loadBool(const uint8_t* p) { return {*p != 0}; }
  static GYRUS_INLINE Mask1 loadBoolN(const uint8_t* p, int n) { return {n > 0 && *p != 0}; }
  GYRUS_INLINE uint32_t bits() const { return v; }
  GYRUS_INLINE bool any() const { return v; }
  GYRUS_INLINE bool all() const { return v; }
};
GYRUS_INLINE Mask1 operator&(Mask1 a, Mask1 b) { return {a.v && b.v}; }
GYRUS_INLINE Mask1 operator|(Mask1 a, Mask1 b) { return {a.v || b.v}; }
GYRUS_INLINE Mask1 operator^(Mask1 a, Mask1 b) { return {a.v != b.v}; }
GYRUS_INLINE Mask1 operator!(Mask1 a) { return {!a.v}; }

template <class E>
struct Vec {
  using T = E;
  using M = Mask1;
  static constexpr int N = 1;
  T v;
  static GYRUS_INLINE Vec load(const T* p) { return {*p}; }
  static GYRUS_INLINE Vec loadN(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  static GYRUS_INLINE Vec broadcast(T x) { return {x}; }
  static GYRUS_INLINE Vec zero() { return {T(0)}; }
  static GYRUS_INLINE Vec loadU8(const uint8_t* p) { return {T(*p)}; }
  GYRUS_INLINE void store(T* p) const { *p = v; }
  GYRUS_INLINE void stream(T* p) const { *p = v; }
  GYRUS_INLINE void storeN(T* p, int n) const {
    if (n > 0) *p = v;
  }
};

// Integers wrap, so their arithmetic is done unsigned.
#define GYRUS_SCALAR_OP(op)                                                                   \
  GYRUS_INLINE Vec<float> operator op(Vec<float> a, Vec<float> b) { return {a.v op b.v}; }    \
  GYRUS_INLINE Vec<double> operator op(Vec<double> a, Vec<double> b) { return {a.v op b.v}; } \
  GYRUS_INLINE Vec<int32_t> operator op(Vec<int32_t> a, Vec<int32_t> b) {                     \
    return {static_cast<int32_t>(static_cast<uint32_t>(a.v) op static_cast<uint32_t>(b.v))};  \
  }
GYRUS_SCALAR_OP(+)
GYRUS_SCALAR_OP(-)
GYRUS_SCALAR_OP(*)
#undef GYRUS_SCALAR_OP
GYRUS_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {a.v / b.v}; }
GYRUS_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return {a.v / b.v}; }
GYRUS_INLINE Vec<int32_t> operator&(Vec<int32_t> a, Vec<int32_t> b) { return {a.v & b.v}; }
GYRUS_INLINE Vec<int32_t> operator|(Vec<int32_t> a, Vec<int32_t> b) { return {a.v | b.v}; }
GYRUS_INLINE Vec<int32_t> operator^(Vec<int32_t> a, Vec<int32_t> b) { return {a.v ^ b.v}; }

#define GYRUS_SCALAR_COMPARE(op)                       \
  template <class T>                                   \
  GYRUS_INLINE Mask1 operator op(Vec<T> a, Vec<T> b) { \
    return {a.v op b.v};                               \
  }
GYRUS_SCALAR_COMPARE(==)
GYRUS_SCALAR_COMPARE(!=)
GYRUS_SCALAR_COMPARE(<)
GYRUS_SCALAR_COMPARE(<=)
GYRUS_SCALAR_COMPARE(>)
GYRUS_SCALAR_COMPARE(>=)
#undef GYRUS_SCALAR_COMPARE

template <class T>
GYRUS_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return a * b + c;
}
template <class T>
GYRUS_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
GYRUS_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
GYRUS_INLINE Vec<T> select(Mask1 m, Vec<T> a, Vec<T> b) {
  return m.v ? a : b;
}
template <class T>
GYRUS_INLINE T reduceAdd(Vec<T> a) {
  return a.v;
}
template <class T>
GYRUS_INLINE T reduceMax(Vec<T> a) {
  return a.v;
}
template <class T>
GYRUS_INLINE T reduceMin(Vec<T> a) {
  return a.v;
}

GYRUS_INLINE Vec<float> neg(Vec<float> a) { return {-a.v}; }
GYRUS_INLINE Vec<double> neg(Vec<double> a) { return {-a.v}; }
GYRUS_INLINE Vec<int32_t> neg(Vec<int32_t> a) { return Vec<int32_t>{0} - a; }
GYRUS_INLINE Vec<float> abs(Vec<float> a) { return {::fabsf(a.v)}; }
GYRUS_INLINE Vec<double> abs(Vec<double> a) { return {::fabs(a.v)}; }
GYRUS_INLINE Vec<int32_t> abs(Vec<int32_t> a) { return a.v < 0 ? neg(a) : a; }
GYRUS_INLINE Vec<float> sqrt(Vec<float> a) { return {::sqrtf(a.v)}; }
GYRUS_INLINE Vec<double> sqrt(Vec<double> a) { return {::sqrt(a.v)}; }
GYRUS_INLINE Vec<float> floor(Vec<float> a) { return {::floorf(a.v)}; }
GYRUS_INLINE Vec<double> floor(Vec<double> a) { return {::floor(a.v)}; }
GYRUS_INLINE Vec<float> ceil(Vec<float> a) { return {::ceilf(a.v)}; }
GYRUS_INLINE Vec<double> ceil(Vec<double> a) { return {::ceil(a.v)}; }
GYRUS_INLINE Vec<float> round(Vec<float> a) { return {::rintf(a.v)}; }
GYRUS_INLINE Vec<double> round(Vec<double> a) { return {::rint(a.v)}; }

// float <-> int. toInt truncates, toIntRound rounds half to even; both need |a| < 2^31.
GYRUS_INLINE Vec<int32_t> toInt(Vec<float> a) { return {static_cast<int32_t>(a.v)}; }
GYRUS_INLINE Vec<int32_t> toIntRound(Vec<float> a) { return {static_cast<int32_t>(::rintf(a.v))}; }
GYRUS_INLINE Vec<float> toFloat(Vec<int32_t> a) { return {static_cast<float>(a.v)}; }
GYRUS_INLINE Vec<int32_t> asInt(Vec<float> a) {
  Vec<int32_t> r;
  ::memcpy(&r.v, &a.v, 4);
  return r;
}
GYRUS_INLINE Vec<float> asFloat(Vec<int32_t> a) {
  Vec<float> r;
  ::memcpy(&r.v, &a.v, 4);
  return r;
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftLeft(Vec<int32_t> a) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) << K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRight(Vec<int32_t> a) {
  return {a.v >> K};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRightLogical(Vec<int32_t> a) {
  return {static_cast<int32_t>(static_cast<uint32_t>(a.v) >> K)};
}

GYRUS_INLINE void fence() {}

}  // namespace gyrus::cpu::GYRUS_ISA
