// Naive multi-head attention: one query after the other, sums in double.
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/families.h"
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {
namespace {

// [B, T, H, D]
template <class T>
struct Heads {
  explicit Heads(const View& v) : v(v) {}
  T& operator()(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) const {
    return v.as<T>()[b * v.stride[0] + t * v.stride[1] + h * v.stride[2] + d * v.stride[3]];
  }
  View v;
};

template <class T>
double dot(const Heads<T>& a, const Heads<T>& b, std::int64_t n, std::int64_t i, std::int64_t j, std::int64_t h) {
  double sum = 0;
  for (std::int64_t d = 0; d < a.v.shape[3]; ++d) sum += double(a(n, i, h, d)) * b(n, j, h, d);
  return sum;
}

// y [B, Q, H, D], lse [B, H, Q] <- q, k, v
template <class T>
struct Attention {
  static void run(const Args& args) {
    const auto& p = args.as<AttentionParams>();
    const Heads<T> y(args.out[0]), q(args.in[0]), k(args.in[1]), v(args.in[2]);
    const View& lse = args.out[1];
    const std::int64_t keys = k.v.shape[1], D = q.v.shape[3];
    double* s = args.scratch->array<double>(keys);
    for (std::int64_t b = 0; b < q.v.shape[0]; ++b)
      for (std::int64_t h = 0; h < q.v.shape[2]; ++h)
        for (std::int64_t i = 0; i < q.v.shape[1]; ++i) {
          const std::int64_t seen = p.causal != 0 && i + 1 < keys ? i + 1 : keys;
          double top = -std::numeric_limits<double>::infinity(), total = 0;
          for (std::int64_t j = 0; j < seen; ++j) {
            s[j] = p.scale * dot(q, k, b, i, j, h);
            if (s[j] > top) top = s[j];
          }
          const double base = std::isinf(top) && top < 0 ? 0 : top;
          for (std::int64_t j = 0; j < seen; ++j) total += s[j] = std::exp(s[j] - base);
          for (std::int64_t d = 0; d < D; ++d) {
            double sum = 0;
            for (std::int64_t j = 0; j < seen; ++j) sum += s[j] * v(b, j, h, d);
            y(b, i, h, d) = T(seen == 0 ? 0 : sum / total);
          }
          lse.as<T>()[b * lse.stride[0] + h * lse.stride[1] + i * lse.stride[2]] = T(top + std::log(total));
        }
  }
};

// dq, dk, dv <- g, y, lse, q, k, v
template <class T>
struct AttentionGrad {
  static void run(const Args& args) {
    const auto& p = args.as<AttentionGradParams>();
    const Heads<T> dq(args.out[0]), dk(args.out[1]), dv(args.out[2]);
    const Heads<T> g(args.in[0]), y(args.in[1]), q(args.in[3]), k(args.in[4]), v(args.in[5]);
    const View& lse = args.in[2];
    const std::int64_t queries = q.v.shape[1], keys = k.v.shape[1], D = q.v.shape[3];
    const std::int64_t most = queries > keys ? queries : keys;
    // Sums of a head in double: dq, dk and dv, [most, D] each.
    double* sums = args.scratch->array<double>(3 * most * D);
    double *sq = sums, *sk = sq + most * D, *sv = sk + most * D;
    for (std::int64_t b = 0; b < q.v.shape[0]; ++b)
      for (std::int64_t h = 0; h < q.v.shape[2]; ++h) {
        for (std::int64_t i = 0; i < 3 * most * D; ++i) sums[i] = 0;
        for (std::int64_t i = 0; i < queries; ++i) {
          const std::int64_t seen = p.causal != 0 && i + 1 < keys ? i + 1 : keys;
          const double delta = dot(g, y, b, i, i, h);
          const double row = lse.as<T>()[b * lse.stride[0] + h * lse.stride[1] + i * lse.stride[2]];
          for (std::int64_t j = 0; j < seen; ++j) {
            const double weight = std::exp(p.scale * dot(q, k, b, i, j, h) - row);
            const double ds = weight * (dot(g, v, b, i, j, h) - delta) * p.scale;
            for (std::int64_t d = 0; d < D; ++d) {
              sv[j * D + d] += weight * g(b, i, h, d);
              sk[j * D + d] += ds * q(b, i, h, d);
              sq[i * D + d] += ds * k(b, j, h, d);
            }
          }
        }
        for (std::int64_t d = 0; d < D; ++d) {
          for (std::int64_t i = 0; i < queries; ++i) dq(b, i, h, d) = T(sq[i * D + d]);
          for (std::int64_t j = 0; j < keys; ++j) {
            dk(b, j, h, d) = T(sk[j * D + d]);
            dv(b, j, h, d) = T(sv[j * D + d]);
          }
        }
      }
  }
};

}  // namespace

void registerAttention(KernelTable& t) {
  t.set(Op::Attention, byType<Attention>);
  t.set(Op::AttentionGrad, byType<AttentionGrad>);
}

}  // namespace gyrus::cpu::naive
