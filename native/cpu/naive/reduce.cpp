// Naive reductions: sums in double, int32 in wrapping 64-bit integers.
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/families.h"
#include "cpu/naive/strided.h"

namespace gyrus::cpu::naive {
namespace {

double larger(double a, double b) { return std::isnan(a) ? a : std::isnan(b) || b > a ? b : a; }
double smaller(double a, double b) { return std::isnan(a) ? a : std::isnan(b) || b < a ? b : a; }

// All elements of x below one kept position, visited in order.
template <class F>
void eachBelow(const View& inner, std::int64_t base, F f) {
  for (Walk w(inner); !w.done(); w.next()) f(base + w.in(inner));
}

double reduceOne(ReduceKind kind, const View& x, const View& inner, std::int64_t base, double correction) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const double n = static_cast<double>(inner.size());
  double acc = kind == ReduceKind::Prod || kind == ReduceKind::All ? 1
               : kind == ReduceKind::Max                           ? -inf
               : kind == ReduceKind::Min                           ? inf
                                                                   : 0;
  eachBelow(inner, base, [&](std::int64_t at) {
    const double v = fetch(x, at);
    if (kind == ReduceKind::Prod)
      acc *= v;
    else if (kind == ReduceKind::Max)
      acc = larger(acc, v);
    else if (kind == ReduceKind::Min)
      acc = smaller(acc, v);
    else if (kind == ReduceKind::Any)
      acc = acc != 0 || v != 0;
    else if (kind == ReduceKind::All)
      acc = acc != 0 && v != 0;
    else
      acc += v;
  });
  if (kind == ReduceKind::Mean) return acc / n;
  if (kind != ReduceKind::Variance) return acc;
  const double mean = acc / n;
  double squares = 0;
  eachBelow(inner, base, [&](std::int64_t at) {
    const double d = fetch(x, at) - mean;
    squares += d * d;
  });
  return squares / std::fmax(0.0, n - correction);
}

std::int32_t reduceOneInt(ReduceKind kind, const View& x, const View& inner, std::int64_t base) {
  std::int32_t acc = kind == ReduceKind::Prod ? 1 : 0;
  eachBelow(inner, base, [&](std::int64_t at) {
    const std::int64_t v = x.as<std::int32_t>()[at];
    acc = wrap(kind == ReduceKind::Prod ? acc * v : acc + v);
  });
  return acc;
}

// y [kept...] contiguous <- x [kept..., reduced...]
void reduce(const Args& args) {
  const auto& p = args.as<ReduceParams>();
  const auto kind = static_cast<ReduceKind>(static_cast<int>(p.kind));
  const View &y = args.out[0], &x = args.in[0];
  const int axes = static_cast<int>(p.axes), kept = x.rank - axes;
  View outer = x, inner = x;
  outer.rank = kept;
  inner.rank = axes;
  for (int d = 0; d < axes; ++d) {
    inner.shape[d] = x.shape[kept + d];
    inner.stride[d] = x.stride[kept + d];
  }
  const bool integers = x.dtype == DType::I32 && (kind == ReduceKind::Sum || kind == ReduceKind::Prod);
  std::int64_t i = 0;
  for (Walk w(outer); !w.done(); w.next(), ++i) {
    if (integers)
      y.as<std::int32_t>()[i] = reduceOneInt(kind, x, inner, w.in(outer));
    else
      put(y, i, reduceOne(kind, x, inner, w.in(outer), p.correction));
  }
}

// y i32 [kept...] <- x [kept..., n]; the first extreme wins, NaN is the extreme
void argReduce(const Args& args) {
  const bool smallest = static_cast<ArgKind>(static_cast<int>(args.as<ArgReduceParams>().kind)) == ArgKind::ArgMin;
  const View &y = args.out[0], &x = args.in[0];
  const int last = x.rank - 1;
  for (Walk w(y); !w.done(); w.next()) {
    const std::int64_t row = w.in(x, 0, last);
    std::int64_t best = 0;
    double extreme = fetch(x, row);
    for (std::int64_t i = 1; i < x.shape[last] && !std::isnan(extreme); ++i) {
      const double v = fetch(x, row + i * x.stride[last]);
      if (std::isnan(v) || (smallest ? v < extreme : v > extreme)) {
        extreme = v;
        best = i;
      }
    }
    y.as<std::int32_t>()[w.in(y)] = static_cast<std::int32_t>(best);
  }
}

}  // namespace

void registerReduce(KernelTable& t) {
  t.set(Op::Reduce, reduce);
  t.set(Op::ArgReduce, argReduce);
}

}  // namespace gyrus::cpu::naive
