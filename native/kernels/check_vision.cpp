// Checks of attention, group norm and pictures.
#include "kernels/check.h"

namespace gyrus {
namespace {

constexpr double kHuge = 1e300;

void attention(Checker& c, bool gradient) {
  c.counts(gradient ? 3 : 2, gradient ? 6 : 3, 2);
  c.flag(0, "causal");
  c.finite(1, "scale");
  const int first = gradient ? 3 : 0;
  const View &q = c.in(first), &k = c.in(first + 1), &v = c.in(first + 2);
  c.floating(q, "q");
  c.rank(q, "q", 4);
  c.rank(k, "k", 4);
  const std::int64_t b = q.shape[0], t = q.shape[1], h = q.shape[2], d = q.shape[3], s = k.shape[1];
  if (d < 1) c.fail(Code::Shape, "q: expected at least 1 number per head, got " + describeShape(q));
  c.tensor(k, "k", q.dtype, {b, s, h, d});
  c.tensor(v, "v", q.dtype, {b, s, h, d});
  const View &y = gradient ? c.in(1) : c.out(0), &lse = gradient ? c.in(2) : c.out(1);
  c.tensor(y, "y", q.dtype, {b, t, h, d});
  c.tensor(lse, "lse", q.dtype, {b, h, t});
  c.contiguous(lse, "lse");
  if (!gradient) {
    c.contiguous(y, "y");
    return;
  }
  c.tensor(c.in(0), "g", q.dtype, {b, t, h, d});
  c.tensor(c.out(0), "dq", q.dtype, {b, t, h, d});
  c.tensor(c.out(1), "dk", q.dtype, {b, s, h, d});
  c.tensor(c.out(2), "dv", q.dtype, {b, s, h, d});
}

void groupNorm(Checker& c, bool gradient) {
  c.numbers(gradient ? 2 : 3);
  const bool affine = c.flag(0, "affine");
  if (!gradient) c.range(2, "eps", 0, kHuge);
  c.outputs(gradient ? (affine ? 3 : 1) : 3);
  c.inputs((gradient ? 4 : 1) + (affine ? (gradient ? 1 : 2) : 0));
  const View& x = c.in(gradient ? 1 : 0);
  c.floating(x, "x");
  c.rank(x, "x", 3);
  const std::int64_t b = x.shape[0], s = x.shape[1], n = x.shape[2];
  if (s < 1 || n < 1) c.fail(Code::Shape, "x: expected at least 1 position and channel, got " + describeShape(x));
  const std::int64_t groups = c.kind(1, 1 << 30, "number of groups");
  if (groups < 1 || n % groups != 0)
    c.fail(Code::Shape, "x: expected channels in " + std::to_string(groups) + " equal groups, got " + describeShape(x));
  if (gradient) {
    c.tensor(c.out(0), "dx", x.dtype, {b, s, n});
    c.tensor(c.in(0), "g", x.dtype, {b, s, n});
    c.tensor(c.in(2), "mean", x.dtype, {b, groups});
    c.tensor(c.in(3), "rstd", x.dtype, {b, groups});
    if (!affine) return;
    c.tensor(c.in(4), "gamma", x.dtype, {n});
    c.tensor(c.out(1), "dgamma", x.dtype, {n});
    c.tensor(c.out(2), "dbeta", x.dtype, {n});
  } else {
    c.tensor(c.out(0), "y", x.dtype, {b, s, n});
    c.tensor(c.out(1), "mean", x.dtype, {b, groups});
    c.tensor(c.out(2), "rstd", x.dtype, {b, groups});
    if (!affine) return;
    c.tensor(c.in(1), "gamma", x.dtype, {n});
    c.tensor(c.in(2), "beta", x.dtype, {n});
  }
}

void resize(Checker& c, bool gradient) {
  c.counts(1, 1, 0);
  const View &y = c.out(0), &x = c.in(0);
  const char *to = gradient ? "dx" : "y", *from = gradient ? "g" : "x";
  c.floating(y, to);
  c.dtype(x, from, y.dtype);
  c.rank(y, to, 4);
  c.rank(x, from, 4);
  if (x.shape[0] != y.shape[0] || x.shape[3] != y.shape[3])
    c.fail(Code::Shape, "samples and channels differ: " + describeShape(x) + " and " + describeShape(y));
  for (int i = 1; i < 3; ++i)
    if (x.shape[i] < 1 || y.shape[i] < 1)
      c.fail(Code::Shape, "expected at least 1 row and column, got " + describeShape(x) + " and " + describeShape(y));
}

void augment(Checker& c) {
  c.counts(2, 3, 2);
  c.kind(0, 65536, "padding");
  c.range(1, "probability", 0, 1);
  const View &y = c.out(0), &x = c.in(0);
  c.dtype(y, "y", DType::F32);
  c.rank(y, "y", 4);
  c.contiguous(y, "y");
  c.tensor(c.out(1), "state", DType::I32, {4});
  c.oneOf(x, "x", {DType::U8, DType::F32});
  c.sameShape(x, "x", y);
  c.tensor(c.in(1), "scale", DType::F32, {y.shape[3]});
  c.tensor(c.in(2), "shift", DType::F32, {y.shape[3]});
}

}  // namespace

void checkVision(Checker& c) {
  switch (c.op) {
    case Op::Attention:
      return attention(c, false);
    case Op::AttentionGrad:
      return attention(c, true);
    case Op::GroupNorm:
      return groupNorm(c, false);
    case Op::GroupNormGrad:
      return groupNorm(c, true);
    case Op::ResizeBilinear:
      return resize(c, false);
    case Op::ResizeBilinearGrad:
      return resize(c, true);
    default:
      return augment(c);
  }
}

}  // namespace gyrus
