// Pooling and its gradients (NHWC): a thread per output element, or per four neighbouring channels of f32 where the
// layout allows. The gradient of the largest goes two steps: where each window's largest is, then, for every element of
// the input, the sum over the windows it was the largest of. Nothing is scattered, so the order of sums is fixed.
#include "cuda/conv/channels.cuh"
#include "cuda/families.h"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;

struct Span {
  int from, to;
};
// Input positions of the window at output position o.
__device__ __forceinline__ Span windowOf(const WindowAxis& a, int o) {
  const int first = o * a.stride - a.pad, last = first + a.kernel;
  return {first < 0 ? 0 : first < a.x ? first : a.x, last < 0 ? 0 : last < a.x ? last : a.x};
}
// Output positions whose windows hold input position i.
__device__ __forceinline__ Span windowsWith(const WindowAxis& a, int i) {
  const int last = i + a.pad, first = last - a.kernel + 1;
  const int from = first <= 0 ? 0 : (first + a.stride - 1) / a.stride, to = last / a.stride + 1;
  return {from, to < a.y ? to : a.y};
}

struct PoolWindow {
  WindowAxis h, w;
  bool countPad;

  template <class T>
  __device__ T divisor(const Span& rows, const Span& columns) const {
    return countPad ? static_cast<T>(h.kernel) * static_cast<T>(w.kernel)
                    : static_cast<T>((rows.to - rows.from) * (columns.to - columns.from));
  }
};

// The first of the largest of a window and where it is, -1: nowhere. NaN is the largest.
template <class T, int V>
struct FirstLargest {
  T best[V];
  int at[V];

  __device__ void find(const Pixels<const T>& x, const PoolWindow& p, int n, int oh, int ow, int c) {
    const Span rows = windowOf(p.h, oh), columns = windowOf(p.w, ow);
#pragma unroll
    for (int e = 0; e < V; ++e) {
      best[e] = -static_cast<T>(INFINITY);
      at[e] = -1;
    }
    for (int h = rows.from; h < rows.to; ++h)
      for (int w = columns.from; w < columns.to; ++w) {
        const Pack<T, V> v = channelsAt<V>(x, n, h, w, c);
#pragma unroll
        for (int e = 0; e < V; ++e)
          if (at[e] < 0 || (best[e] == best[e] && (v.v[e] > best[e] || v.v[e] != v.v[e]))) {
            best[e] = v.v[e];
            at[e] = h * p.w.x + w;
          }
      }
  }
};

template <class T, int V>
__global__ void __launch_bounds__(kBlock)
    maxKernel(T* y, Pixels<const T> x, Pixels<const T> values, PoolWindow p, Elements<Divisor32> elements) {
  int i, n, oh, ow, c;
  if (!elements.mine(i, n, oh, ow, c)) return;
  FirstLargest<T, V> largest;
  largest.find(x, p, n, oh, ow, c);
  Pack<T, V> out;
#pragma unroll
  for (int e = 0; e < V; ++e) {
    out.v[e] = largest.best[e];
    if (!values.data) continue;
    const int h = largest.at[e] / p.w.x, w = largest.at[e] - h * p.w.x;
    out.v[e] =
        largest.at[e] < 0 ? T(0) : values.data[n * values.n + h * values.h + w * values.w + (c * V + e) * values.c];
  }
  reinterpret_cast<Pack<T, V>*>(y)[i] = out;
}

template <class T, int V>
__global__ void __launch_bounds__(kBlock)
    averageKernel(T* y, Pixels<const T> x, PoolWindow p, Elements<Divisor32> elements) {
  int i, n, oh, ow, c;
  if (!elements.mine(i, n, oh, ow, c)) return;
  const Span rows = windowOf(p.h, oh), columns = windowOf(p.w, ow);
  Pack<T, V> sum = {};
  for (int h = rows.from; h < rows.to; ++h) {
    Pack<T, V> row = {};  // large windows lose less in small sums
    for (int w = columns.from; w < columns.to; ++w) {
      const Pack<T, V> v = channelsAt<V>(x, n, h, w, c);
#pragma unroll
      for (int e = 0; e < V; ++e) row.v[e] += v.v[e];
    }
#pragma unroll
    for (int e = 0; e < V; ++e) sum.v[e] += row.v[e];
  }
  const T by = p.divisor<T>(rows, columns);
#pragma unroll
  for (int e = 0; e < V; ++e) sum.v[e] = by > T(0) ? sum.v[e] / by : T(0);
  reinterpret_cast<Pack<T, V>*>(y)[i] = sum;
}

template <class T, int V>
__global__ void __launch_bounds__(kBlock)
    largestKernel(int* at, Pixels<const T> x, PoolWindow p, Elements<Divisor32> elements) {
  int i, n, oh, ow, c;
  if (!elements.mine(i, n, oh, ow, c)) return;
  FirstLargest<T, V> largest;
  largest.find(x, p, n, oh, ow, c);
  Pack<int, V> out;
#pragma unroll
  for (int e = 0; e < V; ++e) out.v[e] = largest.at[e];
  reinterpret_cast<Pack<int, V>*>(at)[i] = out;
}

template <class T, int V>
__global__ void __launch_bounds__(kBlock)
    maxGradKernel(T* dx, Pixels<const T> g, Pixels<const int> at, PoolWindow p, Elements<Divisor32> elements) {
  int i, n, h, w, c;
  if (!elements.mine(i, n, h, w, c)) return;
  const Span rows = windowsWith(p.h, h), columns = windowsWith(p.w, w);
  const int me = h * p.w.x + w;
  Pack<T, V> sum = {};
  for (int oh = rows.from; oh < rows.to; ++oh)
    for (int ow = columns.from; ow < columns.to; ++ow) {
      const Pack<int, V> from = channelsAt<V>(at, n, oh, ow, c);
      const Pack<T, V> v = channelsAt<V>(g, n, oh, ow, c);
#pragma unroll
      for (int e = 0; e < V; ++e)
        if (from.v[e] == me) sum.v[e] += v.v[e];
    }
  reinterpret_cast<Pack<T, V>*>(dx)[i] = sum;
}

template <class T, int V>
__global__ void __launch_bounds__(kBlock)
    averageGradKernel(T* dx, Pixels<const T> g, PoolWindow p, Elements<Divisor32> elements) {
  int i, n, h, w, c;
  if (!elements.mine(i, n, h, w, c)) return;
  const Span rows = windowsWith(p.h, h), columns = windowsWith(p.w, w);
  Pack<T, V> sum = {};
  for (int oh = rows.from; oh < rows.to; ++oh)
    for (int ow = columns.from; ow < columns.to; ++ow) {
      const Pack<T, V> v = channelsAt<V>(g, n, oh, ow, c);
      const T by = p.divisor<T>(windowOf(p.h, oh), windowOf(p.w, ow));
#pragma unroll
      for (int e = 0; e < V; ++e) sum.v[e] += v.v[e] / by;
    }
  reinterpret_cast<Pack<T, V>*>(dx)[i] = sum;
}

// ---- the host's side ---------------------------------------------------------------------------------------

PoolWindow windowsOf(const char* op, const Pool2dParams& p, const View& x, const View& y) {
  return {windowAxis(op, p.strideH, p.padTop, 1, p.kernelH, x.shape[1], y.shape[1]),
          windowAxis(op, p.strideW, p.padLeft, 1, p.kernelW, x.shape[2], y.shape[2]), p.countPad != 0};
}

unsigned blocksOf(const Elements<Divisor32>& e) { return blocksFor(e.count, kBlock, kMostIndex); }

// How many samples of both fit at once.
int samplesOf(const char* op, const View& a, const View& b) {
  const auto each = [](const View& v) { return static_cast<double>(v.shape[1] * v.shape[2] * v.shape[3]); };
  return samplesAtOnce(op, a.shape[0], std::max(each(a), each(b)));
}

// y <- x, (values)
template <class T>
void pool2d(const Args& args) {
  const auto& p = args.as<Pool2dParams>();
  const View &y = args.out[0], &in = args.in[0];
  if (y.size() == 0) return;
  const PoolWindow window = windowsOf("pool2d", p, in, y);
  Pixels<const T> x(in), values;
  if (p.pick != 0) values = Pixels<const T>(args.in[1]);
  T* out = y.as<T>();
  const bool max = static_cast<PoolKind>(static_cast<int>(p.kind)) == PoolKind::Max;
  const int atOnce = samplesOf("pool2d", y, in);
  byWidth<T>(wide(y) && x.quads(), [&]<int V>() {
    for (std::int64_t first = 0; first < y.shape[0]; first += atOnce) {
      const auto e = elementsOf<Divisor32>(y, std::min<std::int64_t>(atOnce, y.shape[0] - first), V);
      if (max)
        GYRUS_LAUNCH(blocksOf(e), kBlock, 0, (maxKernel<T, V>), out, x, values, window, e);
      else
        GYRUS_LAUNCH(blocksOf(e), kBlock, 0, (averageKernel<T, V>), out, x, window, e);
      out += atOnce * y.shape[1] * y.shape[2] * y.shape[3];
      x.data += atOnce * x.n;
      if (values.data) values.data += atOnce * values.n;
    }
  });
}

// dx <- g, (x)
template <class T>
void pool2dGrad(const Args& args) {
  const auto& p = args.as<Pool2dGradParams>();
  const View &dx = args.out[0], &gradient = args.in[0];
  if (dx.size() == 0) return;
  const PoolWindow window = windowsOf("pool2dGrad", p, dx, gradient);
  Pixels<const T> g(gradient), x(args.in[args.inputs - 1]);
  T* out = dx.as<T>();
  const bool max = static_cast<PoolKind>(static_cast<int>(p.kind)) == PoolKind::Max;
  const int atOnce = samplesOf("pool2dGrad", dx, gradient);
  View where = gradient;  // of the largest: as g, contiguous
  where.data = max ? args.scratch->array<int>(atOnce * (gradient.size() / gradient.shape[0])) : nullptr;
  std::int64_t step = 1;
  for (int d = 3; d >= 0; step *= gradient.shape[d--]) where.stride[d] = step;
  const bool fours = wide(dx) && g.quads() && (!max || x.quads());
  byWidth<T>(fours, [&]<int V>() {
    for (std::int64_t first = 0; first < dx.shape[0]; first += atOnce) {
      const std::int64_t samples = std::min<std::int64_t>(atOnce, dx.shape[0] - first);
      const auto e = elementsOf<Divisor32>(dx, samples, V);
      if (max) {
        if (gradient.size() > 0) {
          const auto windows = elementsOf<Divisor32>(gradient, samples, V);
          GYRUS_LAUNCH(blocksOf(windows), kBlock, 0, (largestKernel<T, V>), where.as<int>(), x, window, windows);
        }
        GYRUS_LAUNCH(blocksOf(e), kBlock, 0, (maxGradKernel<T, V>), out, g, Pixels<const int>(where), window, e);
      } else {
        GYRUS_LAUNCH(blocksOf(e), kBlock, 0, (averageGradKernel<T, V>), out, g, window, e);
      }
      out += atOnce * dx.shape[1] * dx.shape[2] * dx.shape[3];
      g.data += atOnce * g.n;
      x.data += atOnce * x.n;
    }
  });
}

}  // namespace

void registerPool(KernelTable& t) {
  t.set(Op::Pool2d,
        [](const Args& args) { args.out[0].dtype == DType::F64 ? pool2d<double>(args) : pool2d<float>(args); });
  t.set(Op::Pool2dGrad,
        [](const Args& args) { args.out[0].dtype == DType::F64 ? pool2dGrad<double>(args) : pool2dGrad<float>(args); });
}

}  // namespace gyrus::cuda
