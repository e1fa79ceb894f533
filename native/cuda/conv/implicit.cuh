// Convolution and the gradient of its input as products whose left side is never stored: pixels x (taps, channels)
// times (taps, channels) x channels. A block gathers its rows of pixels straight from the NHWC tensor.
#pragma once
#include "cuda/conv/tile.cuh"
#include "cuda/conv/window.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/lists.cuh"

namespace gyrus::cuda {

template <class T>
struct Implicit {
  WindowAxis h, w;
  bool backward;
  int samples;
  Pixels<const T> source;
  int depth;                            // channels of the source per group
  const T* weight;                      // [group][tap, channel of the source][padded]
  T* out;                               // [samples, H, W, channels], contiguous
  int columns, padded;                  // channels of the output per group; rounded up to four
  int channels;                         // of the output
  const int *depthCount, *columnCount;  // count the active of both, null for all; then there is one group
  bool storeQuads;
  int tilesAcross;
  int firstClass, firstGroup;
  Epilogue<T> epilogue;
  Pixels<const T> residual;  // where the epilogue has one
  bool residualQuads;

  bool counted() const { return depthCount || columnCount; }
};

// In shared memory, for the walks' numbers would cost every thread sixteen registers.
template <class Tile>
struct ImplicitShared : Tile::Buffers {
  Axis h, w;
};

// Block (tile, class, group); the tiles of the same pixels follow each other, so that L2 holds what they gather.
template <class T, class Tile, bool quads, bool Counted>
__global__ void __launch_bounds__(Tile::kThreads, quads ? Tile::kBlocks : 1) implicitKernel(const Implicit<T> p) {
  constexpr int BM = Tile::kRows, BN = Tile::kCols, BK = Tile::kDepth;
  GYRUS_SHARED(ImplicitShared<Tile>, shared);
  const int cls = static_cast<int>(blockIdx.y) + p.firstClass, group = static_cast<int>(blockIdx.z) + p.firstGroup;
  const int classesW = p.backward ? p.w.classes() : 1;
  if (threadIdx.x == 0) {
    shared.h = p.backward ? backwardAxis(p.h, cls / classesW) : forwardAxis(p.h);
    shared.w = p.backward ? backwardAxis(p.w, cls % classesW) : forwardAxis(p.w);
  }
  __syncthreads();
  const Axis &h = shared.h, &w = shared.w;
  const int across = static_cast<int>(blockIdx.x) % p.tilesAcross;
  const std::int64_t pixels = std::int64_t{p.samples} * h.out * w.out;
  const std::int64_t firstPixel = std::int64_t{static_cast<int>(blockIdx.x) / p.tilesAcross} * BM;
  if (firstPixel >= pixels) return;  // a class smaller than the first
  const int firstCol = across * BN, thread = static_cast<int>(threadIdx.x);
  const int active = Counted ? static_cast<int>(activeOf(p.depthCount, p.depth)) : p.depth;
  const int depth = Counted && quads ? (active + 3) / 4 * 4 : active;  // weights of what fills a quad up are 0
  const int columns = Counted ? static_cast<int>(activeOf(p.columnCount, p.columns)) : p.columns;
  const auto rest = static_cast<int>(pixels - firstPixel < BM ? pixels - firstPixel : BM);
  const auto sample = [&](int row, int& n, int& i, int& j) {
    const auto m = static_cast<unsigned>(firstPixel + row), lines = m / static_cast<unsigned>(w.out);
    j = static_cast<int>(m - lines * static_cast<unsigned>(w.out));
    n = static_cast<int>(lines / static_cast<unsigned>(h.out));
    i = static_cast<int>(lines - static_cast<unsigned>(n) * static_cast<unsigned>(h.out));
  };

  // A: a quad of channels of a few pixels. Pixels beyond the last lie outside of every picture.
  constexpr int RA = Tile::kQuadsA, quadsDeep = BK / 4, rowsApart = Tile::kThreads / quadsDeep;
  const int quad = thread % quadsDeep, rowA = thread / quadsDeep;
  std::int64_t base[RA];
  int top[RA], left[RA];
#pragma unroll
  for (int r = 0; r < RA; ++r) {
    const int row = rowA + r * rowsApart;
    base[r] = 0;
    top[r] = left[r] = kOutside;
    if (row < rest) {
      int n, i, j;
      sample(row, n, i, j);
      top[r] = i * h.move + h.start;
      left[r] = j * w.move + w.start;
      base[r] =
          n * p.source.n + top[r] * p.source.h + left[r] * p.source.w + std::int64_t{group} * p.depth * p.source.c;
    }
  }
  const int steps =
      !Counted || firstCol < columns ? static_cast<int>((std::int64_t{h.taps} * w.taps * depth + BK - 1) / BK) : 0;
  Walk walkA{0, 0, 0}, walkB{0, 0, 0};
  constexpr int RB = Tile::kQuadsB, quadsWide = BN / 4, depthApart = Tile::kThreads / quadsWide;
  const int rowB = thread / quadsWide, colB = thread % quadsWide * 4;
  const bool insideB = firstCol + colB < p.padded;
  const T* const weight =
      p.weight + std::int64_t{group} * p.h.kernel * p.w.kernel * p.depth * p.padded + firstCol + colB;
  if (steps > 0) {
    walkA.advance(quad * 4, depth, w.taps);
    walkB.advance(rowB, depth, w.taps);
  }

  Quad<T> nextA[RA], nextB[RB];
  const auto load = [&] {
#pragma unroll
    for (int r = 0; r < RA; ++r) nextA[r] = zeroQuad<T>();
    Walk at = walkA;
#pragma unroll
    for (int e = 0; e < (quads ? 1 : 4); ++e) {
      if (at.h < h.taps) {
        const int down = at.h * h.step, right = at.w * w.step;
        const std::int64_t tap = down * p.source.h + right * p.source.w + at.c * p.source.c;
#pragma unroll
        for (int r = 0; r < RA; ++r)
          if (inside(top[r], down, h.in) && inside(left[r], right, w.in)) {
            if constexpr (quads) {
              nextA[r] = loadQuad(p.source.data + base[r] + tap);
              if (Counted && at.c + 4 > active) {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                  if (at.c + i >= active) nextA[r].v[i] = T(0);
              }
            } else
              nextA[r].v[e] = p.source.data[base[r] + tap];
          }
      }
      if constexpr (!quads) at.advance(1, depth, w.taps);
    }
    walkA.advance(BK, depth, w.taps);
    at = walkB;
#pragma unroll
    for (int r = 0; r < RB; ++r) {
      nextB[r] = zeroQuad<T>();
      if (insideB && at.h < h.taps) {
        const int tap = (h.firstTap + at.h * h.tapStep) * p.w.kernel + w.firstTap + at.w * w.tapStep;
        nextB[r] = loadQuad(weight + (std::int64_t{tap} * p.depth + at.c) * p.padded);
      }
      if (r + 1 < RB) at.advance(depthApart, depth, w.taps);
    }
    walkB.advance(BK, depth, w.taps);
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int r = 0; r < RA; ++r)
#pragma unroll
      for (int e = 0; e < 4; ++e) shared.a[buffer][quad * 4 + e][rowA + r * rowsApart] = nextA[r].v[e];
#pragma unroll
    for (int r = 0; r < RB; ++r) storeQuad(&shared.b[buffer][rowB + r * depthApart][colB], nextB[r]);
  };

  const typename Tile::Place at = Tile::place();
  typename Tile::Sums sums;
  sums.clear();
  if (steps > 0) {
    load();
    store(0);
    __syncthreads();
  }
  for (int s = 0; s < steps; ++s) {
    if (s + 1 < steps) load();
    sums.add(shared.a[s & 1], shared.b[s & 1], at);
    if (s + 1 < steps) store((s + 1) & 1);
    __syncthreads();
  }

  const int H = p.backward ? p.h.x : p.h.y, W = p.backward ? p.w.x : p.w.y;
#pragma unroll
  for (int j = 0; j < Tile::kColRuns; ++j) {
    const int col = firstCol + at.col + j * (BN / Tile::kColRuns);
    if (col >= p.columns) continue;
    const int f = group * p.columns + col;
    typename Epilogue<T>::Column of[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) of[e] = p.epilogue.column(col + e < p.columns ? f + e : f);
#pragma unroll
    for (int i = 0; i < 4 * Tile::kRowRuns; ++i) {
      const int row = Tile::row(at, i);
      if (row >= rest) continue;
      int n, y, x;
      sample(row, n, y, x);
      y = h.outStart + y * h.outStep;
      x = w.outStart + x * w.outStep;
      T* const out = p.out + ((std::int64_t{n} * H + y) * W + x) * p.channels + f;
      const T* const beside =
          p.residual.data + (n * p.residual.n + y * p.residual.h + x * p.residual.w + f * p.residual.c);
      Quad<T> v = sums.of[i][j], add = zeroQuad<T>();
      if (p.epilogue.residual) {
        if (p.residualQuads) {
          add = loadQuad(beside);
        } else {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (col + e < p.columns) add.v[e] = beside[e * p.residual.c];
        }
      }
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v.v[e] = !Counted || col + e < columns ? p.epilogue.apply(v.v[e], of[e], add.v[e]) : T(0);
      if (p.storeQuads) {
        storeQuad(out, v);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (col + e < p.columns) out[e] = v.v[e];
      }
    }
  }
}

// Multiplies all pixels of all classes and groups. quads: the source can be read four channels at a time.
template <class T>
void launchImplicit(const Implicit<T>& p, bool quads, int groups);

}  // namespace gyrus::cuda
