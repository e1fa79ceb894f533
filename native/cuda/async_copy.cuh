// Copies from global to shared memory that run beside the arithmetic: cp.async from sm_80 on, at once before. A thread
// sees its own copies after waitCopies, the others' after the barrier that follows. Emulated, a copy is done at its
// wait and not before; until then its place is poisoned.
#pragma once
#include "cuda/runtime.h"
#ifdef GYRUS_CUDA_EMULATED
#include "cuda/emulation/copies.h"
#endif

namespace gyrus::cuda {

// Copies the first `bytes` of Bytes (4, 8 or 16, and both sides aligned to them) and zeros the rest. With bytes = 0
// nothing is read.
template <int Bytes>
__device__ __forceinline__ void copyAsync(void* shared, const void* global, int bytes) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#if defined(GYRUS_CUDA_EMULATED)
  emulation::copies().issue(shared, global, Bytes, bytes);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (Bytes == 16) {
    // Past L1: tiles are read once by a block. Parts of 16 bytes go one word at a time, for the tools that watch over
    // memory take such a copy for one of all 16.
    if (bytes == 0 || bytes == 16) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to + 4 * i),
                     "l"(static_cast<const char*>(global) + (4 * i < bytes ? 4 * i : 0)), "r"(4 * i < bytes ? 4 : 0)
                     : "memory");
    }
  } else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(Bytes), "r"(bytes)
                 : "memory");
#else
  if constexpr (Bytes == 4) {
    *static_cast<float*>(shared) = bytes > 0 ? *static_cast<const float*>(global) : 0.0f;
  } else if constexpr (Bytes == 8) {
    *static_cast<double*>(shared) = bytes > 0 ? *static_cast<const double*>(global) : 0.0;
  } else {
    float4 v = make_float4(0, 0, 0, 0);
    const float* from = static_cast<const float*>(global);
    if (bytes == 16) {
      v = *reinterpret_cast<const float4*>(from);
    } else {
      if (bytes > 0) v.x = from[0];
      if (bytes > 4) v.y = from[1];
      if (bytes > 8) v.z = from[2];
    }
    *static_cast<float4*>(shared) = v;
  }
#endif
}

// Ends a group of copies, which may be empty.
__device__ __forceinline__ void commitCopies() {
#if defined(GYRUS_CUDA_EMULATED)
  emulation::copies().commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups of the thread but the last `Pending`.
template <int Pending>
__device__ __forceinline__ void waitCopies() {
#if defined(GYRUS_CUDA_EMULATED)
  emulation::copies().wait(Pending);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

}  // namespace gyrus::cuda
