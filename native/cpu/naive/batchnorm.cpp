// Naive batch normalisation, with the residual sum and the ReLU behind it, and its gradient: two-pass variance, in
// double.
#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/rows.h"
#include "kernels/active.h"

namespace gyrus::cpu::naive {
namespace {

// NaN passes.
double relu(double x) { return x < 0 ? 0 : x; }

// The call on the channels that count, when they are counted; the others become 0 in the first outputs.
template <class T>
Args cutDown(const Args& args, bool counted, int outputs) {
  if (!counted) return args;
  for (int i = 0; i < outputs; ++i) {
    const Rows<T> all(args.out[i]);
    for (std::int64_t r = 0; r < all.rows; ++r)
      for (std::int64_t c = 0; c < all.cols; ++c) all(r, c) = T(0);
  }
  return activeColumns(args);
}

// y [R, C], mean, rstd [C], inout runningMean, runningVar [C] <- x [R, C], gamma, beta [C] (+ residual [R, C])
template <class T>
struct BatchNorm {
  static void run(const Args& whole) {
    const auto& p = whole.as<BatchNormParams>();
    const Args args = cutDown<T>(whole, p.counted != 0, 3);
    const Rows<T> y(args.out[0]), x(args.in[0]), residual(args.in[p.residual != 0 ? 3 : 0]);
    const Line<T> means(args.out[1]), rstds(args.out[2]), runningMean(args.out[3]), runningVar(args.out[4]);
    const Line<T> gamma(args.in[1]), beta(args.in[2]);
    const std::int64_t R = x.rows;
    for (std::int64_t c = 0; c < x.cols; ++c) {
      double mean = 0, m2 = 0;
      for (std::int64_t r = 0; r < R; ++r) mean += x(r, c);
      mean /= R;
      for (std::int64_t r = 0; r < R; ++r) m2 += (x(r, c) - mean) * (x(r, c) - mean);
      const double rstd = 1 / std::sqrt(m2 / R + p.eps);
      for (std::int64_t r = 0; r < R; ++r) {
        double value = (x(r, c) - mean) * rstd * gamma[c] + beta[c];
        if (p.residual != 0) value += residual(r, c);
        y(r, c) = T(p.relu != 0 ? relu(value) : value);
      }
      means[c] = T(mean);
      rstds[c] = T(rstd);
      runningMean[c] = T((1 - p.momentum) * runningMean[c] + p.momentum * mean);
      runningVar[c] = T((1 - p.momentum) * runningVar[c] + p.momentum * m2 / (R - 1));
    }
  }
};

// y [R, C] <- x [R, C], gamma, beta, mean, var [C] (+ residual [R, C])
template <class T>
struct BatchNormEval {
  static void run(const Args& whole) {
    const auto& p = whole.as<BatchNormEvalParams>();
    const Args args = cutDown<T>(whole, p.counted != 0, 1);
    const Rows<T> y(args.out[0]), x(args.in[0]), residual(args.in[p.residual != 0 ? 5 : 0]);
    const Line<T> gamma(args.in[1]), beta(args.in[2]), mean(args.in[3]), var(args.in[4]);
    for (std::int64_t c = 0; c < x.cols; ++c) {
      const double scale = gamma[c] / std::sqrt(var[c] + p.eps);
      for (std::int64_t r = 0; r < x.rows; ++r) {
        double value = (double(x(r, c)) - mean[c]) * scale + beta[c];
        if (p.residual != 0) value += residual(r, c);
        y(r, c) = T(p.relu != 0 ? relu(value) : value);
      }
    }
  }
};

// dx [R, C], dgamma, dbeta [C] (+ dresidual [R, C]) <- g, x, mean, rstd, gamma [C] (+ y [R, C])
template <class T>
struct BatchNormGrad {
  static void run(const Args& whole) {
    const auto& p = whole.as<BatchNormGradParams>();
    const Args args = cutDown<T>(whole, p.counted != 0, whole.outputs);
    const Rows<T> dx(args.out[0]), x(args.in[1]);
    const Line<T> dgamma(args.out[1]), dbeta(args.out[2]), mean(args.in[2]), rstd(args.in[3]), gamma(args.in[4]);
    const Rows<T> given(args.in[0]), y(args.in[p.relu != 0 ? 5 : 0]);
    const std::int64_t R = x.rows;
    for (std::int64_t c = 0; c < x.cols; ++c) {
      const auto xhat = [&](std::int64_t r) { return (double(x(r, c)) - mean[c]) * rstd[c]; };
      const auto g = [&](std::int64_t r) { return p.relu != 0 && !(y(r, c) > 0) ? 0.0 : double(given(r, c)); };
      double sum = 0, dot = 0;
      for (std::int64_t r = 0; r < R; ++r) {
        sum += g(r);
        dot += g(r) * xhat(r);
      }
      for (std::int64_t r = 0; r < R; ++r) {
        dx(r, c) = T(double(gamma[c]) * rstd[c] * (g(r) - sum / R - xhat(r) * (dot / R)));
        if (p.residual != 0) Rows<T>(args.out[3])(r, c) = T(g(r));
      }
      dgamma[c] = T(dot);
      dbeta[c] = T(sum);
    }
  }
};

}  // namespace

void registerBatchNorm(KernelTable& t) {
  t.set(Op::BatchNorm, byType<BatchNorm>);
  t.set(Op::BatchNormGrad, byType<BatchNormGrad>);
  t.set(Op::BatchNormEval, byType<BatchNormEval>);
}

}  // namespace gyrus::cpu::naive
