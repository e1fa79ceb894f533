// conv_<MR>x<NV>: MR pixels x NV vectors of channels (+)= the pixels' numbers times packed weights, over a list of
// segments, for one tile of pixels after the other; bias, affine, residual and relu in the store.
#pragma once
#include "cpu/conv/plan.h"
#include "cpu/conv/tiles.h"
#include "cpu/gemm/microkernel.h"

namespace gyrus::cpu::GYRUS_ISA {

// What the store applies: scale and shift from channel c on, residual from r on; each may be null.
template <class T>
GYRUS_INLINE Vec<T> finished(Vec<T> v, int lanes, const T* scale, const T* shift, int64_t c, const T* residual,
                             int64_t r, bool relu) {
  if (scale) v = v * load(scale + c, lanes);
  if (shift) v = v + load(shift + c, lanes);
  if (residual) v = v + load(residual + r, lanes);
  return relu ? max(Vec<T>::zero(), v) : v;  // the second operand where one is NaN: NaN passes
}

template <class T>
struct ConvTileArgs {
  const Segment* segments;
  int64_t count;
  const T* x;             // what `source` counts from
  const int64_t* source;  // [tiles * MR]
  const T* b;             // packed panel: lines of NV vectors
  T* y;                   // at the panel's first channel of pixel 0
  const int64_t* pixel;   // [tiles * MR]
  int64_t tiles;
  int64_t fetch;  // numbers of each pixel of the next tile to ask for ahead
  int64_t ldy;
  int last;     // lanes of the last vector that exist in y, 1..N
  bool add;     // not the first block of depth: y holds a partial sum
  bool finish;  // the last block: apply what follows
  bool bare;    // nothing but whole vectors to store
  bool relu;
  const T* scale;  // of the panel's first channel, or null
  const T* shift;
  const T* residual;
  int64_t ld_residual;
};

template <class T>
using ConvKernel = void (*)(const ConvTileArgs<T>&);

template <class T, int MR, int NV>
GYRUS_INLINE void convTile(const ConvTileArgs<T>& t, const int64_t* source, const int64_t* pixel) {
  using V = Vec<T>;
  V acc[MR][NV];
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();

  for (int64_t s = 0; s < t.count; ++s) {
    const Segment& segment = t.segments[s];
    const T* a[MR];
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) a[i] = t.x + (source[i] + segment.a);
    const T* b = t.b + segment.b * (NV * V::N);
    const int64_t length = segment.length;
    const auto step = [&](int64_t k) GYRUS_INLINED {
      V bv[NV];
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) bv[j] = V::load(b + j * V::N);
      GYRUS_UNROLL
      for (int i = 0; i < MR; ++i) {
        const V av = V::broadcast(a[i][k]);
        GYRUS_UNROLL
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(av, bv[j], acc[i][j]);
      }
      b += NV * V::N;
    };
    for (int64_t k = 0; k < length; ++k) step(k);
  }

  if (t.bare) {
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) {
      T* y = t.y + pixel[i] * t.ldy;
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) acc[i][j].store(y + j * V::N);
    }
    return;
  }
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) {
    T* y = t.y + pixel[i] * t.ldy;
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) {
      const int lanes = j == NV - 1 ? t.last : V::N;
      V v = acc[i][j];
      T* p = y + j * V::N;
      if (t.add) v = load(p, lanes) + v;
      if (t.finish)
        v = finished(v, lanes, t.scale, t.shift, j * V::N, t.residual, pixel[i] * t.ld_residual + j * V::N, t.relu);
      store(v, p, lanes);
    }
  }
}

template <class T, int MR, int NV>
void convKernel(const ConvTileArgs<T>& t) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < t.tiles; ++i) {
    if (t.fetch > 0 && i + 1 < t.tiles)
      for (int j = MR; j < 2 * MR; ++j)
        for (int64_t k = 0; k < t.fetch; k += line) __builtin_prefetch(t.x + t.source[i * MR + j] + k);
    convTile<T, MR, NV>(t, t.source + i * MR, t.pixel + i * MR);
  }
}

template <class T>
constexpr auto convKernels = kernelGrid<ConvKernel<T>, ConvTile<T>::MR, ConvTile<T>::NV>([]<int M, int V>() {
  return &convKernel<T, M, V>;
});

}  // namespace gyrus::cpu::GYRUS_ISA
