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

// Taps per axis that 16 bits of a mark can tell.
constexpr int kQuadTaps = 15;
constexpr int kNoWeight = -2147483647 - 1;

// In shared memory, for one thread can find what all read, and these numbers would cost every thread the registers of
// many sums.
template <class Tile, bool quads>
struct ImplicitShared : Tile::Buffers {
  using T = typename Tile::T;
  // A pixel to gather by quads: where its tap (0, 0) would lie in the source, and which taps lie inside, rows below,
  // columns above.
  struct alignas(8) Pixel {
    int base;
    unsigned seen;
  };
  // Four channels of a tap: where they lie seen from a pixel's tap (0, 0), the tap's marks, and how many are active.
  struct alignas(16) Four {
    int offset;
    unsigned marks;
    int active;
  };
  Pixel pixels[quads ? Tile::kRows : 1];
  Four fours[2][quads ? Tile::kDepth / 4 : 1];  // of two steps
  int weights[2][quads ? Tile::kDepth : 1];     // where their rows of weights lie; kNoWeight beyond the last
  int firstPixel, rest;                         // of the class, and how many the block has
  int firstCol;                                 // of the group
  int active, columns;                          // what of the group is active
  const T *source, *weight;                     // the group's, from the first pixel's sample and the first column on
  int firstSample;
  int depth, numbers;  // of a tap, and of all
  Axis h, w;
  std::uint32_t factorH, shiftH, factorW, shiftW;  // that divide by h.out and w.out

  __device__ void divideBy(const Divisor32& byH, const Divisor32& byW) {
    factorH = byH.factor;
    shiftH = byH.shift;
    factorW = byW.factor;
    shiftW = byW.shift;
  }
  // Sample, row and column of the block's pixel `row`.
  __device__ __forceinline__ void place(int row, int& n, int& i, int& j) const {
    const auto m = static_cast<unsigned>(firstPixel + row);
    const unsigned line = (__umulhi(m, factorW) + m) >> shiftW, number = (__umulhi(line, factorH) + line) >> shiftH;
    j = static_cast<int>(m - line * static_cast<unsigned>(w.out));
    i = static_cast<int>(line - number * static_cast<unsigned>(h.out));
    n = static_cast<int>(number);
  }
};

// Bit t: tap t of a pixel whose first tap meets `first` lies inside.
__device__ __forceinline__ unsigned tapsInside(const Axis& a, int first) {
  unsigned seen = 0;
  for (int t = 0; t < a.taps; ++t) seen |= static_cast<unsigned>(inside(first, t * a.step, a.in)) << t;
  return seen;
}

// Block (tile, class, group); the tiles of the same pixels follow each other, so that L2 holds what they gather.
template <class T, class Tile, bool quads, bool Counted>
__global__ void __launch_bounds__(Tile::kThreads,
                                  quads ? blocksTogether(Tile::kBlocks, sizeof(ImplicitShared<Tile, quads>)) : 1)
    implicitKernel(const Implicit<T> p) {
  constexpr int BM = Tile::kRows, BN = Tile::kCols, BK = Tile::kDepth;
  using Offset = std::conditional_t<quads, int, std::int64_t>;
  using Shared = ImplicitShared<Tile, quads>;
  GYRUS_SHARED(Shared, shared);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    const int cls = static_cast<int>(blockIdx.y) + p.firstClass, classesW = p.backward ? p.w.classes() : 1;
    shared.h = p.backward ? backwardAxis(p.h, cls / classesW) : forwardAxis(p.h);
    shared.w = p.backward ? backwardAxis(p.w, cls % classesW) : forwardAxis(p.w);
    shared.divideBy(p.byH[static_cast<int>(p.byH[0].d) == shared.h.out ? 0 : 1],
                    p.byW[static_cast<int>(p.byW[0].d) == shared.w.out ? 0 : 1]);
    const int block = static_cast<int>(blockIdx.x) / p.tilesAcross;
    shared.firstCol = (static_cast<int>(blockIdx.x) - block * p.tilesAcross) * BN;
    shared.firstPixel = block * BM;
    const int left = p.samples * shared.h.out * shared.w.out - shared.firstPixel;
    shared.rest = left < BM ? left : BM;
    shared.active = Counted ? static_cast<int>(activeOf(p.depthCount, p.depth)) : p.depth;
    shared.columns = Counted ? static_cast<int>(activeOf(p.columnCount, p.columns)) : p.columns;
    // Weights of what fills a quad up are 0.
    shared.depth = Counted && quads ? (shared.active + 3) / 4 * 4 : shared.active;
    const bool idle = Counted && shared.firstCol >= shared.columns;
    const std::int64_t group = std::int64_t{blockIdx.z} + p.firstGroup;
    int unusedI, unusedJ;
    shared.place(0, shared.firstSample, unusedI, unusedJ);
    shared.source = p.source.data + (shared.firstSample * p.source.n + group * p.depth * p.source.c);
    shared.weight = p.weight.data + (group * p.weight.group + shared.firstCol);
    shared.numbers = idle ? 0 : shared.h.taps * shared.w.taps * shared.depth;
  }
  __syncthreads();
  if (shared.rest <= 0) return;  // a class smaller than the first
  const Axis &h = shared.h, &w = shared.w;

  // A: a quad of channels of a few pixels. Pixels beyond the last have no taps.
  constexpr int RA = BM * BK / 4 / Tile::kThreads, quadsDeep = BK / 4, rowsApart = Tile::kThreads / quadsDeep;
  static_assert(RA * rowsApart == BM && (Tile::kTurns == 1 || rowsApart % 16 == 0));
  const int quad = thread % quadsDeep, rowA = thread / quadsDeep;
  const auto sourceH = static_cast<Offset>(p.source.h), sourceW = static_cast<Offset>(p.source.w);
  // Where the first tap of a pixel meets the source, and lies seen from `source`.
  const auto meet = [&](int row, int& top, int& left, Offset& base) {
    int n, i, j;
    shared.place(row, n, i, j);
    top = i * h.move + h.start;
    left = j * w.move + w.start;
    base = static_cast<Offset>(p.source.n) * (n - shared.firstSample) + top * sourceH + left * sourceW;
  };
  constexpr int each = quads ? 1 : RA;
  Offset base[each];
  int top[each], left[each];
  if constexpr (quads) {
    for (int row = thread; row < BM; row += Tile::kThreads) {
      typename Shared::Pixel pixel{0, 0};
      if (row < shared.rest) {
        meet(row, top[0], left[0], pixel.base);
        pixel.seen = tapsInside(h, top[0]) | tapsInside(w, left[0]) << 16;
      }
      shared.pixels[row] = pixel;
    }
  } else {
#pragma unroll
    for (int r = 0; r < RA; ++r) {
      base[r] = 0;
      top[r] = left[r] = kOutside;
      if (rowA + r * rowsApart < shared.rest) meet(rowA + r * rowsApart, top[r], left[r], base[r]);
    }
  }
  // B: quads of columns of a few numbers of the depth.
  constexpr int quadsWide = BN / 4, depthApart = Tile::kThreads / quadsWide, RB = (BK + depthApart - 1) / depthApart;
  static_assert(depthApart * quadsWide == Tile::kThreads && (RB == 1 || RB * depthApart == BK));
  const int rowB = thread / quadsWide, colB = thread % quadsWide * 4;
  const bool insideB = shared.firstCol + colB < p.weight.columns && rowB < BK;
  const auto weightTap = static_cast<Offset>(p.weight.tap), weightChannel = static_cast<Offset>(p.weight.channel);
  const auto numberOfTap = [&](int row, int column) {
    return (h.firstTap + row * h.tapStep) * p.w.kernel + w.firstTap + column * w.tapStep;
  };
  // By quads, a warp finds where a step's rows of weights lie, and another its fours.
  static_assert(BK <= 32 && Tile::kThreads >= 64);
  const auto place = [&](int step) {
    const int k = thread < 32 ? thread : (thread - 32) * 4, number = step * BK + k;
    if (k >= BK) return;
    const int tap = number < shared.numbers ? number / shared.depth : 0, row = tap / w.taps,
              column = tap - row * w.taps;
    const int channel = number - tap * shared.depth;
    if (thread < 32)
      shared.weights[step & 1][k] = number < shared.numbers ? numberOfTap(row, column) * static_cast<int>(weightTap) +
                                                                  channel * static_cast<int>(weightChannel)
                                                            : kNoWeight;
    else  // a mark that no pixel has where the depth ends
      shared.fours[step & 1][k / 4] = {static_cast<int>(row * h.step * sourceH + column * w.step * sourceW + channel),
                                       number < shared.numbers ? 1u << row | 0x10000u << column : 0x8000u,
                                       shared.active - channel};
  };
  Walk walkA{0, 0, 0}, walkB{0, 0, 0};
  if (!quads && shared.numbers > 0) {
    walkA.advance(quad * 4, shared.depth, w.taps);
    walkB.advance(rowB, shared.depth, w.taps);
  }

  Quad<T> nextA[RA];
  StagedQuad<T, kAsyncQuads> nextB[RB];
  const bool storesB = RB * depthApart == BK || rowB < BK;
  const auto load = [&](int step) {
    if constexpr (quads) {
      const typename Shared::Four four = shared.fours[step & 1][quad];
#pragma unroll
      for (int r = 0; r < RA; ++r) {
        const typename Shared::Pixel pixel = shared.pixels[rowA + r * rowsApart];
        nextA[r] = zeroQuad<T>();
        if ((pixel.seen & four.marks) == four.marks) nextA[r] = loadQuad(shared.source + (pixel.base + four.offset));
      }
#pragma unroll
      for (int r = 0; r < RB; ++r) {
        const int at = insideB ? shared.weights[step & 1][rowB + r * depthApart] : kNoWeight;
        const bool there = at != kNoWeight;
        if (storesB)
          nextB[r].start(&shared.b[step & 1][rowB + r * depthApart][colB],
                         there ? shared.weight + (colB + at) : p.weight.data, there);
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
            if (inside(top[r], down, h.in) && inside(left[r], right, w.in))
              nextA[r].v[e] = shared.source[base[r] + tap];
        }
        at.advance(1, shared.depth, w.taps);
      }
      walkA.advance(BK, shared.depth, w.taps);
      at = walkB;
#pragma unroll
      for (int r = 0; r < RB; ++r) {
        const bool there = insideB && at.h < h.taps;
        const Offset from = numberOfTap(at.h, at.w) * weightTap + at.c * weightChannel;
        if (storesB)
          nextB[r].start(&shared.b[step & 1][rowB + r * depthApart][colB],
                         there ? shared.weight + (colB + from) : p.weight.data, there);
        if (r + 1 < RB) at.advance(depthApart, shared.depth, w.taps);
      }
      walkB.advance(BK, shared.depth, w.taps);
    }
    commitCopies();
  };
  const auto store = [&](int buffer) {
    const int active = Counted && quads ? shared.fours[buffer][quad].active : 4;
#pragma unroll
    for (int r = 0; r < RA; ++r)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        shared.a[buffer][quad * 4 + e][Tile::swizzled(quad * 4, rowA) + r * rowsApart] =
            e < active ? nextA[r].v[e] : T(0);
#pragma unroll
    for (int r = 0; r < RB; ++r)
      if (storesB) nextB[r].finish(&shared.b[buffer][rowB + r * depthApart][colB]);
    waitCopies<0>();
  };

  const typename Tile::Place at = Tile::place();
  typename Tile::Sums sums;
  sums.clear();
  if (shared.numbers > 0) {
    if constexpr (quads) {
      place(0);
      place(1);
      __syncthreads();
    }
    load(0);
    store(0);
    __syncthreads();
  }
  for (int s = 0; s * BK < shared.numbers; ++s) {
    const bool more = (s + 1) * BK < shared.numbers;
    if (more) load(s + 1);
    sums.add(shared.a[s & 1], shared.b[s & 1], at);
    if (more) {
      store((s + 1) & 1);
      if constexpr (quads) place(s + 2);
    }
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
    const int col = shared.firstCol + Tile::col(at, (part.first + q) / rows), firstRow = (part.first + q) % rows;
    if (col >= p.columns) continue;
    const int f = (static_cast<int>(blockIdx.z) + p.firstGroup) * p.columns + col;
    typename Epilogue<T>::Column of[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) of[e] = p.epilogue.column(col + e < p.columns ? f + e : f);
#pragma unroll
    for (int i = 0; i < some; ++i) {
      const int row = Tile::row(at, firstRow + i);
      if (row >= shared.rest) continue;
      std::int64_t pixel = shared.firstPixel + row;
      Quad<T> v = part.of[q + i], add = zeroQuad<T>();
      if (!inOrder || p.epilogue.residual) {
        int n, y, x;
        shared.place(row, n, y, x);
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
        v.v[e] = !Counted || col + e < shared.columns ? p.epilogue.apply(v.v[e], of[e], add.v[e]) : T(0);
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
