// The gradient of a convolution's weights as a product over all pixels of the output: (outputs, pixels) times (pixels,
// (taps, channels)), both sides gathered straight from the NHWC tensors. The pixels are split among blocks, whose sums
// go to scratch and are added up in the order of the splits.
#pragma once
#include <limits>

#include "cuda/conv/tile.cuh"
#include "cuda/conv/window.cuh"
#include "cuda/lists.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

// Sums of splits: element (output, tap, channel) of split s lies at s*split + output*output + tap*tap + channel.
template <class T>
struct WeightSums {
  T* data;
  int splits;
  std::int64_t split, output, tap;
};

// dw [F, KH, KW, C/groups] contiguous <- sums, by the lists of what is in use; zero elsewhere.
template <class T>
void finishGradWeight(const Args& args, const View& dw, const WeightSums<T>& sums, const Lists& lists, int outputs,
                      int channels);

// How the pixels of some samples, `picture` each and `atOnce` samples in a launch, are split into about `wanted`
// blocks.
struct GradWeightSplits {
  int total;   // 0: there are no pixels
  int pixels;  // of a split, a multiple of `depth`
};
// blocks: of one split; sums: elements that one leaves.
GradWeightSplits splitPixels(std::int64_t samples, std::int64_t atOnce, std::int64_t picture, std::int64_t wanted,
                             std::int64_t blocks, std::int64_t sums, std::int64_t depth);

template <class T>
struct GradWeight {
  WindowAxis h, w;
  Divisor32 byH, byW;  // of the output
  Pixels<const T> g, x;
  int outputs, channels;  // per group
  int width;              // taps * channels
  int pixels, perSplit;   // perSplit: a multiple of the tile's depth
  T* out;
  std::int64_t split;                     // from the sums of one split to the next
  const int *outputCount, *channelCount;  // count the active, null for all; sums of the others are not made
  bool storeQuads;
  int tilesAcross, firstGroup;
};

// The pixels of two steps: found by one thread each and read by all, for it takes two divisions. Offsets are from the
// first sample of the split.
template <class Tile, class Offset>
struct GradWeightShared : Tile::Buffers {
  using T = typename Tile::T;
  struct alignas(16) Pixel {
    Offset x;  // where its window's first tap would lie without padding
    int i, j;  // and in which row and column; kNowhere beyond the last
    Offset g;  // none() beyond the last
  };
  Pixel pixels[2][Tile::kDepth];
  int firstRow, firstCol, outputs, channels, width;
  int firstSample, to;  // of the split: its first pixel's sample, and the pixel behind its last
  const T *g, *x;       // the group's, from that sample on
  __device__ static constexpr Offset none() { return std::numeric_limits<Offset>::min(); }
};
constexpr int kNowhere = -(1 << 30);  // outside with whatever tap, kOutside too

// Block (tile, split, group).
template <class T, class Tile, bool quads>
__global__ void __launch_bounds__(Tile::kThreads,
                                  quads ? blocksTogether(Tile::kBlocks, sizeof(GradWeightShared<Tile, int>)) : 1)
    gradWeightKernel(const GradWeight<T> p) {
  constexpr int BM = Tile::kRows, BN = Tile::kCols, BK = Tile::kDepth;
  using Offset = std::conditional_t<quads, int, std::int64_t>;
  using Shared = GradWeightShared<Tile, Offset>;
  GYRUS_SHARED(Shared, shared);
  const int thread = static_cast<int>(threadIdx.x), group = static_cast<int>(blockIdx.z) + p.firstGroup;
  const int firstRow = static_cast<int>(blockIdx.x) / p.tilesAcross * BM;
  const int firstCol = static_cast<int>(blockIdx.x) % p.tilesAcross * BN;
  const bool counted = p.outputCount || p.channelCount;
  const int outputs = static_cast<int>(activeOf(p.outputCount, p.outputs));
  int channels = static_cast<int>(activeOf(p.channelCount, p.channels)), width = p.width;
  if (counted) {
    if (quads) channels = (channels + 3) / 4 * 4;
    width = p.h.kernel * p.w.kernel * channels;
    if (firstRow >= outputs || firstCol >= width) return;
  }
  const int from = static_cast<int>(blockIdx.y) * p.perSplit;
  const int to = p.pixels - from < p.perSplit ? p.pixels : from + p.perSplit;
  if (thread == 0) {
    shared.firstRow = firstRow;
    shared.firstCol = firstCol;
    shared.outputs = outputs;
    shared.channels = channels;
    shared.width = width;
    shared.firstSample = static_cast<int>(p.byH.over(p.byW.over(static_cast<unsigned>(from))));
    shared.to = to;
    shared.g = p.g.data + (shared.firstSample * p.g.n + (std::int64_t{group} * p.outputs + firstRow) * p.g.c);
    shared.x = p.x.data + (shared.firstSample * p.x.n + std::int64_t{group} * p.channels * p.x.c);
  }
  __syncthreads();
  const auto place = [&](int first, int step) {
    if (thread >= BK) return;
    const int pixel = first + thread;
    typename Shared::Pixel at{0, kNowhere, kNowhere, Shared::none()};
    if (pixel < shared.to) {
      const auto m = static_cast<unsigned>(pixel), line = p.byW.over(m), sample = p.byH.over(line);
      const auto j = static_cast<int>(m - line * p.byW.d), i = static_cast<int>(line - sample * p.byH.d);
      const int n = static_cast<int>(sample) - shared.firstSample;
      at.g = n * static_cast<Offset>(p.g.n) + i * static_cast<Offset>(p.g.h) + j * static_cast<Offset>(p.g.w);
      at.i = i * p.h.stride;
      at.j = j * p.w.stride;
      at.x = n * static_cast<Offset>(p.x.n) + at.i * static_cast<Offset>(p.x.h) + at.j * static_cast<Offset>(p.x.w);
    }
    shared.pixels[step % 2][thread] = at;
  };

  constexpr int wideA = BM / 4, apartA = Tile::kThreads / wideA, RA = (BK + apartA - 1) / apartA;
  constexpr int wideB = BN / 4, apartB = Tile::kThreads / wideB, RB = BK / apartB;
  static_assert(apartA * wideA == Tile::kThreads && (RA == 1 || RA * apartA == BK));
  static_assert(apartB * wideB == Tile::kThreads && RB * apartB == BK && BK <= Tile::kThreads);
  const int rowA = thread / wideA, colA = thread % wideA * 4, rowB = thread / wideB, colB = thread % wideB * 4;
  const bool storesA = RA * apartA == BK || rowA < BK;
  const int outputsLeft = storesA ? outputs - firstRow - colA : 0;

  // Where the thread's columns lie seen from a pixel. A column beyond the last is outside of every picture.
  constexpr int each = quads ? 1 : 4;
  int down[each], right[each];
  Offset x[each];
#pragma unroll
  for (int e = 0; e < each; ++e) {
    const int col = firstCol + colB + e;
    down[e] = right[e] = kOutside;
    x[e] = 0;
    if (col < width) {
      const int number = col / channels, channel = col - number * channels, row = number / p.w.kernel;
      down[e] = row * p.h.dilation - p.h.pad;
      right[e] = (number - row * p.w.kernel) * p.w.dilation - p.w.pad;
      x[e] = static_cast<Offset>(down[e] * p.x.h + right[e] * p.x.w + channel * p.x.c);
    }
  }

  StagedQuad<T, quads && kAsyncQuads> nextA[RA], nextB[RB];
  const auto load = [&](int step) {
    const int buffer = step % 2;
#pragma unroll
    for (int r = 0; r < RA; ++r) {
      const int row = rowA + r * apartA;
      if (!storesA) continue;
      const Offset at = outputsLeft > 0 ? shared.pixels[buffer][row].g : Shared::none();
      const bool there = at != Shared::none();
      const T* const pixel = there ? shared.g + (at + colA * static_cast<Offset>(p.g.c)) : p.g.data;
      if constexpr (quads) {
        nextA[r].start(&shared.a[buffer][row][Tile::swizzled(row, colA)], pixel, there);
      } else {
        nextA[r].held = zeroQuad<T>();
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (there && e < outputsLeft) nextA[r].held.v[e] = pixel[e * p.g.c];
      }
    }
#pragma unroll
    for (int r = 0; r < RB; ++r) {
      const int row = rowB + r * apartB;
      const typename Shared::Pixel pixel = shared.pixels[buffer][row];
      const auto there = [&](int e) { return inside(down[e], pixel.i, p.h.x) && inside(right[e], pixel.j, p.w.x); };
      if constexpr (quads) {
        nextB[r].start(&shared.b[buffer][row][colB], there(0) ? shared.x + (x[0] + pixel.x) : p.x.data, there(0));
      } else {
        nextB[r].held = zeroQuad<T>();
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (there(e)) nextB[r].held.v[e] = shared.x[x[e] + pixel.x];
      }
    }
    commitCopies();
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int r = 0; r < RA; ++r) {
      const int row = rowA + r * apartA;
      if (storesA) nextA[r].finish(&shared.a[buffer][row][Tile::swizzled(row, colA)]);
    }
#pragma unroll
    for (int r = 0; r < RB; ++r) nextB[r].finish(&shared.b[buffer][rowB + r * apartB][colB]);
    waitCopies<0>();
  };

  const typename Tile::Place at = Tile::place();
  typename Tile::Sums sums;
  sums.clear();
  place(from, 0);
  place(from + BK, 1);
  __syncthreads();
  load(0);
  store(0);
  __syncthreads();
  for (int first = from, step = 0; first < shared.to; first += BK, ++step) {
    const bool more = first + BK < shared.to;
    if (more) load(step + 1);
    sums.add(shared.a[step % 2], shared.b[step % 2], at);
    if (more) {
      store((step + 1) % 2);
      place(first + 2 * BK, step);
    }
    __syncthreads();
  }

  const typename Tile::Part part = sums.collected(shared, at);
  constexpr int rows = 4 * Tile::kRowRuns;
  T* const out = p.out + blockIdx.y * p.split + std::int64_t{group} * p.outputs * p.width;
#pragma unroll
  for (int q = 0; q < Tile::kPart; ++q) {
    const int row = shared.firstRow + Tile::row(at, (part.first + q) % rows);
    const int col = shared.firstCol + Tile::col(at, (part.first + q) / rows);
    if (row >= shared.outputs) continue;
    // The places of inactive channels stay in between.
    const auto target = [&](int c) { return counted ? c + c / shared.channels * (p.channels - shared.channels) : c; };
    T* const sum = out + std::int64_t{row} * p.width;
    if (p.storeQuads && (quads || !counted)) {
      if (col < shared.width) storeQuad(sum + target(col), part.of[q]);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (col + e < shared.width) sum[target(col + e)] = part.of[q].v[e];
    }
  }
}

// dw <- g, x of all groups.
template <class T>
void launchGradWeight(const Args& args, const View& dw, const Windows& windows, const View& g, const View& x,
                      const Lists& lists);

}  // namespace gyrus::cuda
