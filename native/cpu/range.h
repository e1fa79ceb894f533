// Arithmetic of whole numbers, and loops over a range that are cut into parallel pieces by its length alone.
#pragma once
#include "core/pool.h"
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

GYRUS_INLINE int64_t minOf(int64_t a, int64_t b) { return a < b ? a : b; }
GYRUS_INLINE int64_t maxOf(int64_t a, int64_t b) { return a > b ? a : b; }
GYRUS_INLINE int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements of work below which a loop stays on the caller, and the size of a parallel piece.
constexpr int64_t kGrain = 32768;

// Runs f(from, to) over [0, n) in pieces of about kGrain elements; `each` is the work of one item.
template <class F>
GYRUS_INLINE void parallelRange(int64_t n, int64_t each, F&& f) {
  const int64_t step = maxOf(1, kGrain / maxOf(1, each));
  if (n <= step) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
  parallelFor(ceilDiv(n, step), [&](int64_t chunk) { f(chunk * step, minOf(n, (chunk + 1) * step)); });
}

}  // namespace gyrus::cpu::GYRUS_ISA
