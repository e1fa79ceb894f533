// The elements of a tensor [N, H, W, C], or packs of V neighbouring channels, by number: for kernels whose time goes
// into memory.
#pragma once
#include "core/view.h"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

template <class Divisor>
struct Elements {
  using Index = typename Divisor::Index;
  Divisor byC, byW, byH;
  Index count;

  template <class I>
  __device__ __forceinline__ void place(Index i, I& n, I& h, I& w, I& c) const {
    const Index pixel = byC.over(i), line = byW.over(pixel), sample = byH.over(line);
    c = static_cast<I>(i - pixel * byC.d);
    w = static_cast<I>(pixel - line * byW.d);
    h = static_cast<I>(line - sample * byH.d);
    n = static_cast<I>(sample);
  }
  // Where each thread has one: this thread's; false where there is none.
  __device__ __forceinline__ bool mine(int& i, int& n, int& h, int& w, int& c) const {
    const Index number = Index{blockIdx.x} * blockDim.x + threadIdx.x;
    if (number >= count) return false;
    i = static_cast<int>(number);
    place(number, n, h, w, c);
    return true;
  }
};

// Of some samples of a view, V channels and `run` columns at a time.
template <class Divisor>
Elements<Divisor> elementsOf(const View& v, std::int64_t samples, int V, int run = 1) {
  const std::int64_t channels = v.shape[3] / V, across = (v.shape[2] + run - 1) / run;
  return {Divisor(channels), Divisor(across), Divisor(v.shape[1]),
          static_cast<typename Divisor::Index>(samples * v.shape[1] * across * channels)};
}

}  // namespace gyrus::cuda
