// The launches of the gradient of a convolution's weights.
#include "cuda/conv/gradweight.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kMostAcross = 65535;           // of a grid's second and third axis
constexpr std::int64_t kWantedBlocks = 264;  // two for every multiprocessor of a large GPU
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

template <class T>
__global__ void __launch_bounds__(256)
    finishKernel(T* dw, std::int64_t n, int taps, int channels, WeightSums<T> sums, const int* outputs,
                 const int* inputs, const int* outputCount, const int* inputCount) {
  const std::int64_t rows = activeOf(outputCount, n), columns = activeOf(inputCount, channels);
  for (std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x; i < n; i += std::int64_t{gridDim.x} * 256) {
    const std::int64_t rest = i / channels, row = rest / taps;
    const auto channel = static_cast<int>(i - rest * channels), tap = static_cast<int>(rest - row * taps);
    const int from = outputs ? outputs[row] : static_cast<int>(row), of = inputs ? inputs[channel] : channel;
    T sum = T(0);
    if (from >= 0 && of >= 0 && row < rows && channel < columns) {
      const T* const at = sums.data + from * sums.output + tap * sums.tap + of;
      for (int s = 0; s < sums.splits; ++s) sum += at[s * sums.split];
    }
    dw[i] = sum;
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

// f.operator()<Tile>() for the tile that suits outputs and width.
template <class T, class F>
void withTile(int outputs, int width, F f) {
  if constexpr (std::is_same_v<T, double>)
    f.template operator()<Tile<double, 32, 64, 8, 1, 2>>();
  else if (outputs <= 32)
    f.template operator()<Tile<float, 32, 128, 16, 1, 2>>();
  else if (outputs <= 64 || width <= 64)
    f.template operator()<Tile<float, 64, 64, 16, 2, 1>>();
  else
    f.template operator()<Tile<float, 128, 128, 16, 2, 2>>();
}

}  // namespace

GradWeightSplits splitPixels(std::int64_t samples, std::int64_t atOnce, std::int64_t picture, std::int64_t blocks,
                             std::int64_t sums, std::int64_t depth) {
  const std::int64_t most = std::min(samples, atOnce) * picture;
  if (most == 0) return {0, 0};
  const std::int64_t wanted = std::min({kWantedBlocks / std::max<std::int64_t>(blocks, 1), most / kLeastPixels,
                                        kMostSums / std::max<std::int64_t>(sums, 1)});
  const std::int64_t splits = std::max<std::int64_t>(wanted, 1);
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
  GYRUS_LAUNCH(blocksFor(n, 256), 256, 0, finishKernel<T>, dw.as<T>(), n, static_cast<int>(dw.shape[1] * dw.shape[2]),
               static_cast<int>(dw.shape[3]), sums, byOutput, byInput, lists.outputCount, lists.inputCount);
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
  withTile<T>(p.outputs, p.width, [&]<class Tile>() {
    const std::int64_t tiles = std::int64_t{(p.outputs + Tile::kRows - 1) / Tile::kRows} *
                               ((p.width + Tile::kCols - 1) / Tile::kCols) * windows.groups;
    const GradWeightSplits splits = splitPixels(windows.samples, atOnce, picture, tiles, p.split, Tile::kDepth);
    const int total = splits.total;
    p.perSplit = splits.pixels;
    const bool direct = total == 1 && !lists.outputs && !lists.inputs && !lists.outputCount && !lists.inputCount;
    p.out = direct ? dw.as<T>() : args.scratch->array<T>(total * p.split);
    const WeightSums<T> sums{p.out, total, p.split, p.width, p.channels};
    p.storeQuads = p.width % 4 == 0 && aligned(p.out, 16);
    for (int first = 0; first < windows.samples; first += atOnce) {
      p.pixels = static_cast<int>(std::min(atOnce, windows.samples - first) * picture);
      const int here = static_cast<int>(blocksFor(p.pixels, p.perSplit));
      launchTile<Tile>(p, quads, here, windows.groups);
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
