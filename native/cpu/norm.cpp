// Layer normalisation with its gradient. Variances take two passes: no cancellation for a large mean.
#include <type_traits>

#include "cpu/families.h"
#include "cpu/lists.h"
#include "cpu/row_tile.h"
#include "kernels/counts.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE float rootOf(float x) { return ::sqrtf(x); }
GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// f(first row, K) with K a constant, the rows that are under way at a time: four short ones, so that the latency of
// their sums overlaps; long ones one by one, which is how memory likes to be read.
template <class T, class F>
GYRUS_INLINE void eachRows(int64_t from, int64_t to, int64_t C, F&& f) {
  if (C * static_cast<int64_t>(sizeof(T)) <= 1024)
    for (; from + 4 <= to; from += 4) f(from, std::integral_constant<int, 4>{});
  for (; from < to; ++from) f(from, std::integral_constant<int, 1>{});
}

// f(c, lanes, which of W sums to add to) along a line: W chains of dependent additions instead of one.
template <class T, int W, class F>
GYRUS_INLINE void eachChain(int64_t n, F&& f) {
  constexpr int N = Vec<T>::N;
  int64_t c = 0;
  for (; c + W * N <= n; c += W * N)
    for (int w = 0; w < W; ++w) f(c + w * N, N, w);
  for (; c < n; c += N) f(c, static_cast<int>(minOf(N, n - c)), 0);
}
template <class T, int W>
GYRUS_INLINE T total(const Vec<T>* sums) {
  Vec<T> all = sums[0];
  for (int w = 1; w < W; ++w) all = all + sums[w];
  return reduceAdd(all);
}

// y [R, C], mean [R], rstd [R] <- x [R, C] (+ gamma, beta [C])
template <class T>
void layerNorm(const Args& args) {
  using V = Vec<T>;
  const auto& p = args.as<LayerNormParams>();
  const ActiveChannels active(args, p.affine != 0 ? 3 : 1);
  clearColumns<T>(args.out[0], active.count);
  const Rows<T> y = writeRows<T>(args, active.of(args.out[0])), x = readRows<T>(args, active.of(args.in[0]));
  const Rows<T> means = writeRows<T>(args, args.out[1]), rstds = writeRows<T>(args, args.out[2]);
  const T* gamma = p.affine != 0 ? readLine<T>(args, args.in[1]) : nullptr;
  const T* beta = p.affine != 0 ? readLine<T>(args, args.in[2]) : nullptr;
  const int64_t C = x.cols;
  if (C == 0)
    for (int64_t r = 0; r < x.rows; ++r) means.data[r] = rstds.data[r] = T(0);
  parallelRange(C > 0 ? x.rows : 0, C * 3, [&](int64_t from, int64_t to) {
    eachTile(from, to, C, [&](int64_t r0, int64_t rows) {
      T *mean = means.data + r0, *rstd = rstds.data + r0;
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        mean[r] =
            sumOfLine<T>(C, [&](int64_t c, int lanes, V sum) GYRUS_INLINED { return sum + load(in + c, lanes); }) /
            static_cast<T>(C);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        const V middle = V::broadcast(mean[r]);
        const T squares = sumOfLine<T>(C, [&](int64_t c, int lanes, V sum) GYRUS_INLINED {
          const V d = inLine(load(in + c, lanes) - middle, lanes, T(0));
          return fma(d, d, sum);
        });
        rstd[r] = 1 / rootOf(squares / static_cast<T>(C) + static_cast<T>(p.eps));
      }
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        const T* next = x.row(minOf(r0 + r + rows, x.rows - 1));
        T* out = y.row(r0 + r);
        const V middle = V::broadcast(mean[r]), scale = V::broadcast(rstd[r]);
        eachVector<T>(C, [&](int64_t c, int lanes) GYRUS_INLINED {
          __builtin_prefetch(next + c);
          const V v = (load(in + c, lanes) - middle) * scale;
          store(gamma ? fma(v, load(gamma + c, lanes), load(beta + c, lanes)) : v, out + c, lanes);
        });
      }
    });
  });
  y.flush();
  means.flush();
  rstds.flush();
}

// dx [R, C] (+ dgamma, dbeta [C]) <- g, x [R, C], mean, rstd [R] (+ gamma [C])
// One pass over memory: a row is in the nearest cache when its sums are known, and the sums down the columns are added
// up per block of rows on the way.
template <class T>
void layerNormGrad(const Args& args) {
  using V = Vec<T>;
  constexpr int64_t kRows = 128;
  const bool affine = args.as<LayerNormGradParams>().affine != 0;
  const ActiveChannels active(args, affine ? 5 : 4);
  for (int i = 0; i < args.outputs; ++i) clearColumns<T>(args.out[i], active.count);
  const Rows<T> dx = writeRows<T>(args, active.of(args.out[0]));
  const Rows<T> g = readRows<T>(args, active.of(args.in[0])), x = readRows<T>(args, active.of(args.in[1]));
  const T *mean = readLine<T>(args, args.in[2]), *rstd = readLine<T>(args, args.in[3]);
  const T* gamma = affine ? readLine<T>(args, args.in[4]) : nullptr;
  const int64_t R = x.rows, C = x.cols, blocks = ceilDiv(R, kRows);
  T* partial = affine ? take<T>(args, blocks * 2 * C) : nullptr;  // per block: sums of g, then of g x^
  const auto rows = [&](int64_t r, T* sums, auto count) {
    constexpr int K = decltype(count)::value, W = 4 / K;
    V middle[K], scale[K], sums1[K][W], sums2[K][W], sum[K], dot[K];
    for (int k = 0; k < K; ++k) {
      middle[k] = V::broadcast(mean[r + k]);
      scale[k] = V::broadcast(rstd[r + k]);
      for (int w = 0; w < W; ++w) sums1[k][w] = sums2[k][w] = V::zero();
    }
    eachChain<T, W>(C, [&](int64_t c, int lanes, int w) {
      const V a = gamma ? load(gamma + c, lanes) : V::broadcast(T(1));
      for (int k = 0; k < K; ++k) {
        const V v = load(g.row(r + k) + c, lanes) * a;
        const V hat = inLine((load(x.row(r + k) + c, lanes) - middle[k]) * scale[k], lanes, T(0));
        sums1[k][w] = sums1[k][w] + v;
        sums2[k][w] = fma(v, hat, sums2[k][w]);
      }
    });
    for (int k = 0; k < K; ++k) {
      sum[k] = V::broadcast(total<T, W>(sums1[k]) / static_cast<T>(C));
      dot[k] = V::broadcast(total<T, W>(sums2[k]) / static_cast<T>(C));
    }
    eachVector<T>(C, [&](int64_t c, int lanes) {
      const V a = gamma ? load(gamma + c, lanes) : V::broadcast(T(1));
      V first = V::zero(), second = V::zero();
      for (int k = 0; k < K; ++k) {
        const V v = load(g.row(r + k) + c, lanes), hat = (load(x.row(r + k) + c, lanes) - middle[k]) * scale[k];
        store(scale[k] * (v * a - sum[k] - hat * dot[k]), dx.row(r + k) + c, lanes);
        first = first + v;
        second = fma(v, hat, second);
      }
      if (!sums) return;
      store(load(sums + c, lanes) + first, sums + c, lanes);
      store(load(sums + C + c, lanes) + second, sums + C + c, lanes);
    });
  };
  const auto block = [&](int64_t i) {
    T* sums = partial ? partial + i * 2 * C : nullptr;
    if (sums)
      for (int64_t c = 0; c < 2 * C; ++c) sums[c] = 0;
    eachRows<T>(i * kRows, minOf(R, (i + 1) * kRows), C, [&](int64_t r, auto count) { rows(r, sums, count); });
  };
  parallelRange(blocks, kRows * C * 3, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) block(i);
  });
  dx.flush();
  if (!affine) return;
  const Rows<T> dgamma = writeRows<T>(args, args.out[1]), dbeta = writeRows<T>(args, args.out[2]);
  eachVector<T>(C, [&](int64_t c, int lanes) {
    V a = V::zero(), b = V::zero();
    for (int64_t i = 0; i < blocks; ++i) {
      a = a + load(partial + i * 2 * C + c, lanes);
      b = b + load(partial + (i * 2 + 1) * C + c, lanes);
    }
    store(a, dbeta.data + c, lanes);
    store(b, dgamma.data + c, lanes);
  });
  dgamma.flush();
  dbeta.flush();
}

}  // namespace

void registerNorm(KernelTable& t) {
  t.set(Op::LayerNorm, GYRUS_BY_TYPE(layerNorm));
  t.set(Op::LayerNormGrad, GYRUS_BY_TYPE(layerNormGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
