// Every kernel family of the CPU device, and the tables made of them. A file in cpu/ is compiled once per instruction
// set with GYRUS_ISA set to its namespace (scalar, avx2, avx512, neon); cpu/naive/ is compiled once and is the oracle
// in tests and the fallback for whatever a family doesn't fill in.
#pragma once
#include "kernels/contract.h"

// X(register function): families of cpu/, per instruction set
#define GYRUS_VECTOR_FAMILIES(X) \
  X(registerMovement)            \
  X(registerElementwise)         \
  X(registerReduce)              \
  X(registerRandom)              \
  X(registerGemm)                \
  X(registerConv)                \
  X(registerPool)                \
  X(registerSoftmax)             \
  X(registerNorm)                \
  X(registerBatchNorm)           \
  X(registerOptimizer)           \
  X(registerNeurons)             \
  X(registerAttention)           \
  X(registerGroupNorm)           \
  X(registerImage)

// X(register function): families of cpu/naive/, which together fill every op
#define GYRUS_NAIVE_FAMILIES(X) \
  X(registerMovement)           \
  X(registerElementwise)        \
  X(registerReduce)             \
  X(registerRandom)             \
  X(registerLinear)             \
  X(registerConv)               \
  X(registerPool)               \
  X(registerSoftmax)            \
  X(registerNorm)               \
  X(registerBatchNorm)          \
  X(registerOptimizer)          \
  X(registerNeurons)            \
  X(registerAttention)          \
  X(registerGroupNorm)          \
  X(registerImage)

namespace gyrus::cpu {

#define GYRUS_DECLARE_FAMILY(fn) void fn(KernelTable&);
namespace naive {
GYRUS_NAIVE_FAMILIES(GYRUS_DECLARE_FAMILY)
}
namespace scalar {
GYRUS_VECTOR_FAMILIES(GYRUS_DECLARE_FAMILY)
}
namespace avx2 {
GYRUS_VECTOR_FAMILIES(GYRUS_DECLARE_FAMILY)
}
namespace avx512 {
GYRUS_VECTOR_FAMILIES(GYRUS_DECLARE_FAMILY)
}
namespace neon {
GYRUS_VECTOR_FAMILIES(GYRUS_DECLARE_FAMILY)
}
#undef GYRUS_DECLARE_FAMILY

// Tables of this binary that this CPU can run, worst first; "naive" is always there and complete.
// The others are complete too: what a family left empty is the naive kernel.
const KernelTable* const* tables(int* count);
// The table named by GYRUS_ISA, or the best. A name that is unknown or can't run here throws Error(Config).
const KernelTable& activeTable();

}  // namespace gyrus::cpu
