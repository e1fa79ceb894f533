// Tile constants of the matrix product, per instruction set. A micro-kernel holds MR rows x NV vectors of C in
// registers; per step of k it loads NV vectors of B and broadcasts MR numbers of A one after the other.
#pragma once
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct Tile {
#if GYRUS_VEC_AVX512
  static constexpr int MR = 14, NV = 2;  // 28 accumulators + 2 of B + 1 of A = 31 of 32 zmm
#elif GYRUS_VEC_AVX2
  static constexpr int MR = 6, NV = 2;  // 12 + 2 + 1 = 15 of 16 ymm
#elif GYRUS_VEC_NEON
  static constexpr int MR = 8, NV = 2;  // 16 + 2 + 1 = 19 of 32
#else
  static constexpr int MR = 4, NV = 4;  // 16 numbers; the compiler spills what it must
#endif
  // With at most this many rows or columns, dot products beat tiles whose lanes are partly empty. The shorter operand's
  // block of K, in numbers: 24 of the 32 KiB of an L1.
  static constexpr int FewLines = 16;
  static constexpr int64_t DotNumbers = 24 * 1024 / sizeof(T);

  static constexpr int VN = Vec<T>::N;
  static constexpr int NR = NV * VN;
  // Depth of a block: a packed panel of B is KC * NR numbers, 25 KiB with AVX2 and 50 with AVX-512; a thread has four.
  static constexpr int KC = 400;
  // Packed rows of A that one piece of work walks for each panel of B, in bytes: they stream from L3, and from L2 where
  // more groups of rows don't mean that B is packed more often.
  static constexpr int64_t BlockBytes = 1024 * 1024, SharingBlockBytes = 384 * 1024;
  // Numbers of A that are packed at a time, if a block of K has no more: half a MiB of f32, an L2.
  static constexpr int64_t PackedNumbers = 1 << 17;
  // Numbers of B that are packed at a time, for all rows: 4 MiB of f32, which an L3 holds.
  static constexpr int64_t SharedNumbers = 1 << 20;
  // Rows whose packed form exists at a time; bounds the scratch memory to RowsAtOnce * KC numbers.
  static constexpr int RowsAtOnce = 4096 / MR * MR;
};

}  // namespace gyrus::cpu::GYRUS_ISA
