// Batch normalisation over the columns of [R, C], with the residual sum and the ReLU behind it, and its gradient: one
// launch where a block sees all rows of its columns, else statistics per piece of the rows, their sum, and the result.
#include "cuda/families.h"
#include "cuda/normalise.cuh"

namespace gyrus::cuda {
namespace {

template <class T>
struct Statistics {
  Line<T> mean, rstd, runningMean, runningVar;
  double eps, momentum;
  const int* count;  // of the active channels, null for all
  std::int64_t channels;

  // N: the type to reckon in.
  template <class N>
  __device__ __forceinline__ void set(std::int64_t c, N m, N m2, N rows) const {
    if (c >= activeOf(count, channels)) return;
    const N keep = static_cast<N>(1 - momentum), take = static_cast<N>(momentum);
    mean[c] = static_cast<T>(m);
    rstd[c] = static_cast<T>(N(1) / sqrt(m2 / rows + static_cast<N>(eps)));
    runningMean[c] = static_cast<T>(keep * static_cast<N>(runningMean[c]) + take * m);
    runningVar[c] = static_cast<T>(keep * static_cast<N>(runningVar[c]) + take * (m2 / (rows - N(1))));
  }
};

template <class T>
__global__ void __launch_bounds__(32 * kFinishLines, 1)
    finishMomentsKernel(Partials<T> part, std::int64_t rows, std::int64_t piece, Statistics<T> q) {
  const auto rowsOf = [&](std::int64_t i) {
    return static_cast<double>(i + 1 < part.pieces ? piece : rows - i * piece);
  };
  for (std::int64_t first = std::int64_t{blockIdx.x} * 32; first < part.cols; first += std::int64_t{gridDim.x} * 32) {
    const std::int64_t c = first + threadIdx.x;
    const std::int64_t pieces = c < part.cols ? part.pieces : 0;
    double mean = 0, m2 = 0;
#pragma unroll 4
    for (std::int64_t i = threadIdx.y; i < pieces; i += kFinishLines)
      mean = fma(rowsOf(i), static_cast<double>(part.at(0, i, 0)[c]), mean);
    mean = sumOverLines(mean) / static_cast<double>(rows);
#pragma unroll 4
    for (std::int64_t i = threadIdx.y; i < pieces; i += kFinishLines) {
      const double off = static_cast<double>(part.at(0, i, 0)[c]) - mean;
      m2 += fma(rowsOf(i), off * off, static_cast<double>(part.at(0, i, 1)[c]));
    }
    m2 = sumOverLines(m2);
    if (c < part.cols && threadIdx.y == 0) q.set(c, mean, m2, static_cast<double>(rows));
  }
}

// All of it, where a block has all rows.
template <class T, int V>
__global__ void __launch_bounds__(kColumnBlock, 2) batchNormKernel(Apply<T> q, Statistics<T> stats, Tiling t) {
  eachPlace(t, [&](const Place& p) {
    Moments<T, V> m = momentsOf<T, V>(q.x, p);
    combine(m, t.lanes, true);
    T rstd[V];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (p.leads) stats.set(p.col + i, m.mean[i], m.m2[i], static_cast<T>(t.rows));
      rstd[i] = T(1) / sqrt(m.m2[i] / static_cast<T>(t.rows) + static_cast<T>(stats.eps));
    }
    applyRows<T, V>(q, p, m.mean, rstd);
  });
}

// A norm's count, its last input, or null.
const int* countOf(const Args& args, double counted) {
  return counted != 0 ? args.in[args.inputs - 1].as<int>() : nullptr;
}

void batchNorm(const Args& args) {
  const auto& p = args.as<BatchNormParams>();
  const int* const count = countOf(args, p.counted);
  byFloat(args.out[0].dtype, [&]<class T>() {
    Apply<T> q{};
    q.y = Cube<T>(args.out[0]);
    q.x = Cube<const T>(args.in[0]);
    if (p.residual != 0) q.residual = Cube<const T>(args.in[3]);
    q.gamma = Line<const T>(args.in[1]);
    q.beta = Line<const T>(args.in[2]);
    q.relu = p.relu != 0;
    const Statistics<T> stats{Line<T>(args.out[1]),
                              Line<T>(args.out[2]),
                              Line<T>(args.out[3]),
                              Line<T>(args.out[4]),
                              p.eps,
                              p.momentum,
                              count,
                              args.in[0].shape[1]};
    q.mean = Stat<const T>(Line<const T>(args.out[1]));
    q.second = Stat<const T>(Line<const T>(args.out[2]));
    Tiling t(1, args.in[0].shape[0], args.in[0].shape[1], foursOf<T>(q.y.fours() && q.x.fours() && q.residual.fours()),
             across(q.x));
    t.count = count;
    if (t.empty()) return;
    byPack<T>(t, [&]<int V>() {
      if (t.pieces == 1) {
        GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (batchNormKernel<T, V>), q, stats, t);
        return;
      }
      const Partials<T> part = takePartials<T>(args, t, 2);
      GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (momentsKernel<T, V>), q.x, t, part);
      GYRUS_LAUNCH(blocksFor(t.cols, 32), dim3(32, kFinishLines), 0, finishMomentsKernel<T>, part, t.rows, t.piece,
                   stats);
      GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (applyKernel<T, V>), q, t);
    });
    clearBeyond<T>(args, count, 3);
  });
}

void batchNormEval(const Args& args) {
  const auto& p = args.as<BatchNormEvalParams>();
  const int* const count = countOf(args, p.counted);
  byFloat(args.out[0].dtype, [&]<class T>() {
    Apply<T> q{};
    q.y = Cube<T>(args.out[0]);
    q.x = Cube<const T>(args.in[0]);
    if (p.residual != 0) q.residual = Cube<const T>(args.in[5]);
    q.gamma = Line<const T>(args.in[1]);
    q.beta = Line<const T>(args.in[2]);
    q.mean = Stat<const T>(Line<const T>(args.in[3]));
    q.second = Stat<const T>(Line<const T>(args.in[4]));
    q.eps = static_cast<T>(p.eps);
    q.variance = true;
    q.relu = p.relu != 0;
    Tiling t(1, args.in[0].shape[0], args.in[0].shape[1], foursOf<T>(q.y.fours() && q.x.fours() && q.residual.fours()),
             across(q.x));
    t.count = count;
    if (t.empty()) return;
    byPack<T>(t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (applyKernel<T, V>), q, t); });
    clearBeyond<T>(args, count, 1);
  });
}

// All of the gradient, where a block has all rows.
template <class T, int V>
__global__ void __launch_bounds__(kColumnBlock, 2) batchNormGradKernel(Gradient<T> q, ChannelSums<T> out, Tiling t) {
  eachPlace(t, [&](const Place& p) {
    T mean[V] = {}, rstd[V] = {}, along[V] = {}, across[V] = {};
    statsOf<T, V>(q, p, mean, rstd);
    Sums<T, V, 2> sums = gradientSums<T, V, false>(q, p, mean, rstd);
    combine(sums, t.lanes, true);
    if (p.active) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const T share = q.gamma[p.col + i] / static_cast<T>(t.rows);
        along[i] = sums.v[0][i] * share;
        across[i] = sums.v[1][i] * share;
        if (p.leads) out.dbeta[p.col + i] = sums.v[0][i];
        if (p.leads) out.dgamma[p.col + i] = sums.v[1][i];
      }
    }
    gradientRows<T, V>(q, p, mean, rstd, along, across);
  });
}

void batchNormGrad(const Args& args) {
  const auto& p = args.as<BatchNormGradParams>();
  const int* const count = countOf(args, p.counted);
  byFloat(args.out[0].dtype, [&]<class T>() {
    Gradient<T> q{};
    q.dx = Cube<T>(args.out[0]);
    if (p.residual != 0) q.dmasked = Cube<T>(args.out[3]);
    q.g = Cube<const T>(args.in[0]);
    q.x = Cube<const T>(args.in[1]);
    if (p.relu != 0) q.y = Cube<const T>(args.in[5]);
    q.mean = Stat<const T>(Line<const T>(args.in[2]));
    q.rstd = Stat<const T>(Line<const T>(args.in[3]));
    q.gamma = Line<const T>(args.in[4]);
    ChannelSums<T> out{Line<T>(args.out[1]), Line<T>(args.out[2]), q.gamma, nullptr, nullptr, args.in[1].shape[0]};
    Tiling t(1, args.in[1].shape[0], args.in[1].shape[1], foursOf<T>(q.fours()), across(q.x));
    t.count = count;
    if (t.cols == 0) return;
    byPack<T>(t, [&]<int V>() {
      if (t.pieces <= 1) {  // without rows, zeros
        GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (batchNormGradKernel<T, V>), q, out, t);
        return;
      }
      const Partials<T> part = takePartials<T>(args, t, 2);
      out.along = args.scratch->array<T>(t.cols);
      out.across = args.scratch->array<T>(t.cols);
      GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (gradientSumsKernel<T, V, false>), q, t, part);
      finishSums(t, part, out);
      q.along = Stat<const T>(out.along, 0, 1, 1);
      q.across = Stat<const T>(out.across, 0, 1, 1);
      GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (gradientKernel<T, V>), q, t);
    });
    clearBeyond<T>(args, count, args.outputs);
  });
}

}  // namespace

void registerBatchNorm(KernelTable& t) {
  t.set(Op::BatchNorm, batchNorm);
  t.set(Op::BatchNormGrad, batchNormGrad);
  t.set(Op::BatchNormEval, batchNormEval);
}

}  // namespace gyrus::cuda
