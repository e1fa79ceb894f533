// The gradient of a convolution's weights as a product over all pixels of the output: (outputs, pixels) times (pixels,
// (taps, channels)), both sides gathered straight from the NHWC tensors. The pixels are split among blocks, whose sums
// go to scratch and are added up in the order of the splits.
#pragma once
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

// How the pixels of some samples, `picture` each and `atOnce` samples in a launch, are split.
struct GradWeightSplits {
  int total;   // 0: there are no pixels
  int pixels;  // of a split, a multiple of `depth`
};
// blocks: of one split; sums: elements that one leaves.
GradWeightSplits splitPixels(std::int64_t samples, std::int64_t atOnce, std::int64_t picture, std::int64_t blocks,
                             std::int64_t sums, std::int64_t depth);

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

// Block (tile, split, group).
template <class T, class Tile, bool quads>
__global__ void __launch_bounds__(Tile::kThreads, quads ? Tile::kBlocks : 1) gradWeightKernel(const GradWeight<T> p) {
  constexpr int BM = Tile::kRows, BN = Tile::kCols, BK = Tile::kDepth;
  GYRUS_SHARED(typename Tile::Buffers, shared);
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

  constexpr int RA = Tile::kQuadsA, wideA = BM / 4, apartA = Tile::kThreads / wideA;
  constexpr int RB = Tile::kQuadsB, wideB = BN / 4, apartB = Tile::kThreads / wideB;
  const int rowA = thread / wideA, colA = thread % wideA * 4, rowB = thread / wideB, colB = thread % wideB * 4;
  const std::int64_t output = (std::int64_t{group} * p.outputs + firstRow + colA) * p.g.c;
  const int outputsLeft = outputs - firstRow - colA;

  // Where the thread's columns lie seen from a pixel. A column beyond the last is outside of every picture.
  constexpr int each = quads ? 1 : 4;
  int down[each], right[each];
  std::int64_t tap[each];
#pragma unroll
  for (int e = 0; e < each; ++e) {
    const int col = firstCol + colB + e;
    down[e] = right[e] = kOutside;
    tap[e] = 0;
    if (col < width) {
      const int number = col / channels, channel = col - number * channels, row = number / p.w.kernel;
      down[e] = row * p.h.dilation - p.h.pad;
      right[e] = (number - row * p.w.kernel) * p.w.dilation - p.w.pad;
      tap[e] = down[e] * p.x.h + right[e] * p.x.w + (std::int64_t{group} * p.channels + channel) * p.x.c;
    }
  }
  const auto place = [&](int pixel, int& n, int& i, int& j) {
    const auto m = static_cast<unsigned>(pixel), line = p.byW.over(m), sample = p.byH.over(line);
    j = static_cast<int>(m - line * p.byW.d);
    i = static_cast<int>(line - sample * p.byH.d);
    n = static_cast<int>(sample);
  };

  Quad<T> nextA[RA], nextB[RB];
  const auto load = [&](int first) {
#pragma unroll
    for (int r = 0; r < RA; ++r) {
      nextA[r] = zeroQuad<T>();
      const int pixel = first + rowA + r * apartA;
      if (pixel >= to || outputsLeft <= 0) continue;
      int n, i, j;
      place(pixel, n, i, j);
      const T* const g = p.g.data + (n * p.g.n + i * p.g.h + j * p.g.w + output);
      if constexpr (quads) {
        nextA[r] = loadQuad(g);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (e < outputsLeft) nextA[r].v[e] = g[e * p.g.c];
      }
    }
#pragma unroll
    for (int r = 0; r < RB; ++r) {
      nextB[r] = zeroQuad<T>();
      const int pixel = first + rowB + r * apartB;
      if (pixel >= to) continue;
      int n, i, j;
      place(pixel, n, i, j);
      i *= p.h.stride;
      j *= p.w.stride;
      const T* const x = p.x.data + (n * p.x.n + i * p.x.h + j * p.x.w);
#pragma unroll
      for (int e = 0; e < each; ++e)
        if (inside(down[e], i, p.h.x) && inside(right[e], j, p.w.x)) {
          if constexpr (quads)
            nextB[r] = loadQuad(x + tap[e]);
          else
            nextB[r].v[e] = x[tap[e]];
        }
    }
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int r = 0; r < RA; ++r) storeQuad(&shared.a[buffer][rowA + r * apartA][colA], nextA[r]);
#pragma unroll
    for (int r = 0; r < RB; ++r) storeQuad(&shared.b[buffer][rowB + r * apartB][colB], nextB[r]);
  };

  const typename Tile::Place at = Tile::place();
  typename Tile::Sums sums;
  sums.clear();
  load(from);
  store(0);
  __syncthreads();
  int buffer = 0;
  for (int first = from; first < to; first += BK) {
    const bool more = first + BK < to;
    if (more) load(first + BK);
    sums.add(shared.a[buffer], shared.b[buffer], at);
    buffer ^= 1;
    if (more) store(buffer);
    __syncthreads();
  }

  T* const out = p.out + blockIdx.y * p.split + std::int64_t{group} * p.outputs * p.width;
#pragma unroll
  for (int i = 0; i < 4 * Tile::kRowRuns; ++i) {
    const int row = firstRow + Tile::row(at, i);
    if (row >= outputs) continue;
#pragma unroll
    for (int j = 0; j < Tile::kColRuns; ++j) {
      const int col = firstCol + at.col + j * (BN / Tile::kColRuns);
      // The places of inactive channels stay in between.
      const auto target = [&](int c) { return counted ? c + c / channels * (p.channels - channels) : c; };
      T* const sum = out + std::int64_t{row} * p.width;
      if (p.storeQuads && (quads || !counted)) {
        if (col < width) storeQuad(sum + target(col), sums.of[i][j]);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (col + e < width) sum[target(col + e)] = sums.of[i][j].v[e];
      }
    }
  }
}

// dw <- g, x of all groups.
template <class T>
void launchGradWeight(const Args& args, const View& dw, const Windows& windows, const View& g, const View& x,
                      const Lists& lists);

}  // namespace gyrus::cuda
