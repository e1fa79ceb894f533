// Layer normalisation over the last axis of [R, C] and its gradient: rows by their teams, dgamma and dbeta down the
// columns in two stages.
#include "cuda/families.h"
#include "cuda/normalise.cuh"
#include "kernels/counts.h"

namespace gyrus::cuda {
namespace {

template <class T>
struct LayerNorm {
  T* y;        // operand 0
  const T* x;  // operand 1
  Line<T> mean, rstd;
  Line<const T> gamma, beta;
  T eps;
  const int* count;  // of the active channels, null for all
};

// The count behind the first n inputs, or null.
const int* channelCount(const Args& args, int n) {
  const View* const count = countBehind(args, n);
  return count ? count->as<int>() : nullptr;
}

template <class T, class Team, int V, int N>
__global__ void __launch_bounds__(kRowBlock, 2) layerNormKernel(LayerNorm<T> q, RowSet<2> set) {
  const std::int64_t channels = activeOf(q.count, set.cols);
  if (channels == 0) {
    for (std::int64_t r = std::int64_t{blockIdx.x} * kRowBlock + threadIdx.x; r < set.rows;
         r += std::int64_t{gridDim.x} * kRowBlock)
      q.mean[r] = q.rstd[r] = T(0);
    return;
  }
  const T n = static_cast<T>(channels);
  eachRow<Team>(set.rows, channels, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[2];
    set.start.offsets(row, at);
    const Share<T, Team, V, N> xs(q.x + at[1], set.stride[1], cols);
    T sum = T(0), rest = T(0), squares = T(0);
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      const Pack<T, V> x = xs.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) sum += x.v[i];
    });
    const T near = Team::reduce(sum, Sum{}) / n;
    // The deviations' own sum says how far that mean is off by rounding.
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      const Pack<T, V> x = xs.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const T d = x.v[i] - near;
        rest += d;
        squares = fma(d, d, squares);
      }
    });
    rest = Team::reduce(rest, Sum{}) / n;
    squares = Team::reduce(squares, Sum{});
    const T m2 = squares - n * rest * rest;
    const T rstd = T(1) / sqrt((m2 < T(0) ? T(0) : m2) / n + q.eps);
    if (cols > 0 && Team::rank() == 0) {
      q.mean[row] = near + rest;
      q.rstd[row] = rstd;
    }
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      Pack<T, V> x = xs.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) x.v[i] = ((x.v[i] - near) - rest) * rstd;
      if (q.gamma.data) {
        const Pack<T, V> gamma = loadPack<V>(q.gamma.data, c, q.gamma.stride);
        const Pack<T, V> beta = loadPack<V>(q.beta.data, c, q.beta.stride);
#pragma unroll
        for (int i = 0; i < V; ++i) x.v[i] = fma(x.v[i], gamma.v[i], beta.v[i]);
      }
      storePack<V>(q.y + at[0], c, set.stride[0], x);
    });
  });
}

void layerNorm(const Args& args) {
  const auto& p = args.as<LayerNormParams>();
  const View &y = args.out[0], &x = args.in[0];
  RowSet<2> set({&y, &x});
  if (set.empty()) return;
  const int* const count = channelCount(args, p.affine != 0 ? 3 : 1);
  byFloat(y.dtype, [&]<class T>() {
    LayerNorm<T> q{y.as<T>(), x.as<T>(), Line<T>(args.out[1]),  Line<T>(args.out[2]),
                   {},        {},        static_cast<T>(p.eps), count};
    if (count) set.single();
    if (p.affine != 0) {
      q.gamma = Line<const T>(args.in[1]);
      q.beta = Line<const T>(args.in[2]);
      set.also(q.gamma);
      set.also(q.beta);
    }
    set.template byTeam<T>([&]<class Team, int V, int N>() {
      GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (layerNormKernel<T, Team, V, N>), q, set);
    });
    clearBeyond<T>(args, count, 1);
  });
}

template <class T>
struct LayerNormGrad {
  T* dx;           // operand 0
  const T *g, *x;  // operands 1 and 2
  Line<const T> mean, rstd, gamma;
  const int* count;
};

// v = g gamma;  dx = rstd (v - mean of v - xhat (mean of v xhat))
template <class T, class Team, int V, int N>
__global__ void __launch_bounds__(kRowBlock, 2) layerNormGradKernel(LayerNormGrad<T> q, RowSet<3> set) {
  const std::int64_t channels = activeOf(q.count, set.cols);
  const T n = static_cast<T>(channels);
  eachRow<Team>(set.rows, channels, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[3];
    set.start.offsets(row, at);
    Share<T, Team, V, N> gs(q.g + at[1], set.stride[1], cols);
    const Share<T, Team, V, N> xs(q.x + at[2], set.stride[2], cols);
    const T mean = q.mean[row], rstd = q.rstd[row];
    const auto scale = [&](Pack<T, V>& g, std::int64_t c) {
      if (!q.gamma.data) return;
      const Pack<T, V> gamma = loadPack<V>(q.gamma.data, c, q.gamma.stride);
#pragma unroll
      for (int i = 0; i < V; ++i) g.v[i] *= gamma.v[i];
    };
    T sum = T(0), dot = T(0);
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      Pack<T, V> v = gs.at(j, c);
      const Pack<T, V> x = xs.at(j, c);
      scale(v, c);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        sum += v.v[i];
        dot = fma(v.v[i], (x.v[i] - mean) * rstd, dot);
      }
      gs.keep(j, v);
    });
    sum = Team::reduce(sum, Sum{}) / n;
    dot = Team::reduce(dot, Sum{}) / n;
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      Pack<T, V> v = gs.at(j, c);
      const Pack<T, V> x = xs.at(j, c);
      if constexpr (N == 0) scale(v, c);
#pragma unroll
      for (int i = 0; i < V; ++i) v.v[i] = rstd * (v.v[i] - fma((x.v[i] - mean) * rstd, dot, sum));
      storePack<V>(q.dx + at[0], c, set.stride[0], v);
    });
  });
}

template <class T>
void affineGradient(const Args& args, const int* count) {
  Gradient<T> q{};
  q.g = Cube<const T>(args.in[0]);
  q.x = Cube<const T>(args.in[1]);
  q.mean = Stat<const T>(Line<const T>(args.in[2]));
  q.rstd = Stat<const T>(Line<const T>(args.in[3]));
  Tiling t(1, args.in[1].shape[0], args.in[1].shape[1], foursOf<T>(q.fours()), across(q.x));
  t.count = count;
  const Partials<T> part = takePartials<T>(args, t, 2);
  byPack<T>(t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (gradientSumsKernel<T, V, true>), q, t, part); });
  finishSums(t, part, ChannelSums<T>{Line<T>(args.out[1]), Line<T>(args.out[2]), {}, nullptr, nullptr, t.rows});
}

void layerNormGrad(const Args& args) {
  const bool affine = args.as<LayerNormGradParams>().affine != 0;
  const View &dx = args.out[0], &g = args.in[0], &x = args.in[1];
  RowSet<3> set({&dx, &g, &x});
  if (set.cols == 0) return;
  const int* const count = channelCount(args, affine ? 5 : 4);
  byFloat(dx.dtype, [&]<class T>() {
    // First, for dx may lie in g's memory.
    if (affine) affineGradient<T>(args, count);
    if (set.empty()) return clearBeyond<T>(args, count, args.outputs);
    LayerNormGrad<T> q{dx.as<T>(), g.as<T>(), x.as<T>(), Line<const T>(args.in[2]), Line<const T>(args.in[3]),
                       {},         count};
    if (count) set.single();
    if (affine) {
      q.gamma = Line<const T>(args.in[4]);
      set.also(q.gamma);
    }
    set.template byTeam<T>([&]<class Team, int V, int N>() {
      GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (layerNormGradKernel<T, Team, V, N>), q, set);
    });
    clearBeyond<T>(args, count, args.outputs);
  });
}

}  // namespace

void registerNorm(KernelTable& t) {
  t.set(Op::LayerNorm, layerNorm);
  t.set(Op::LayerNormGrad, layerNormGrad);
}

}  // namespace gyrus::cuda
