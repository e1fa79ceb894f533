#include "cuda/conv/channels.cuh"
#include "cuda/conv/depthwise.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kRun = 4;  // neighbouring columns of a thread, which share the weights it loads

template <class T>
struct Depthwise {
  WindowAxis h, w;
  Pixels<const T> source;
  const T* weight;  // [tap][F]
  int F, multiplier;
  T* out;  // [N, height, width, channels]
  int height, width, channels;
  Elements<Divisor32> elements;
  Epilogue<T> epilogue;
  Pixels<const T> residual;
};

// Where tap t of a window meets the source, seen from position i of the output; false: nowhere.
template <bool backward>
__device__ __forceinline__ bool meet(const WindowAxis& a, int i, int t, int& at) {
  if constexpr (!backward) {
    at = i * a.stride - a.pad + t * a.dilation;
    return at >= 0 && at < a.x;
  } else {
    const int from = i + a.pad - t * a.dilation;
    at = a.stride == 1 ? from : from / a.stride;
    return from >= 0 && at * a.stride == from && at < a.y;
  }
}

// The weights, outputs innermost.
template <class T>
__global__ void __launch_bounds__(kBlock) packKernel(T* to, Weights<T> w, int n) {
  const int i = static_cast<int>(blockIdx.x) * kBlock + static_cast<int>(threadIdx.x);
  if (i < n) to[i] = w.at(i % w.F, i / w.F, 0);
}

// V > 1: as many outputs as channels, four at a time.
template <class T, int V, bool backward>
__global__ void __launch_bounds__(kBlock, 4) depthwiseKernel(const Depthwise<T> p) {
  int i, n, y, first, c;
  if (!p.elements.mine(i, n, y, first, c)) return;
  first *= kRun;
  const int products = backward ? p.multiplier : 1;  // for every tap
  Pack<T, V> sums[kRun] = {};
  for (int kh = 0; kh < p.h.kernel; ++kh) {
    int row;
    if (!meet<backward>(p.h, y, kh, row)) continue;
    for (int kw = 0; kw < p.w.kernel; ++kw) {
      for (int m = 0; m < products; ++m) {
        // The output and the channel of the source, both in units of V.
        const int output = backward ? c * p.multiplier + m : c;
        const int channel = backward ? output : p.multiplier == 1 ? c : c / p.multiplier;
        const auto weight =
            *reinterpret_cast<const Pack<T, V>*>(p.weight + std::int64_t{kh * p.w.kernel + kw} * p.F + output * V);
#pragma unroll
        for (int r = 0; r < kRun; ++r) {
          int column;
          if (!meet<backward>(p.w, first + r, kw, column)) continue;
          const Pack<T, V> v = channelsAt<V>(p.source, n, row, column, channel);
#pragma unroll
          for (int e = 0; e < V; ++e) sums[r].v[e] = multiplyAdd(v.v[e], weight.v[e], sums[r].v[e]);
        }
      }
    }
  }
  typename Epilogue<T>::Column of[V];
#pragma unroll
  for (int e = 0; e < V; ++e) of[e] = p.epilogue.column(c * V + e);
#pragma unroll
  for (int r = 0; r < kRun; ++r) {
    const int x = first + r;
    if (x >= p.width) continue;
#pragma unroll
    for (int e = 0; e < V; ++e) {
      T add = T(0);
      if (p.epilogue.residual)
        add = p.residual.data[n * p.residual.n + y * p.residual.h + x * p.residual.w + (c * V + e) * p.residual.c];
      sums[r].v[e] = p.epilogue.apply(sums[r].v[e], of[e], add);
    }
    T* const out = p.out + ((std::int64_t{n} * p.height + y) * p.width + x) * p.channels + c * V;
    *reinterpret_cast<Pack<T, V>*>(out) = sums[r];
  }
}

constexpr int kLanes = 32, kWarps = 8, kTaps = 9;  // of a block of the gradient of the weights
constexpr std::int64_t kWantedBlocks = 264;        // two for every multiprocessor of a large GPU

template <class T>
struct DepthwiseGrad {
  WindowAxis h, w;
  Divisor32 byH, byW;  // of the output
  Pixels<const T> g, x;
  int F, multiplier;
  int pixels, perSplit;
  T* out;  // [split][tap][F]
};

// Block (32 outputs, split, nine taps): every warp walks over an eighth of the split's pixels.
template <class T>
__global__ void __launch_bounds__(kLanes* kWarps) depthwiseGradKernel(const DepthwiseGrad<T> p) {
  using Parts = T[kWarps][kTaps][kLanes];
  GYRUS_SHARED(Parts, parts);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int f = static_cast<int>(blockIdx.x) * kLanes + tx, firstTap = static_cast<int>(blockIdx.z) * kTaps;
  const int from = static_cast<int>(blockIdx.y) * p.perSplit, taps = p.h.kernel * p.w.kernel;
  const int to = p.pixels - from < p.perSplit ? p.pixels : from + p.perSplit;
  const std::int64_t channel = (f / p.multiplier) * p.x.c;
  T sums[kTaps] = {};
  int down[kTaps], right[kTaps];
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    const int row = (firstTap + t) / p.w.kernel, column = firstTap + t - row * p.w.kernel;
    down[t] = firstTap + t < taps ? row * p.h.dilation - p.h.pad : kOutside;
    right[t] = column * p.w.dilation - p.w.pad;
  }
  if (f < p.F)
    for (int pixel = from + ty; pixel < to; pixel += kWarps) {
      const auto m = static_cast<unsigned>(pixel), line = p.byW.over(m), sample = p.byH.over(line);
      const int i = static_cast<int>(line - sample * p.byH.d), j = static_cast<int>(m - line * p.byW.d);
      const T g = p.g.data[sample * p.g.n + i * p.g.h + j * p.g.w + f * p.g.c];
      const int top = i * p.h.stride, left = j * p.w.stride;
      const T* const x = p.x.data + (sample * p.x.n + channel);
#pragma unroll
      for (int t = 0; t < kTaps; ++t)
        if (inside(down[t], top, p.h.x) && inside(right[t], left, p.w.x))
          sums[t] = multiplyAdd(g, x[(top + down[t]) * p.x.h + (left + right[t]) * p.x.w], sums[t]);
    }
#pragma unroll
  for (int t = 0; t < kTaps; ++t) parts[ty][t][tx] = sums[t];
  __syncthreads();
  for (int t = ty; t < kTaps; t += kWarps) {
    if (f >= p.F || firstTap + t >= taps) continue;
    T sum = parts[0][t][tx];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) sum += parts[i][t][tx];
    p.out[(std::int64_t{blockIdx.y} * taps + firstTap + t) * p.F + f] = sum;
  }
}

}  // namespace

template <class T>
void launchDepthwise(const Args& args, const char* op, const Windows& windows, bool backward, const View& source,
                     const Weights<T>& weights, const View& out, const Epilogue<T>& epilogue, const View* residual) {
  if (out.size() == 0) return;
  Depthwise<T> p{};
  p.h = windows.h;
  p.w = windows.w;
  p.source = Pixels<const T>(source);
  p.F = windows.F;
  p.multiplier = windows.F / windows.C;
  p.out = out.as<T>();
  p.height = static_cast<int>(out.shape[1]);
  p.width = static_cast<int>(out.shape[2]);
  p.channels = static_cast<int>(out.shape[3]);
  p.epilogue = epilogue;
  if (residual) p.residual = Pixels<const T>(*residual);
  const int n = static_cast<int>(windows.taps() * windows.F);
  T* const weight = args.scratch->array<T>(n);
  if (n > 0) GYRUS_LAUNCH(blocksFor(n, kBlock, kMostIndex), kBlock, 0, packKernel<T>, weight, weights, n);
  p.weight = weight;
  const std::int64_t each = out.shape[1] * out.shape[2] * out.shape[3];
  const int atOnce = samplesAtOnce(op, windows.samples, static_cast<double>(each));
  byWidth<T>(p.multiplier == 1 && wide(out) && p.source.quads(), [&]<int V>() {
    for (int first = 0; first < windows.samples; first += atOnce) {
      p.elements = elementsOf<Divisor32>(out, std::min(atOnce, windows.samples - first), V, kRun);
      const unsigned blocks = blocksFor(p.elements.count, kBlock, kMostIndex);
      if (backward)
        GYRUS_LAUNCH(blocks, kBlock, 0, (depthwiseKernel<T, V, true>), p);
      else
        GYRUS_LAUNCH(blocks, kBlock, 0, (depthwiseKernel<T, V, false>), p);
      p.source.data += atOnce * p.source.n;
      p.out += atOnce * each;
      if (residual) p.residual.data += atOnce * p.residual.n;
    }
  });
}

template <class T>
void launchDepthwiseGradWeight(const Args& args, const View& dw, const Windows& windows, const View& g, const View& x,
                               const Lists& lists) {
  DepthwiseGrad<T> p{};
  p.h = windows.h;
  p.w = windows.w;
  p.g = Pixels<const T>(g);
  p.x = Pixels<const T>(x);
  p.F = windows.F;
  p.multiplier = windows.F / windows.C;
  const std::int64_t picture = std::int64_t{windows.h.y} * windows.w.y, size = windows.taps() * p.F;
  const int atOnce = samplesAtOnce("conv2dGradWeight", windows.samples, static_cast<double>(picture));
  const GradWeightSplits splits =
      splitPixels(windows.samples, atOnce, picture, kWantedBlocks,
                  std::int64_t{blocksFor(p.F, kLanes)} * blocksFor(windows.taps(), kTaps), size, kWarps);
  WeightSums<T> sums{nullptr, splits.total, size, 1, p.F};
  if (size > 0 && splits.total > 0) {
    p.byH = Divisor32(windows.h.y);
    p.byW = Divisor32(windows.w.y);
    p.perSplit = splits.pixels;
    p.out = args.scratch->array<T>(splits.total * size);
    sums.data = p.out;
    for (int first = 0; first < windows.samples; first += atOnce) {
      p.pixels = static_cast<int>(std::min(atOnce, windows.samples - first) * picture);
      const unsigned here = blocksFor(p.pixels, p.perSplit);
      GYRUS_LAUNCH(dim3(blocksFor(p.F, kLanes), here, blocksFor(windows.taps(), kTaps)), dim3(kLanes, kWarps), 0,
                   depthwiseGradKernel<T>, p);
      p.g.data += atOnce * p.g.n;
      p.x.data += atOnce * p.x.n;
      p.out += here * size;
    }
  }
  finishGradWeight<T>(args, dw, sums, lists, windows.F, 1);
}

#define GYRUS_INSTANTIATE(T)                                                                                       \
  template void launchDepthwise<T>(const Args&, const char*, const Windows&, bool, const View&, const Weights<T>&, \
                                   const View&, const Epilogue<T>&, const View*);                                  \
  template void launchDepthwiseGradWeight<T>(const Args&, const View&, const Windows&, const View&, const View&,   \
                                             const Lists&);
GYRUS_INSTANTIATE(float)
GYRUS_INSTANTIATE(double)
#undef GYRUS_INSTANTIATE

}  // namespace gyrus::cuda
