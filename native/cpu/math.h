// Elementary functions on Vec<float>, and lane by lane through libm on Vec<double>. Largest error in units in the last
// place, found by native/test/elementwise_test.cpp over the whole range, denormal results included:
//   exp 2, expm1 3, log 2, log1p 3, tanh 4, sigmoid 4, erf 4, normalCdf 256 (in its lower tail); sin, cos and pow
//   are libm's.
// All give what IEEE 754 asks for at NaN, infinities, zeros and where they over- or underflow. Where a rare range needs
// more work it is behind a branch on the whole vector; a lane's bits never depend on its neighbours.
#pragma once
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

// y[k] = F(a[k]) by scalar code.
template <class F, class T>
GYRUS_INLINE Vec<T> eachLane(Vec<T> a, F f) {
  T x[Vec<T>::N];
  a.store(x);
  for (int k = 0; k < Vec<T>::N; ++k) x[k] = f(x[k]);
  return Vec<T>::load(x);
}
template <class F, class T>
GYRUS_INLINE Vec<T> eachLane(Vec<T> a, Vec<T> b, F f) {
  T x[Vec<T>::N], y[Vec<T>::N];
  a.store(x);
  b.store(y);
  for (int k = 0; k < Vec<T>::N; ++k) x[k] = f(x[k], y[k]);
  return Vec<T>::load(x);
}

GYRUS_INLINE VecF constant(float x) { return VecF::broadcast(x); }

// c[0] + c[1] x + ... by Estrin's scheme: pairs, then pairs of pairs; the chain of dependent steps is log2(n) long.
template <int k, int n>
GYRUS_INLINE void pairUp(VecF (&t)[n], VecF power) {
  for (int i = 0; i + 1 < k; i += 2) t[i / 2] = fma(t[i + 1], power, t[i]);
  if constexpr (k % 2 == 1) t[k / 2] = t[k - 1];
  if constexpr (k > 2) pairUp<(k + 1) / 2>(t, power * power);
}
template <int n>
GYRUS_INLINE VecF polynomial(VecF x, const float (&c)[n]) {
  VecF t[n];
  for (int i = 0; i < n; ++i) t[i] = constant(c[i]);
  pairUp<n>(t, x);
  return t[0];
}

// The same by Horner's scheme: the fewest instructions, where many vectors are under way to hide the latency.
template <int n>
GYRUS_INLINE VecF horner(VecF x, const float (&c)[n]) {
  VecF y = constant(c[n - 1]);
  for (int i = n - 2; i >= 0; --i) y = fma(y, x, constant(c[i]));
  return y;
}

// x = n ln2 + r, |r| <= ln2/2, for |x| < 2^20. Adding 1.5 * 2^23 leaves n in the low bits of the sum.
struct Reduced {
  VecF r;
  VecI shifted;  // n in its low bits
  GYRUS_INLINE VecI n() const { return shifted - VecI::broadcast(0x4b400000); }
};
GYRUS_INLINE Reduced reduceByLn2(VecF x) {
  const VecF magic = constant(12582912.0f);
  const VecF shifted = fma(x, constant(1.44269504f), magic);
  const VecF n = shifted - magic;
  // 355/512 has 9 bits, so n * 355/512 is exact with or without a fused multiply.
  VecF r = fma(n, constant(-0.693359375f), x);
  r = fma(n, constant(2.12194440e-4f), r);
  return {r, asInt(shifted)};
}

// exp(r) = 1 + r expSlope(r), |r| <= ln2/2, to 2^-28 (minimax).
GYRUS_INLINE VecF expSlope(VecF r) {
  static constexpr float q[] = {1.0f, 0.49999994f, 0.16666521f, 0.04166839f, 0.008368735f, 0.0013814559f};
  return horner(r, q);
}

// 2^n for -126 <= n <= 127.
GYRUS_INLINE VecF powerOfTwo(VecI n) { return asFloat(shiftLeft<23>(n + VecI::broadcast(127))); }

// Where exp(x) and exp(-x) are normal numbers.
GYRUS_INLINE Mask<float> expIsNormal(VecF x) { return abs(x) < constant(87.3f); }

// What exp gives for -87.3 <= x <= 88.7.
GYRUS_INLINE VecF expOfNormal(VecF x) {
  const Reduced d = reduceByLn2(x);
  const VecF y = fma(d.r, expSlope(d.r), constant(1.0f));
  return asFloat(asInt(y) + shiftLeft<23>(d.shifted));  // the other bits of `shifted` are shifted out
}
GYRUS_INLINE VecF expOfAny(VecF x) {
  // The operand order hands NaN on. Beyond these bounds the result is 0 or infinity.
  const VecF bounded = max(constant(-105.0f), min(constant(89.0f), x));
  const Reduced d = reduceByLn2(bounded);
  const VecF y = fma(d.r, expSlope(d.r), constant(1.0f));
  // In two steps, so that denormal results are rounded once and 2^128 needs no special case.
  const VecI n = d.n(), half = shiftRight<1>(n);
  return y * powerOfTwo(half) * powerOfTwo(n - half);
}
GYRUS_INLINE VecF exp(VecF x) {
  if (expIsNormal(x).all()) [[likely]]
    return expOfNormal(x);
  return expOfAny(x);
}

// exp(x) - 1
GYRUS_INLINE VecF expm1(VecF x) {
  const VecF bounded = max(constant(-30.0f), min(constant(89.0f), x));
  const Reduced d = reduceByLn2(bounded);
  const VecF p = d.r * expSlope(d.r);
  // 2^n (1 + p) - 1 at half size, for n = 128.
  const VecF t = powerOfTwo(d.n() - VecI::broadcast(1));
  const VecF y = constant(2.0f) * (fma(t, p, t - constant(0.5f)));
  return select(abs(x) < constant(0x1p-25f), x, y);
}

GYRUS_INLINE VecF log(VecF x) {
  const Mask<float> tiny = x < constant(0x1p-126f);
  const VecF scaled = select(tiny, x * constant(0x1p23f), x);
  // m in [sqrt(1/2), sqrt(2)): the integer offset moves the border of the exponent there.
  const VecI border = VecI::broadcast(0x3f3504f3);
  const VecI i = asInt(scaled) - border;
  const VecF e = toFloat(shiftRight<23>(i)) - select(tiny, constant(23.0f), VecF::zero());
  const VecF f = asFloat((i & VecI::broadcast(0x7fffff)) + border) - constant(1.0f);
  // log(1 + f) = f - f^2/2 + s (f^2/2 + R), s = f / (2 + f), R = the atanh series in s^2.
  const VecF s = f / (constant(2.0f) + f);
  const VecF z = s * s;
  static constexpr float series[] = {2.0f / 3, 2.0f / 5, 2.0f / 7, 2.0f / 9, 2.0f / 11};
  const VecF r = z * polynomial(z, series);
  const VecF square = constant(0.5f) * f * f;
  const VecF low = fma(s, square + r, e * constant(-2.12194440e-4f));
  VecF y = fma(e, constant(0.693359375f), f - (square - low));
  y = select(x == constant(INFINITY), x, y);
  y = select(x == VecF::zero(), constant(-INFINITY), y);
  return select(x >= VecF::zero(), y, constant(NAN));
}

// log(1 + x): the logarithm of the rounded sum, and what the rounding lost.
GYRUS_INLINE VecF log1p(VecF x) {
  const VecF one = constant(1.0f), u = one + x;
  const VecF lost = select(x < one, x - (u - one), one - (u - x));
  const VecF y = log(u);
  const Mask<float> plain = (u == VecF::zero()) | (u == constant(INFINITY));
  return select(abs(x) < constant(0x1p-25f), x, select(plain, y, y + lost / u));
}

// t / (t + 2) with t = exp(2 x) - 1, and x's sign for the sake of -0. It is 1 from 9.02 on.
GYRUS_INLINE VecF tanh(VecF x) {
  const VecI sign = asInt(x) & VecI::broadcast(INT32_MIN);
  const VecF bounded = max(constant(-9.02f), min(constant(9.02f), x));
  const Reduced d = reduceByLn2(bounded + bounded);
  const VecF power = asFloat(shiftLeft<23>(d.shifted) + VecI::broadcast(127 << 23));
  const VecF t = fma(power, d.r * expSlope(d.r), power - constant(1.0f));
  return asFloat(asInt(t / (t + constant(2.0f))) | sign);
}

// 1 / (1 + exp(-x)), and exp(x) where exp(-x) overflows.
GYRUS_INLINE VecF sigmoid(VecF x) {
  const VecF one = constant(1.0f);
  if (expIsNormal(x).all()) [[likely]]
    return one / (one + expOfNormal(neg(x)));
  return select(x < constant(-87.0f), expOfAny(x), one / (one + expOfAny(neg(x))));
}

// erfc(z), z >= 0, with small relative error down to underflow: t exp(-z^2 + P(t - 1/2)), t = 1 / (1 + z/2). P
// interpolates log(erfc(z) / t) + z^2 at Chebyshev nodes for z in [0, 10.2].
GYRUS_INLINE VecF erfcPositive(VecF z) {
  static constexpr float p[] = {-0.671794057f, 1.34528649f,   0.189371228f,    -0.37517038f, -0.15782983f, 0.282380283f,
                                0.109480985f,  -0.295514703f, -0.00984207913f, 0.270628929f, -0.151320308f};
  const VecF bounded = min(constant(10.5f), z);
  const VecF t = constant(1.0f) / fma(bounded, constant(0.5f), constant(1.0f));
  return t * exp(fma(neg(bounded), bounded, polynomial(t - constant(0.5f), p)));
}

// |x| < 1: x times a polynomial in x^2 (Chebyshev nodes); beyond: 1 - erfc(|x|).
GYRUS_INLINE VecF erf(VecF x) {
  static constexpr float p[] = {1.12837923f,    -0.376126379f,    0.112837821f,    -0.0268654302f,
                                0.00522103161f, -0.000848408032f, 0.000112659589f, -9.66704465e-06f};
  const VecI sign = asInt(x) & VecI::broadcast(INT32_MIN);
  const VecF a = abs(x), inner = x * horner(x * x, p);
  const Mask<float> near = a < constant(1.0f);
  if (near.all()) return inner;
  const VecF outer = asFloat(asInt(constant(1.0f) - erfcPositive(a)) | sign);
  return select(near, inner, outer);
}

// The standard normal distribution. |x| < 2.25: 1/2 and x times a polynomial in x^2 (minimax, to 2^-26); beyond, by
// erfc, so that the lower tail keeps its relative precision.
GYRUS_INLINE VecF normalCdf(VecF x) {
  static constexpr float p[] = {0.3989422f,    -0.06648961f,   0.009971311f,  -0.0011844061f,
                                0.0001133987f, -8.622977e-06f, 4.685977e-07f, -1.3266848e-08f};
  const VecF inner = fma(x, horner(x * x, p), constant(0.5f));
  const Mask<float> near = abs(x) < constant(2.25f);
  if (near.all()) [[likely]]
    return inner;
  const VecF tail = constant(0.5f) * erfcPositive(abs(x) * constant(0.707106781f));
  return select(near, inner, select(x < VecF::zero(), tail, constant(1.0f) - tail));
}

GYRUS_INLINE VecF sin(VecF x) {
  return eachLane(x, [](float v) { return ::sinf(v); });
}
GYRUS_INLINE VecF cos(VecF x) {
  return eachLane(x, [](float v) { return ::cosf(v); });
}
GYRUS_INLINE VecF pow(VecF x, VecF y) {
  return eachLane(x, y, [](float v, float w) { return ::powf(v, w); });
}

#define GYRUS_LIBM(name)                                    \
  GYRUS_INLINE VecD name(VecD x) {                          \
    return eachLane(x, [](double v) { return ::name(v); }); \
  }
GYRUS_LIBM(exp)
GYRUS_LIBM(expm1)
GYRUS_LIBM(log)
GYRUS_LIBM(log1p)
GYRUS_LIBM(tanh)
GYRUS_LIBM(erf)
GYRUS_LIBM(sin)
GYRUS_LIBM(cos)
#undef GYRUS_LIBM

GYRUS_INLINE VecD sigmoid(VecD x) {
  return eachLane(x, [](double v) { return 1 / (1 + ::exp(-v)); });
}
GYRUS_INLINE VecD normalCdf(VecD x) {
  return eachLane(x, [](double v) { return 0.5 * ::erfc(v * -0.70710678118654752440); });
}
GYRUS_INLINE VecD pow(VecD x, VecD y) {
  return eachLane(x, y, [](double v, double w) { return ::pow(v, w); });
}

}  // namespace gyrus::cpu::GYRUS_ISA
