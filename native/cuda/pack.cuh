// Neighbouring elements, moved as one.
#pragma once
#include "cuda/runtime.h"

namespace gyrus::cuda {

template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
};
// From column c on. V > 1 wants stride 1, and x + c at a multiple of the pack's size.
template <int V, class T>
__device__ __forceinline__ Pack<T, V> loadPack(const T* x, std::int64_t c, std::int64_t stride) {
  if constexpr (V == 1)
    return {x[c * stride]};
  else
    return *reinterpret_cast<const Pack<T, V>*>(x + c);
}
template <int V, class T>
__device__ __forceinline__ void storePack(T* y, std::int64_t c, std::int64_t stride, const Pack<T, V>& pack) {
  if constexpr (V == 1)
    y[c * stride] = pack.v[0];
  else
    *reinterpret_cast<Pack<T, V>*>(y + c) = pack;
}

}  // namespace gyrus::cuda
