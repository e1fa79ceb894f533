// A thread per element of an output [N, H, W, C], or per V neighbouring channels: for kernels whose time goes into
// memory.
#pragma once
#include "cuda/conv/window.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

struct Elements {
  Divisor32 byC, byW, byH;
  int count;

  __device__ void place(int number, int& n, int& h, int& w, int& c) const {
    const auto i = static_cast<unsigned>(number), pixel = byC.over(i), line = byW.over(pixel), sample = byH.over(line);
    c = static_cast<int>(i - pixel * byC.d);
    w = static_cast<int>(pixel - line * byW.d);
    h = static_cast<int>(line - sample * byH.d);
    n = static_cast<int>(sample);
  }
};

// Of some samples of a view, V channels and `run` columns at a time.
inline Elements elementsOf(const View& v, std::int64_t samples, int V, int run = 1) {
  const std::int64_t channels = v.shape[3] / V, across = (v.shape[2] + run - 1) / run;
  return {Divisor32(channels), Divisor32(across), Divisor32(v.shape[1]),
          static_cast<int>(samples * v.shape[1] * across * channels)};
}

template <class T, int V>
struct alignas(sizeof(T) * V) Channels {
  T v[V];
};
template <int V, class T>
__device__ __forceinline__ Channels<T, V> channelsAt(const Pixels<const T>& x, int n, int h, int w, int c) {
  return *reinterpret_cast<const Channels<T, V>*>(x.data + (n * x.n + h * x.h + w * x.w + c * V * x.c));
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
