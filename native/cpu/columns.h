// Sums down the columns of [R, C]: blocks of rows x strips of columns in parallel, then the blocks one after the other.
// The cut depends on R and C alone, so the sums have the same bits for any number of threads.
#pragma once
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// Two sums per column at once. f(r, c, lanes, a, b) adds row r's part of columns c.. to the vectors a and b.
// first, second [C].
template <class T, class F>
GYRUS_INLINE void sumColumns(const Args& args, int64_t R, int64_t C, T* first, T* second, F&& f) {
  using V = Vec<T>;
  constexpr int64_t kRows = 256, kCols = 128;
  const int64_t blocks = maxOf(1, ceilDiv(R, kRows)), strips = ceilDiv(C, kCols);
  T* part = blocks > 1 ? take<T>(args, blocks * 2 * C) : nullptr;
  const auto piece = [&](int64_t chunk) {
    const int64_t block = chunk / maxOf(strips, 1), strip = chunk % maxOf(strips, 1);
    const int64_t r0 = block * kRows, r1 = minOf(R, r0 + kRows), c1 = minOf(C, (strip + 1) * kCols);
    T* a_out = part ? part + block * 2 * C : first;
    T* b_out = part ? a_out + C : second;
    int64_t c = strip * kCols;
    for (; c + 4 * V::N <= c1; c += 4 * V::N) {
      V a[4], b[4];
      for (int j = 0; j < 4; ++j) a[j] = b[j] = V::zero();
      for (int64_t r = r0; r < r1; ++r)
        for (int j = 0; j < 4; ++j) f(r, c + j * V::N, V::N, a[j], b[j]);
      for (int j = 0; j < 4; ++j) {
        a[j].store(a_out + c + j * V::N);
        b[j].store(b_out + c + j * V::N);
      }
    }
    for (; c < c1; c += V::N) {
      const int lanes = static_cast<int>(minOf(V::N, c1 - c));
      V a = V::zero(), b = V::zero();
      for (int64_t r = r0; r < r1; ++r) f(r, c, lanes, a, b);
      store(a, a_out + c, lanes);
      store(b, b_out + c, lanes);
    }
  };
  if (R * C <= 32768) {
    for (int64_t chunk = 0; chunk < blocks * strips; ++chunk) piece(chunk);
  } else {
    parallelFor(blocks * strips, piece);
  }
  if (!part) return;
  eachVector<T>(C, [&](int64_t c, int lanes) {
    V a = V::zero(), b = V::zero();
    for (int64_t i = 0; i < blocks; ++i) {
      a = a + load(part + i * 2 * C + c, lanes);
      b = b + load(part + i * 2 * C + C + c, lanes);
    }
    store(a, first + c, lanes);
    store(b, second + c, lanes);
  });
}

}  // namespace gyrus::cpu::GYRUS_ISA
