// Packing: A into panels [k][rows], B into panels [k][NR], from any strides. A transposing pack goes through square
// blocks in registers.
#pragma once
#include "cpu/gemm/tiles.h"
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

template <>
struct Block<float, 8> {
  typedef float V __attribute__((vector_size(32)));
  static GYRUS_INLINE void transpose(const float* in, int64_t ld, float* out, int64_t step) {
    V r[8], s[8];
    for (int i = 0; i < 8; ++i) memcpy(&r[i], in + i * ld, sizeof(V));
    for (int i = 0; i < 8; i += 2) {
      s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
      s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
      for (int h = 0; h < 2; ++h) {
        r[i + 2 * h] = __builtin_shufflevector(s[i + h], s[i + h + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 2 * h + 1] = __builtin_shufflevector(s[i + h], s[i + h + 2], 2, 3, 10, 11, 6, 7, 14, 15);
      }
    for (int j = 0; j < 4; ++j) {
      const V low = __builtin_shufflevector(r[j], r[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
      const V high = __builtin_shufflevector(r[j], r[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
      memcpy(out + j * step, &low, sizeof(V));
      memcpy(out + (j + 4) * step, &high, sizeof(V));
    }
  }
};
#endif

// The part of packPanel for rows that are contiguous, in W x W blocks; returns the depth done. The last block of a line
// overlaps the one before it, so that nothing is written beyond n (n >= W).
template <class T, int W>
int64_t transposePanel(const T* in, int64_t row, int n, int64_t depth, T* out, int width) {
  int64_t k = 0;
  for (; k + W <= depth; k += W) {
    int i = 0;
    for (; i + W <= n; i += W) Block<T, W>::transpose(in + i * row + k, row, out + k * width + i, width);
    if (i < n) Block<T, W>::transpose(in + (n - W) * row + k, row, out + k * width + n - W, width);
  }
  return k;
}

// out[k * width + i] = in[i * row + k * col] for i < n (n <= width), k < depth. The rest of each line of `width` is
// left.
template <class T>
void packPanel(const T* in, int64_t row, int64_t col, int n, int64_t depth, T* out, int width) {
  using V = Vec<T>;
  if (row == 1) {
    const int whole = n / V::N * V::N;
    for (int64_t k = 0; k < depth; ++k) {
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
    if (sizeof(T) == 4 && n >= 8)
      k = transposePanel<T, 8>(in, row, n, depth, out, width);
    else
#endif
        if (n >= 4)
      k = transposePanel<T, 4>(in, row, n, depth, out, width);
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
