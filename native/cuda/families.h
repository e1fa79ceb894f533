// Every kernel family of the CUDA device and the table made of them. An op that no family fills has no kernel yet.
#pragma once
#include "kernels/contract.h"

// X(register function)
#define GYRUS_CUDA_FAMILIES(X) \
  X(registerMovement)          \
  X(registerRandom)            \
  X(registerImage)             \
  X(registerAttention)         \
  X(registerElementwise)       \
  X(registerIndexed)           \
  X(registerReduce)            \
  X(registerOptimizer)         \
  X(registerNeurons)           \
  X(registerConv)              \
  X(registerPool)              \
  X(registerSoftmax)           \
  X(registerGemm)              \
  X(registerGate)              \
  X(registerNorm)              \
  X(registerBatchNorm)         \
  X(registerGroupNorm)

namespace gyrus::cuda {

#define GYRUS_DECLARE_FAMILY(fn) void fn(KernelTable&);
GYRUS_CUDA_FAMILIES(GYRUS_DECLARE_FAMILY)
#undef GYRUS_DECLARE_FAMILY

// "cuda", or "cuda-emulated" in a binary of the emulated device.
const KernelTable& table();

}  // namespace gyrus::cuda
