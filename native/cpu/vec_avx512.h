// Vec<T> on 512-bit registers (AVX-512 F, BW, DQ, VL): 16 floats or int32, 8 doubles. Included by vec.h only.
#pragma once

// GCC 12 warns of the deliberately undefined operands inside its own intrinsics (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct Vec;

struct Mask32 {
  __mmask16 v;
  static GYRUS_INLINE Mask32 firstN(int n) { return {static_cast<__mmask16>((1u << n) - 1)}; }
  static GYRUS_INLINE Mask32 loadBool(const uint8_t* p) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm_test_epi8_mask(b, b)};
  }
  static GYRUS_INLINE Mask32 loadBoolN(const uint8_t* p, int n) {
    const __m128i b = _mm_maskz_loadu_epi8(firstN(n).v, p);
    return {_mm_test_epi8_mask(b, b)};
  }
  GYRUS_INLINE uint32_t bits() const { return v; }
  GYRUS_INLINE bool any() const { return v != 0; }
  GYRUS_INLINE bool all() const { return v == 0xffff; }
};
GYRUS_INLINE Mask32 operator&(Mask32 a, Mask32 b) { return {static_cast<__mmask16>(a.v & b.v)}; }
GYRUS_INLINE Mask32 operator|(Mask32 a, Mask32 b) { return {static_cast<__mmask16>(a.v | b.v)}; }
GYRUS_INLINE Mask32 operator^(Mask32 a, Mask32 b) { return {static_cast<__mmask16>(a.v ^ b.v)}; }
GYRUS_INLINE Mask32 operator!(Mask32 a) { return {static_cast<__mmask16>(~a.v)}; }

struct Mask64 {
  __mmask8 v;
  static GYRUS_INLINE Mask64 firstN(int n) { return {static_cast<__mmask8>((1u << n) - 1)}; }
  static GYRUS_INLINE Mask64 loadBool(const uint8_t* p) {
    const __m128i b = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return {static_cast<__mmask8>(_mm_test_epi8_mask(b, b))};
  }
  static GYRUS_INLINE Mask64 loadBoolN(const uint8_t* p, int n) {
    const __m128i b = _mm_maskz_loadu_epi8(firstN(n).v, p);
    return {static_cast<__mmask8>(_mm_test_epi8_mask(b, b))};
  }
  GYRUS_INLINE uint32_t bits() const { return v; }
  GYRUS_INLINE bool any() const { return v != 0; }
  GYRUS_INLINE bool all() const { return v == 0xff; }
};
GYRUS_INLINE Mask64 operator&(Mask64 a, Mask64 b) { return {static_cast<__mmask8>(a.v & b.v)}; }
GYRUS_INLINE Mask64 operator|(Mask64 a, Mask64 b) { return {static_cast<__mmask8>(a.v | b.v)}; }
GYRUS_INLINE Mask64 operator^(Mask64 a, Mask64 b) { return {static_cast<__mmask8>(a.v ^ b.v)}; }
GYRUS_INLINE Mask64 operator!(Mask64 a) { return {static_cast<__mmask8>(~a.v)}; }

// ---- float ---------------------------------------------------------------------------------------------
template <>
struct Vec<float> {
  using T = float;
  using M = Mask32;
  static constexpr int N = 16;
  __m512 v;
  static GYRUS_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static GYRUS_INLINE Vec loadN(const float* p, int n) { return {_mm512_maskz_loadu_ps(Mask32::firstN(n).v, p)}; }
  static GYRUS_INLINE Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
  static GYRUS_INLINE Vec loadU8(const uint8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
  }
  GYRUS_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  GYRUS_INLINE void stream(float* p) const { _mm512_stream_ps(p, v); }
  GYRUS_INLINE void storeN(float* p, int n) const { _mm512_mask_storeu_ps(p, Mask32::firstN(n).v, v); }
};
GYRUS_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm512_add_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm512_sub_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm512_mul_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm512_div_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
GYRUS_INLINE Vec<float> min(Vec<float> a, Vec<float> b) { return {_mm512_min_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> max(Vec<float> a, Vec<float> b) { return {_mm512_max_ps(a.v, b.v)}; }
GYRUS_INLINE Vec<float> neg(Vec<float> a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
GYRUS_INLINE Vec<float> abs(Vec<float> a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
GYRUS_INLINE Vec<float> sqrt(Vec<float> a) { return {_mm512_sqrt_ps(a.v)}; }
GYRUS_INLINE Vec<float> floor(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Vec<float> ceil(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Vec<float> round(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Mask32 operator==(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
GYRUS_INLINE Mask32 operator!=(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
GYRUS_INLINE Mask32 operator<(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
GYRUS_INLINE Mask32 operator<=(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
GYRUS_INLINE Mask32 operator>(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
GYRUS_INLINE Mask32 operator>=(Vec<float> a, Vec<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
GYRUS_INLINE Vec<float> select(Mask32 m, Vec<float> a, Vec<float> b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
GYRUS_INLINE float reduceAdd(Vec<float> a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
GYRUS_INLINE float reduceMax(Vec<float> a) {
  const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
GYRUS_INLINE float reduceMin(Vec<float> a) {
  const __m256 h = _mm256_min_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// ---- double --------------------------------------------------------------------------------------------
template <>
struct Vec<double> {
  using T = double;
  using M = Mask64;
  static constexpr int N = 8;
  __m512d v;
  static GYRUS_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static GYRUS_INLINE Vec loadN(const double* p, int n) { return {_mm512_maskz_loadu_pd(Mask64::firstN(n).v, p)}; }
  static GYRUS_INLINE Vec broadcast(double x) { return {_mm512_set1_pd(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm512_setzero_pd()}; }
  GYRUS_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  GYRUS_INLINE void storeN(double* p, int n) const { _mm512_mask_storeu_pd(p, Mask64::firstN(n).v, v); }
};
GYRUS_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm512_add_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm512_sub_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm512_mul_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return {_mm512_div_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
GYRUS_INLINE Vec<double> min(Vec<double> a, Vec<double> b) { return {_mm512_min_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> max(Vec<double> a, Vec<double> b) { return {_mm512_max_pd(a.v, b.v)}; }
GYRUS_INLINE Vec<double> neg(Vec<double> a) { return {_mm512_xor_pd(a.v, _mm512_set1_pd(-0.0))}; }
GYRUS_INLINE Vec<double> abs(Vec<double> a) { return {_mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v)}; }
GYRUS_INLINE Vec<double> sqrt(Vec<double> a) { return {_mm512_sqrt_pd(a.v)}; }
GYRUS_INLINE Vec<double> floor(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Vec<double> ceil(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Vec<double> round(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
GYRUS_INLINE Mask64 operator==(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
GYRUS_INLINE Mask64 operator!=(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
GYRUS_INLINE Mask64 operator<(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
GYRUS_INLINE Mask64 operator<=(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
GYRUS_INLINE Mask64 operator>(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)}; }
GYRUS_INLINE Mask64 operator>=(Vec<double> a, Vec<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)}; }
GYRUS_INLINE Vec<double> select(Mask64 m, Vec<double> a, Vec<double> b) {
  return {_mm512_mask_blend_pd(m.v, b.v, a.v)};
}
GYRUS_INLINE double reduceAdd(Vec<double> a) {
  const __m256d h = _mm256_add_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
GYRUS_INLINE double reduceMax(Vec<double> a) {
  const __m256d h = _mm256_max_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}
GYRUS_INLINE double reduceMin(Vec<double> a) {
  const __m256d h = _mm256_min_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d s = _mm_min_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
  return _mm_cvtsd_f64(_mm_min_sd(s, _mm_unpackhi_pd(s, s)));
}

// ---- int32 ---------------------------------------------------------------------------------------------
template <>
struct Vec<int32_t> {
  using T = int32_t;
  using M = Mask32;
  static constexpr int N = 16;
  __m512i v;
  static GYRUS_INLINE Vec load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static GYRUS_INLINE Vec loadN(const int32_t* p, int n) { return {_mm512_maskz_loadu_epi32(Mask32::firstN(n).v, p)}; }
  static GYRUS_INLINE Vec broadcast(int32_t x) { return {_mm512_set1_epi32(x)}; }
  static GYRUS_INLINE Vec zero() { return {_mm512_setzero_si512()}; }
  GYRUS_INLINE void store(int32_t* p) const { _mm512_storeu_si512(p, v); }
  GYRUS_INLINE void storeN(int32_t* p, int n) const { _mm512_mask_storeu_epi32(p, Mask32::firstN(n).v, v); }
};
GYRUS_INLINE Vec<int32_t> operator+(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_add_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator-(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_sub_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator*(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator&(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_and_si512(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator|(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_or_si512(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> operator^(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_xor_si512(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> min(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_min_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> max(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_max_epi32(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> neg(Vec<int32_t> a) { return {_mm512_sub_epi32(_mm512_setzero_si512(), a.v)}; }
GYRUS_INLINE Vec<int32_t> abs(Vec<int32_t> a) { return {_mm512_abs_epi32(a.v)}; }
GYRUS_INLINE Mask32 operator==(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator!=(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmpneq_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator<(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator<=(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmple_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmpgt_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Mask32 operator>=(Vec<int32_t> a, Vec<int32_t> b) { return {_mm512_cmpge_epi32_mask(a.v, b.v)}; }
GYRUS_INLINE Vec<int32_t> select(Mask32 m, Vec<int32_t> a, Vec<int32_t> b) {
  return {_mm512_mask_blend_epi32(m.v, b.v, a.v)};
}

// float <-> int. toInt truncates, toIntRound rounds half to even; both need |a| < 2^31.
GYRUS_INLINE Vec<int32_t> toInt(Vec<float> a) { return {_mm512_cvttps_epi32(a.v)}; }
GYRUS_INLINE Vec<int32_t> toIntRound(Vec<float> a) { return {_mm512_cvtps_epi32(a.v)}; }
GYRUS_INLINE Vec<float> toFloat(Vec<int32_t> a) { return {_mm512_cvtepi32_ps(a.v)}; }
GYRUS_INLINE Vec<int32_t> asInt(Vec<float> a) { return {_mm512_castps_si512(a.v)}; }
GYRUS_INLINE Vec<float> asFloat(Vec<int32_t> a) { return {_mm512_castsi512_ps(a.v)}; }
template <int K>
GYRUS_INLINE Vec<int32_t> shiftLeft(Vec<int32_t> a) {
  return {_mm512_slli_epi32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRight(Vec<int32_t> a) {
  return {_mm512_srai_epi32(a.v, K)};
}
template <int K>
GYRUS_INLINE Vec<int32_t> shiftRightLogical(Vec<int32_t> a) {
  return {_mm512_srli_epi32(a.v, K)};
}

GYRUS_INLINE void fence() { _mm_sfence(); }

}  // namespace gyrus::cpu::GYRUS_ISA
