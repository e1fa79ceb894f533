// Vec<T> on 256-bit registers (AVX2 + FMA): 8 floats or int32, 4 doubles. Included by vec.h only.
#pragma once
#include <immintrin.h>

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct Vec;

// laneTable + 8 - n: n lanes of ones, then zeros.
static constexpr int32_t laneTable[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

// The first n of 8 lanes, 0 <= n <= 8, by halves: a masked store takes AMD's Zen a dozen cycles.
GYRUS_INLINE void storeLanes32(void* to, int n, __m256i v) {
  auto* p = static_cast<char*>(to);
  if (n & 8) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  __m128i rest = _mm256_castsi256_si128(v);
  if (n & 4) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), rest);
    rest = _mm256_extracti128_si256(v, 1);
    p += 16;
  }
  if (n & 2) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), rest);
    rest = _mm_unpackhi_epi64(rest, rest);
    p += 8;
  }
  if (n & 1) {
    const int32_t last = _mm_cvtsi128_si32(rest);
    ::memcpy(p, &last, 4);
  }
}

struct Mask32 {
  __m256 v;
  static GYRUS_INLINE __m256i lanes(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(laneTable + 8 - n));
  }
  static GYRUS_INLINE Mask32 firstN(int n) { return {_mm256_castsi256_ps(lanes(n))}; }
  static GYRUS_INLINE Mask32 loadBool(const uint8_t* p) {
    const __m256i w = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(w, _mm256_setzero_si256()))};
  }
  static GYRUS_INLINE Mask32 loadBoolN(const uint8_t* p, int n) {
    uint8_t b[8] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return loadBool(b);
  }
  GYRUS_INLINE uint32_t bits() const { return static_cast<uint32_t>(_mm256_movemask_ps(v)); }
  GYRUS_INLINE bool any() const { return bits() != 0; }
  GYRUS_INLINE bool all() const { return bits() == 0xff; }
};
GYRUS_INLINE Mask32 operator&(Mask32 a, Mask32 b) { return {_mm256_and_ps(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator|(Mask32 a, Mask32 b) { return {_mm256_or_ps(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator^(Mask32 a, Mask32 b) { return {_mm256_xor_ps(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator!(Mask32 a) { return {_mm256_xor_ps(a.v, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))}; }

struct Mask64 {
  __m256d v;
  static GYRUS_INLINE __m256i lanes(int n) {
    return _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(laneTable + 8 - n)));
  }
  static GYRUS_INLINE Mask64 firstN(int n) { return {_mm256_castsi256_pd(lanes(n))}; }
  static GYRUS_INLINE Mask64 loadBool(const uint8_t* p) {
    int32_t w;
    ::memcpy(&w, p, 4);
    const __m256i x = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(w));
    return {_mm256_castsi256_pd(_mm256_cmpgt_epi64(x, _mm256_setzero_si256()))};
  }
  static GYRUS_INLINE Mask64 loadBoolN(const uint8_t* p, int n) {
    uint8_t b[4] = {};
    for (int i = 0; i < n; ++i) b[i] = p[i];
    return loadBool(b);
  }
  GYRUS_INLINE uint32_t bits() const { return static_cast<uint32_t>(_mm256_movemask_pd(v)); }
  GYRUS_INLINE bool any() const { return bits() != 0; }
  GYRUS_INLINE bool all() const { return bits() == 0xf; }
};
GYRUS_INLINE Mask64 operator&(Mask64 a, Mask64 b) { return {_mm256_and_pd(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator|(Mask64 a, Mask64 b) { return {_mm256_or_pd(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator^(Mask64 a, Mask64 b) { return {_mm256_xor_pd(a.v, b.v)}; }
GYRUS_INLINE Mask64 operator!(Mask64 a) { return {_mm256_xor_pd(a.v, _mm256_castsi256_pd(_mm256_set1_epi32(-1)))}; }

// ---- float ---------------------------------------------------------------------------------------------
template <>
struct Vec<float> {
  using T = float;
  using M = Mask32;
  static constexpr int N = 8;
  __m256 v;
  static GYRUS_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static GYRUS_INLINE Vec loadN(const float* p, int n) { return {_mm256_maskload_ps(p, Mask32::lanes(n))}; }
  static GYRUS_INLINE Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
  static GYRUS_INLINE Vec loadU8(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
  }
  GYRUS_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  GYRUS_INLINE void stream(float* p) const { _mm256_stream_ps(p, v); }
  GYRUS_INLINE void storeN(float* p, int n) const { storeLanes32(p, n, _mm256_castps_si256(v)); }
};
GYRUS_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm256_add_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm256_sub_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm256_mul_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm256_div_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
GYRUS_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm256_min_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm256_max_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> neg(Vec<float> a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
GYRUS_INLINE Vec<float> abs(Vec<float> a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
GYRUS_INLINE Vec<float> sqrt(Vec<float> a) { return {_mm256_sqrt_ps(a.v)}; }
GYRUS_INLINE Vec<float> floor(Vec<float> a) { return {_mm256_floor_ps(a.v)}; }
GYRUS_INLINE Vec<float> ceil(Vec<float> a) { return {_mm256_ceil_ps(a.v)}; }
GYRUS_INLINE Vec<float> round(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Mask32 operator==(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
GYRUS_INLINE Mask32 operator!=(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ)}; }
GYRUS_INLINE Mask32 operator<(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
GYRUS_INLINE Mask32 operator<=(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
GYRUS_INLINE Mask32 operator>(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
GYRUS_INLINE Mask32 operator>=(Vec<float> a, Vec<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
GYRUS_INLINE Vec<float> select(Mask32 m, Vec<float> a, Vec<float> b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
GYRUS_INLINE float reduceAdd(Vec<float> a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
GYRUS_INLINE float reduceMax(Vec<float> a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
GYRUS_INLINE float reduceMin(Vec<float> a) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// ---- double --------------------------------------------------------------------------------------------
template <>
struct Vec<double> {
  using T = double;
  using M = Mask64;
  static constexpr int N = 4;
  __m256d v;
  static GYRUS_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static GYRUS_INLINE Vec loadN(const double* p, int n) { return {_mm256_maskload_pd(p, Mask64::lanes(n))}; }
  static GYRUS_INLINE Vec broadcast(double x) { return {_mm256_set1_pd(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm256_setzero_pd()}; }
  GYRUS_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  GYRUS_INLINE void storeN(double* p, int n) const { storeLanes32(p, 2 * n, _mm256_castpd_si256(v)); }
};
GYRUS_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm256_add_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm256_sub_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm256_mul_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return {_mm256_div_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
GYRUS_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm256_min_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm256_max_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> neg(Vec<double> a) { return {_mm256_xor_pd(a.v, _mm256_set1_pd(-0.0))}; }
GYRUS_INLINE Vec<double> abs(Vec<double> a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
GYRUS_INLINE Vec<double> sqrt(Vec<double> a) { return {_mm256_sqrt_pd(a.v)}; }
GYRUS_INLINE Vec<double> floor(Vec<double> a) { return {_mm256_floor_pd(a.v)}; }
GYRUS_INLINE Vec<double> ceil(Vec<double> a) { return {_mm256_ceil_pd(a.v)}; }
GYRUS_INLINE Vec<double> round(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Mask64 operator==(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
GYRUS_INLINE Mask64 operator!=(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_NEQ_UQ)}; }
GYRUS_INLINE Mask64 operator<(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
GYRUS_INLINE Mask64 operator<=(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)}; }
GYRUS_INLINE Mask64 operator>(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_GT_OQ)}; }
GYRUS_INLINE Mask64 operator>=(Vec<double> a, Vec<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_GE_OQ)}; }
GYRUS_INLINE Vec<double> select(Mask64 m, Vec<double> a, Vec<double> b) { return {_mm256_blendv_pd(b.v, a.v, m.v)}; }
GYRUS_INLINE double reduceAdd(Vec<double> a) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
GYRUS_INLINE double reduceMax(Vec<double> a) {
  const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}
GYRUS_INLINE double reduceMin(Vec<double> a) {
  const __m128d s = _mm_min_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_min_sd(s, _mm_unpackhi_pd(s, s)));
}

// ---- int32 ---------------------------------------------------------------------------------------------
template <>
struct Vec<int32_t> {
  using T = int32_t;
  using M = Mask32;
  static constexpr int N = 8;
  __m256i v;
  static GYRUS_INLINE Vec load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static GYRUS_INLINE Vec loadN(const int32_t* p, int n) { return {_mm256_maskload_epi32(p, Mask32::lanes(n))}; }
  static GYRUS_INLINE Vec broadcast(int32_t x) { return {_mm256_set1_epi32(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm256_setzero_si256()}; }
  GYRUS_INLINE void store(int32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  GYRUS_INLINE void storeN(int32_t* p, int n) const { storeLanes32(p, n, v); }
};
GYRUS_INLINE Vec<int32_t> operator+(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_add_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator-(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_sub_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator*(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator&(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_and_si256(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator|(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_or_si256(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator^(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_xor_si256(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> min(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_min_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> max(Vec<int32_t> a, Vec<int32_t> b) { return {_mm256_max_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> neg(Vec<int32_t> a) { return {_mm256_sub_epi32(_mm256_setzero_si256(), a.v)}; }
GYRUS_INLINE Vec<int32_t> abs(Vec<int32_t> a) { return {_mm256_abs_epi32(a.v)}; }
GYRUS_INLINE Mask32 operator==(Vec<int32_t> a, Vec<int32_t> b) {
  return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))};
}
GYRUS_INLINE Mask32 operator>(Vec<int32_t> a, Vec<int32_t> b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.v, b.v))};
}
GYRUS_INLINE Mask32 operator!=(Vec<int32_t> a, Vec<int32_t> b) { return !(a == b); }
GYRUS_INLINE Mask32 operator<(Vec<int32_t> a, Vec<int32_t> b) { return b > a; }
GYRUS_INLINE Mask32 operator<=(Vec<int32_t> a, Vec<int32_t> b) { return !(a > b); }
GYRUS_INLINE Mask32 operator>=(Vec<int32_t> a, Vec<int32_t> b) { return !(b > a); }
GYRUS_INLINE Vec<int32_t> select(Mask32 m, Vec<int32_t> a, Vec<int32_t> b) {
  return {_mm256_blendv_epi8(b.v, a.v, _mm256_castps_si256(m.v))};
}

// float <-> int. toInt truncates, toIntRound rounds half to even; both need |a| < 2^31.
GYRUS_INLINE Vec<int32_t> toInt(Vec<float> a) { return {_mm256_cvttps_epi32(a.v)}; }
GYRUS_INLINE Vec<int32_t> toIntRound(Vec<float> a) { return {_mm256_cvtps_epi32(a.v)}; }
GYRUS_INLINE Vec<float> toFloat(Vec<int32_t> a) { return {_mm256_cvtepi32_ps(a.v)}; }
GYRUS_INLINE Vec<int32_t> asInt(Vec<float> a) { return {_mm256_castps_si256(a.v)}; }
GYRUS_INLINE Vec<float> asFloat(Vec<int32_t> a) { return {_mm256_castsi256_ps(a.v)}; }
template <int K>
GYRUS_INLINE Vec<int32_t> shiftLeft(Vec<int32_t> a) {
  return {_mm256_slli_epi32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRight(Vec<int32_t> a) {
  return {_mm256_srai_epi32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRightLogical(Vec<int32_t> a) {
  return {_mm256_srli_epi32(a.v, K)};
}

GYRUS_INLINE void fence() { _mm_sfence(); }

}  // namespace gyrus::cpu::GYRUS_ISA
