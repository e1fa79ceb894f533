// Tile constants of convolution, per instruction set. A micro-kernel holds MR pixels x NV vectors of channels in
// registers. The pixels lie anywhere, so each has a pointer of its own: MR pointers, B's and a counter must fit the
// general registers as well (16 on x86, 31 on ARM).
#pragma once
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct ConvTile {
#if GYRUS_VEC_AVX512
  static constexpr int MR = 12, NV = 2;  // 24 accumulators + 2 of B + 1 of A = 27 of 32 zmm; 12 + 2 of 15 pointers
#elif GYRUS_VEC_AVX2
  static constexpr int MR = 6, NV = 2;  // 12 + 2 + 1 = 15 of 16 ymm; 6 + 2 of 15 pointers
#elif GYRUS_VEC_NEON
  static constexpr int MR = 8, NV = 2;  // 16 + 2 + 1 = 19 of 32; 8 + 2 of 30 pointers
#else
  static constexpr int MR = 4, NV = 4;
#endif
  static constexpr int VN = Vec<T>::N;
  static constexpr int NR = NV * VN;
  // Depth of a block of taps x channels: a panel of weights is KC * NR numbers, 32 KiB with AVX2.
  static constexpr int KC = 512;

  // The weight gradient: XR channels of x (broadcast) by NR of g (vectors), summed over pixels. Two pointers only.
  static constexpr int XR = MR;
};

}  // namespace gyrus::cpu::GYRUS_ISA
