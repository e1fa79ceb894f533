#include "cuda/families.h"

namespace gyrus::cuda {

const KernelTable& table() {
  static const KernelTable filled = [] {
    KernelTable t;
#ifdef GYRUS_CUDA_EMULATED
    t.isa = "cuda-emulated";
#else
    t.isa = "cuda";
#endif
#define GYRUS_FILL(fn) fn(t);
    GYRUS_CUDA_FAMILIES(GYRUS_FILL)
#undef GYRUS_FILL
    return t;
  }();
  return filled;
}

}  // namespace gyrus::cuda
