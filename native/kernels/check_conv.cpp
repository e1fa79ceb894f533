// Checks of convolution and pooling.
#include "kernels/check.h"

namespace gyrus {
namespace {

constexpr double kMost = 1 << 24;  // of strides, paddings and kernels: their products stay far below 2^63

// The window numbers of a record: strides, padding, dilation, from number `at` on.
void windows(const Checker& c, int at, bool dilation) {
  const char* names[] = {"strideH", "strideW", "padTop", "padLeft", "dilationH", "dilationW"};
  for (int i = 0; i < (dilation ? 6 : 4); ++i) {
    const double v = c.range(at + i, names[i], i == 2 || i == 3 ? 0 : 1, kMost);
    if (v != static_cast<double>(static_cast<std::int64_t>(v)))
      c.fail(Code::Config, std::string(names[i]) + ": expected a whole number, got " + std::to_string(v));
  }
}

struct Lists {
  Neurons byOutput, byInput;
  std::int64_t groups;
  bool outputs() const { return byOutput != Neurons::All; }
  bool inputs() const { return byInput != Neurons::All; }
};

Lists shapeParams(Checker& c) {
  windows(c, 0, true);
  const double groups = c.range(6, "groups", 1, kMost);
  if (groups != static_cast<double>(static_cast<std::int64_t>(groups)))
    c.fail(Code::Config, "groups: expected a whole number, got " + std::to_string(groups));
  const Lists lists{c.neurons(7, "outputs"), c.neurons(8, "inputs"), static_cast<std::int64_t>(groups)};
  if (groups != 1 && (lists.byOutput == Neurons::Counted || lists.byInput == Neurons::Counted))
    c.fail(Code::Config, "groups: expected 1 with a count, got " + std::to_string(lists.groups));
  return lists;
}

// x [N, H, W, C] and y [N, OH, OW, F] go with w [F, KH, KW, C/groups] and the lists from input `next` on.
void convolution(const Checker& c, const View& x, const char* xName, const View& y, const char* yName, const View& w,
                 const Lists& lists, int& next) {
  c.floating(w, "w");
  c.rank(x, xName, 4);
  c.rank(y, yName, 4);
  c.rank(w, "w", 4);
  c.dtype(x, xName, w.dtype);
  c.dtype(y, yName, w.dtype);
  if (x.shape[0] != y.shape[0]) c.fail(Code::Shape, "samples differ: " + describeShape(x) + " and " + describeShape(y));
  const std::int64_t inputs = x.shape[3], outputs = y.shape[3];
  if (inputs % lists.groups != 0 || outputs % lists.groups != 0)
    c.fail(Code::Shape, "expected channels in multiples of " + std::to_string(lists.groups) + " groups, got " +
                            describeShape(x) + " and " + describeShape(y));
  for (int d : {1, 2})
    if (static_cast<double>(w.shape[d]) > kMost) c.fail(Code::Shape, "w: kernel too large: " + describeShape(w));
  const auto list = [&](Neurons kind, const char* what, std::int64_t channels) {
    if (kind == Neurons::Listed) c.tensor(c.in(next++), what, DType::I32, {channels});
    if (kind == Neurons::Counted) c.tensor(c.in(next++), std::string("count of ") + what, DType::I32, {1});
  };
  list(lists.byOutput, "outputs", outputs);
  list(lists.byInput, "inputs", inputs / lists.groups);
  if ((lists.byOutput != Neurons::Listed && w.shape[0] != outputs) ||
      (lists.byInput != Neurons::Listed && w.shape[3] != inputs / lists.groups))
    c.fail(Code::Shape, "weights " + describeShape(w) + " don't fit " + describeShape(x) + " -> " + describeShape(y) +
                            " in " + std::to_string(lists.groups) + " groups");
}

void conv2d(Checker& c) {
  c.numbers(13);
  const Lists lists = shapeParams(c);
  const bool bias = c.flag(9, "bias"), affine = c.flag(10, "affine"), residual = c.flag(11, "residual");
  c.kind(12, 2, "activation");
  c.outputs(1);
  c.inputs(2 + lists.outputs() + lists.inputs() + bias + 2 * affine + residual);
  const View &y = c.out(0), &w = c.in(1);
  int next = 2;
  convolution(c, c.in(0), "x", y, "y", w, lists, next);
  c.contiguous(y, "y");
  if (bias) c.tensor(c.in(next++), "bias", y.dtype, {w.shape[0]});
  if (affine) {
    c.tensor(c.in(next++), "scale", y.dtype, {w.shape[0]});
    c.tensor(c.in(next++), "shift", y.dtype, {w.shape[0]});
  }
  if (!residual) return;
  c.dtype(c.in(next), "residual", y.dtype);
  c.sameShape(c.in(next), "residual", y);
}

void conv2dGradInput(Checker& c) {
  c.numbers(11);
  const Lists lists = shapeParams(c);
  const bool score = c.flag(9, "score");
  c.finite(10, "scale");
  c.outputs(score ? 2 : 1);
  c.inputs(2 + lists.outputs() + lists.inputs() + 2 * score);
  const View& dx = c.out(0);
  int next = 2;
  convolution(c, dx, "dx", c.in(0), "g", c.in(1), lists, next);
  c.contiguous(dx, "dx");
  if (!score) return;
  const View& stats = c.out(1);
  c.dtype(stats, "stats", DType::F32);
  c.rank(stats, "stats", 2);
  if (stats.shape[0] < 4 || stats.shape[1] != dx.shape[3])
    c.fail(Code::Shape,
           "stats: expected [classes + 4, " + std::to_string(dx.shape[3]) + "], got " + describeShape(stats));
  c.dtype(c.in(next), "a", dx.dtype);
  c.sameShape(c.in(next), "a", dx);
  c.tensor(c.in(next + 1), "labels", DType::I32, {dx.shape[0]});
}

void conv2dGradWeight(Checker& c) {
  c.numbers(10);
  const Lists lists = shapeParams(c);
  const bool bias = c.flag(9, "bias");
  c.outputs(bias ? 2 : 1);
  c.inputs(2 + lists.outputs() + lists.inputs());
  const View& dw = c.out(0);
  int next = 2;
  convolution(c, c.in(1), "x", c.in(0), "g", dw, lists, next);
  c.contiguous(dw, "dw");
  if (bias) c.tensor(c.out(1), "db", dw.dtype, {dw.shape[0]});
}

void pool2d(Checker& c, bool gradient) {
  c.numbers(9);
  const auto kind = static_cast<PoolKind>(c.kind(0, kPoolKindCount, "pool kind"));
  for (int i : {1, 2}) {
    const double v = c.range(i, i == 1 ? "kernelH" : "kernelW", 1, kMost);
    if (v != static_cast<double>(static_cast<std::int64_t>(v)))
      c.fail(Code::Config, "kernel: expected a whole number, got " + std::to_string(v));
  }
  windows(c, 3, false);
  c.flag(7, "countPad");
  const bool pick = c.flag(8, "pick");
  if (pick && (gradient || kind != PoolKind::Max)) c.fail(Code::Config, "pick: expected 0 here, got 1");
  c.outputs(1);
  c.inputs(pick || (gradient && kind == PoolKind::Max) ? 2 : 1);
  const View &out = c.out(0), &in = c.in(0);
  c.floating(out, gradient ? "dx" : "y");
  c.rank(out, gradient ? "dx" : "y", 4);
  c.dtype(in, gradient ? "g" : "x", out.dtype);
  c.rank(in, gradient ? "g" : "x", 4);
  c.contiguous(out, gradient ? "dx" : "y");
  if (in.shape[0] != out.shape[0] || in.shape[3] != out.shape[3])
    c.fail(Code::Shape, "samples or channels differ: " + describeShape(in) + " and " + describeShape(out));
  if (c.args.inputs < 2) return;
  c.dtype(c.in(1), pick ? "values" : "x", out.dtype);
  c.sameShape(c.in(1), pick ? "values" : "x", pick ? in : out);
}

}  // namespace

void checkConv(Checker& c) {
  switch (c.op) {
    case Op::Conv2d:
      return conv2d(c);
    case Op::Conv2dGradInput:
      return conv2dGradInput(c);
    case Op::Conv2dGradWeight:
      return conv2dGradWeight(c);
    default:
      return pool2d(c, c.op == Op::Pool2dGrad);
  }
}

}  // namespace gyrus
