// gradweight_<XR>x<NV>: [XR numbers of x, NV vectors of channels of g] summed over runs of pixels.
#pragma once
#include "cpu/conv/tiles.h"
#include "cpu/gemm/microkernel.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct GradTileArgs {
  int64_t rows, run;       // runs, and pixels in each
  const T* x;              // of the first pixel
  const int64_t* line;     // where its XR numbers lie, from x
  const T* g;              // NV vectors of the first pixel
  int64_t x_row, g_row;    // from run to run
  int64_t x_step, g_step;  // from pixel to pixel
  T* sum;                  // [XR][NR], added to
  // A line of memory to ask for ahead per pixel, and the steps from one to the next.
  const T* fetch;
  int64_t fetch_row, fetch_step;
};

template <class T>
using GradKernel = void (*)(const GradTileArgs<T>&);

// sum [M, NV vectors] += x^T g over the runs.
template <class T, int M, int NV>
void gradKernel(const GradTileArgs<T>& t) {
  using V = Vec<T>;
  using Tile = ConvTile<T>;
  V acc[M][NV];
  GYRUS_UNROLL
  for (int i = 0; i < M; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();
  const T* x[M];
  GYRUS_UNROLL
  for (int i = 0; i < M; ++i) x[i] = t.x + t.line[i];
  const int64_t x_step = t.x_step, g_step = t.g_step, fetch_step = t.fetch_step, x_next = t.x_row - t.run * x_step;
  int64_t at = 0;
  for (int64_t r = 0; r < t.rows; ++r, at += x_next) {
    const T* g = t.g + r * t.g_row;
    const T* fetch = t.fetch + r * t.fetch_row;
    for (int64_t n = t.run; n > 0; --n, at += x_step, g += g_step, fetch += fetch_step) {
      __builtin_prefetch(fetch);
      V gv[NV];
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) gv[j] = V::load(g + j * V::N);
      GYRUS_UNROLL
      for (int i = 0; i < M; ++i) {
        const V xv = V::broadcast(x[i][at]);
        GYRUS_UNROLL
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(xv, gv[j], acc[i][j]);
      }
    }
  }
  GYRUS_UNROLL
  for (int i = 0; i < M; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) {
    T* p = t.sum + i * Tile::NR + j * V::N;
    (V::load(p) + acc[i][j]).store(p);
  }
}

template <class T>
constexpr auto gradKernels = kernelGrid<GradKernel<T>, ConvTile<T>::XR, ConvTile<T>::NV>([]<int M, int V>() {
  return &gradKernel<T, M, V>;
});

}  // namespace gyrus::cpu::GYRUS_ISA
