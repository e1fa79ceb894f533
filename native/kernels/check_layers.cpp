// Checks of linear algebra, softmax, losses and norms.
#include "kernels/check.h"

namespace gyrus {
namespace {

constexpr double kHuge = 1e300;

void matmul(Checker& c) {
  c.counts(1, 2, 0);
  const View &y = c.out(0), &a = c.in(0), &b = c.in(1);
  c.floating(y, "c");
  c.dtype(a, "a", y.dtype);
  c.dtype(b, "b", y.dtype);
  const int r = a.rank;
  const std::string shapes = describeShape(a) + " x " + describeShape(b);
  if (r < 2 || b.rank != r) c.fail(Code::Shape, "expected two tensors of the same rank, 2 or more, got " + shapes);
  if (a.shape[r - 1] != b.shape[r - 2]) c.fail(Code::Shape, "inner dimensions differ: " + shapes);
  for (int i = 0; i < r - 2; ++i)
    if (a.shape[i] != b.shape[i]) c.fail(Code::Shape, "batch dimensions differ: " + shapes);
  View expected = a;
  expected.shape[r - 1] = b.shape[r - 1];
  c.sameShape(y, "c", expected);
  c.contiguous(y, "c");
}

// Which neurons of an axis of n are active: a list i32 [at most n], or a count i32 [1]. Gives how many the activations
// have.
std::int64_t listed(Checker& c, const View* list, Neurons kind, const char* what, std::int64_t n) {
  if (kind == Neurons::All) return n;
  if (kind == Neurons::Counted) {
    c.tensor(*list, std::string("count of ") + what, DType::I32, {1});
    return n;
  }
  c.dtype(*list, what, DType::I32);
  c.rank(*list, what, 1);
  if (list->shape[0] > n)
    c.fail(Code::Shape, std::string(what) + ": expected at most " + std::to_string(n) + " indices, got " +
                            std::to_string(list->shape[0]));
  return list->shape[0];
}

void linear(Checker& c) {
  c.numbers(5);
  const bool bias = c.flag(0, "bias");
  c.kind(1, kActivationKindCount, "activation");
  const bool residual = c.flag(2, "residual");
  const Neurons byOutput = c.neurons(3, "outputs"), byInput = c.neurons(4, "inputs");
  const bool outputs = byOutput != Neurons::All, inputs = byInput != Neurons::All;
  c.outputs(1);
  c.inputs(2 + bias + residual + outputs + inputs);
  const View &y = c.out(0), &x = c.in(0), &w = c.in(1);
  c.floating(y, "y");
  c.rank(x, "x", 2);
  c.rank(w, "w", 2);
  const int lists = 2 + bias + residual;
  const std::int64_t n = listed(c, outputs ? &c.in(lists) : nullptr, byOutput, "outputs", w.shape[0]);
  const std::int64_t k = listed(c, inputs ? &c.in(lists + outputs) : nullptr, byInput, "inputs", w.shape[1]);
  if (x.shape[1] != k)
    c.fail(Code::Shape, "inner dimensions differ: " + describeShape(x) + " x " + describeShape(w) + "^T" +
                            (inputs ? " of which " + std::to_string(k) + " columns are listed" : ""));
  c.dtype(x, "x", y.dtype);
  c.dtype(w, "w", y.dtype);
  c.shape(y, "y", {x.shape[0], n});
  c.contiguous(y, "y");
  if (bias) c.tensor(c.in(2), "bias", y.dtype, {w.shape[0]});
  if (!residual) return;
  c.tensor(c.in(2 + bias), "residual", y.dtype, {x.shape[0], n});
  c.contiguous(c.in(2 + bias), "residual");
}

void linearGradInput(Checker& c) {
  c.numbers(4);
  const bool score = c.flag(0, "score");
  c.finite(1, "scale");
  c.outputs(score ? 2 : 1);
  const Neurons byOutput = c.neurons(2, "outputs"), byInput = c.neurons(3, "inputs");
  const bool outputs = byOutput != Neurons::All, inputs = byInput != Neurons::All;
  const int lists = score ? 4 : 2;
  c.inputs(lists + outputs + inputs);
  const View &dx = c.out(0), &g = c.in(0), &w = c.in(1);
  c.floating(dx, "dx");
  c.rank(g, "g", 2);
  c.rank(w, "w", 2);
  const std::int64_t n = listed(c, outputs ? &c.in(lists) : nullptr, byOutput, "outputs", w.shape[0]);
  const std::int64_t k = listed(c, inputs ? &c.in(lists + outputs) : nullptr, byInput, "inputs", w.shape[1]);
  if (g.shape[1] != n)
    c.fail(Code::Shape, "inner dimensions differ: " + describeShape(g) + " x " + describeShape(w) +
                            (outputs ? " of which " + std::to_string(n) + " rows are listed" : ""));
  c.dtype(g, "g", dx.dtype);
  c.dtype(w, "w", dx.dtype);
  const std::int64_t m = g.shape[0];
  c.shape(dx, "dx", {m, k});
  c.contiguous(dx, "dx");
  if (!score) return;
  const View& stats = c.out(1);
  c.dtype(stats, "stats", DType::F32);
  c.rank(stats, "stats", 2);
  if (stats.shape[0] < 4 || stats.shape[1] != k)
    c.fail(Code::Shape, "stats: expected [classes + 4, " + std::to_string(k) + "], got " + describeShape(stats));
  c.tensor(c.in(2), "a", dx.dtype, {m, k});
  c.tensor(c.in(3), "labels", DType::I32, {m});
}

void linearGradWeight(Checker& c) {
  c.numbers(3);
  const bool bias = c.flag(0, "bias");
  const Neurons byOutput = c.neurons(1, "outputs"), byInput = c.neurons(2, "inputs");
  const bool outputs = byOutput != Neurons::All, inputs = byInput != Neurons::All;
  c.outputs(bias ? 2 : 1);
  c.inputs(2 + outputs + inputs);
  const View &dw = c.out(0), &g = c.in(0), &x = c.in(1);
  c.floating(dw, "dw");
  c.rank(g, "g", 2);
  c.rank(x, "x", 2);
  if (g.shape[0] != x.shape[0]) c.fail(Code::Shape, "rows differ: " + describeShape(g) + "^T x " + describeShape(x));
  c.dtype(g, "g", dw.dtype);
  c.dtype(x, "x", dw.dtype);
  c.rank(dw, "dw", 2);
  const std::int64_t n = listed(c, outputs ? &c.in(2) : nullptr, byOutput, "outputs", dw.shape[0]);
  const std::int64_t k = listed(c, inputs ? &c.in(2 + outputs) : nullptr, byInput, "inputs", dw.shape[1]);
  if (g.shape[1] != n || x.shape[1] != k)
    c.fail(Code::Shape, "dw: expected g [" + std::to_string(g.shape[0]) + "," + std::to_string(n) + "] and x [..," +
                            std::to_string(k) + "], got " + describeShape(g) + " and " + describeShape(x));
  c.contiguous(dw, "dw");
  if (bias) c.tensor(c.out(1), "db", dw.dtype, {dw.shape[0]});
}

void softmax(Checker& c, bool gradient) {
  c.counts(1, gradient ? 2 : 1, 1);
  c.flag(0, "log");
  const View& y = c.out(0);
  c.floating(y, gradient ? "dx" : "y");
  if (y.rank < 1) c.fail(Code::Shape, "expected a tensor of rank 1 or more, got []");
  for (int i = 0; i < c.args.inputs; ++i) {
    const char* what = !gradient ? "x" : i == 0 ? "g" : "y";
    c.dtype(c.in(i), what, y.dtype);
    c.sameShape(c.in(i), what, y);
  }
}

void crossEntropy(Checker& c, bool gradient) {
  c.numbers(4);
  const bool weights = c.flag(0, "weights"), offsets = c.flag(1, "offsets"), margins = c.flag(2, "margins");
  c.range(3, "smoothing", 0, 1);
  const bool both = !gradient && c.args.outputs == 2;
  c.outputs(both ? 2 : 1);
  int next = gradient ? 1 : 0;  // g comes first
  c.inputs(next + 2 + weights + offsets + margins);
  const View& logits = c.in(next++);
  const View& labels = c.in(next++);
  c.floating(logits, "logits");
  c.rank(logits, "logits", 2);
  const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
  if (classes < 1) c.fail(Code::Shape, "logits: expected at least 1 class, got " + describeShape(logits));
  c.tensor(labels, "labels", DType::I32, {rows});
  if (gradient) {
    c.tensor(c.out(0), "dlogits", logits.dtype, {rows, classes});
    c.tensor(c.in(0), "g", logits.dtype, {rows});
  } else {
    c.tensor(c.out(0), "loss", logits.dtype, {rows});
    if (both) c.tensor(c.out(1), "dlogits", logits.dtype, {rows, classes});
  }
  if (weights) c.tensor(c.in(next++), "class weights", logits.dtype, {classes});
  if (offsets) c.tensor(c.in(next++), "offsets", logits.dtype, {classes});
  if (margins) c.tensor(c.in(next++), "margins", logits.dtype, {classes});
}

void rowsByChannels(const Checker& c, const View& x) {
  c.floating(x, "x");
  c.rank(x, "x", 2);
}

// The count of active channels, a norm's last input.
void countOf(const Checker& c, bool counted) {
  if (counted) c.tensor(c.in(c.args.inputs - 1), "count", DType::I32, {1});
}

void layerNorm(Checker& c) {
  c.numbers(2);
  const bool affine = c.flag(0, "affine");
  c.range(1, "eps", 0, kHuge);
  c.outputs(3);
  const bool counted = c.args.inputs == (affine ? 4 : 2);
  c.inputs((affine ? 3 : 1) + counted);
  countOf(c, counted);
  const View& x = c.in(0);
  rowsByChannels(c, x);
  const std::int64_t r = x.shape[0], n = x.shape[1];
  if (n < 1) c.fail(Code::Shape, "x: expected at least 1 channel, got " + describeShape(x));
  c.tensor(c.out(0), "y", x.dtype, {r, n});
  c.tensor(c.out(1), "mean", x.dtype, {r});
  c.tensor(c.out(2), "rstd", x.dtype, {r});
  if (!affine) return;
  c.tensor(c.in(1), "gamma", x.dtype, {n});
  c.tensor(c.in(2), "beta", x.dtype, {n});
}

void layerNormGrad(Checker& c) {
  c.numbers(1);
  const bool affine = c.flag(0, "affine");
  c.outputs(affine ? 3 : 1);
  const bool counted = c.args.inputs == (affine ? 6 : 5);
  c.inputs((affine ? 5 : 4) + counted);
  countOf(c, counted);
  const View& x = c.in(1);
  rowsByChannels(c, x);
  const std::int64_t r = x.shape[0], n = x.shape[1];
  c.tensor(c.out(0), "dx", x.dtype, {r, n});
  c.tensor(c.in(0), "g", x.dtype, {r, n});
  c.tensor(c.in(2), "mean", x.dtype, {r});
  c.tensor(c.in(3), "rstd", x.dtype, {r});
  if (!affine) return;
  c.tensor(c.in(4), "gamma", x.dtype, {n});
  c.tensor(c.out(1), "dgamma", x.dtype, {n});
  c.tensor(c.out(2), "dbeta", x.dtype, {n});
}

void batchNorm(Checker& c) {
  c.numbers(5);
  c.range(0, "eps", 0, kHuge);
  c.range(1, "momentum", 0, 1);
  c.flag(2, "relu");
  const bool residual = c.flag(3, "residual"), counted = c.flag(4, "counted");
  c.outputs(5);
  c.inputs(3 + residual + counted);
  countOf(c, counted);
  const View& x = c.in(0);
  rowsByChannels(c, x);
  const std::int64_t r = x.shape[0], n = x.shape[1];
  if (r < 2) c.fail(Code::Shape, "expected at least 2 rows to take a variance over, got " + describeShape(x));
  c.tensor(c.out(0), "y", x.dtype, {r, n});
  const char* outputs[] = {"mean", "rstd", "runningMean", "runningVar"};
  for (int i = 0; i < 4; ++i) c.tensor(c.out(i + 1), outputs[i], x.dtype, {n});
  c.tensor(c.in(1), "gamma", x.dtype, {n});
  c.tensor(c.in(2), "beta", x.dtype, {n});
  if (residual) c.tensor(c.in(3), "residual", x.dtype, {r, n});
}

void batchNormEval(Checker& c) {
  c.numbers(4);
  c.range(0, "eps", 0, kHuge);
  c.flag(1, "relu");
  const bool residual = c.flag(2, "residual"), counted = c.flag(3, "counted");
  c.outputs(1);
  c.inputs(5 + residual + counted);
  countOf(c, counted);
  const View& x = c.in(0);
  rowsByChannels(c, x);
  const std::int64_t r = x.shape[0], n = x.shape[1];
  c.tensor(c.out(0), "y", x.dtype, {r, n});
  const char* lines[] = {"gamma", "beta", "mean", "var"};
  for (int i = 0; i < 4; ++i) c.tensor(c.in(i + 1), lines[i], x.dtype, {n});
  if (residual) c.tensor(c.in(5), "residual", x.dtype, {r, n});
}

void batchNormGrad(Checker& c) {
  c.numbers(3);
  const bool relu = c.flag(0, "relu"), residual = c.flag(1, "residual"), counted = c.flag(2, "counted");
  c.outputs(residual ? 4 : 3);
  c.inputs(5 + relu + counted);
  countOf(c, counted);
  const View& x = c.in(1);
  rowsByChannels(c, x);
  const std::int64_t r = x.shape[0], n = x.shape[1];
  c.tensor(c.out(0), "dx", x.dtype, {r, n});
  c.tensor(c.out(1), "dgamma", x.dtype, {n});
  c.tensor(c.out(2), "dbeta", x.dtype, {n});
  if (residual) c.tensor(c.out(3), "dresidual", x.dtype, {r, n});
  c.tensor(c.in(0), "g", x.dtype, {r, n});
  c.tensor(c.in(2), "mean", x.dtype, {n});
  c.tensor(c.in(3), "rstd", x.dtype, {n});
  c.tensor(c.in(4), "gamma", x.dtype, {n});
  if (relu) c.tensor(c.in(5), "y", x.dtype, {r, n});
}

}  // namespace

void checkLayers(Checker& c) {
  switch (c.op) {
    case Op::Matmul:
      return matmul(c);
    case Op::Linear:
      return linear(c);
    case Op::LinearGradInput:
      return linearGradInput(c);
    case Op::LinearGradWeight:
      return linearGradWeight(c);
    case Op::Softmax:
      return softmax(c, false);
    case Op::SoftmaxGrad:
      return softmax(c, true);
    case Op::CrossEntropy:
      return crossEntropy(c, false);
    case Op::CrossEntropyGrad:
      return crossEntropy(c, true);
    case Op::LayerNorm:
      return layerNorm(c);
    case Op::LayerNormGrad:
      return layerNormGrad(c);
    case Op::BatchNorm:
      return batchNorm(c);
    case Op::BatchNormEval:
      return batchNormEval(c);
    default:
      return batchNormGrad(c);
  }
}

}  // namespace gyrus
