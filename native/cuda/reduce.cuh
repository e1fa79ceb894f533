// Reductions over the lanes of a warp and the threads of a block, in an order that depends on their number alone. Every
// participant gets the result, with the same bits: the butterflies combine with commutative operations only.
#pragma once
#include "cuda/runtime.h"

namespace gyrus::cuda {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
// Of two numbers the one that isn't NaN.
struct Largest {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return max(a, b);
  }
};

// Over W neighbouring lanes, W a power of 2. All 32 lanes must come here.
template <int W = 32, class T, class Op>
__device__ __forceinline__ T warpReduce(T x, Op op) {
#pragma unroll
  for (int lanes = W / 2; lanes > 0; lanes /= 2) x = op(x, __shfl_xor_sync(kAllLanes, x, lanes));
  return x;
}

// Over the kThreads threads of a one-dimensional block. All of them must come here.
template <int kThreads, class T, class Op>
__device__ __forceinline__ T blockReduce(T x, Op op) {
  static_assert(kThreads % 32 == 0 && (kThreads / 32 & (kThreads / 32 - 1)) == 0, "2^k warps");
  constexpr int kWarps = kThreads / 32;
  x = warpReduce(x, op);
  if constexpr (kWarps > 1) {
    using Partial = T[kWarps];
    GYRUS_SHARED(Partial, partial);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    x = warpReduce<kWarps>(partial[threadIdx.x % kWarps], op);
    __syncthreads();  // before a next reduction writes there
  }
  return x;
}

}  // namespace gyrus::cuda
