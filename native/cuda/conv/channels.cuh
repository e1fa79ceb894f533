// Neighbouring channels of a tensor [N, H, W, C], several at a time.
#pragma once
#include "cuda/conv/window.cuh"
#include "cuda/elements.cuh"
#include "cuda/pack.cuh"

namespace gyrus::cuda {

template <int V, class T>
__device__ __forceinline__ Pack<T, V> channelsAt(const Pixels<const T>& x, int n, int h, int w, int c) {
  return *reinterpret_cast<const Pack<T, V>*>(x.data + (n * x.n + h * x.h + w * x.w + c * V * x.c));
}

// Whether a contiguous output can be written four channels at a time.
inline bool wide(const View& y) { return y.shape[3] % 4 == 0 && aligned(y.data, 16); }

// f.operator()<V>(): four channels of f32 at a time, or one.
template <class T, class F>
void byWidth(bool fours, F f) {
  if constexpr (std::is_same_v<T, float>)
    if (fours) return f.template operator()<4>();
  f.template operator()<1>();
}

}  // namespace gyrus::cuda
