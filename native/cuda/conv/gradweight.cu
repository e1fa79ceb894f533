// The launches of the gradient of a convolution's weights.
#include <cmath>

#include "cuda/conv/gradweight.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kMostAcross = 65535;           // of a grid's second and third axis
constexpr int kMultiprocessors = 132;        // of a large GPU
constexpr std::int64_t kLeastPixels = 256;   // of a split
constexpr std::int64_t kMostSums = 1 << 26;  // elements of scratch for the sums of the splits

// Where the active are: by[i] = k where list[k] = i, else -1. One block.
__global__ void __launch_bounds__(256) invertKernel(int* by, const int* list, int n, int size) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += 256) by[i] = -1;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < n; i += 256)
    if (i == 0 || list[i] > list[i - 1]) by[list[i]] = i;
}

// The inverse of a list in use; null for none.
const int* inverse(const Args& args, const int* list, int n, std::int64_t size) {
  if (!list || size == 0) return nullptr;
  int* by = args.scratch->array<int>(size);
  GYRUS_LAUNCH(1, 256, 0, invertKernel, by, list, n, static_cast<int>(size));
  return by;
}

constexpr int kFinishThreads = 256, kFinishLines = 16;

// Each element by `lines` threads, 2^k <= kFinishLines: line l adds up the splits l, l + lines, ..., and the first adds
// the lines.
template <class T>
__global__ void __launch_bounds__(kFinishThreads)
    finishKernel(T* dw, std::int64_t n, int taps, int channels, WeightSums<T> sums, const int* outputs,
                 const int* inputs, const int* outputCount, const int* inputCount, int lines) {
  const std::int64_t active = activeOf(outputCount, n), activeInputs = activeOf(inputCount, channels);
  using Lines = T[kFinishThreads];
  GYRUS_SHARED(Lines, partial);
  const int thread = static_cast<int>(threadIdx.x), wide = kFinishThreads / lines, line = thread / wide;
  const std::int64_t step = std::int64_t{gridDim.x} * wide;
  for (std::int64_t first = std::int64_t{blockIdx.x} * wide; first < n; first += step) {
    const std::int64_t i = first + thread % wide;
    T sum = T(0);
    if (i < n) {
      const std::int64_t rest = i / channels, row = rest / taps;
      const auto channel = static_cast<int>(i - rest * channels), tap = static_cast<int>(rest - row * taps);
      const int from = outputs ? outputs[row] : static_cast<int>(row), of = inputs ? inputs[channel] : channel;
      if (from >= 0 && of >= 0 && row < active && channel < activeInputs) {
        const T* at = sums.data + (from * sums.output + tap * sums.tap + of + line * sums.split);
#pragma unroll 8
        for (int s = line; s < sums.splits; s += lines, at += lines * sums.split) sum += *at;
      }
    }
    partial[thread] = sum;
    __syncthreads();
    if (line == 0 && i < n) {
      for (int l = 1; l < lines; ++l) sum += partial[thread + l * wide];
      dw[i] = sum;
    }
    __syncthreads();
  }
}

template <class Tile, class T>
void launchTile(GradWeight<T> p, bool quads, int splits, int groups) {
  p.tilesAcross = (p.width + Tile::kCols - 1) / Tile::kCols;
  const int tiles = (p.outputs + Tile::kRows - 1) / Tile::kRows * p.tilesAcross;
  for (int first = 0; first < groups; first += kMostAcross) {
    p.firstGroup = first;
    const dim3 grid(tiles, splits, std::min(groups - first, kMostAcross));
    if (quads)
      GYRUS_LAUNCH(grid, Tile::kThreads, 0, (gradWeightKernel<T, Tile, true>), p);
    else
      GYRUS_LAUNCH(grid, Tile::kThreads, 0, (gradWeightKernel<T, Tile, false>), p);
  }
}

// Whether what a split gathers lies within 2^31 elements.
template <class T>
bool countsIn32(const GradWeight<T>& p, std::int64_t picture) {
  const auto extent = [&](const Pixels<const T>& v, double rows, double columns) {
    const double samples = double(p.perSplit) / double(picture) + 2;
    return samples * std::abs(double(v.n)) + rows * std::abs(double(v.h)) + columns * std::abs(double(v.w));
  };
  // A window's first tap may lie outside by the padding, and its last by the window.
  const auto reach = [](const WindowAxis& a) { return double(a.y) * a.stride + a.pad + double(a.kernel) * a.dilation; };
  return std::max(extent(p.g, p.h.y, p.w.y) + p.outputs, extent(p.x, reach(p.h), reach(p.w)) + p.channels) <
         2147483648.0;
}

// What a call's sizes come to with one tile.
struct Plan {
  GradWeightSplits splits;
  double time;  // in an unknown unit: only to compare
};
struct Sizes {
  int outputs, width, groups;
  std::int64_t samples, atOnce, picture;
};
// speed: of the tile's products where a multiprocessor has all the warps it wants.
template <class Tile>
Plan planOf(const Sizes& s, double speed) {
  const std::int64_t tiles = std::int64_t{(s.outputs + Tile::kRows - 1) / Tile::kRows} *
                             ((s.width + Tile::kCols - 1) / Tile::kCols) * s.groups;
  const std::int64_t resident = std::int64_t{kMultiprocessors} * Tile::kBlocks;
  const GradWeightSplits splits = splitPixels(s.samples, s.atOnce, s.picture, resident, tiles,
                                              std::int64_t{s.outputs} * s.width * s.groups, Tile::kDepth);
  // The busiest multiprocessor has so many blocks, and so many of their warps at a time, which hide each other's waits.
  const double blocks = std::ceil(double(tiles) * splits.total / kMultiprocessors);
  const double warps = std::min<double>(blocks, Tile::kBlocks) * Tile::kThreads / 32;
  return {splits, blocks * Tile::kRows * Tile::kCols * splits.pixels * (warps + 4) / (warps * speed)};
}

// f.operator()<Tile>(splits) for the tile that suits the sizes.
template <class T, class F>
void withTile(const Sizes& sizes, F f) {
  if constexpr (std::is_same_v<T, double>) {
    using Only = Tile<double, 32, 64, 8, 1, 2, 1, 1>;
    f.template operator()<Only>(planOf<Only>(sizes, 1).splits);
  } else {
    // For few outputs and channels, for the 144 columns of 3x3 taps of 16 channels, and for multiples of 96.
    using A = Tile<float, 16, 32, 32, 1, 1, 4, 4>;
    using B = Tile<float, 16, 144, 24, 1, 3, 6, 2>;
    using C = Tile<float, 32, 144, 24, 1, 3, 3, 2>;
    using D = Tile<float, 64, 96, 24, 2, 3, 3, 2>;
    using E = Tile<float, 128, 128, 8, 2, 2, 1, 2>;
    const Plan plans[] = {planOf<A>(sizes, 0.4), planOf<B>(sizes, 0.75), planOf<C>(sizes, 0.8), planOf<D>(sizes, 0.95),
                          planOf<E>(sizes, 1)};
    const auto best = std::min_element(std::begin(plans), std::end(plans),
                                       [](const Plan& a, const Plan& b) { return a.time < b.time; });
    switch (best - plans) {
      case 0:
        return f.template operator()<A>(best->splits);
      case 1:
        return f.template operator()<B>(best->splits);
      case 2:
        return f.template operator()<C>(best->splits);
      case 3:
        return f.template operator()<D>(best->splits);
      default:
        return f.template operator()<E>(best->splits);
    }
  }
}

}  // namespace

GradWeightSplits splitPixels(std::int64_t samples, std::int64_t atOnce, std::int64_t picture, std::int64_t wanted,
                             std::int64_t blocks, std::int64_t sums, std::int64_t depth) {
  const std::int64_t most = std::min(samples, atOnce) * picture;
  if (most == 0) return {0, 0};
  const std::int64_t sensible = std::min(
      {wanted / std::max<std::int64_t>(blocks, 1), most / kLeastPixels, kMostSums / std::max<std::int64_t>(sums, 1)});
  const std::int64_t splits = std::max<std::int64_t>(sensible, 1);
  const std::int64_t each = ((most + splits - 1) / splits + depth - 1) / depth * depth;
  std::int64_t total = 0;
  for (std::int64_t first = 0; first < samples; first += atOnce)
    total += (std::min(atOnce, samples - first) * picture + each - 1) / each;
  return {static_cast<int>(total), static_cast<int>(each)};
}

template <class T>
void finishGradWeight(const Args& args, const View& dw, const WeightSums<T>& sums, const Lists& lists, int outputs,
                      int channels) {
  const std::int64_t n = dw.size();
  if (n == 0) return;
  const int* const byOutput = inverse(args, lists.outputs, outputs, dw.shape[0]);
  const int* const byInput = inverse(args, lists.inputs, channels, dw.shape[3]);
  int lines = 1;
  while (lines < kFinishLines && 4 * lines <= sums.splits) lines *= 2;
  GYRUS_LAUNCH(blocksFor(n, kFinishThreads / lines), kFinishThreads, 0, finishKernel<T>, dw.as<T>(), n,
               static_cast<int>(dw.shape[1] * dw.shape[2]), static_cast<int>(dw.shape[3]), sums, byOutput, byInput,
               lists.outputCount, lists.inputCount, lines);
}

template <class T>
void launchGradWeight(const Args& args, const View& dw, const Windows& windows, const View& g, const View& x,
                      const Lists& lists) {
  GradWeight<T> p;
  p.h = windows.h;
  p.w = windows.w;
  p.outputs = windows.F / windows.groups;
  p.channels = windows.C / windows.groups;
  p.width = static_cast<int>(windows.taps() * p.channels);
  p.g = Pixels<const T>(g);
  p.x = Pixels<const T>(x);
  p.split = std::int64_t{windows.F} * p.width;
  p.outputCount = lists.outputCount;
  p.channelCount = lists.inputCount;
  const bool quads = p.outputs % 4 == 0 && p.channels % 4 == 0 && p.g.quads() && p.x.quads();
  const std::int64_t picture = std::int64_t{windows.h.y} * windows.w.y;
  const int atOnce = samplesAtOnce("conv2dGradWeight", windows.samples, static_cast<double>(picture));
  if (p.split == 0 || atOnce == 0 || picture == 0)
    return finishGradWeight<T>(args, dw, {nullptr, 0, 0, 0, 0}, lists, windows.F, p.channels);
  p.byH = Divisor32(windows.h.y);
  p.byW = Divisor32(windows.w.y);
  const Sizes sizes{p.outputs, p.width, windows.groups, windows.samples, atOnce, picture};
  withTile<T>(sizes, [&]<class Tile>(const GradWeightSplits& splits) {
    const int total = splits.total;
    p.perSplit = splits.pixels;
    const bool direct = total == 1 && !lists.outputs && !lists.inputs && !lists.outputCount && !lists.inputCount;
    p.out = direct ? dw.as<T>() : args.scratch->array<T>(total * p.split);
    const WeightSums<T> sums{p.out, total, p.split, p.width, p.channels};
    p.storeQuads = p.width % 4 == 0 && aligned(p.out, 16);
    for (int first = 0; first < windows.samples; first += atOnce) {
      p.pixels = static_cast<int>(std::min(atOnce, windows.samples - first) * picture);
      const int here = static_cast<int>(blocksFor(p.pixels, p.perSplit));
      launchTile<Tile>(p, quads && countsIn32(p, picture), here, windows.groups);
      p.g.data += atOnce * p.g.n;
      p.x.data += atOnce * p.x.n;
      p.out += here * p.split;
    }
    if (!direct) finishGradWeight<T>(args, dw, sums, lists, windows.F, p.channels);
  });
}

#define GYRUS_INSTANTIATE(T)                                                                                 \
  template void finishGradWeight<T>(const Args&, const View&, const WeightSums<T>&, const Lists&, int, int); \
  template void launchGradWeight<T>(const Args&, const View&, const Windows&, const View&, const View&, const Lists&);
GYRUS_INSTANTIATE(float)
GYRUS_INSTANTIATE(double)
#undef GYRUS_INSTANTIATE

}  // namespace gyrus::cuda
