// Naive layer normalisation with its gradient: two-pass variance, in double.
#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/rows.h"
#include "kernels/counts.h"

namespace gyrus::cpu::naive {
namespace {

// What belongs to the channels from `from` on becomes 0.
template <class T>
void clearBeyond(const View& v, std::int64_t from) {
  const Rows<T> rows(v);
  for (std::int64_t r = 0; r < rows.rows; ++r)
    for (std::int64_t c = from; c < rows.cols; ++c) rows(r, c) = T(0);
}

// y [R, C], mean [R], rstd [R] <- x [R, C] (+ gamma, beta [C])
template <class T>
struct LayerNorm {
  static void run(const Args& args) {
    const auto& p = args.as<LayerNormParams>();
    const ActiveChannels active(args, p.affine != 0 ? 3 : 1);
    clearBeyond<T>(args.out[0], active.count);
    const Rows<T> y(active.of(args.out[0])), x(active.of(args.in[0]));
    const Line<T> means(args.out[1]), rstds(args.out[2]);
    const std::int64_t C = x.cols;
    for (std::int64_t r = 0; r < x.rows; ++r) {
      double mean = 0, m2 = 0;
      for (std::int64_t c = 0; c < C; ++c) mean += x(r, c);
      mean /= C;
      for (std::int64_t c = 0; c < C; ++c) m2 += (x(r, c) - mean) * (x(r, c) - mean);
      const double rstd = 1 / std::sqrt(m2 / C + p.eps);
      for (std::int64_t c = 0; c < C; ++c) {
        double value = (x(r, c) - mean) * rstd;
        if (p.affine != 0) value = value * Line<T>(args.in[1])[c] + Line<T>(args.in[2])[c];
        y(r, c) = T(value);
      }
      means[r] = C > 0 ? T(mean) : T(0);
      rstds[r] = C > 0 ? T(rstd) : T(0);
    }
  }
};

// dx [R, C] (+ dgamma, dbeta [C]) <- g, x [R, C], mean, rstd [R] (+ gamma [C])
template <class T>
struct LayerNormGrad {
  static void run(const Args& args) {
    const bool affine = args.as<LayerNormGradParams>().affine != 0;
    const ActiveChannels active(args, affine ? 5 : 4);
    for (int i = 0; i < args.outputs; ++i) clearBeyond<T>(args.out[i], active.count);
    const Rows<T> dx(active.of(args.out[0])), g(active.of(args.in[0])), x(active.of(args.in[1]));
    const Line<T> mean(args.in[2]), rstd(args.in[3]);
    const std::int64_t R = x.rows, C = x.cols;
    const auto scaled = [&](std::int64_t r, std::int64_t c) {
      return affine ? double(g(r, c)) * Line<T>(args.in[4])[c] : double(g(r, c));
    };
    const auto xhat = [&](std::int64_t r, std::int64_t c) { return (double(x(r, c)) - mean[r]) * rstd[r]; };
    for (std::int64_t r = 0; r < R; ++r) {
      double sum = 0, dot = 0;
      for (std::int64_t c = 0; c < C; ++c) {
        sum += scaled(r, c);
        dot += scaled(r, c) * xhat(r, c);
      }
      for (std::int64_t c = 0; c < C; ++c) dx(r, c) = T(rstd[r] * (scaled(r, c) - sum / C - xhat(r, c) * (dot / C)));
    }
    if (!affine) return;
    const Line<T> dgamma(args.out[1]), dbeta(args.out[2]);
    for (std::int64_t c = 0; c < C; ++c) {
      double sum = 0, dot = 0;
      for (std::int64_t r = 0; r < R; ++r) {
        sum += g(r, c);
        dot += g(r, c) * xhat(r, c);
      }
      dgamma[c] = T(dot);
      dbeta[c] = T(sum);
    }
  }
};

}  // namespace

void registerNorm(KernelTable& t) {
  t.set(Op::LayerNorm, byType<LayerNorm>);
  t.set(Op::LayerNormGrad, byType<LayerNormGrad>);
}

}  // namespace gyrus::cpu::naive
