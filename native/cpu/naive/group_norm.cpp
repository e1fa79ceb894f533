// Naive group normalisation and its gradient: two-pass variance, in double.
#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {
namespace {

// [B, S, C] as samples, positions and channels.
template <class T>
struct Cube {
  explicit Cube(const View& v) : v(v) {}
  T& operator()(std::int64_t b, std::int64_t s, std::int64_t c) const {
    return v.as<T>()[b * v.stride[0] + s * v.stride[1] + c * v.stride[2]];
  }
  View v;
};

// f(b, s, c) over one group of a sample.
template <class F>
void eachOf(std::int64_t positions, std::int64_t from, std::int64_t to, F&& f) {
  for (std::int64_t s = 0; s < positions; ++s)
    for (std::int64_t c = from; c < to; ++c) f(s, c);
}

// y [B, S, C], mean, rstd [B, G] <- x (+ gamma, beta [C])
template <class T>
struct GroupNorm {
  static void run(const Args& args) {
    const auto& p = args.as<GroupNormParams>();
    const Cube<T> y(args.out[0]), x(args.in[0]);
    const Rows<T> means(args.out[1]), rstds(args.out[2]);
    const std::int64_t S = x.v.shape[1], each = x.v.shape[2] / static_cast<std::int64_t>(p.groups);
    for (std::int64_t b = 0; b < x.v.shape[0]; ++b)
      for (std::int64_t g = 0; g < static_cast<std::int64_t>(p.groups); ++g) {
        const std::int64_t from = g * each, to = from + each;
        double mean = 0, m2 = 0;
        eachOf(S, from, to, [&](std::int64_t s, std::int64_t c) { mean += x(b, s, c); });
        mean /= double(S * each);
        eachOf(S, from, to, [&](std::int64_t s, std::int64_t c) { m2 += (x(b, s, c) - mean) * (x(b, s, c) - mean); });
        const double rstd = 1 / std::sqrt(m2 / double(S * each) + p.eps);
        eachOf(S, from, to, [&](std::int64_t s, std::int64_t c) {
          double value = (x(b, s, c) - mean) * rstd;
          if (p.affine != 0) value = value * Line<T>(args.in[1])[c] + Line<T>(args.in[2])[c];
          y(b, s, c) = T(value);
        });
        means(b, g) = T(mean);
        rstds(b, g) = T(rstd);
      }
  }
};

// dx [B, S, C] (+ dgamma, dbeta [C]) <- g, x, mean, rstd (+ gamma [C])
template <class T>
struct GroupNormGrad {
  static void run(const Args& args) {
    const auto& p = args.as<GroupNormGradParams>();
    const bool affine = p.affine != 0;
    const Cube<T> dx(args.out[0]), g(args.in[0]), x(args.in[1]);
    const Rows<T> mean(args.in[2]), rstd(args.in[3]);
    const std::int64_t B = x.v.shape[0], S = x.v.shape[1], C = x.v.shape[2];
    const std::int64_t each = C / static_cast<std::int64_t>(p.groups);
    const auto scaled = [&](std::int64_t b, std::int64_t s, std::int64_t c) {
      return affine ? double(g(b, s, c)) * Line<T>(args.in[4])[c] : double(g(b, s, c));
    };
    const auto xhat = [&](std::int64_t b, std::int64_t s, std::int64_t c) {
      return (double(x(b, s, c)) - mean(b, c / each)) * rstd(b, c / each);
    };
    const double n = double(S * each);
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t from = 0; from < C; from += each) {
        double sum = 0, dot = 0;
        eachOf(S, from, from + each, [&](std::int64_t s, std::int64_t c) {
          sum += scaled(b, s, c);
          dot += scaled(b, s, c) * xhat(b, s, c);
        });
        eachOf(S, from, from + each, [&](std::int64_t s, std::int64_t c) {
          dx(b, s, c) = T(rstd(b, c / each) * (scaled(b, s, c) - sum / n - xhat(b, s, c) * (dot / n)));
        });
      }
    if (!affine) return;
    const Line<T> dgamma(args.out[1]), dbeta(args.out[2]);
    for (std::int64_t c = 0; c < C; ++c) {
      double sum = 0, dot = 0;
      for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t s = 0; s < S; ++s) {
          sum += g(b, s, c);
          dot += g(b, s, c) * xhat(b, s, c);
        }
      dgamma[c] = T(dot);
      dbeta[c] = T(sum);
    }
  }
};

}  // namespace

void registerGroupNorm(KernelTable& t) {
  t.set(Op::GroupNorm, byType<GroupNorm>);
  t.set(Op::GroupNormGrad, byType<GroupNormGrad>);
}

}  // namespace gyrus::cpu::naive
