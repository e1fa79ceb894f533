// Four neighbouring elements, read and written as one: 16 bytes of f32, twice 16 of f64.
#pragma once
#include "cuda/runtime.h"

namespace gyrus::cuda {

template <class T>
struct alignas(16) Quad {
  T v[4];
};

template <class T>
__device__ __forceinline__ Quad<T> zeroQuad() {
  return {{T(0), T(0), T(0), T(0)}};
}
template <class T>
__device__ __forceinline__ Quad<T> loadQuad(const T* p) {
  return *reinterpret_cast<const Quad<T>*>(p);
}
template <class T>
__device__ __forceinline__ void storeQuad(T* p, const Quad<T>& q) {
  *reinterpret_cast<Quad<T>*>(p) = q;
}

// a*b + c, rounded once.
__device__ __forceinline__ float multiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double multiplyAdd(double a, double b, double c) { return __fma_rn(a, b, c); }

}  // namespace gyrus::cuda
