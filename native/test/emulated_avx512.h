// AVX-512 for CPUs without it, so that tests run those kernels anywhere: included before everything else of the files
// compiled for GYRUS_ISA=avx512 when CMake's GYRUS_EMULATE_AVX512 is on. SIMDe gives most intrinsics; those that
// its releases lack are loops over lanes here. Slow, and never part of the addon.
#pragma once

// Register types as template arguments lose an alignment that nothing here relies on.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <stdint.h>
#include <string.h>

namespace gyrus::emulated {

// The lanes of a register, as an array.
template <class T, class R>
struct Lanes {
  static constexpr int N = sizeof(R) / sizeof(T);
  T at[N];
  Lanes() : at{} {}
  explicit Lanes(const R& r) { memcpy(at, &r, sizeof r); }
  R reg() const {
    R r;
    memcpy(&r, at, sizeof r);
    return r;
  }
};
using Floats = Lanes<float, __m512>;
using Doubles = Lanes<double, __m512d>;
using Ints = Lanes<int32_t, __m512i>;

// Memory of lanes outside the mask is never touched, as in hardware.
template <class L, class M, class T>
inline auto loadMasked(M mask, const T* p) {
  L r;
  for (int i = 0; i < L::N; ++i)
    if (mask >> i & 1) r.at[i] = p[i];
  return r.reg();
}
template <class L, class M, class T, class R>
inline void storeMasked(T* p, M mask, const R& value) {
  const L r(value);
  for (int i = 0; i < L::N; ++i)
    if (mask >> i & 1) p[i] = r.at[i];
}

template <class F>
inline __mmask16 compare(const __m512i& a, const __m512i& b, F&& f) {
  const Ints x(a), y(b);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= unsigned(f(x.at[i], y.at[i])) << i;
  return static_cast<__mmask16>(mask);
}
inline __mmask16 less(const __m512i& a, const __m512i& b) {
  return compare(a, b, [](int32_t x, int32_t y) { return x < y; });
}
inline __mmask16 different(const __m512i& a, const __m512i& b) {
  return compare(a, b, [](int32_t x, int32_t y) { return x != y; });
}
inline __mmask16 testBytes(const __m128i& a, const __m128i& b) {
  const Lanes<uint8_t, __m128i> x(a), y(b);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= unsigned((x.at[i] & y.at[i]) != 0) << i;
  return static_cast<__mmask16>(mask);
}

inline __m512 toFloats(const __m512i& a) {
  const Ints x(a);
  Floats r;
  for (int i = 0; i < 16; ++i) r.at[i] = static_cast<float>(x.at[i]);
  return r.reg();
}
// The AVX instructions of both halves: rounding and what is out of range are the hardware's.
template <class F>
inline __m512i byHalves(const __m512& a, F&& f) {
  const Floats x(a);
  Ints r;
  for (int i = 0; i < 16; i += 8)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(r.at + i), f(_mm256_loadu_ps(x.at + i)));
  return r.reg();
}
inline __m512i rounded(const __m512& a) {
  return byHalves(a, [](__m256 x) { return _mm256_cvtps_epi32(x); });
}
inline __m512i truncated(const __m512& a) {
  return byHalves(a, [](__m256 x) { return _mm256_cvttps_epi32(x); });
}
inline __m512i widened(const __m128i& a) {
  const Lanes<uint8_t, __m128i> x(a);
  Ints r;
  for (int i = 0; i < 16; ++i) r.at[i] = x.at[i];
  return r.reg();
}
inline __m512i shiftedRight(const __m512i& a, unsigned count) {
  Ints r(a);
  for (int32_t& x : r.at) x >>= count > 31 ? 31 : count;
  return r.reg();
}
inline __m256 half(const __m512& a, int which) { return _mm256_loadu_ps(Floats(a).at + 8 * which); }
inline void storeAligned(void* p, const __m512& a) { memcpy(__builtin_assume_aligned(p, 64), &a, sizeof a); }

}  // namespace gyrus::emulated

#define _mm512_maskz_loadu_ps(m, p) gyrus::emulated::loadMasked<gyrus::emulated::Floats>(m, p)
#define _mm512_maskz_loadu_pd(m, p) gyrus::emulated::loadMasked<gyrus::emulated::Doubles>(m, p)
#define _mm512_maskz_loadu_epi32(m, p) gyrus::emulated::loadMasked<gyrus::emulated::Ints>(m, p)
#define _mm_maskz_loadu_epi8(m, p) gyrus::emulated::loadMasked<gyrus::emulated::Lanes<uint8_t, __m128i>>(m, p)
#define _mm512_mask_storeu_ps(p, m, a) gyrus::emulated::storeMasked<gyrus::emulated::Floats>(p, m, a)
#define _mm512_mask_storeu_pd(p, m, a) gyrus::emulated::storeMasked<gyrus::emulated::Doubles>(p, m, a)
#define _mm512_mask_storeu_epi32(p, m, a) gyrus::emulated::storeMasked<gyrus::emulated::Ints>(p, m, a)
#define _mm512_cmplt_epi32_mask gyrus::emulated::less
#define _mm512_cmpneq_epi32_mask gyrus::emulated::different
#define _mm_test_epi8_mask gyrus::emulated::testBytes
#define _mm512_cvtepi32_ps gyrus::emulated::toFloats
#define _mm512_cvtps_epi32 gyrus::emulated::rounded
#define _mm512_cvttps_epi32 gyrus::emulated::truncated
#define _mm512_cvtepu8_epi32 gyrus::emulated::widened
#define _mm512_srai_epi32 gyrus::emulated::shiftedRight
#define _mm512_extractf32x8_ps gyrus::emulated::half
#define _mm512_stream_ps gyrus::emulated::storeAligned

// SIMDe's macros use their argument without parentheses, and ours is made with |.
#undef _mm512_roundscale_ps
#undef _mm512_roundscale_pd
#define _mm512_roundscale_ps(a, mode) simde_mm512_roundscale_ps(a, (mode))
#define _mm512_roundscale_pd(a, mode) simde_mm512_roundscale_pd(a, (mode))

// What vec.h asks for.
#define __AVX512F__ 1
#define __AVX512BW__ 1
#define __AVX512DQ__ 1
#define __AVX512VL__ 1
