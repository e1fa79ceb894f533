// Products with few columns whose operands are both contiguous along K (a linear layer with ten classes, a small
// batch): dot products. No lane is spent on columns that don't exist, and nothing is packed.
#pragma once
#include <type_traits>

#include "cpu/gemm/microkernel.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// out[j] = sum of the lanes of v[j], j < 4.
template <class T>
GYRUS_INLINE void reduceFour(const Vec<T> (&v)[4], T* out) {
#if GYRUS_VEC_AVX2
  if constexpr (sizeof(T) == 4) {
    const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v[0].v, v[1].v), _mm256_hadd_ps(v[2].v, v[3].v));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
    return;
  }
#endif
  for (int j = 0; j < 4; ++j) out[j] = reduceAdd(v[j]);
}

// c [MR, NC] (+)= a [MR, K] b [NC, K]^T (+ bias [NC]), unit stride along K. 3 x 4: 12 sums + 3 of A + 1 of B = 16.
template <class T, int MR, int NC>
GYRUS_INLINE void dots(int64_t K, const T* a, int64_t a_row, const T* b, int64_t b_col, bool add, const T* bias, T* c,
                       int64_t ldc) {
  using V = Vec<T>;
  V sum[MR][4];
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < 4; ++j) sum[i][j] = V::zero();
  eachVector<T>(K, [&](int64_t k, int lanes) {
    V av[MR];
    for (int i = 0; i < MR; ++i) av[i] = load(a + i * a_row + k, lanes);
    for (int j = 0; j < NC; ++j) {
      const V bv = load(b + j * b_col + k, lanes);
      for (int i = 0; i < MR; ++i) sum[i][j] = fma(av[i], bv, sum[i][j]);
    }
  });
  for (int i = 0; i < MR; ++i) {
    T line[4];
    reduceFour(sum[i], line);
    for (int j = 0; j < NC; ++j) {
      const T sum = add ? c[i * ldc + j] + line[j] : line[j];
      c[i * ldc + j] = bias ? sum + bias[j] : sum;
    }
  }
}

// Columns [from, to) of C [MR, N].
template <class T, int MR>
void dotColumns(int64_t from, int64_t to, int64_t K, const T* a, int64_t a_row, const T* b, int64_t b_col, bool add,
                const T* bias, T* c, int64_t ldc) {
  int64_t n = from;
  const auto run = [&](auto columns) {
    constexpr int NC = decltype(columns)::value;
    dots<T, MR, NC>(K, a, a_row, b + n * b_col, b_col, add, bias ? bias + n : nullptr, c + n, ldc);
    n += NC;
  };
  while (n + 4 <= to) run(std::integral_constant<int, 4>{});
  if (to - n == 3) run(std::integral_constant<int, 3>{});
  if (to - n == 2) run(std::integral_constant<int, 2>{});
  if (to - n == 1) run(std::integral_constant<int, 1>{});
}

// Rows [from, to) x columns [n, n_end) of C.
template <class T>
void dotBlock(int64_t from, int64_t to, int64_t n, int64_t n_end, int64_t K, const T* a, int64_t a_row, const T* b,
              int64_t b_col, bool add, const T* bias, T* c, int64_t ldc) {
  for (int64_t m = from; m < to; m += 3) {
    const auto run = to - m >= 3 ? dotColumns<T, 3> : to - m == 2 ? dotColumns<T, 2> : dotColumns<T, 1>;
    run(n, n_end, K, a + m * a_row, a_row, b, b_col, add, bias, c + m * ldc, ldc);
  }
}

// Columns [from, to) of C [MR, N] = A [MR, K] B, B's rows contiguous: C stays in registers and L1 while eight rows of B
// stream by at a time.
template <class T, int MR>
void sweepRows(int64_t from, int64_t to, int64_t K, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row,
               T* c, int64_t ldc, const T* bias) {
  using V = Vec<T>;
  constexpr int R = MR == 1 ? 8 : 4;
  const auto rows = [&](int64_t k, auto count) {
    constexpr int C = decltype(count)::value;
    V av[MR][C];
    for (int i = 0; i < MR; ++i)
      for (int r = 0; r < C; ++r) av[i][r] = V::broadcast(a[i * a_row + (k + r) * a_col]);
    eachVector<T>(to - from, [&](int64_t j, int lanes) {
      const int64_t n = from + j;
      V sum[MR];
      for (int i = 0; i < MR; ++i)
        sum[i] = k > 0 ? load(c + i * ldc + n, lanes) : bias ? load(bias + n, lanes) : V::zero();
      for (int r = 0; r < C; ++r) {
        const V bv = load(b + (k + r) * b_row + n, lanes);
        for (int i = 0; i < MR; ++i) sum[i] = fma(av[i][r], bv, sum[i]);
      }
      for (int i = 0; i < MR; ++i) store(sum[i], c + i * ldc + n, lanes);
    });
  };
  int64_t k = 0;
  for (; k + R <= K; k += R) rows(k, std::integral_constant<int, R>{});
  for (; k < K; ++k) rows(k, std::integral_constant<int, 1>{});
}

}  // namespace gyrus::cpu::GYRUS_ISA
