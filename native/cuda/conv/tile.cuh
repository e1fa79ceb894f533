// The tile a block multiplies: BM x BN of the product, BK of the depth at a time through two buffers in shared memory,
// 4*RM x 4*RN of it per thread. A thread's rows and columns lie in runs of four, BM/RM and BN/RN apart, and a warp
// covers 4 x 8 of such runs, so that its reads of shared memory are broadcasts and runs of 128 bytes at most.
#pragma once
#include "cuda/quad.cuh"

namespace gyrus::cuda {

template <class Number, int BM, int BN, int BK, int RM, int RN>
struct Tile {
  using T = Number;
  static constexpr int kRows = BM, kCols = BN, kDepth = BK, kRowRuns = RM, kColRuns = RN;
  static constexpr int kAcross = BN / (4 * RN), kDown = BM / (4 * RM), kThreads = kAcross * kDown;
  static constexpr int kQuadsA = BM * BK / 4 / kThreads, kQuadsB = BK * BN / 4 / kThreads;  // loaded by a thread
  // Together on a multiprocessor, which bounds the registers of a thread.
  static constexpr int kBlocks = sizeof(T) == 8 ? 1 : 512 / kThreads;
  static_assert(kAcross % 8 == 0 && kDown % 4 == 0 && kQuadsA >= 1 && kQuadsB >= 1);

  // Rows are padded by four, which keeps them on 16 bytes and halves the conflicts of transposing stores.
  struct alignas(16) Buffers {
    T a[2][BK][BM + 4];
    T b[2][BK][BN + 4];
  };
  struct Place {
    int row, col;  // of the thread's first run
  };
  __device__ static Place place() {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    constexpr int warps = kAcross / 8;
    return {(warp / warps * 4 + lane / 8) * 4, (warp % warps * 8 + lane % 8) * 4};
  }
  __device__ static int row(const Place& at, int i) { return at.row + i / 4 * (BM / RM) + i % 4; }

  struct Sums {
    Quad<T> of[4 * RM][RN];

    __device__ void clear() {
#pragma unroll
      for (int i = 0; i < 4 * RM; ++i)
#pragma unroll
        for (int j = 0; j < RN; ++j) of[i][j] = zeroQuad<T>();
    }
    __device__ void add(const T (&a)[BK][BM + 4], const T (&b)[BK][BN + 4], const Place& at) {
#pragma unroll
      for (int k = 0; k < BK; ++k) {
        Quad<T> left[RM], right[RN];
#pragma unroll
        for (int i = 0; i < RM; ++i) left[i] = loadQuad(&a[k][at.row + i * (BM / RM)]);
#pragma unroll
        for (int j = 0; j < RN; ++j) right[j] = loadQuad(&b[k][at.col + j * (BN / RN)]);
#pragma unroll
        for (int i = 0; i < 4 * RM; ++i)
#pragma unroll
          for (int j = 0; j < RN; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) of[i][j].v[e] = multiplyAdd(left[i / 4].v[i % 4], right[j].v[e], of[i][j].v[e]);
      }
    }
  };
};

}  // namespace gyrus::cuda
