// Small squares of numbers, transposed in registers.
#pragma once
#include <stdint.h>
#include <string.h>

#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

// W x W numbers: out[j][i] = in[i][j]; in rows `ld` apart, out rows `step` apart.
template <class T, int W>
struct Block {
  static GYRUS_INLINE void transpose(const T* in, int64_t ld, T* out, int64_t step) {
    for (int j = 0; j < W; ++j)
      for (int i = 0; i < W; ++i) out[j * step + i] = in[i * ld + j];
  }
};

#if !GYRUS_VEC_SCALAR
template <>
struct Block<float, 4> {
  typedef float V __attribute__((vector_size(16)));
  static GYRUS_INLINE void transpose(const float* in, int64_t ld, float* out, int64_t step) {
    V r[4];
    for (int i = 0; i < 4; ++i) memcpy(&r[i], in + i * ld, sizeof(V));
    const V a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const V c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
    for (int j = 0; j < 4; ++j) memcpy(out + j * step, &r[j], sizeof(V));
  }
};
#endif

#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
template <>
struct Block<double, 4> {
  typedef double V __attribute__((vector_size(32)));
  static GYRUS_INLINE void transpose(const double* in, int64_t ld, double* out, int64_t step) {
    V r[4];
    for (int i = 0; i < 4; ++i) memcpy(&r[i], in + i * ld, sizeof(V));
    const V a = __builtin_shufflevector(r[0], r[1], 0, 4, 2, 6), b = __builtin_shufflevector(r[0], r[1], 1, 5, 3, 7);
    const V c = __builtin_shufflevector(r[2], r[3], 0, 4, 2, 6), d = __builtin_shufflevector(r[2], r[3], 1, 5, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[2] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
    for (int j = 0; j < 4; ++j) memcpy(out + j * step, &r[j], sizeof(V));
  }
};

// 8 x 8 in halves of four columns: rows i and i + 4 are joined by their loads, which leaves 8 shuffles to a half. The
// numbers go through f before they are written.
template <>
struct Block<float, 8> {
  struct Same {
    GYRUS_INLINE __m256 operator()(__m256 v) const { return v; }
  };
  template <class F>
  static GYRUS_INLINE void half(const float* const (&row)[8], float* out, int64_t step, F f) {
    __m256 r[4];
    for (int i = 0; i < 4; ++i)
      r[i] = f(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i])), _mm_loadu_ps(row[i + 4]), 1));
    const __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpacklo_ps(r[2], r[3]);
    const __m256 c = _mm256_unpackhi_ps(r[0], r[1]), d = _mm256_unpackhi_ps(r[2], r[3]);
    _mm256_storeu_ps(out, _mm256_shuffle_ps(a, b, 0x44));
    _mm256_storeu_ps(out + step, _mm256_shuffle_ps(a, b, 0xee));
    _mm256_storeu_ps(out + 2 * step, _mm256_shuffle_ps(c, d, 0x44));
    _mm256_storeu_ps(out + 3 * step, _mm256_shuffle_ps(c, d, 0xee));
  }
  // The rows may be any eight, and the same one more than once.
  template <class F = Same>
  static GYRUS_INLINE void transpose(const float* const (&row)[8], float* out, int64_t step, F f = {}) {
    half(row, out, step, f);
    const float* const right[8] = {row[0] + 4, row[1] + 4, row[2] + 4, row[3] + 4,
                                   row[4] + 4, row[5] + 4, row[6] + 4, row[7] + 4};
    half(right, out + 4 * step, step, f);
  }
  template <class F = Same>
  static GYRUS_INLINE void transpose(const float* in, int64_t ld, float* out, int64_t step, F f = {}) {
    const float* const row[8] = {in,          in + ld,     in + 2 * ld, in + 3 * ld,
                                 in + 4 * ld, in + 5 * ld, in + 6 * ld, in + 7 * ld};
    transpose(row, out, step, f);
  }
};
#endif

}  // namespace gyrus::cpu::GYRUS_ISA
