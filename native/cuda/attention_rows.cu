// Attention by rows, for f64 and for heads of any length: a block has one query (or, for dk and dv, one key) and goes
// through the others 128 at a time, one score per thread; the output's row is where it sums.
#include <cmath>

#include "cuda/attention.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kRows = kAttentionThreads;

__device__ __forceinline__ float multiplyAdd(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double multiplyAdd(double a, double b, double c) { return __fma_rn(a, b, c); }

template <class T>
__device__ __forceinline__ T dot(const T* a, std::int64_t stepA, const T* b, std::int64_t stepB, int depth) {
  T sum = 0;
  for (int d = 0; d < depth; ++d) sum = multiplyAdd(a[d * stepA], b[d * stepB], sum);
  return sum;
}

// to[d] = factor * to[d] + sum of weights[j] * x[j][d]; the first time to[d] = that sum.
template <class T>
__device__ __forceinline__ void addRows(T* to, std::int64_t step, bool first, T factor, const T* weights, const T* x,
                                        std::int64_t time, std::int64_t stepX, int count, int depth) {
  for (int d = static_cast<int>(threadIdx.x); d < depth; d += kRows) {
    T sum = first ? T(0) : factor * to[d * step];
    for (int j = 0; j < count; ++j) sum = multiplyAdd(weights[j], x[j * time + d * stepX], sum);
    to[d * step] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kRows)
    attentionRow(Heads<T> y, T* lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, AttentionSizes sizes,
                 Divisor64 queries, std::int64_t jobs, T scale) {
  using Scores = T[kRows];
  GYRUS_SHARED(Scores, scores);
  GYRUS_SHARED(Scores, weights);
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const std::int64_t pair = queries.over(job), i = job - pair * queries.d;
    const std::int64_t b = sizes.heads.over(pair), h = pair - b * sizes.heads.d;
    const std::int64_t end = sizes.causal && i + 1 < sizes.keys ? i + 1 : sizes.keys;
    const T *query = q.at(b, h) + i * q.time, *ks = k.at(b, h), *vs = v.at(b, h);
    T* row = y.at(b, h) + i * y.time;
    T top = -INFINITY, total = 0;
    for (std::int64_t j = 0; j < end; j += kRows) {
      const int count = static_cast<int>(end - j < kRows ? end - j : kRows);
      if (thread < count) scores[thread] = scale * dot(query, q.step, ks + (j + thread) * k.time, k.step, sizes.depth);
      __syncthreads();
      T most = top;
      for (int c = 0; c < count; ++c) most = scores[c] > most ? scores[c] : most;
      const T base = most == -INFINITY ? T(0) : most;
      if (thread < count) weights[thread] = exp(scores[thread] - base);
      __syncthreads();
      const T factor = exp(top - base);
      top = most;
      total *= factor;
      for (int c = 0; c < count; ++c) total += weights[c];
      addRows(row, y.step, j == 0, factor, weights, vs + j * v.time, v.time, v.step, count, sizes.depth);
      __syncthreads();  // before the next weights
    }
    for (int d = thread; d < sizes.depth; d += kRows) row[d * y.step] = end == 0 ? T(0) : row[d * y.step] / total;
    if (thread == 0) lse[job] = top + log(total);
  }
}

// Keys: dk and dv of one key, others are the queries; else dq of one query.
template <class T, bool Keys>
__global__ void __launch_bounds__(kRows)
    attentionGradRow(Heads<T> ds, Heads<T> dw, Heads<const T> mineS, Heads<const T> mineW, Heads<const T> othersS,
                     Heads<const T> othersW, Heads<const T> g, Heads<const T> y, const T* lse, AttentionSizes sizes,
                     Divisor64 mine, std::int64_t jobs, T scale) {
  using Scores = T[kRows];
  GYRUS_SHARED(Scores, p);
  GYRUS_SHARED(Scores, e);
  const int thread = static_cast<int>(threadIdx.x), depth = sizes.depth;
  const std::int64_t others = Keys ? sizes.queries : sizes.keys;
  for (std::int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const std::int64_t pair = mine.over(job), i = job - pair * mine.d;
    const std::int64_t b = sizes.heads.over(pair), h = pair - b * sizes.heads.d;
    const T *s = mineS.at(b, h) + i * mineS.time, *w = mineW.at(b, h) + i * mineW.time;
    const T *ss = othersS.at(b, h), *ws = othersW.at(b, h), *gs = g.at(b, h), *ys = y.at(b, h);
    T *toS = ds.at(b, h) + i * ds.time, *toW = dw.at(b, h) + i * dw.time;
    const std::int64_t begin = Keys && sizes.causal ? i : 0;
    const std::int64_t end = !Keys && sizes.causal && i + 1 < others ? i + 1 : others;
    if (begin >= end)
      for (int d = thread; d < depth; d += kRows) {
        toS[d * ds.step] = 0;
        if (Keys) toW[d * dw.step] = 0;
      }
    for (std::int64_t j = begin; j < end; j += kRows) {
      const int n = static_cast<int>(end - j < kRows ? end - j : kRows);
      if (thread < n) {
        const std::int64_t other = j + thread, query = Keys ? other : i;
        const T delta = dot(gs + query * g.time, g.step, ys + query * y.time, y.step, depth);
        const T weight = exp(scale * dot(s, mineS.step, ss + other * othersS.time, othersS.step, depth) -
                             lse[pair * sizes.queries + query]);
        p[thread] = weight;
        e[thread] = weight * (dot(w, mineW.step, ws + other * othersW.time, othersW.step, depth) - delta) * scale;
      }
      __syncthreads();
      addRows(toS, ds.step, j == begin, T(1), e, ss + j * othersS.time, othersS.time, othersS.step, n, depth);
      if (Keys) addRows(toW, dw.step, j == begin, T(1), p, ws + j * othersW.time, othersW.time, othersW.step, n, depth);
      __syncthreads();  // before the next weights
    }
  }
}

}  // namespace

void attentionRows(const Args& args) {
  const auto& p = args.as<AttentionParams>();
  const AttentionSizes s(args.in[0], args.in[1], p.causal != 0);
  const std::int64_t jobs = s.pairs() * s.queries;
  byFloat(args.in[0].dtype, [&]<class T>() {
    GYRUS_LAUNCH(blocksFor(jobs, 1), kRows, 0, attentionRow<T>, Heads<T>(args.out[0]), args.out[1].as<T>(),
                 Heads<const T>(args.in[0]), Heads<const T>(args.in[1]), Heads<const T>(args.in[2]), s,
                 Divisor64(s.queries), jobs, static_cast<T>(p.scale));
  });
}

void attentionGradRows(const Args& args) {
  const auto& p = args.as<AttentionGradParams>();
  const AttentionSizes s(args.in[3], args.in[4], p.causal != 0);
  const std::int64_t keyJobs = s.pairs() * s.keys, queryJobs = s.pairs() * s.queries;
  byFloat(args.in[3].dtype, [&]<class T>() {
    const Heads<const T> g(args.in[0]), y(args.in[1]), q(args.in[3]), k(args.in[4]), v(args.in[5]);
    const Heads<T> dq(args.out[0]), dk(args.out[1]), dv(args.out[2]);
    const T* lse = args.in[2].as<T>();
    const T scale = static_cast<T>(p.scale);
    if (keyJobs > 0)
      GYRUS_LAUNCH(blocksFor(keyJobs, 1), kRows, 0, (attentionGradRow<T, true>), dk, dv, k, v, q, g, g, y, lse, s,
                   Divisor64(s.keys), keyJobs, scale);
    if (queryJobs > 0)
      GYRUS_LAUNCH(blocksFor(queryJobs, 1), kRows, 0, (attentionGradRow<T, false>), dq, dq, q, g, k, v, g, y, lse, s,
                   Divisor64(s.queries), queryJobs, scale);
  });
}

}  // namespace gyrus::cuda
