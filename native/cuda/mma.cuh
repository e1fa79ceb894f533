// Products of small matrices on tensor cores (mma.sync, sm_80 and later), the rounding of what goes in, and how it
// comes from shared memory. All lanes of a warp take part. With g = lane / 4 and t = lane % 4, as PTX has it:
//   sums  d[4]: rows g (d0, d1) and g + 8 (d2, d3), columns 2t and 2t + 1
//   TF32, depth 8:   a[4] = A(g, t), A(g + 8, t), A(g, t + 4), A(g + 8, t + 4);  b[2] = B(t, g), B(t + 4, g)
//   BF16, depth 16:  pairs, the lower depth in the lower half: a[4] = A(g, 2t..), A(g + 8, 2t..), A(g, 2t + 8..),
//                    A(g + 8, 2t + 8..);  b[2] = B(2t.., g), B(2t + 8.., g)
#pragma once
#include "cuda/runtime.h"
#ifdef GYRUS_CUDA_EMULATED
#include "cuda/emulation/matrices.h"
#endif

namespace gyrus::cuda {

// To the nearest number of 10 bits of mantissa, ties away from zero.
__device__ __forceinline__ unsigned toTf32(float x) {
#if defined(GYRUS_CUDA_EMULATED)
  return emulation::toTf32(x);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#else
  return __float_as_uint(x);
#endif
}

// Two bfloat16, to nearest, ties to even.
__device__ __forceinline__ unsigned toBf16(float low, float high) {
  return static_cast<unsigned>(__bfloat16_as_ushort(__float2bfloat16_rn(low))) |
         static_cast<unsigned>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16;
}

// Four matrices of 8 rows of 16 bytes in shared memory: lane l names row l % 8 of matrix l / 8, and gets word t of row
// g of each. Pairs of bfloat16 are words. So a[4] above are rows g of matrices that begin at (0, 0), (8, 0), (0, 4) and
// (8, 4) of A in words, and b[2] of those at (0, 0) and (0, 4) of the transpose of B.
__device__ __forceinline__ void loadMatrices(unsigned (&out)[4], const void* row) {
#if defined(GYRUS_CUDA_EMULATED)
  emulation::loadMatrices(out, row);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
#else
  __trap();
#endif
}

// d += a b
__device__ __forceinline__ void multiplyTf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(GYRUS_CUDA_EMULATED)
  emulation::multiply<8>(d, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}
__device__ __forceinline__ void multiplyBf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(GYRUS_CUDA_EMULATED)
  emulation::multiply<16>(d, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

// Whether the device of this thread is of compute capability 8.0 or later: it has these units, copies to shared memory
// that run beside the arithmetic, and more than 64 KiB of it for a block.
inline bool atLeastAmpere() {
  int device = 0, major = 0;
  checked(cudaGetDevice(&device), "device");
  checked(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "device");
  return major >= 8;
}

}  // namespace gyrus::cuda
