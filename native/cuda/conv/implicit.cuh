// Convolution and the gradient of its input as products whose left side is never stored: pixels x (taps, channels)
// times (taps, channels) x channels. A block gathers its rows of pixels straight from the NHWC tensor.
#pragma once
#include "cuda/conv/prepare.cuh"
#include "cuda/conv/tile.cuh"
#include "cuda/conv/window.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/lists.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

template <class T>
struct Implicit {
  WindowAxis h, w;
  bool backward;
  int samples;
  Pixels<const T> source;
  int depth;                            // channels of the source per group
  const int *depthCount, *columnCount;  // count the active of both, null for all; then there is one group
  DepthRows<T> weight;
  T* out;        // [samples, H, W, channels], contiguous
  int columns;   // channels of the output per group
  int channels;  // of the output
  bool storeQuads;
  Divisor32 byH[2], byW[2];  // of the classes' extents: that of the first, and one less
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
  std::uint32_t factorH, shiftH, factorW, shiftW;  // that divide by h.out and w.out

  __device__ void divideBy(const Divisor32& byH, const Divisor32& byW) {
    factorH = byH.factor;
    shiftH = byH.shift;
    factorW = byW.factor;
    shiftW = byW.shift;
  }
  // Sample, row and column of pixel m of the class.
  __device__ __forceinline__ void place(unsigned m, int& n, int& i, int& j) const {
    const unsigned line = (__umulhi(m, factorW) + m) >> shiftW, number = (__umulhi(line, factorH) + line) >> shiftH;
    j = static_cast<int>(m - line * static_cast<unsigned>(w.out));
    i = static_cast<int>(line - number * static_cast<unsigned>(h.out));
    n = static_cast<int>(number);
  }
};

// Taps per axis that a thread's 16 bits of each can tell.
constexpr int kQuadTaps = 15;

// The pixels a thread gathers: where tap (0, 0) of one would lie in the source, and which taps lie inside. Quads count
// in 32 bits and mark the taps, rows below, columns above.
template <bool quads>
struct Gathered {
  int base;
  unsigned seen;
};
template <>
struct Gathered<false> {
  std::int64_t base;
  int top, left;
};
// Bit t: tap t of a pixel whose first tap meets `first` lies inside.
__device__ __forceinline__ unsigned tapsInside(const Axis& a, int first) {
  unsigned seen = 0;
  for (int t = 0; t < a.taps; ++t) seen |= static_cast<unsigned>(inside(first, t * a.step, a.in)) << t;
  return seen;
}

// Block (tile, class, group); the tiles of the same pixels follow each other, so that L2 holds what they gather.
template <class T, class Tile, bool quads, bool Counted>
__global__ void __launch_bounds__(Tile::kThreads, quads ? Tile::kBlocks : 1) implicitKernel(const Implicit<T> p) {
  constexpr int BM = Tile::kRows, BN = Tile::kCols, BK = Tile::kDepth;
  using Offset = std::conditional_t<quads, int, std::int64_t>;
  GYRUS_SHARED(ImplicitShared<Tile>, shared);
  const int cls = static_cast<int>(blockIdx.y) + p.firstClass, group = static_cast<int>(blockIdx.z) + p.firstGroup;
  const int classesW = p.backward ? p.w.classes() : 1;
  if (threadIdx.x == 0) {
    shared.h = p.backward ? backwardAxis(p.h, cls / classesW) : forwardAxis(p.h);
    shared.w = p.backward ? backwardAxis(p.w, cls % classesW) : forwardAxis(p.w);
    shared.divideBy(p.byH[static_cast<int>(p.byH[0].d) == shared.h.out ? 0 : 1],
                    p.byW[static_cast<int>(p.byW[0].d) == shared.w.out ? 0 : 1]);
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
    shared.place(static_cast<unsigned>(firstPixel) + static_cast<unsigned>(row), n, i, j);
  };

  // A: a quad of channels of a few pixels. Pixels beyond the last have no taps.
  constexpr int RA = BM * BK / 4 / Tile::kThreads, quadsDeep = BK / 4, rowsApart = Tile::kThreads / quadsDeep;
  static_assert(RA * rowsApart == BM);
  const int quad = thread % quadsDeep, rowA = thread / quadsDeep;
  const auto sourceH = static_cast<Offset>(p.source.h), sourceW = static_cast<Offset>(p.source.w);
  int firstSample, unusedI, unusedJ;
  sample(0, firstSample, unusedI, unusedJ);
  const T* const source = p.source.data + (firstSample * p.source.n + std::int64_t{group} * p.depth * p.source.c);
  Gathered<quads> from[RA];
#pragma unroll
  for (int r = 0; r < RA; ++r) {
    const int row = rowA + r * rowsApart;
    from[r] = {};
    if constexpr (!quads) from[r].top = from[r].left = kOutside;
    if (row < rest) {
      int n, i, j;
      sample(row, n, i, j);
      const int top = i * h.move + h.start, left = j * w.move + w.start;
      from[r].base = static_cast<Offset>(p.source.n) * (n - firstSample) + top * sourceH + left * sourceW;
      if constexpr (quads) {
        from[r].seen = tapsInside(h, top) | tapsInside(w, left) << 16;
      } else {
        from[r].top = top;
        from[r].left = left;
      }
    }
  }
  const int steps =
      !Counted || firstCol < columns ? static_cast<int>((std::int64_t{h.taps} * w.taps * depth + BK - 1) / BK) : 0;
  // B: quads of columns of a few numbers of the depth.
  constexpr int quadsWide = BN / 4, depthApart = Tile::kThreads / quadsWide, RB = (BK + depthApart - 1) / depthApart;
  static_assert(depthApart * quadsWide == Tile::kThreads && (RB == 1 || RB * depthApart == BK));
  const int rowB = thread / quadsWide, colB = thread % quadsWide * 4;
  const bool insideB = firstCol + colB < p.weight.columns && rowB < BK;
  const T* const weight = p.weight.data + (group * p.weight.group + firstCol + colB);
  const auto weightTap = static_cast<Offset>(p.weight.tap), weightChannel = static_cast<Offset>(p.weight.channel);
  Walk walkA{0, 0, 0}, walkB{0, 0, 0};
  if (steps > 0) {
    walkA.advance(quad * 4, depth, w.taps);
    walkB.advance(rowB, depth, w.taps);
  }

  Quad<T> nextA[RA], nextB[RB];
  const auto load = [&] {
    if constexpr (quads) {
      // A bit that no pixel has where the depth ends.
      const unsigned bits = walkA.h < h.taps ? 1u << walkA.h | 0x10000u << walkA.w : 0x8000u;
      const int tap = walkA.h * h.step * sourceH + walkA.w * w.step * sourceW + walkA.c;
#pragma unroll
      for (int r = 0; r < RA; ++r) {
        nextA[r] = zeroQuad<T>();
        if ((from[r].seen & bits) == bits) nextA[r] = loadQuad(source + (from[r].base + tap));
        if constexpr (Counted) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (walkA.c + e >= active) nextA[r].v[e] = T(0);
        }
      }
    } else {
#pragma unroll
      for (int r = 0; r < RA; ++r) nextA[r] = zeroQuad<T>();
      Walk at = walkA;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (at.h < h.taps) {
          const int down = at.h * h.step, right = at.w * w.step;
          const Offset tap = down * sourceH + right * sourceW + at.c * p.source.c;
#pragma unroll
          for (int r = 0; r < RA; ++r)
            if (inside(from[r].top, down, h.in) && inside(from[r].left, right, w.in))
              nextA[r].v[e] = source[from[r].base + tap];
        }
        at.advance(1, depth, w.taps);
      }
    }
    walkA.advance(BK, depth, w.taps);
    Walk at = walkB;
#pragma unroll
    for (int r = 0; r < RB; ++r) {
      nextB[r] = zeroQuad<T>();
      if (insideB && at.h < h.taps) {
        const int tap = (h.firstTap + at.h * h.tapStep) * p.w.kernel + w.firstTap + at.w * w.tapStep;
        nextB[r] = loadQuad(weight + (tap * weightTap + at.c * weightChannel));
      }
      if (r + 1 < RB) at.advance(depthApart, depth, w.taps);
    }
    walkB.advance(BK, depth, w.taps);
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int r = 0; r < RA; ++r)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        shared.a[buffer][quad * 4 + e][Tile::swizzled(quad * 4, rowA + r * rowsApart)] = nextA[r].v[e];
#pragma unroll
    for (int r = 0; r < RB; ++r)
      if (RB * depthApart == BK || rowB < BK) storeQuad(&shared.b[buffer][rowB + r * depthApart][colB], nextB[r]);
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

  // All of a thread's columns, or the one run that its slice's part lies in.
  const typename Tile::Part part = sums.collected(shared, at);
  constexpr int rows = 4 * Tile::kRowRuns, some = Tile::kPart < rows ? Tile::kPart : rows;
  static_assert(rows % some == 0 && Tile::kPart % some == 0);
  const int H = p.backward ? p.h.x : p.h.y, W = p.backward ? p.w.x : p.w.y;
  const bool inOrder = h.outStep == 1 && w.outStep == 1;
#pragma unroll
  for (int q = 0; q < Tile::kPart; q += some) {
    const int col = firstCol + Tile::col(at, (part.first + q) / rows), firstRow = (part.first + q) % rows;
    if (col >= p.columns) continue;
    const int f = group * p.columns + col;
    typename Epilogue<T>::Column of[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) of[e] = p.epilogue.column(col + e < p.columns ? f + e : f);
#pragma unroll
    for (int i = 0; i < some; ++i) {
      const int row = Tile::row(at, firstRow + i);
      if (row >= rest) continue;
      std::int64_t pixel = firstPixel + row;
      Quad<T> v = part.of[q + i], add = zeroQuad<T>();
      if (!inOrder || p.epilogue.residual) {
        int n, y, x;
        sample(row, n, y, x);
        y = h.outStart + y * h.outStep;
        x = w.outStart + x * w.outStep;
        pixel = (std::int64_t{n} * H + y) * W + x;
        if (p.epilogue.residual) {
          const T* const beside =
              p.residual.data + (n * p.residual.n + y * p.residual.h + x * p.residual.w + f * p.residual.c);
          if (p.residualQuads) {
            add = loadQuad(beside);
          } else {
#pragma unroll
            for (int e = 0; e < 4; ++e)
              if (col + e < p.columns) add.v[e] = beside[e * p.residual.c];
          }
        }
      }
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v.v[e] = !Counted || col + e < columns ? p.epilogue.apply(v.v[e], of[e], add.v[e]) : T(0);
      T* const out = p.out + (pixel * p.channels + f);
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
void launchImplicit(Implicit<T> p, bool quads, int groups);

}  // namespace gyrus::cuda
