// The emulated tensor cores: fragments lie in the lanes of a warp as PTX has it (mma.cuh), inputs are what their bits
// say, and the sum of the products is rounded to f32 once. Rows of matrices are read from the block's shared memory
// only, at multiples of 16 bytes, and hold what ordinary reads would find: an asynchronous copy is there after its
// wait.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/emulation/intrinsics.h"

namespace gyrus::cuda::emulation {

inline unsigned toTf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000u) == 0x7F800000u) return x != x ? 0x7FFFFFFFu : bits;
  return (bits + 0x1000u) & ~0x1FFFu;
}

struct Fragments {
  unsigned a[4], b[2];
};

// Lanes leave something of theirs here and meet. There are two for each warp, taken in turn: when a lane is here again,
// the others have read what it left the time before the last.
template <class T>
const T (&exchange(const T& mine))[32] {
  struct Exchange {
    T lanes[2][32];
    unsigned turn[32] = {};
  };
  static thread_local std::vector<Exchange> ofWarp(kMostThreads / 32);
  Exchange& all = ofWarp[(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) / 32];
  const unsigned me = lane();
  T(&lanes)[32] = all.lanes[all.turn[me]++ % 2];
  lanes[me] = mine;
  __syncwarp();
  return lanes;
}

inline void loadMatrices(unsigned (&out)[4], const void* row) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) fail("a row of a matrix at a misaligned address");
  if (!isShared(row, 16)) fail("a row of a matrix outside of shared memory");
  const auto& rows = exchange(row);
  for (unsigned m = 0; m < 4; ++m)
    std::memcpy(&out[m], static_cast<const unsigned*>(rows[m * 8 + lane() / 4]) + lane() % 4, sizeof(unsigned));
  __syncwarp();  // no lane goes on, and writes, before all have read
}

// Number `depth` of a row of A, or of a column of B: which lane of the four has it, in which register and half.
template <int Depth>
float numberOf(const unsigned (*words)[6], int first, int step, int depth) {
  if constexpr (Depth == 8) return std::bit_cast<float>(words[depth % 4][first + depth / 4 * step] & ~0x1FFFu);
  const unsigned pair = words[depth % 8 / 2][first + depth / 8 * step];
  return std::bit_cast<float>(depth % 2 == 0 ? pair << 16 : pair & 0xFFFF0000u);
}

template <int Depth>
void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  static_assert(sizeof(Fragments) == 6 * sizeof(unsigned));
  const auto& lanes = exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int me = static_cast<int>(lane());
  const auto quad = [&](int row) { return reinterpret_cast<const unsigned(*)[6]>(&lanes[row * 4]); };
  const int g = me / 4, t = me % 4;
  for (int i = 0; i < 4; ++i) {
    // a0 and a2 are of row g, a1 and a3 of row g + 8.
    double sum = d[i];
    for (int k = 0; k < Depth; ++k)
      sum += static_cast<double>(numberOf<Depth>(quad(g), i / 2, 2, k)) *
             static_cast<double>(numberOf<Depth>(quad(2 * t + i % 2), 4, 1, k));
    d[i] = static_cast<float>(sum);
  }
}

}  // namespace gyrus::cuda::emulation
