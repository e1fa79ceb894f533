// Packing: A into panels [k][rows], B into panels [k][NR], from any strides. A transposing pack goes through square
// blocks in registers.
#pragma once
#include "cpu/gemm/tiles.h"
#include "cpu/rows.h"
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

// 8 x 8 in halves of four columns: rows i and i + 4 are joined by their loads, which leaves 8 shuffles to a half.
template <>
struct Block<float, 8> {
  static GYRUS_INLINE void half(const float* const (&row)[8], float* out, int64_t step) {
    __m256 r[4];
    for (int i = 0; i < 4; ++i)
      r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i])), _mm_loadu_ps(row[i + 4]), 1);
    const __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpacklo_ps(r[2], r[3]);
    const __m256 c = _mm256_unpackhi_ps(r[0], r[1]), d = _mm256_unpackhi_ps(r[2], r[3]);
    _mm256_storeu_ps(out, _mm256_shuffle_ps(a, b, 0x44));
    _mm256_storeu_ps(out + step, _mm256_shuffle_ps(a, b, 0xee));
    _mm256_storeu_ps(out + 2 * step, _mm256_shuffle_ps(c, d, 0x44));
    _mm256_storeu_ps(out + 3 * step, _mm256_shuffle_ps(c, d, 0xee));
  }
  // The rows may be any eight, and the same one more than once.
  static GYRUS_INLINE void transpose(const float* const (&row)[8], float* out, int64_t step) {
    half(row, out, step);
    const float* const right[8] = {row[0] + 4, row[1] + 4, row[2] + 4, row[3] + 4,
                                   row[4] + 4, row[5] + 4, row[6] + 4, row[7] + 4};
    half(right, out + 4 * step, step);
  }
  static GYRUS_INLINE void transpose(const float* in, int64_t ld, float* out, int64_t step) {
    const float* const row[8] = {in,          in + ld,     in + 2 * ld, in + 3 * ld,
                                 in + 4 * ld, in + 5 * ld, in + 6 * ld, in + 7 * ld};
    transpose(row, out, step);
  }
};
#endif

// The part of packPanel for rows that are contiguous, in W x W blocks; returns the depth done. The last block of a line
// overlaps the one before it, so that nothing is written beyond n (n >= W).
template <class T, int W>
int64_t transposePanel(const T* in, int64_t row, int n, int64_t depth, T* out, int width) {
  int64_t k = 0;
  for (int i0 = 0; i0 < n; i0 += W) {
    const int i = i0 + W <= n ? i0 : n - W;
    for (k = 0; k + W <= depth; k += W) Block<T, W>::transpose(in + i * row + k, row, out + k * width + i, width);
  }
  return k;
}

#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
// The same for 5 to 7 rows: the last one stands in for those that are missing, and what its copies write into the next
// line is overwritten by that line. So the last line is left to the caller.
inline int64_t transposeLow(const float* in, int64_t row, int n, int64_t depth, float* out, int width) {
  const float* rows[8];
  for (int i = 0; i < 8; ++i) rows[i] = in + least(i, n - 1) * row;
  int64_t k = 0;
  for (; k + 8 < depth; k += 8) {
    const float* const at[8] = {rows[0] + k, rows[1] + k, rows[2] + k, rows[3] + k,
                                rows[4] + k, rows[5] + k, rows[6] + k, rows[7] + k};
    Block<float, 8>::transpose(at, out + k * width, width);
  }
  return k;
}
#endif

// out[k * width + i] = in[i * row + k * col] for i < n (n <= width), k < depth. The rest of each line of `width` is
// left.
template <class T>
void packPanel(const T* in, int64_t row, int64_t col, int n, int64_t depth, T* out, int width) {
  using V = Vec<T>;
  if (row == 1) {
    const int whole = n / V::N * V::N;
    int64_t k = 0;
    // A line shorter than a vector is moved as a whole one; the next line overwrites what is too much. The last lines,
    // where that would leave the operand or the panel, are moved exactly.
    if (n < V::N)
      for (; k * col + V::N <= (depth - 1) * col + n && (k + 1) * width + V::N - width <= (depth - 1) * width; ++k)
        V::load(in + k * col).store(out + k * width);
    for (; k < depth; ++k) {
      const T* from = in + k * col;
      T* to = out + k * width;
      for (int i = 0; i < whole; i += V::N) V::load(from + i).store(to + i);
      if (whole < n) V::loadN(from + whole, n - whole).storeN(to + whole, n - whole);
    }
    return;
  }
  int64_t k = 0;
  if (col == 1) {
#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
    if constexpr (sizeof(T) == 4) {
      if (n >= 8)
        k = transposePanel<T, 8>(in, row, n, depth, out, width);
      else if (n >= 5)
        k = transposeLow(in, row, n, depth, out, width);
    }
    if (k == 0)
#endif
      if (n >= 4) k = transposePanel<T, 4>(in, row, n, depth, out, width);
  }
  for (; k < depth; ++k)
    for (int i = 0; i < n; ++i) out[k * width + i] = in[i * row + k * col];
}

// Zeros the lanes n..width of every line of a panel.
template <class T>
void padPanel(T* out, int n, int width, int64_t depth) {
  for (int64_t k = 0; k < depth; ++k)
    for (int i = n; i < width; ++i) out[k * width + i] = T(0);
}

}  // namespace gyrus::cpu::GYRUS_ISA
