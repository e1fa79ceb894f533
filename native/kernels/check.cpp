// The checks that every device relies on: helpers, the rules that hold for all ops, and the movement family.
#include "kernels/check.h"

#include <cmath>
#include <cstdio>

namespace gyrus {
namespace {

std::string text(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", v);
  return buffer;
}

std::string describe(std::initializer_list<std::int64_t> shape) {
  std::string result = "[";
  for (std::int64_t n : shape) result += (result.size() > 1 ? ", " : "") + std::to_string(n);
  return result + "]";
}

// Two elements of the view share their place, or might: the strides don't nest.
bool overlapsItself(const View& v) {
  int order[kMaxRank];
  int n = 0;
  for (int i = 0; i < v.rank; ++i) {
    if (v.shape[i] == 0) return false;
    if (v.shape[i] == 1) continue;
    int at = n++;  // by insertion: the shortest stride comes first
    for (; at > 0 && v.stride[order[at - 1]] > v.stride[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  std::int64_t reach = 0;  // offset of the last element of the axes so far
  for (int i = 0; i < n; ++i) {
    if (v.stride[order[i]] <= reach) return true;
    reach += (v.shape[order[i]] - 1) * v.stride[order[i]];
  }
  return false;
}

bool sameView(const View& a, const View& b) {
  if (a.data != b.data || a.dtype != b.dtype || !a.sameShape(b)) return false;
  for (int i = 0; i < a.rank; ++i)
    if (a.shape[i] > 1 && a.stride[i] != b.stride[i]) return false;
  return true;
}

// Overlap that is certain without looking closer: interleaved strided views are let through.
bool overlap(const View& a, const View& b) {
  if (!a.data || !b.data || !a.contiguous() || !b.contiguous()) return false;
  const char* a0 = a.as<char>();
  const char* b0 = b.as<char>();
  return a0 < b0 + b.size() * static_cast<std::int64_t>(sizeOf(b.dtype)) &&
         b0 < a0 + a.size() * static_cast<std::int64_t>(sizeOf(a.dtype));
}

// From the first to behind the last byte of a view that has elements.
struct Span {
  const char *from, *to;
};
Span spanOf(const View& v) {
  std::int64_t last = 0;
  for (int i = 0; i < v.rank; ++i) last += (v.shape[i] - 1) * v.stride[i];
  return {v.as<char>(), v.as<char>() + (last + 1) * static_cast<std::int64_t>(sizeOf(v.dtype))};
}

// Whether writing y might change an index or a label that a kernel has checked already. Here interleaved views count.
bool overIndices(const View& y, const View& x) {
  if (x.dtype != DType::I32 || !y.data || !x.data || y.size() == 0 || x.size() == 0) return false;
  const Span a = spanOf(y), b = spanOf(x);
  return a.from < b.to && b.from < a.to;
}

bool isCounter(const Checker& c, int output) {
  if (c.op == Op::AdamStep) return output % 5 >= 3;
  if (c.op == Op::SgdStep) return c.number(1) != 0 ? output % 4 >= 2 : output % 3 >= 1;
  return false;
}

void checkOutputs(const Checker& c) {
  const bool inPlace = c.op == Op::Unary || c.op == Op::Binary || c.op == Op::Where || c.op == Op::Copy;
  // Quadratic, so only where the lists are short; the optimisers' are long and all their buffers distinct by nature.
  const bool shortLists = c.args.outputs <= 8;
  for (int i = 0; i < c.args.outputs; ++i) {
    const View& y = c.out(i);
    const auto what = [i] { return "output " + std::to_string(i); };  // no text unless something is wrong
    if (!isCounter(c, i) && overlapsItself(y))
      c.fail(Code::Shape, what() + ": " + describeShape(y) + " has strides that put several elements in one place");
    if (!shortLists) continue;
    for (int j = 0; j < c.args.inputs; ++j)
      if (inPlace ? overlap(y, c.in(j)) && !sameView(y, c.in(j)) : overlap(y, c.in(j)) || overIndices(y, c.in(j)))
        c.fail(Code::Shape, what() + " lies over input " + std::to_string(j));
    for (int j = 0; j < i; ++j)
      if (overlap(y, c.out(j))) c.fail(Code::Shape, what() + " lies over output " + std::to_string(j));
  }
}

}  // namespace

std::string describeShape(const View& v) {
  std::string result = "[";
  for (int i = 0; i < v.rank; ++i) result += (i ? ", " : "") + std::to_string(v.shape[i]);
  return result + "]";
}

void Checker::fail(Code code, const std::string& message) const {
  throw Error(code, std::string(name) + ": " + message);
}

void Checker::outputs(int n) const {
  if (args.outputs != n)
    fail(Code::Config, "expected " + std::to_string(n) + " outputs, got " + std::to_string(args.outputs));
}

void Checker::inputs(int n) const {
  if (args.inputs != n)
    fail(Code::Config, "expected " + std::to_string(n) + " inputs, got " + std::to_string(args.inputs));
}

void Checker::numbers(int n) const {
  if (args.numbers != n)
    fail(Code::Config, "expected " + std::to_string(n) + " parameters, got " + std::to_string(args.numbers));
}

void Checker::counts(int o, int i, int n) const {
  outputs(o);
  inputs(i);
  numbers(n);
}

int Checker::kind(int i, int count, const char* what) const {
  const double v = number(i);
  if (!(v >= 0 && v < count) || v != static_cast<int>(v)) fail(Code::Config, std::string("no ") + what + " " + text(v));
  return static_cast<int>(v);
}

int Checker::axis(int i, int rank) const {
  const double v = number(i);
  if (!(v >= 0 && v < rank) || v != static_cast<int>(v))
    fail(Code::Shape, "axis " + text(v) + " of a tensor of rank " + std::to_string(rank));
  return static_cast<int>(v);
}

bool Checker::flag(int i, const char* what) const {
  const double v = number(i);
  if (v != 0 && v != 1) fail(Code::Config, std::string(what) + ": expected 0 or 1, got " + text(v));
  return v != 0;
}

double Checker::finite(int i, const char* what) const {
  const double v = number(i);
  if (!std::isfinite(v)) fail(Code::Config, std::string(what) + ": expected a finite number, got " + text(v));
  return v;
}

double Checker::range(int i, const char* what, double low, double high) const {
  const double v = number(i);
  if (!(v >= low && v <= high))
    fail(Code::Config,
         std::string(what) + ": expected a number from " + text(low) + " to " + text(high) + ", got " + text(v));
  return v;
}

void Checker::dtype(const View& v, std::string_view what, DType expected) const {
  if (v.dtype != expected)
    fail(Code::DType, std::string(what) + ": expected " + nameOf(expected) + ", got " + nameOf(v.dtype));
}

void Checker::oneOf(const View& v, std::string_view what, std::initializer_list<DType> expected) const {
  for (DType d : expected)
    if (v.dtype == d) return;
  std::string list;
  for (DType d : expected) {
    list += (list.empty() ? "" : " or ") + std::string(nameOf(d));
  }
  fail(Code::DType, std::string(what) + ": expected " + list + ", got " + nameOf(v.dtype));
}

void Checker::rank(const View& v, std::string_view what, int expected) const {
  if (v.rank != expected)
    fail(Code::Shape,
         std::string(what) + ": expected a tensor of rank " + std::to_string(expected) + ", got " + describeShape(v));
}

void Checker::shape(const View& v, std::string_view what, std::initializer_list<std::int64_t> expected) const {
  bool same = v.rank == static_cast<int>(expected.size());
  int i = 0;
  for (std::int64_t n : expected) same = same && v.shape[i++] == n;
  if (!same) fail(Code::Shape, std::string(what) + ": expected " + describe(expected) + ", got " + describeShape(v));
}

void Checker::sameShape(const View& v, std::string_view what, const View& like) const {
  if (!v.sameShape(like))
    fail(Code::Shape, std::string(what) + ": expected " + describeShape(like) + ", got " + describeShape(v));
}

void Checker::contiguous(const View& v, std::string_view what) const {
  if (!v.contiguous())
    fail(Code::Shape, std::string(what) + ": expected a contiguous tensor, got " + describeShape(v) + " strided");
}

namespace {

// Every extent but one axis is the same; the axis has `extent` (any when negative).
void sameButAxis(const Checker& c, const View& v, std::string_view what, const View& like, int axis,
                 std::int64_t extent) {
  bool same = v.rank == like.rank;
  for (int i = 0; same && i < v.rank; ++i)
    same = i == axis ? extent < 0 || v.shape[i] == extent : v.shape[i] == like.shape[i];
  if (!same) {
    View expected = like;
    if (extent >= 0) expected.shape[axis] = extent;
    c.fail(Code::Shape, std::string(what) + ": expected " + describeShape(expected) +
                            (extent < 0 ? " but for axis " + std::to_string(axis) : std::string()) + ", got " +
                            describeShape(v));
  }
}

// What a number of the record becomes in a tensor of that type.
void fits(const Checker& c, double v, DType d, const char* what) {
  if (isFloat(d) || d == DType::Bool) return;
  const double low = d == DType::I32 ? -2147483648.0 : 0, high = d == DType::I32 ? 2147483647.0 : 255;
  if (!(v >= low && v <= high))
    c.fail(Code::Config, std::string(what) + ": " + text(v) + " is no value of " + nameOf(d));
}

}  // namespace

void checkMovement(Checker& c) {
  switch (c.op) {
    case Op::Fill:
      c.counts(1, 0, 1);
      fits(c, c.number(0), c.out(0).dtype, "value");
      return;
    case Op::Arange: {
      c.counts(1, 0, 2);
      c.oneOf(c.out(0), "y", {DType::F32, DType::F64, DType::I32});
      c.rank(c.out(0), "y", 1);
      const double start = c.finite(0, "start"), step = c.finite(1, "step");
      if (c.out(0).shape[0] > 0) {
        fits(c, start, c.out(0).dtype, "start");
        fits(c, start + step * static_cast<double>(c.out(0).shape[0] - 1), c.out(0).dtype, "last value");
      }
      return;
    }
    case Op::Copy:
      c.counts(1, 1, 0);
      c.sameShape(c.in(0), "x", c.out(0));
      return;
    case Op::Gather: {
      c.counts(1, 2, 1);
      const View &y = c.out(0), &x = c.in(0), &index = c.in(1);
      const int axis = c.axis(0, y.rank);
      c.dtype(x, "x", y.dtype);
      c.dtype(index, "index", DType::I32);
      c.sameShape(index, "index", y);
      sameButAxis(c, x, "x", y, axis, -1);
      return;
    }
    case Op::ScatterAdd: {
      c.counts(1, 2, 1);
      const View &y = c.out(0), &index = c.in(0), &source = c.in(1);
      const int axis = c.axis(0, y.rank);
      c.oneOf(y, "y", {DType::F32, DType::F64, DType::I32});
      c.dtype(index, "index", DType::I32);
      c.dtype(source, "source", y.dtype);
      c.sameShape(source, "source", index);
      sameButAxis(c, index, "index", y, axis, -1);
      return;
    }
    case Op::IndexSelect: {
      c.counts(1, 2, 2);
      const View &y = c.out(0), &x = c.in(0), &index = c.in(1);
      const int axis = c.axis(0, x.rank);
      c.dtype(x, "x", y.dtype);
      c.dtype(index, "index", DType::I32);
      c.rank(index, "index", 1);
      sameButAxis(c, y, "y", x, axis, index.shape[0]);
      fits(c, c.number(1), y.dtype, "fill");
      return;
    }
    case Op::IndexAdd: {
      c.counts(1, 2, 1);
      const View &y = c.out(0), &index = c.in(0), &source = c.in(1);
      const int axis = c.axis(0, y.rank);
      c.oneOf(y, "y", {DType::F32, DType::F64, DType::I32});
      c.dtype(index, "index", DType::I32);
      c.rank(index, "index", 1);
      c.dtype(source, "source", y.dtype);
      sameButAxis(c, source, "source", y, axis, index.shape[0]);
      return;
    }
    case Op::OneHot: {
      c.counts(1, 1, 2);
      const View &y = c.out(0), &index = c.in(0);
      c.dtype(index, "index", DType::I32);
      c.rank(y, "y", index.rank + 1);
      for (int i = 0; i < index.rank; ++i)
        if (y.shape[i] != index.shape[i])
          c.fail(Code::Shape, "y: expected " + describeShape(index) + " and one more axis, got " + describeShape(y));
      fits(c, c.number(0), y.dtype, "on");
      fits(c, c.number(1), y.dtype, "off");
      return;
    }
    default:
      return;
  }
}

void check(Op op, const Args& args) {
  Checker c(op, args);
  switch (op) {
    case Op::Fill:
    case Op::Arange:
    case Op::Copy:
    case Op::Gather:
    case Op::ScatterAdd:
    case Op::IndexSelect:
    case Op::IndexAdd:
    case Op::OneHot:
      checkMovement(c);
      break;
    case Op::Unary:
    case Op::Binary:
    case Op::Where:
    case Op::Reduce:
    case Op::ArgReduce:
      checkElementwise(c);
      break;
    case Op::Matmul:
    case Op::Linear:
    case Op::LinearGradInput:
    case Op::LinearGradWeight:
    case Op::Softmax:
    case Op::SoftmaxGrad:
    case Op::CrossEntropy:
    case Op::CrossEntropyGrad:
    case Op::LayerNorm:
    case Op::LayerNormGrad:
    case Op::BatchNorm:
    case Op::BatchNormGrad:
    case Op::BatchNormEval:
      checkLayers(c);
      break;
    case Op::Conv2d:
    case Op::Conv2dGradInput:
    case Op::Conv2dGradWeight:
    case Op::Pool2d:
    case Op::Pool2dGrad:
      checkConv(c);
      break;
    case Op::Random:
    case Op::Permutation:
    case Op::Categorical:
    case Op::SgdStep:
    case Op::AdamStep:
    case Op::GradNorm:
    case Op::ClipGrads:
    case Op::UnitScore:
    case Op::GateStats:
    case Op::UnitUtility:
    case Op::GatherRows:
      checkTraining(c);
      break;
    case Op::Attention:
    case Op::AttentionGrad:
    case Op::GroupNorm:
    case Op::GroupNormGrad:
    case Op::ResizeBilinear:
    case Op::ResizeBilinearGrad:
    case Op::Augment:
      checkVision(c);
      break;
    case Op::Count:
      c.fail(Code::Config, "no such op");
  }
  checkOutputs(c);
}

}  // namespace gyrus
