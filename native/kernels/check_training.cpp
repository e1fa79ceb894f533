// Checks of random numbers, optimisers, neuron scores and data.
#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/counts.h"

namespace gyrus {
namespace {

constexpr double kHuge = 1e300;

void state(const Checker& c, int i) { c.tensor(c.out(i), "state", DType::I32, {4}); }

void random(Checker& c) {
  c.outputs(2);
  c.numbers(3);
  c.inputs(c.args.inputs > 0 ? 1 : 0);
  const auto kind = static_cast<RandomKind>(c.kind(0, kRandomKindCount, "random kind"));
  c.name = nameOf(kind);
  c.floating(c.out(0), "y");
  c.contiguous(c.out(0), "y");
  if (c.args.inputs > 0) {
    c.tensor(c.in(0), "count", DType::I32, {1});
    if (c.out(0).rank < 1) c.fail(Code::Shape, "y: expected an axis for the count, got []");
  }
  state(c, 1);
  if (kind == RandomKind::Bernoulli) {
    c.range(1, "probability", 0, 1);
  } else {
    c.finite(1, kind == RandomKind::Normal ? "mean" : "low");
  }
  c.finite(2, kind == RandomKind::Normal ? "std" : kind == RandomKind::Uniform ? "high" : "value");
}

// Behind the weight decays: for the rows and columns of each parameter the number of the input that counts the active
// ones, 0 for all. Gives how many inputs there are behind the gradients.
int counted(const Checker& c, int first, int count, int slots) {
  const int numbers = c.args.numbers - first;
  if (numbers == 0) return 0;
  if (numbers != 2 * count)
    c.fail(Code::Config, "expected " + std::to_string(first) + " or " + std::to_string(first + 2 * count) +
                             " parameters, got " + std::to_string(c.args.numbers));
  int most = 0;
  for (int i = 0; i < numbers; ++i) {
    const int input = c.kind(first + i, c.args.inputs, "input of a count");
    if (input == 0) continue;
    if (input <= count)
      c.fail(Code::Config, "expected a count behind the gradients, got input " + std::to_string(input));
    most = std::max(most, input - count);
    c.tensor(c.in(input), "count", DType::I32, {1});
    const std::string which = (i % 2 == 0 ? "rowSteps" : "colSteps") + std::string(" of parameter ");
    const int output = i / 2 * (slots + 2);
    if (output + slots + 2 > c.args.outputs) continue;  // refused below
    if (i % 2 == 0 && c.out(output).rank < 2)
      c.fail(Code::Config, "p of parameter " + std::to_string(i / 2) + ": expected no count of rows of a vector");
    const View& steps = c.out(output + slots + i % 2);
    if (steps.rank == 1 && steps.shape[0] > 1 && steps.stride[0] == 0)
      c.fail(Code::Shape, which + std::to_string(i / 2) + ": expected a counter for each of the counted");
  }
  return most;
}

// One parameter of an optimiser: p and its slots (same shape), the two counters, the gradient.
void parameter(const Checker& c, int index, int firstOutput, int slots, const View& p) {
  const std::string which = " of parameter " + std::to_string(index);
  c.dtype(p, "p" + which, c.out(0).dtype);
  if (p.rank < 1) c.fail(Code::Shape, "p" + which + ": expected a tensor of rank 1 or more, got []");
  for (int s = 1; s < slots; ++s) {
    c.dtype(c.out(firstOutput + s), "slot" + which, p.dtype);
    c.sameShape(c.out(firstOutput + s), "slot" + which, p);
  }
  c.tensor(c.out(firstOutput + slots), "rowSteps" + which, DType::F32, {p.rank > 1 ? p.shape[0] : 1});
  c.tensor(c.out(firstOutput + slots + 1), "colSteps" + which, DType::F32, {p.shape[p.rank - 1]});
  const View& g = c.in(1 + index);
  c.dtype(g, "g" + which, p.dtype);
  c.sameShape(g, "g" + which, p);
}

void step(Checker& c, int fixed, int slots) {
  if (c.args.numbers < fixed)
    c.fail(Code::Config,
           "expected at least " + std::to_string(fixed) + " parameters, got " + std::to_string(c.args.numbers));
  const int count = c.kind(0, c.args.inputs + 1, "number of parameters");
  if (c.args.numbers < fixed + count) c.numbers(fixed + count);
  c.inputs(1 + count + counted(c, fixed + count, count, slots));
  for (int i = 1; i < fixed + count; ++i) c.finite(i, i < fixed ? "hyper-parameter" : "weight decay");
  c.outputs(count * (slots + 2));
  c.tensor(c.in(0), "hyper", DType::F64, {2});
  if (count == 0) return;
  c.floating(c.out(0), "p of parameter 0");
  for (int i = 0; i < count; ++i) parameter(c, i, i * (slots + 2), slots, c.out(i * (slots + 2)));
}

void adam(Checker& c) {
  step(c, 6, 3);
  // A rate of 1 would divide by zero in the bias correction.
  for (int i = 1; i <= 2; ++i) {
    c.range(i, i == 1 ? "beta1" : "beta2", 0, 1);
    if (c.number(i) == 1) c.fail(Code::Config, "beta: expected a number below 1, got 1");
  }
  c.range(3, "eps", 0, kHuge);
  c.flag(4, "decoupled");
}

void sgd(Checker& c) {
  if (c.args.numbers < 5) c.fail(Code::Config, "expected at least 5 parameters, got " + std::to_string(c.args.numbers));
  step(c, 5, c.number(1) != 0 ? 2 : 1);
  c.flag(3, "nesterov");
}

void gradients(Checker& c, bool clip) {
  const int n = clip ? c.args.outputs : gradientsOf(c.args);
  c.outputs(clip ? n : 1);
  c.numbers(clip ? 1 : c.args.numbers > 0 ? 2 * n : 0);
  int counts = 0;
  for (int i = 0; !clip && i < c.args.numbers; ++i) {
    const int input = c.kind(i, c.args.inputs, "input of a count");
    if (input == 0) continue;
    if (input < n) c.fail(Code::Config, "expected a count behind the gradients, got input " + std::to_string(input));
    counts = std::max(counts, input - n + 1);
    c.tensor(c.in(input), "count", DType::I32, {1});
    if (c.in(i / 2).rank < 2 - i % 2)
      c.fail(Code::Shape, "gradient " + std::to_string(i / 2) + ": expected an axis for each count, got " +
                              describeShape(c.in(i / 2)));
  }
  c.inputs(clip ? 1 : n + counts);
  const View& norm = clip ? c.in(0) : c.out(0);
  c.floating(norm, "norm");
  c.shape(norm, "norm", {1});
  for (int i = 0; i < n; ++i) c.dtype(clip ? c.out(i) : c.in(i), "gradient " + std::to_string(i), norm.dtype);
  if (clip && !(c.number(0) > 0))
    c.fail(Code::Config, "maxNorm: expected a number > 0, got " + std::to_string(c.number(0)));
}

void unitScore(Checker& c) {
  c.numbers(1);
  const auto kind = static_cast<ScoreKind>(c.kind(0, kScoreKindCount, "score kind"));
  c.name = nameOf(kind);
  const bool taylor = kind != ScoreKind::L1 && kind != ScoreKind::L2;
  c.outputs(1);
  c.inputs(taylor ? 2 : 1);
  const View& w = c.in(0);
  c.floating(w, "w");
  c.rank(w, "w", 2);
  if (kind == ScoreKind::L2Taylor)
    c.tensor(c.out(0), "s", w.dtype, {2, w.shape[0]});
  else
    c.tensor(c.out(0), "s", w.dtype, {w.shape[0]});
  if (taylor) c.tensor(c.in(1), "g", w.dtype, {w.shape[0], w.shape[1]});
}

void unitUtility(Checker& c) {
  c.counts(3, 2, 1);
  c.range(0, "decay", 0, 1);
  if (c.number(0) == 1) c.fail(Code::Config, "decay: expected a number below 1, got 1");
  const View& s = c.out(0);
  c.floating(s, "s");
  c.rank(s, "s", 1);
  const char* names[] = {"u", "age", "activity", "outgoing"};
  for (int i = 0; i < 4; ++i) c.tensor(i < 2 ? c.out(i + 1) : c.in(i - 2), names[i], s.dtype, {s.shape[0]});
}

void gateStats(Checker& c) {
  c.outputs(1);
  c.inputs(c.args.inputs > 3 ? 4 : 3);
  c.numbers(2);
  if (c.args.inputs > 3) c.tensor(c.in(3), "count", DType::I32, {1});
  c.finite(0, "scale");
  const auto positions = static_cast<std::int64_t>(c.range(1, "positions", 1, 2147483647));
  const View &stats = c.out(0), &a = c.in(0);
  c.floating(a, "a");
  c.rank(a, "a", 2);
  c.tensor(c.in(1), "g", a.dtype, {a.shape[0], a.shape[1]});
  if (a.shape[0] % positions != 0)
    c.fail(Code::Shape, "expected rows in multiples of " + std::to_string(positions) + ", got " + describeShape(a));
  c.tensor(c.in(2), "labels", DType::I32, {a.shape[0] / positions});
  c.dtype(stats, "stats", DType::F32);
  c.rank(stats, "stats", 2);
  if (stats.shape[0] < 4 || stats.shape[1] != a.shape[1])
    c.fail(Code::Shape,
           "stats: expected [classes + 4, " + std::to_string(a.shape[1]) + "], got " + describeShape(stats));
}

void gatherRows(Checker& c) {
  c.counts(1, 2, 2);
  c.finite(0, "scale");
  c.finite(1, "shift");
  const View &x = c.in(0), &index = c.in(1);
  c.oneOf(x, "x", {DType::U8, DType::F32});
  c.rank(x, "x", 2);
  c.dtype(index, "index", DType::I32);
  c.rank(index, "index", 1);
  c.tensor(c.out(0), "y", DType::F32, {index.shape[0], x.shape[1]});
}

}  // namespace

void checkTraining(Checker& c) {
  switch (c.op) {
    case Op::Random:
      return random(c);
    case Op::Permutation:
      c.counts(2, 0, 0);
      c.dtype(c.out(0), "y", DType::I32);
      c.rank(c.out(0), "y", 1);
      if (c.out(0).shape[0] > 2147483647) c.fail(Code::Shape, "y: more than 2^31 - 1 numbers don't fit i32");
      return state(c, 1);
    case Op::Categorical:
      c.counts(2, 1, 0);
      c.floating(c.in(0), "weights");
      c.rank(c.in(0), "weights", 2);
      c.dtype(c.out(0), "y", DType::I32);
      c.rank(c.out(0), "y", 2);
      if (c.out(0).shape[0] != c.in(0).shape[0])
        c.fail(Code::Shape, "rows differ: weights " + describeShape(c.in(0)) + ", y " + describeShape(c.out(0)));
      return state(c, 1);
    case Op::SgdStep:
      return sgd(c);
    case Op::AdamStep:
      return adam(c);
    case Op::GradNorm:
      return gradients(c, false);
    case Op::ClipGrads:
      return gradients(c, true);
    case Op::UnitScore:
      return unitScore(c);
    case Op::UnitUtility:
      return unitUtility(c);
    case Op::GateStats:
      return gateStats(c);
    default:
      return gatherRows(c);
  }
}

}  // namespace gyrus
