// The kernels that batch, group and layer norm share: statistics of columns, y from them, and the gradients.
#pragma once
#include "cuda/columns.cuh"

namespace gyrus::cuda {

// A number per sample and `each` neighbouring channels.
template <class T>
struct Stat {
  T* data = nullptr;
  std::int64_t sample = 0, step = 0, each = 1;

  Stat() = default;
  Stat(T* data, std::int64_t sample, std::int64_t step, std::int64_t each)
      : data(data), sample(sample), step(step), each(each) {}
  explicit Stat(const Line<T>& line) : data(line.data), step(line.stride) {}
  __device__ T& at(std::int64_t b, std::int64_t c) const {
    return data[b * sample + (each == 1 ? c : c / each) * step];
  }
};

// f(place) for every block's worth of a tiling. The whole block comes along.
template <class F>
__device__ __forceinline__ void eachPlace(const Tiling& t, F f) {
  for (std::int64_t block = blockIdx.x; block < t.blocks(); block += gridDim.x) f(Place(t, block));
}

// Rows of a place, U at a time: load(u, r) for all of them, then store(u, r), so that loads don't wait for stores
// that might have changed what they read.
template <int U, class Load, class Store>
__device__ __forceinline__ void eachRows(const Place& p, Load load, Store store) {
  for (std::int64_t r = p.from; r < p.to; r += U * p.step) {
#pragma unroll
    for (int u = 0; u < U; ++u)
      if (r + u * p.step < p.to) load(u, r + u * p.step);
#pragma unroll
    for (int u = 0; u < U; ++u)
      if (r + u * p.step < p.to) store(u, r + u * p.step);
  }
}

// ---- forward -------------------------------------------------------------------------------------------------------

// Stage 1 of the statistics: mean and sum of squared deviations of every piece and column.
template <class T, int V>
__global__ void __launch_bounds__(kColumnBlock, 2) momentsKernel(Cube<const T> x, Tiling t, Partials<T> part) {
  eachPlace(t, [&](const Place& p) {
    Moments<T, V> m = momentsOf<T, V>(x, p);
    combine(m, t.lanes, false);
    if (!p.leads) return;
#pragma unroll
    for (int i = 0; i < V; ++i) {
      part.at(p.sample, p.piece, 0)[p.col + i] = m.mean[i];
      part.at(p.sample, p.piece, 1)[p.col + i] = m.m2[i];
    }
  });
}

// y = relu?((x - mean) gamma rstd + beta (+ residual)); rstd is 1 / sqrt(second + eps) where `second` is a variance.
template <class T>
struct Apply {
  Cube<T> y;
  Cube<const T> x, residual;
  Stat<const T> mean, second;
  Line<const T> gamma, beta;
  T eps;
  bool variance, relu;
};

template <class T, int V>
__device__ __forceinline__ void applyRows(const Apply<T>& q, const Place& p, const T (&mean)[V], const T (&rstd)[V]) {
  T scale[V] = {}, shift[V] = {};
  if (p.active) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      scale[i] = q.gamma.data ? q.gamma[p.col + i] * rstd[i] : rstd[i];
      shift[i] = q.beta.data ? q.beta[p.col + i] : T(0);
    }
  }
  constexpr int U = 4;
  Pack<T, V> x[U], side[U];
  eachRows<U>(
      p,
      [&](int u, std::int64_t r) {
        x[u] = loadPack<V>(q.x.at(p.sample, r), p.col, q.x.col);
        if (q.residual.data) side[u] = loadPack<V>(q.residual.at(p.sample, r), p.col, q.residual.col);
      },
      [&](int u, std::int64_t r) {
        Pack<T, V> y;
#pragma unroll
        for (int i = 0; i < V; ++i) {
          T v = fma(x[u].v[i] - mean[i], scale[i], shift[i]);
          if (q.residual.data) v += side[u].v[i];
          y.v[i] = q.relu && v < T(0) ? T(0) : v;  // NaN passes
        }
        storePack<V>(q.y.at(p.sample, r), p.col, q.y.col, y);
      });
}

template <class T, int V>
__global__ void __launch_bounds__(kColumnBlock, 2) applyKernel(Apply<T> q, Tiling t) {
  eachPlace(t, [&](const Place& p) {
    T mean[V] = {}, rstd[V] = {};
    if (p.active) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        mean[i] = q.mean.at(p.sample, p.col + i);
        rstd[i] = q.second.at(p.sample, p.col + i);
        if (q.variance) rstd[i] = T(1) / sqrt(rstd[i] + q.eps);
      }
    }
    applyRows<T, V>(q, p, mean, rstd);
  });
}

// ---- backward ------------------------------------------------------------------------------------------------------

// v = g, or where y is given g where y > 0.  xhat = (x - mean) rstd.
//   dx = rstd (gamma v - along - xhat across), dmasked = v
template <class T>
struct Gradient {
  Cube<T> dx, dmasked;
  Cube<const T> g, x, y;
  Stat<const T> mean, rstd;  // per row where the kernel says so: number r at step * r
  Line<const T> gamma;
  Stat<const T> along, across;  // means over what shares a statistic of gamma v and of gamma v xhat

  bool fours() const { return dx.fours() && dmasked.fours() && g.fours() && x.fours() && y.fours(); }
};

template <class T, int V>
__device__ __forceinline__ Pack<T, V> masked(const Gradient<T>& q, const Place& p, std::int64_t r) {
  Pack<T, V> v = loadPack<V>(q.g.at(p.sample, r), p.col, q.g.col);
  if (q.y.data) {
    const Pack<T, V> y = loadPack<V>(q.y.at(p.sample, r), p.col, q.y.col);
#pragma unroll
    for (int i = 0; i < V; ++i) v.v[i] = y.v[i] > T(0) ? v.v[i] : T(0);
  }
  return v;
}

// The statistics of a thread's columns.
template <class T, int V>
__device__ __forceinline__ void statsOf(const Gradient<T>& q, const Place& p, T (&mean)[V], T (&rstd)[V]) {
  if (!p.active) return;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    mean[i] = q.mean.at(p.sample, p.col + i);
    rstd[i] = q.rstd.at(p.sample, p.col + i);
  }
}

// A thread's sums of v and of v xhat.
template <class T, int V, bool kPerRow>
__device__ __forceinline__ Sums<T, V, 2> gradientSums(const Gradient<T>& q, const Place& p, const T (&mean)[V],
                                                      const T (&rstd)[V]) {
  Sums<T, V, 2> sums;
  sums.clear();
#pragma unroll 4
  for (std::int64_t r = p.from; r < p.to; r += p.step) {
    const Pack<T, V> v = masked<T, V>(q, p, r), x = loadPack<V>(q.x.at(p.sample, r), p.col, q.x.col);
    const T rowMean = kPerRow ? q.mean.data[r * q.mean.step] : T(0);
    const T rowRstd = kPerRow ? q.rstd.data[r * q.rstd.step] : T(0);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const T xhat = (x.v[i] - (kPerRow ? rowMean : mean[i])) * (kPerRow ? rowRstd : rstd[i]);
      sums.v[0][i] += v.v[i];
      sums.v[1][i] = fma(v.v[i], xhat, sums.v[1][i]);
    }
  }
  return sums;
}

template <class T, int V, bool kPerRow>
__global__ void __launch_bounds__(kColumnBlock, 2) gradientSumsKernel(Gradient<T> q, Tiling t, Partials<T> part) {
  eachPlace(t, [&](const Place& p) {
    T mean[V] = {}, rstd[V] = {};
    if constexpr (!kPerRow) statsOf<T, V>(q, p, mean, rstd);
    Sums<T, V, 2> sums = gradientSums<T, V, kPerRow>(q, p, mean, rstd);
    combine(sums, t.lanes, false);
    if (p.leads) storeSums(part, p, sums);
  });
}

// dgamma and dbeta of the pieces' sums; where `along` is given, gamma times their means over `rows` too.
template <class T>
struct ChannelSums {
  Line<T> dgamma, dbeta;
  Line<const T> gamma;
  T *along, *across;
  std::int64_t rows;
};

template <class T>
__global__ void __launch_bounds__(32 * kFinishLines, 1)
    finishSumsKernel(Partials<T> part, std::int64_t count, ChannelSums<T> q) {
  for (std::int64_t first = std::int64_t{blockIdx.x} * 32; first < part.cols; first += std::int64_t{gridDim.x} * 32) {
    const std::int64_t c = first + threadIdx.x;
    const bool active = c < part.cols;
    double sum = 0, dot = 0;
    const std::int64_t pieces = active ? count : 0;
#pragma unroll 4
    for (std::int64_t i = threadIdx.y; i < pieces; i += kFinishLines) {
      sum += part.at(0, i, 0)[c];
      dot += part.at(0, i, 1)[c];
    }
    sum = sumOverLines(sum);
    dot = sumOverLines(dot);
    if (!active || threadIdx.y != 0) continue;
    q.dgamma[c] = static_cast<T>(dot);
    q.dbeta[c] = static_cast<T>(sum);
    if (!q.along) continue;
    const double share = q.gamma[c] / static_cast<double>(q.rows);
    q.along[c] = static_cast<T>(sum * share);
    q.across[c] = static_cast<T>(dot * share);
  }
}

template <class T>
void finishSums(const Tiling& t, const Partials<T>& part, const ChannelSums<T>& q) {
  GYRUS_LAUNCH(blocksFor(t.cols, 32), dim3(32, kFinishLines), 0, finishSumsKernel<T>, part, t.samples * t.pieces, q);
}

template <class T, int V>
__device__ __forceinline__ void gradientRows(const Gradient<T>& q, const Place& p, const T (&mean)[V],
                                             const T (&rstd)[V], const T (&along)[V], const T (&across)[V]) {
  T scale[V] = {}, slope[V] = {}, shift[V] = {};  // dx = scale v - slope (x - mean) - shift
  if (p.active) {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      scale[i] = q.gamma.data ? q.gamma[p.col + i] * rstd[i] : rstd[i];
      slope[i] = rstd[i] * rstd[i] * across[i];
      shift[i] = rstd[i] * along[i];
    }
  }
  constexpr int U = 2;
  Pack<T, V> x[U], v[U];
  eachRows<U>(
      p,
      [&](int u, std::int64_t r) {
        v[u] = masked<T, V>(q, p, r);
        x[u] = loadPack<V>(q.x.at(p.sample, r), p.col, q.x.col);
      },
      [&](int u, std::int64_t r) {
        if (q.dmasked.data) storePack<V>(q.dmasked.at(p.sample, r), p.col, q.dmasked.col, v[u]);
#pragma unroll
        for (int i = 0; i < V; ++i) x[u].v[i] = fma(scale[i], v[u].v[i], -fma(slope[i], x[u].v[i] - mean[i], shift[i]));
        storePack<V>(q.dx.at(p.sample, r), p.col, q.dx.col, x[u]);
      });
}

template <class T, int V>
__global__ void __launch_bounds__(kColumnBlock, 2) gradientKernel(Gradient<T> q, Tiling t) {
  eachPlace(t, [&](const Place& p) {
    T mean[V] = {}, rstd[V] = {}, along[V] = {}, across[V] = {};
    statsOf<T, V>(q, p, mean, rstd);
    if (p.active) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        along[i] = q.along.at(p.sample, p.col + i);
        across[i] = q.across.at(p.sample, p.col + i);
      }
    }
    gradientRows<T, V>(q, p, mean, rstd, along, across);
  });
}

// f.template operator()<V>() for the tiling's packs.
template <class T, class F>
void byPack(const Tiling& t, F f) {
  if constexpr (sizeof(T) == 4)
    if (t.pack == 4) return f.template operator()<4>();
  f.template operator()<1>();
}
// Whether packs of four f32 may be used, and whether rows rather than columns are neighbours.
template <class T>
bool foursOf(bool all) {
  return sizeof(T) == 4 && all;
}
template <class T>
bool across(const Cube<T>& x) {
  return x.col != 1 && x.row == 1;
}

// ---- what isn't active -----------------------------------------------------------------------------------------

// Matrices of as many columns, of which those that don't count become 0.
template <class T>
struct Beyond {
  static constexpr int kMost = 4;
  struct {
    T* data;
    std::int64_t rows, row, col;
  } of[kMost];
};

template <class T>
__global__ void __launch_bounds__(256)
    clearBeyondKernel(const __grid_constant__ Beyond<T> all, const int* count, std::int64_t cols) {
  const auto& m = all.of[blockIdx.y];
  const std::int64_t first = activeOf(count, cols), width = cols - first, total = m.rows * width;
  for (std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x; i < total; i += std::int64_t{gridDim.x} * 256) {
    const std::int64_t row = i / width;
    m.data[row * m.row + (first + i - row * width) * m.col] = T(0);
  }
}

// Zeros the inactive channels of the first `outputs` outputs.
template <class T>
void clearBeyond(const Args& args, const int* count, int outputs) {
  if (!count) return;
  Beyond<T> all{};
  const View& y = args.out[0];
  for (int i = 0; i < outputs; ++i) {
    const View& v = args.out[i];
    const int last = v.rank - 1;
    all.of[i] = {v.as<T>(), last > 0 ? v.shape[0] : 1, last > 0 ? v.stride[0] : 0, v.stride[last]};
  }
  if (y.shape[1] > 0)
    GYRUS_LAUNCH(dim3(blocksFor(y.shape[0] * y.shape[1] + 1, 256 * 8), static_cast<unsigned>(outputs)), 256, 0,
                 clearBeyondKernel<T>, all, count, y.shape[1]);
}

}  // namespace gyrus::cuda
