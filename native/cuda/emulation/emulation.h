// CUDA for the host compiler, so that the .cu files run, and are tested, where there is no GPU: the language (here and
// in intrinsics.h), the threads of a block (block.h) and the runtime's calls (cudart.h).
#pragma once
#include "cuda/emulation/block.h"
#include "cuda/emulation/cudart.h"
#include "cuda/emulation/intrinsics.h"
#include "cuda/emulation/vector_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

// A static object per call site (and instantiation of a template) says which object of the block is meant.
#define GYRUS_SHARED(Type, name)                             \
  static char name##CallSite;                                \
  Type& name = *static_cast<std::remove_reference_t<Type>*>( \
      ::gyrus::cuda::emulation::sharedObject(&name##CallSite, sizeof(Type), alignof(Type)))
#define GYRUS_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(::gyrus::cuda::emulation::dynamicShared())
