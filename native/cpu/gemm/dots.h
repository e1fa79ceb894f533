// Products of a few rows with a matrix given by its columns (a linear layer's weights [N, K] and a batch of 1 to 3):
// dot products along K. Packing would read and write all of B to use it once.
#pragma once
#include "cpu/gemm/microkernel.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// c [MR, NC] = a [MR, K] b [NC, K]^T (+ bias [NC]), unit stride along K. 3 x 4: 12 sums + 3 of A + 1 of B = 16.
template <class T, int MR, int NC>
GYRUS_INLINE void dots(int64_t K, const T* a, int64_t a_row, const T* b, int64_t b_col, const T* bias, T* c,
                       int64_t ldc) {
  using V = Vec<T>;
  V sum[MR][NC];
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NC; ++j) sum[i][j] = V::zero();
  eachVector<T>(K, [&](int64_t k, int lanes) {
    V av[MR];
    for (int i = 0; i < MR; ++i) av[i] = load(a + i * a_row + k, lanes);
    for (int j = 0; j < NC; ++j) {
      const V bv = load(b + j * b_col + k, lanes);
      for (int i = 0; i < MR; ++i) sum[i][j] = fma(av[i], bv, sum[i][j]);
    }
  });
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NC; ++j) c[i * ldc + j] = reduceAdd(sum[i][j]) + (bias ? bias[j] : T(0));
}

// Columns [from, to) of C [MR, N].
template <class T, int MR>
void dotColumns(int64_t from, int64_t to, int64_t K, const T* a, int64_t a_row, const T* b, int64_t b_col, T* c,
                int64_t ldc, const Epilogue<T>& epilogue) {
  constexpr int wide = 4;
  const T* bias = epilogue.bias;
  int64_t n = from;
  for (; n + wide <= to; n += wide)
    dots<T, MR, wide>(K, a, a_row, b + n * b_col, b_col, bias ? bias + n : nullptr, c + n, ldc);
  for (; n < to; ++n) dots<T, MR, 1>(K, a, a_row, b + n * b_col, b_col, bias ? bias + n : nullptr, c + n, ldc);
}

}  // namespace gyrus::cpu::GYRUS_ISA
