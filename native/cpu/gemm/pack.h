// Packing: A into panels [k][rows], B into panels [k][NR], from any strides. A transposing pack goes through square
// blocks in registers.
#pragma once
#include "cpu/gemm/tiles.h"
#include "cpu/rows.h"
#include "cpu/transpose.h"
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

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
  for (int i = 0; i < 8; ++i) rows[i] = in + minOf(i, n - 1) * row;
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

// packPanel for lines that lists name: out[k * width + i] = in[rows[i] * row + cols[k] * col]; a null list is 0, 1, 2,
// ... Here width is a whole number of vectors.
template <class T>
void gatherPanel(const T* in, int64_t row, int64_t col, const int32_t* rows, const int32_t* cols, int n, int64_t depth,
                 T* out, int width) {
  using V = Vec<T>;
  const auto rowOf = [&](int i) { return (rows ? rows[i] : i) * row; };
  const auto colOf = [&](int64_t k) { return (cols ? cols[k] : k) * col; };
  if (row == 1 && !rows) {
    const int whole = n / V::N * V::N;
    for (int64_t k = 0; k < depth; ++k) {
      const T* from = in + colOf(k);
      T* to = out + k * width;
      for (int i = 0; i < whole; i += V::N) V::load(from + i).store(to + i);
      if (whole < n) V::loadN(from + whole, n - whole).storeN(to + whole, n - whole);
    }
    return;
  }
  if (col == 1) {  // along the lines, so that each is read in order
    int64_t k = 0;
#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
    // Eight lines at a time, the last of them in place of those that are missing.
    if constexpr (sizeof(T) == 4)
      if (!cols) {
        for (int i = 0; i < n; i += 8) {
          const T* line[8];
          for (int j = 0; j < 8; ++j) line[j] = in + rowOf(static_cast<int>(minOf(i + j, n - 1)));
          for (k = 0; k + 8 <= depth; k += 8) {
            const T* const at[8] = {line[0] + k, line[1] + k, line[2] + k, line[3] + k,
                                    line[4] + k, line[5] + k, line[6] + k, line[7] + k};
            Block<T, 8>::transpose(at, out + k * width + i, width);
          }
        }
      }
#endif
    for (int i = 0; i < n; ++i) {
      const T* from = in + rowOf(i);
      for (int64_t j = k; j < depth; ++j) out[j * width + i] = from[colOf(j)];
    }
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {
    const T* from = in + colOf(k);
    for (int i = 0; i < n; ++i) out[k * width + i] = from[rowOf(i)];
  }
}

// Zeros the lanes n..width of every line of a panel.
template <class T>
void padPanel(T* out, int n, int width, int64_t depth) {
  for (int64_t k = 0; k < depth; ++k)
    for (int i = n; i < width; ++i) out[k * width + i] = T(0);
}

}  // namespace gyrus::cpu::GYRUS_ISA
