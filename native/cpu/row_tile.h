// Kernels that go over each row more than once.
#pragma once
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// f(first row, rows) for a few rows at a time of [from, to), each of C elements: so few that all of them stay in L1
// between two passes, and enough to hide the latency of one row's sums behind the others'. The pass that computes most
// asks for the next tile.
constexpr int64_t kTileOfRows = 8;
template <class F>
GYRUS_INLINE void eachTile(int64_t from, int64_t to, int64_t C, F&& f) {
  const int64_t step = maxOf(1, minOf(kTileOfRows, 2048 / maxOf(1, C)));
  for (int64_t r = from; r < to; r += step) f(r, minOf(step, to - r));
}

// The sum of a line of n elements by four chains: add(c, lanes, sum) adds the elements from c on, 0 beyond `lanes`.
template <class T, class F>
GYRUS_INLINE T sumOfLine(int64_t n, F&& add) {
  constexpr int N = Vec<T>::N;
  Vec<T> s0 = Vec<T>::zero(), s1 = s0, s2 = s0, s3 = s0;
  int64_t c = 0;
  for (; c + 4 * N <= n; c += 4 * N) {
    s0 = add(c, N, s0);
    s1 = add(c + N, N, s1);
    s2 = add(c + 2 * N, N, s2);
    s3 = add(c + 3 * N, N, s3);
  }
  for (; c + N <= n; c += N) s0 = add(c, N, s0);
  if (c < n) s1 = add(c, static_cast<int>(n - c), s1);
  return reduceAdd((s0 + s1) + (s2 + s3));
}

}  // namespace gyrus::cpu::GYRUS_ISA
