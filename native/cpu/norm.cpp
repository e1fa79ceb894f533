// Layer and batch normalisation with their gradients. Variances take two passes: no cancellation for a large mean.
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

// y [R, C], mean, rstd [C], inout runningMean, runningVar [C] <- x [R, C], gamma, beta [C]
template <class T>
void batchNorm(const Args& args) {
  using V = Vec<T>;
  const auto& p = args.as<BatchNormParams>();
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const Rows<T> mean = writeRows<T>(args, args.out[1]), rstd = writeRows<T>(args, args.out[2]);
  const Rows<T> running_mean = readRows<T>(args, args.out[3]), running_var = readRows<T>(args, args.out[4]);
  const T *gamma = readLine<T>(args, args.in[1]), *beta = readLine<T>(args, args.in[2]);
  const int64_t R = x.rows, C = x.cols;
  T *squares = take<T>(args, C), *rests = take<T>(args, C);
  const V rows = V::broadcast(static_cast<T>(R));

  sumColumns<T>(args, R, C, mean.data, rests,
                [&](int64_t r, int64_t c, int lanes, V& sum, V&) { sum = sum + load(x.row(r) + c, lanes); });
  eachVector<T>(C, [&](int64_t c, int lanes) { store(load(mean.data + c, lanes) / rows, mean.data + c, lanes); });
  // The second sum, of the deviations, says how far the first mean is off by rounding.
  sumColumns<T>(args, R, C, squares, rests, [&](int64_t r, int64_t c, int lanes, V& sum, V& rest) {
    const V d = load(x.row(r) + c, lanes) - load(mean.data + c, lanes);
    sum = fma(d, d, sum);
    rest = rest + d;
  });
  const V m = V::broadcast(static_cast<T>(p.momentum)), keep = V::broadcast(static_cast<T>(1 - p.momentum));
  eachVector<T>(C, [&](int64_t c, int lanes) {
    const V rest = load(rests + c, lanes), mid = load(mean.data + c, lanes) + rest / rows;
    store(mid, mean.data + c, lanes);
    const V m2 = load(squares + c, lanes) - rest * rest / rows;
    const V var = m2 / rows, unbiased = m2 / (rows - V::broadcast(T(1)));
    store(V::broadcast(T(1)) / sqrt(var + V::broadcast(static_cast<T>(p.eps))), rstd.data + c, lanes);
    store(keep * load(running_mean.data + c, lanes) + m * mid, running_mean.data + c, lanes);
    store(keep * load(running_var.data + c, lanes) + m * unbiased, running_var.data + c, lanes);
  });
  parallelRange(R, C, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r)
      eachVector<T>(C, [&](int64_t c, int lanes) {
        const V hat = (load(x.row(r) + c, lanes) - load(mean.data + c, lanes)) * load(rstd.data + c, lanes);
        store(fma(hat, load(gamma + c, lanes), load(beta + c, lanes)), y.row(r) + c, lanes);
      });
  });
  y.flush();
  mean.flush();
  rstd.flush();
  running_mean.flush();
  running_var.flush();
}

// dx [R, C], dgamma, dbeta [C] <- g, x [R, C], mean, rstd, gamma [C]
template <class T>
void batchNormGrad(const Args& args) {
  using V = Vec<T>;
  const Rows<T> dx = writeRows<T>(args, args.out[0]);
  const Rows<T> dgamma = writeRows<T>(args, args.out[1]), dbeta = writeRows<T>(args, args.out[2]);
  const Rows<T> g = readRows<T>(args, args.in[0]), x = readRows<T>(args, args.in[1]);
  const T *mean = readLine<T>(args, args.in[2]), *rstd = readLine<T>(args, args.in[3]);
  const T* gamma = readLine<T>(args, args.in[4]);
  const int64_t R = x.rows, C = x.cols;
  const auto hat = [&](int64_t r, int64_t c, int lanes) {
    return (load(x.row(r) + c, lanes) - load(mean + c, lanes)) * load(rstd + c, lanes);
  };
  sumColumns<T>(args, R, C, dbeta.data, dgamma.data, [&](int64_t r, int64_t c, int lanes, V& sum, V& dot) {
    const V v = load(g.row(r) + c, lanes);
    sum = sum + v;
    dot = fma(v, hat(r, c, lanes), dot);
  });
  const V rows = V::broadcast(static_cast<T>(R));
  parallelRange(R, C * 2, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r)
      eachVector<T>(C, [&](int64_t c, int lanes) {
        const V a = load(dbeta.data + c, lanes) / rows, b = load(dgamma.data + c, lanes) / rows;
        const V scale = load(gamma + c, lanes) * load(rstd + c, lanes);
        store(scale * (load(g.row(r) + c, lanes) - a - hat(r, c, lanes) * b), dx.row(r) + c, lanes);
      });
  });
  dx.flush();
  dgamma.flush();
  dbeta.flush();
}

}  // namespace

void registerNorm(KernelTable& t) {
  t.set(Op::LayerNorm, GYRUS_BY_TYPE(layerNorm));
  t.set(Op::LayerNormGrad, GYRUS_BY_TYPE(layerNormGrad));
  t.set(Op::BatchNorm, GYRUS_BY_TYPE(batchNorm));
  t.set(Op::BatchNormGrad, GYRUS_BY_TYPE(batchNormGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
