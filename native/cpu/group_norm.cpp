// Group normalisation over channels-last data, and its gradient. A piece of work is some groups of one sample; sums run
// down the channels in vectors, whatever the size of a group, and are put together per group afterwards. Variances take
// two passes: no cancellation for a large mean.
#include "cpu/families.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE float rootOf(float x) { return ::sqrtf(x); }
GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// How [B, S, C] is cut: samples x strips of whole groups. Many samples are enough for all threads.
struct Cut {
  int64_t samples, positions, channels, groups, each, perStrip, strips;
  Cut(const View& x, double groupCount)
      : samples(x.shape[0]), positions(x.shape[1]), channels(x.shape[2]), groups(static_cast<int64_t>(groupCount)) {
    each = channels / groups;
    perStrip = samples >= 16 ? groups : minOf(groups, ceilDiv(64, each));
    strips = ceilDiv(groups, perStrip);
  }
  // f(sample, first group, last group) for each piece.
  template <class F>
  void run(F&& f) const {
    const auto piece = [&](int64_t i) {
      const int64_t g = i % strips * perStrip;
      f(i / strips, g, minOf(groups, g + perStrip));
    };
    if (samples * positions * channels <= 32768) {
      for (int64_t i = 0; i < samples * strips; ++i) piece(i);
    } else {
      parallelFor(samples * strips, piece);
    }
  }
};

// Two sums per channel c0..c1 over all positions, in blocks so that long sums keep their digits: f(s, c, lanes, a, b)
// adds.
template <class T, class F>
GYRUS_INLINE void sums(int64_t positions, int64_t c0, int64_t c1, T* first, T* second, F&& f) {
  using V = Vec<T>;
  constexpr int64_t kBlock = 256;
  constexpr int kWide = 4;
  for (int64_t c = c0; c < c1;) {
    const bool wide = c + kWide * V::N <= c1;
    const int64_t step = wide ? kWide * V::N : V::N;
    const int lanes = static_cast<int>(minOf(V::N, c1 - c));
    for (int64_t s0 = 0; s0 < positions; s0 += kBlock) {
      const int64_t s1 = minOf(positions, s0 + kBlock);
      V a[kWide], b[kWide];
      for (int j = 0; j < kWide; ++j) a[j] = b[j] = V::zero();
      if (wide)
        for (int64_t s = s0; s < s1; ++s)
          for (int j = 0; j < kWide; ++j) f(s, c + j * V::N, V::N, a[j], b[j]);
      else
        for (int64_t s = s0; s < s1; ++s) f(s, c, lanes, a[0], b[0]);
      for (int j = 0; j < (wide ? kWide : 1); ++j) {
        const int64_t at = c + j * V::N;
        if (s0 > 0) {
          a[j] = a[j] + load(first + at, lanes);
          b[j] = b[j] + load(second + at, lanes);
        }
        store(a[j], first + at, lanes);
        store(b[j], second + at, lanes);
      }
    }
    c += step;
  }
}

// y [B, S, C], mean, rstd [B, G] <- x (+ gamma, beta [C])
template <class T>
void groupNorm(const Args& args) {
  using V = Vec<T>;
  const auto& p = args.as<GroupNormParams>();
  const Cut cut(args.in[0], p.groups);
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const Rows<T> means = writeRows<T>(args, args.out[1]), rstds = writeRows<T>(args, args.out[2]);
  const T* gamma = p.affine != 0 ? readLine<T>(args, args.in[1]) : nullptr;
  const T* beta = p.affine != 0 ? readLine<T>(args, args.in[2]) : nullptr;
  const int64_t S = cut.positions, C = cut.channels, each = cut.each;
  // Per sample and channel: mean, factor, and what is summed.
  T* work = take<T>(args, cut.samples * 4 * C);
  const T count = static_cast<T>(S * each);
  cut.run([&](int64_t b, int64_t g0, int64_t g1) {
    T *mid = work + b * 4 * C, *factor = mid + C, *total = factor + C, *rest = total + C;
    const int64_t r0 = b * S, c0 = g0 * each, c1 = g1 * each;
    sums<T>(S, c0, c1, total, rest,
            [&](int64_t s, int64_t c, int lanes, V& sum, V&) { sum = sum + load(x.row(r0 + s) + c, lanes); });
    for (int64_t g = g0; g < g1; ++g) {
      T sum = 0;
      for (int64_t c = g * each; c < (g + 1) * each; ++c) sum += total[c];
      for (int64_t c = g * each; c < (g + 1) * each; ++c) mid[c] = sum / count;
    }
    // The second sum, of the deviations, says how far the first mean is off by rounding.
    sums<T>(S, c0, c1, total, rest, [&](int64_t s, int64_t c, int lanes, V& squares, V& off) {
      const V d = load(x.row(r0 + s) + c, lanes) - load(mid + c, lanes);
      squares = fma(d, d, squares);
      off = off + d;
    });
    for (int64_t g = g0; g < g1; ++g) {
      T squares = 0, off = 0;
      for (int64_t c = g * each; c < (g + 1) * each; ++c) {
        squares += total[c];
        off += rest[c];
      }
      const T mean = mid[g * each] + off / count;
      const T var = squares / count - off / count * (off / count);
      const T rstd = 1 / rootOf((var < 0 ? 0 : var) + static_cast<T>(p.eps));
      means.row(b)[g] = mean;
      rstds.row(b)[g] = rstd;
      for (int64_t c = g * each; c < (g + 1) * each; ++c) {
        mid[c] = mean;
        factor[c] = gamma ? rstd * gamma[c] : rstd;
      }
    }
    for (int64_t s = 0; s < S; ++s) {
      const T* in = x.row(r0 + s) + c0;
      T* out = y.row(r0 + s) + c0;
      eachVector<T>(c1 - c0, [&](int64_t c, int lanes) {
        const V d = load(in + c, lanes) - load(mid + c0 + c, lanes), f = load(factor + c0 + c, lanes);
        store(beta ? fma(d, f, load(beta + c0 + c, lanes)) : d * f, out + c, lanes);
      });
    }
  });
  y.flush();
  means.flush();
  rstds.flush();
}

// dx [B, S, C] (+ dgamma, dbeta [C]) <- g, x, mean, rstd (+ gamma [C])
//   dx = rstd gamma g - rstd (m1 + x^ m2), m1 and m2 the group's means of gamma g and gamma g x^
template <class T>
void groupNormGrad(const Args& args) {
  using V = Vec<T>;
  const auto& p = args.as<GroupNormGradParams>();
  const Cut cut(args.in[1], p.groups);
  const Rows<T> dx = writeRows<T>(args, args.out[0]);
  const Rows<T> g = readRows<T>(args, args.in[0]), x = readRows<T>(args, args.in[1]);
  const Rows<T> means = readRows<T>(args, args.in[2]), rstds = readRows<T>(args, args.in[3]);
  const T* gamma = p.affine != 0 ? readLine<T>(args, args.in[4]) : nullptr;
  const int64_t S = cut.positions, C = cut.channels, each = cut.each;
  // Per sample and channel: sum of g and of g x^, then mean, and the factors of g, of x - mean, and the constant.
  T* work = take<T>(args, cut.samples * 6 * C);
  const T count = static_cast<T>(S * each);
  cut.run([&](int64_t b, int64_t g0, int64_t g1) {
    T *sum = work + b * 6 * C, *dot = sum + C, *mid = dot + C, *ofG = mid + C, *ofX = ofG + C, *constant = ofX + C;
    const int64_t r0 = b * S, c0 = g0 * each, c1 = g1 * each;
    for (int64_t c = c0; c < c1; ++c) mid[c] = means.row(b)[c / each];
    sums<T>(S, c0, c1, sum, dot, [&](int64_t s, int64_t c, int lanes, V& a, V& d) {
      const V v = load(g.row(r0 + s) + c, lanes);
      a = a + v;
      d = fma(v, load(x.row(r0 + s) + c, lanes) - load(mid + c, lanes), d);
    });
    for (int64_t k = g0; k < g1; ++k) {
      const T rstd = rstds.row(b)[k];
      T m1 = 0, m2 = 0;
      for (int64_t c = k * each; c < (k + 1) * each; ++c) {
        dot[c] *= rstd;
        m1 += gamma ? gamma[c] * sum[c] : sum[c];
        m2 += gamma ? gamma[c] * dot[c] : dot[c];
      }
      for (int64_t c = k * each; c < (k + 1) * each; ++c) {
        ofG[c] = gamma ? rstd * gamma[c] : rstd;
        ofX[c] = -rstd * rstd * (m2 / count);
        constant[c] = -rstd * (m1 / count);
      }
    }
    for (int64_t s = 0; s < S; ++s) {
      const T *gr = g.row(r0 + s) + c0, *xr = x.row(r0 + s) + c0;
      T* out = dx.row(r0 + s) + c0;
      eachVector<T>(c1 - c0, [&](int64_t c, int lanes) {
        const V d = load(xr + c, lanes) - load(mid + c0 + c, lanes);
        const V v = fma(d, load(ofX + c0 + c, lanes), load(constant + c0 + c, lanes));
        store(fma(load(gr + c, lanes), load(ofG + c0 + c, lanes), v), out + c, lanes);
      });
    }
  });
  dx.flush();
  if (!gamma) return;
  const Rows<T> dgamma = writeRows<T>(args, args.out[1]), dbeta = writeRows<T>(args, args.out[2]);
  eachVector<T>(C, [&](int64_t c, int lanes) {
    V a = V::zero(), d = V::zero();
    for (int64_t b = 0; b < cut.samples; ++b) {
      a = a + load(work + b * 6 * C + c, lanes);
      d = d + load(work + (b * 6 + 1) * C + c, lanes);
    }
    store(d, dgamma.data + c, lanes);
    store(a, dbeta.data + c, lanes);
  });
  dgamma.flush();
  dbeta.flush();
}

}  // namespace

void registerGroupNorm(KernelTable& t) {
  t.set(Op::GroupNorm, GYRUS_BY_TYPE(groupNorm));
  t.set(Op::GroupNormGrad, GYRUS_BY_TYPE(groupNormGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
