// Checks of the elementwise family and the reductions.
#include <cmath>

#include "kernels/check.h"

namespace gyrus {
namespace {

bool intoBool(UnaryKind k) {
  return k == UnaryKind::IsNaN || k == UnaryKind::IsFinite || k == UnaryKind::IsInf || k == UnaryKind::LogicalNot;
}

bool takesIntegers(UnaryKind k) {
  switch (k) {
    case UnaryKind::Neg:
    case UnaryKind::Abs:
    case UnaryKind::Sign:
    case UnaryKind::Square:
    case UnaryKind::Relu:
    case UnaryKind::Clamp:
    case UnaryKind::Affine:
      return true;
    default:
      return false;
  }
}

void unary(Checker& c) {
  c.counts(1, 1, 3);
  const auto kind = static_cast<UnaryKind>(c.kind(0, kUnaryKindCount, "unary kind"));
  c.name = nameOf(kind);
  const View &y = c.out(0), &x = c.in(0);
  if (kind == UnaryKind::LogicalNot) {
    c.dtype(x, "x", DType::Bool);
  } else if (takesIntegers(kind)) {
    c.oneOf(x, "x", {DType::F32, DType::F64, DType::I32});
  } else {
    c.floating(x, "x");
  }
  c.dtype(y, "y", intoBool(kind) ? DType::Bool : x.dtype);
  c.sameShape(x, "x", y);
  if (kind == UnaryKind::Clamp) {
    if (std::isnan(c.number(1)) || std::isnan(c.number(2))) c.fail(Code::Config, "expected bounds, got NaN");
    if (c.number(1) > c.number(2))
      c.fail(Code::Config,
             "expected low <= high, got " + std::to_string(c.number(1)) + " and " + std::to_string(c.number(2)));
  }
  if (kind == UnaryKind::Affine && x.dtype == DType::I32) {
    c.finite(1, "factor");
    c.finite(2, "summand");
  }
}

void binary(Checker& c) {
  c.counts(1, 2, 1);
  const auto kind = static_cast<BinaryKind>(c.kind(0, kBinaryKindCount, "binary kind"));
  c.name = nameOf(kind);
  const View &y = c.out(0), &a = c.in(0), &b = c.in(1);
  const bool comparison = kind >= BinaryKind::Equal && kind <= BinaryKind::GreaterEqual;
  const bool logical = kind >= BinaryKind::LogicalAnd && kind <= BinaryKind::LogicalXor;
  if (logical) {
    c.dtype(a, "a", DType::Bool);
  } else if (kind >= BinaryKind::ReluGrad || kind == BinaryKind::Div || kind == BinaryKind::Pow) {
    c.floating(a, "a");
  } else if (!comparison) {
    c.oneOf(a, "a", {DType::F32, DType::F64, DType::I32});
  }
  c.dtype(b, "b", a.dtype);
  c.dtype(y, "y", comparison || logical ? DType::Bool : a.dtype);
  c.sameShape(a, "a", y);
  c.sameShape(b, "b", y);
}

// y [kept...] <- x [kept..., reduced...]
void keptAxes(const Checker& c, const View& y, const View& x, int reduced) {
  bool same = y.rank == x.rank - reduced;
  for (int i = 0; same && i < y.rank; ++i) same = y.shape[i] == x.shape[i];
  if (!same)
    c.fail(Code::Shape, "y: expected " + describeShape(x) + " without its last " + std::to_string(reduced) +
                            " axes, got " + describeShape(y));
}

void reduce(Checker& c) {
  c.counts(1, 1, 3);
  const auto kind = static_cast<ReduceKind>(c.kind(0, kReduceKindCount, "reduce kind"));
  c.name = nameOf(kind);
  const View &y = c.out(0), &x = c.in(0);
  const int axes = c.kind(1, x.rank + 1, "number of axes");
  c.range(2, "correction", 0, 9007199254740992.0);
  keptAxes(c, y, x, axes);
  c.contiguous(y, "y");
  switch (kind) {
    case ReduceKind::Any:
    case ReduceKind::All:
      c.dtype(x, "x", DType::Bool);
      break;
    case ReduceKind::Mean:
    case ReduceKind::Variance:
      c.floating(x, "x");
      break;
    default:
      c.oneOf(x, "x", {DType::F32, DType::F64, DType::I32});
  }
  c.dtype(y, "y", x.dtype);
  if ((kind == ReduceKind::Max || kind == ReduceKind::Min) && x.size() == 0 && y.size() > 0)
    c.fail(Code::Shape, "of nothing: " + describeShape(x) + " over its last " + std::to_string(axes) + " axes");
}

void argReduce(Checker& c) {
  c.counts(1, 1, 1);
  const auto kind = static_cast<ArgKind>(c.kind(0, kArgKindCount, "arg kind"));
  c.name = nameOf(kind);
  const View &y = c.out(0), &x = c.in(0);
  c.dtype(y, "y", DType::I32);
  c.oneOf(x, "x", {DType::F32, DType::F64, DType::I32});
  if (x.rank < 1) c.fail(Code::Shape, "x: expected a tensor of rank 1 or more, got []");
  keptAxes(c, y, x, 1);
  if (x.shape[x.rank - 1] == 0) c.fail(Code::Shape, "of nothing: " + describeShape(x) + " along its last axis");
}

}  // namespace

void checkElementwise(Checker& c) {
  switch (c.op) {
    case Op::Unary:
      return unary(c);
    case Op::Binary:
      return binary(c);
    case Op::Reduce:
      return reduce(c);
    case Op::ArgReduce:
      return argReduce(c);
    default:
      c.counts(1, 3, 0);
      c.dtype(c.in(0), "condition", DType::Bool);
      c.dtype(c.in(1), "a", c.out(0).dtype);
      c.dtype(c.in(2), "b", c.out(0).dtype);
      c.sameShape(c.in(0), "condition", c.out(0));
      c.sameShape(c.in(1), "a", c.out(0));
      c.sameShape(c.in(2), "b", c.out(0));
  }
}

}  // namespace gyrus
