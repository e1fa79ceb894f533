// Vec<T> on 128-bit NEON registers of AArch64: 4 floats or int32, 2 doubles. Included by vec.h only.
#pragma once
#include <arm_neon.h>

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct Vec;

// laneTable + 4 - n: n lanes of ones, then zeros.
static constexpr uint32_t laneTable[8] = {~0u, ~0u, ~0u, ~0u, 0, 0, 0, 0};

struct Mask32 {
  uint32x4_t v;
  static GYRUS_INLINE Mask32 firstN(int n) { return {vld1q_u32(laneTable + 4 - n)}; }
  static GYRUS_INLINE Mask32 loadBool(const uint8_t* p) {
    const uint32_t w[4] = {p[0], p[1], p[2], p[3]};
    return {vcgtq_u32(vld1q_u32(w), vdupq_n_u32(0))};
  }
  static GYRUS_INLINE Mask32 loadBoolN(const uint8_t* p, int n) {
    uint8_t b[4] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return loadBool(b);
  }
  GYRUS_INLINE uint32_t bits() const {
    static constexpr uint32_t weight[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(v, vld1q_u32(weight)));
  }
  GYRUS_INLINE bool any() const { return vmaxvq_u32(v) != 0; }
  GYRUS_INLINE bool all() const { return vminvq_u32(v) != 0; }
};
GYRUS_INLINE Mask32 operator&(Mask32 a, Mask32 b) { return {vandq_u32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator|(Mask32 a, Mask32 b) { return {vorrq_u32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator^(Mask32 a, Mask32 b) { return {veorq_u32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator!(Mask32 a) { return {vmvnq_u32(a.v)}; }

struct Mask64 {
  uint64x2_t v;
  static GYRUS_INLINE Mask64 firstN(int n) {
    const uint64_t w[2] = {n > 0 ? ~uint64_t{0} : 0, n > 1 ? ~uint64_t{0} : 0};
    return {vld1q_u64(w)};
  }
  static GYRUS_INLINE Mask64 loadBool(const uint8_t* p) {
    const uint64_t w[2] = {p[0], p[1]};
    return {vcgtq_u64(vld1q_u64(w), vdupq_n_u64(0))};
  }
  static GYRUS_INLINE Mask64 loadBoolN(const uint8_t* p, int n) {
    uint8_t b[2] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return loadBool(b);
  }
  GYRUS_INLINE uint32_t bits() const {
    return static_cast<uint32_t>((vgetq_lane_u64(v, 0) & 1) | (vgetq_lane_u64(v, 1) & 2));
  }
  GYRUS_INLINE bool any() const { return bits() != 0; }
  GYRUS_INLINE bool all() const { return bits() == 3; }
};
GYRUS_INLINE Mask64 operator&(Mask64 a, Mask64 b) { return {vandq_u64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator|(Mask64 a, Mask64 b) { return {vorrq_u64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator^(Mask64 a, Mask64 b) { return {veorq_u64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator!(Mask64 a) { return {veorq_u64(a.v, vdupq_n_u64(~uint64_t{0}))}; }

// ---- float ---------------------------------------------------------------------------------------------
template <>
struct Vec<float> {
  using T = float;
  using M = Mask32;
  static constexpr int N = 4;
  float32x4_t v;
  static GYRUS_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
  static GYRUS_INLINE Vec loadN(const float* p, int n) {
    float b[4] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return load(b);
  }
  static GYRUS_INLINE Vec broadcast(float x) { return {vdupq_n_f32(x)}; }
  static GYRUS_INLINE Vec zero() { return {vdupq_n_f32(0)}; }
  static GYRUS_INLINE Vec loadU8(const uint8_t* p) {
    const uint32_t w[4] = {p[0], p[1], p[2], p[3]};
    return {vcvtq_f32_u32(vld1q_u32(w))};
  }
  GYRUS_INLINE void store(float* p) const { vst1q_f32(p, v); }
  GYRUS_INLINE void stream(float* p) const { store(p); }
  GYRUS_INLINE void storeN(float* p, int n) const {
    float b[4];
    store(b);
    for (int i = 0; i < n; ++i) p[i] = b[i];
  }
};
GYRUS_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {vaddq_f32(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {vsubq_f32(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {vmulq_f32(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {vdivq_f32(a.v, b.v)}; }
GYRUS_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
GYRUS_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
GYRUS_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
GYRUS_INLINE Vec<float> neg(Vec<float> a) { return {vnegq_f32(a.v)}; }
GYRUS_INLINE Vec<float> abs(Vec<float> a) { return {vabsq_f32(a.v)}; }
GYRUS_INLINE Vec<float> sqrt(Vec<float> a) { return {vsqrtq_f32(a.v)}; }
GYRUS_INLINE Vec<float> floor(Vec<float> a) { return {vrndmq_f32(a.v)}; }
GYRUS_INLINE Vec<float> ceil(Vec<float> a) { return {vrndpq_f32(a.v)}; }
GYRUS_INLINE Vec<float> round(Vec<float> a) { return {vrndnq_f32(a.v)}; }
GYRUS_INLINE Mask32 operator==(Vec<float> a, Vec<float> b) { return {vceqq_f32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator!=(Vec<float> a, Vec<float> b) { return {vmvnq_u32(vceqq_f32(a.v, b.v))}; }
GYRUS_INLINE Mask32 operator<(Vec<float> a, Vec<float> b) { return {vcltq_f32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator<=(Vec<float> a, Vec<float> b) { return {vcleq_f32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>(Vec<float> a, Vec<float> b) { return {vcgtq_f32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>=(Vec<float> a, Vec<float> b) { return {vcgeq_f32(a.v, b.v)}; }
GYRUS_INLINE Vec<float> select(Mask32 m, Vec<float> a, Vec<float> b) { return {vbslq_f32(m.v, a.v, b.v)}; }
GYRUS_INLINE float reduceAdd(Vec<float> a) {
  const float32x2_t s = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}
GYRUS_INLINE float reduceMax(Vec<float> a) { return vmaxvq_f32(a.v); }
GYRUS_INLINE float reduceMin(Vec<float> a) { return vminvq_f32(a.v); }

// ---- double --------------------------------------------------------------------------------------------
template <>
struct Vec<double> {
  using T = double;
  using M = Mask64;
  static constexpr int N = 2;
  float64x2_t v;
  static GYRUS_INLINE Vec load(const double* p) { return {vld1q_f64(p)}; }
  static GYRUS_INLINE Vec loadN(const double* p, int n) {
    double b[2] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return load(b);
  }
  static GYRUS_INLINE Vec broadcast(double x) { return {vdupq_n_f64(x)}; }
  static GYRUS_INLINE Vec zero() { return {vdupq_n_f64(0)}; }
  GYRUS_INLINE void store(double* p) const { vst1q_f64(p, v); }
  GYRUS_INLINE void storeN(double* p, int n) const {
    double b[2];
    store(b);
    for (int i = 0; i < n; ++i) p[i] = b[i];
  }
};
GYRUS_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {vaddq_f64(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return {vsubq_f64(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {vmulq_f64(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return {vdivq_f64(a.v, b.v)}; }
GYRUS_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
GYRUS_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return {vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v)}; }
GYRUS_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return {vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v)}; }
GYRUS_INLINE Vec<double> neg(Vec<double> a) { return {vnegq_f64(a.v)}; }
GYRUS_INLINE Vec<double> abs(Vec<double> a) { return {vabsq_f64(a.v)}; }
GYRUS_INLINE Vec<double> sqrt(Vec<double> a) { return {vsqrtq_f64(a.v)}; }
GYRUS_INLINE Vec<double> floor(Vec<double> a) { return {vrndmq_f64(a.v)}; }
GYRUS_INLINE Vec<double> ceil(Vec<double> a) { return {vrndpq_f64(a.v)}; }
GYRUS_INLINE Vec<double> round(Vec<double> a) { return {vrndnq_f64(a.v)}; }
GYRUS_INLINE Mask64 operator==(Vec<double> a, Vec<double> b) { return {vceqq_f64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator!=(Vec<double> a, Vec<double> b) { return !Mask64{vceqq_f64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator<(Vec<double> a, Vec<double> b) { return {vcltq_f64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator<=(Vec<double> a, Vec<double> b) { return {vcleq_f64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator>(Vec<double> a, Vec<double> b) { return {vcgtq_f64(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator>=(Vec<double> a, Vec<double> b) { return {vcgeq_f64(a.v, b.v)}; }
GYRUS_INLINE Vec<double> select(Mask64 m, Vec<double> a, Vec<double> b) { return {vbslq_f64(m.v, a.v, b.v)}; }
GYRUS_INLINE double reduceAdd(Vec<double> a) { return vgetq_lane_f64(a.v, 0) + vgetq_lane_f64(a.v, 1); }
GYRUS_INLINE double reduceMax(Vec<double> a) { return vmaxvq_f64(a.v); }
GYRUS_INLINE double reduceMin(Vec<double> a) { return vminvq_f64(a.v); }

// ---- int32 ---------------------------------------------------------------------------------------------
template <>
struct Vec<int32_t> {
  using T = int32_t;
  using M = Mask32;
  static constexpr int N = 4;
  int32x4_t v;
  static GYRUS_INLINE Vec load(const int32_t* p) { return {vld1q_s32(p)}; }
  static GYRUS_INLINE Vec loadN(const int32_t* p, int n) {
    int32_t b[4] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return load(b);
  }
  static GYRUS_INLINE Vec broadcast(int32_t x) { return {vdupq_n_s32(x)}; }
  static GYRUS_INLINE Vec zero() { return {vdupq_n_s32(0)}; }
  GYRUS_INLINE void store(int32_t* p) const { vst1q_s32(p, v); }
  GYRUS_INLINE void storeN(int32_t* p, int n) const {
    int32_t b[4];
    store(b);
    for (int i = 0; i < n; ++i) p[i] = b[i];
  }
};
GYRUS_INLINE Vec<int32_t> operator+(Vec<int32_t> a, Vec<int32_t> b) { return {vaddq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator-(Vec<int32_t> a, Vec<int32_t> b) { return {vsubq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator*(Vec<int32_t> a, Vec<int32_t> b) { return {vmulq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator&(Vec<int32_t> a, Vec<int32_t> b) { return {vandq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator|(Vec<int32_t> a, Vec<int32_t> b) { return {vorrq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator^(Vec<int32_t> a, Vec<int32_t> b) { return {veorq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> min(Vec<int32_t> a, Vec<int32_t> b) { return {vminq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> max(Vec<int32_t> a, Vec<int32_t> b) { return {vmaxq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> neg(Vec<int32_t> a) { return {vnegq_s32(a.v)}; }
GYRUS_INLINE Vec<int32_t> abs(Vec<int32_t> a) { return {vabsq_s32(a.v)}; }
GYRUS_INLINE Mask32 operator==(Vec<int32_t> a, Vec<int32_t> b) { return {vceqq_s32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator!=(Vec<int32_t> a, Vec<int32_t> b) { return {vmvnq_u32(vceqq_s32(a.v, b.v))}; }
GYRUS_INLINE Mask32 operator<(Vec<int32_t> a, Vec<int32_t> b) { return {vcltq_s32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator<=(Vec<int32_t> a, Vec<int32_t> b) { return {vcleq_s32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>(Vec<int32_t> a, Vec<int32_t> b) { return {vcgtq_s32(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>=(Vec<int32_t> a, Vec<int32_t> b) { return {vcgeq_s32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> select(Mask32 m, Vec<int32_t> a, Vec<int32_t> b) { return {vbslq_s32(m.v, a.v, b.v)}; }

// float <-> int. toInt truncates, toIntRound rounds half to even; both need |a| < 2^31.
GYRUS_INLINE Vec<int32_t> toInt(Vec<float> a) { return {vcvtq_s32_f32(a.v)}; }
GYRUS_INLINE Vec<int32_t> toIntRound(Vec<float> a) { return {vcvtnq_s32_f32(a.v)}; }
GYRUS_INLINE Vec<float> toFloat(Vec<int32_t> a) { return {vcvtq_f32_s32(a.v)}; }
GYRUS_INLINE Vec<int32_t> asInt(Vec<float> a) { return {vreinterpretq_s32_f32(a.v)}; }
GYRUS_INLINE Vec<float> asFloat(Vec<int32_t> a) { return {vreinterpretq_f32_s32(a.v)}; }
template <int K>
GYRUS_INLINE Vec<int32_t> shiftLeft(Vec<int32_t> a) {
  return {vshlq_n_s32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRight(Vec<int32_t> a) {
  return {vshrq_n_s32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRightLogical(Vec<int32_t> a) {
  return {vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a.v), K))};
}

GYRUS_INLINE void fence() {}

}  // namespace gyrus::cpu::GYRUS_ISA
