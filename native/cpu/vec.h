// One small SIMD type, Vec<T> for T = float, double and int32_t, so that a kernel is written once and compiled for
// every instruction set. GYRUS_ISA (a macro: scalar, avx2, avx512 or neon) names the namespace and picks the
// implementation.
//
//   Vec<T>::N lanes; load/store take any alignment; loadN/storeN touch the first n lanes only (0 <= n <= N, the rest
//   reads as 0) and never a byte beyond them. Vec<float> and Vec<int32_t> have the same N and share the mask type.
//   stream(p), f32, stores past the caches where the instruction set can (p a multiple of the vector's size); fence()
//   comes after the last one of a piece of work, before another thread may read.
//   fma(a, b, c) = a*b + c, fused where the instruction set has it (not in scalar).
//   min/max behave as x86 does (the second operand where one is NaN); minNaN/maxNaN hand NaN on.
//   reduceAdd/Max/Min combine lanes in a fixed order. Comparisons with NaN are false, but for !=.
//
// Everything lives in the namespace of its instruction set, and libm is called by its C names: an inline function
// shared between files compiled with different flags would be linked from whichever file came first.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#define GYRUS_ISA_ID_scalar 1
#define GYRUS_ISA_ID_avx2 2
#define GYRUS_ISA_ID_avx512 3
#define GYRUS_ISA_ID_neon 4
#define GYRUS_JOIN_(a, b) a##b
#define GYRUS_JOIN(a, b) GYRUS_JOIN_(a, b)

#ifndef GYRUS_ISA
#error "files of cpu/ are compiled once per instruction set, with GYRUS_ISA defined"
#endif

#define GYRUS_VEC_SCALAR (GYRUS_JOIN(GYRUS_ISA_ID_, GYRUS_ISA) == 1)
#define GYRUS_VEC_AVX2 (GYRUS_JOIN(GYRUS_ISA_ID_, GYRUS_ISA) == 2)
#define GYRUS_VEC_AVX512 (GYRUS_JOIN(GYRUS_ISA_ID_, GYRUS_ISA) == 3)
#define GYRUS_VEC_NEON (GYRUS_JOIN(GYRUS_ISA_ID_, GYRUS_ISA) == 4)

#define GYRUS_INLINE inline __attribute__((always_inline))
// For a lambda that is called in two places: its captured vectors stay in registers.
#define GYRUS_INLINED __attribute__((always_inline))

#if GYRUS_VEC_AVX2
#if !defined(__AVX2__) || !defined(__FMA__)
#error "GYRUS_ISA=avx2 needs -mavx2 -mfma"
#endif
#include "cpu/vec_avx2.h"
#elif GYRUS_VEC_AVX512
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "GYRUS_ISA=avx512 needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma"
#endif
#include "cpu/vec_avx512.h"
#elif GYRUS_VEC_NEON
#if !defined(__aarch64__)
#error "GYRUS_ISA=neon needs aarch64"
#endif
#include "cpu/vec_neon.h"
#else
#include "cpu/vec_scalar.h"
#endif

namespace gyrus::cpu::GYRUS_ISA {

using VecF = Vec<float>;
using VecD = Vec<double>;
using VecI = Vec<int32_t>;
static_assert(VecF::N == VecI::N);

template <class T>
using Mask = typename Vec<T>::M;

template <class T>
GYRUS_INLINE Mask<T> isNaN(Vec<T> a) {
  return a != a;
}

// min and max that give NaN when either operand is NaN.
template <class T>
GYRUS_INLINE Vec<T> maxNaN(Vec<T> a, Vec<T> b) {
  return select(a != a, a, max(a, b));
}
template <class T>
GYRUS_INLINE Vec<T> minNaN(Vec<T> a, Vec<T> b) {
  return select(a != a, a, min(a, b));
}

// Asks for a line that will be read soon; any address will do.
GYRUS_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }

// Writes the first n lanes of a mask as bytes 0/1.
template <class M>
GYRUS_INLINE void storeBool(M m, uint8_t* p, int n) {
  const uint32_t bits = m.bits();
  for (int i = 0; i < n; ++i) p[i] = (bits >> i) & 1;
}

}  // namespace gyrus::cpu::GYRUS_ISA
