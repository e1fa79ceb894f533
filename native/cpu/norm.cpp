// Layer normalisation with its gradient. Variances take two passes: no cancellation for a large mean.
#include "cpu/columns.h"
#include "cpu/families.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE float rootOf(float x) { return ::sqrtf(x); }
GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// y [R, C], mean [R], rstd [R] <- x [R, C] (+ gamma, beta [C])
template <class T>
void layerNorm(const Args& args) {
  using V = Vec<T>;
  const auto& p = args.as<LayerNormParams>();
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const Rows<T> means = writeRows<T>(args, args.out[1]), rstds = writeRows<T>(args, args.out[2]);
  const T* gamma = p.affine != 0 ? readLine<T>(args, args.in[1]) : nullptr;
  const T* beta = p.affine != 0 ? readLine<T>(args, args.in[2]) : nullptr;
  const int64_t C = x.cols;
  parallelRange(x.rows, C * 3, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T* in = x.row(r);
      T* out = y.row(r);
      V sum = V::zero(), squares = V::zero();
      eachVector<T>(C, [&](int64_t c, int lanes) { sum = sum + load(in + c, lanes); });
      const T mean = reduceAdd(sum) / static_cast<T>(C);
      const V middle = V::broadcast(mean);
      eachVector<T>(C, [&](int64_t c, int lanes) {
        const V d = inLine(load(in + c, lanes) - middle, lanes, T(0));
        squares = fma(d, d, squares);
      });
      const T rstd = 1 / rootOf(reduceAdd(squares) / static_cast<T>(C) + static_cast<T>(p.eps));
      const V scale = V::broadcast(rstd);
      eachVector<T>(C, [&](int64_t c, int lanes) {
        V v = (load(in + c, lanes) - middle) * scale;
        if (gamma) v = fma(v, load(gamma + c, lanes), load(beta + c, lanes));
        store(v, out + c, lanes);
      });
      means.data[r] = mean;
      rstds.data[r] = rstd;
    }
  });
  y.flush();
  means.flush();
  rstds.flush();
}

// dx [R, C] (+ dgamma, dbeta [C]) <- g, x [R, C], mean, rstd [R] (+ gamma [C])
template <class T>
void layerNormGrad(const Args& args) {
  using V = Vec<T>;
  const bool affine = args.as<LayerNormGradParams>().affine != 0;
  const Rows<T> dx = writeRows<T>(args, args.out[0]);
  const Rows<T> g = readRows<T>(args, args.in[0]), x = readRows<T>(args, args.in[1]);
  const T *mean = readLine<T>(args, args.in[2]), *rstd = readLine<T>(args, args.in[3]);
  const T* gamma = affine ? readLine<T>(args, args.in[4]) : nullptr;
  const int64_t R = x.rows, C = x.cols;
  parallelRange(R, C * 3, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T *gr = g.row(r), *xr = x.row(r);
      T* out = dx.row(r);
      const V middle = V::broadcast(mean[r]), scale = V::broadcast(rstd[r]);
      V sum = V::zero(), dot = V::zero();
      eachVector<T>(C, [&](int64_t c, int lanes) {
        V v = load(gr + c, lanes);
        if (gamma) v = v * load(gamma + c, lanes);
        sum = sum + v;
        dot = fma(v, inLine((load(xr + c, lanes) - middle) * scale, lanes, T(0)), dot);
      });
      const V a = V::broadcast(reduceAdd(sum) / static_cast<T>(C));
      const V b = V::broadcast(reduceAdd(dot) / static_cast<T>(C));
      eachVector<T>(C, [&](int64_t c, int lanes) {
        V v = load(gr + c, lanes);
        if (gamma) v = v * load(gamma + c, lanes);
        const V hat = (load(xr + c, lanes) - middle) * scale;
        store(scale * (v - a - hat * b), out + c, lanes);
      });
    }
  });
  dx.flush();
  if (!affine) return;
  const Rows<T> dgamma = writeRows<T>(args, args.out[1]), dbeta = writeRows<T>(args, args.out[2]);
  sumColumns<T>(args, R, C, dbeta.data, dgamma.data, [&](int64_t r, int64_t c, int lanes, V& sum, V& dot) {
    const V v = load(g.row(r) + c, lanes);
    sum = sum + v;
    dot = fma(v, (load(x.row(r) + c, lanes) - V::broadcast(mean[r])) * V::broadcast(rstd[r]), dot);
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
