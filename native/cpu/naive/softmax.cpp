// Naive softmax, cross-entropy and their gradients, in double.
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/families.h"
#include "cpu/naive/rows.h"
#include "kernels/labels.h"

namespace gyrus::cpu::naive {
namespace {

// y <- x, over the last axis
template <class T>
struct Softmax {
  static void run(const Args& args) {
    const bool logarithm = args.as<SoftmaxParams>().log != 0;
    const Rows<T> y(args.out[0]), x(args.in[0]);
    for (std::int64_t r = 0; r < y.rows; ++r) {
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t c = 0; c < y.cols; ++c) top = std::fmax(top, x(r, c));
      for (std::int64_t c = 0; c < y.cols; ++c) sum += std::exp(x(r, c) - top);
      for (std::int64_t c = 0; c < y.cols; ++c) {
        const double z = x(r, c) - top;
        y(r, c) = T(logarithm ? z - std::log(sum) : std::exp(z) / sum);
      }
    }
  }
};

// dx <- g, y; softmax: y (g - sum g y); its logarithm: g - exp(y) sum g
template <class T>
struct SoftmaxGrad {
  static void run(const Args& args) {
    const bool logarithm = args.as<SoftmaxParams>().log != 0;
    const Rows<T> dx(args.out[0]), g(args.in[0]), y(args.in[1]);
    for (std::int64_t r = 0; r < dx.rows; ++r) {
      double sum = 0;
      for (std::int64_t c = 0; c < dx.cols; ++c) sum += logarithm ? double(g(r, c)) : double(g(r, c)) * y(r, c);
      for (std::int64_t c = 0; c < dx.cols; ++c) {
        const double gc = g(r, c), yc = y(r, c);
        dx(r, c) = T(logarithm ? gc - std::exp(yc) * sum : yc * (gc - sum));
      }
    }
  }
};

// The inputs both cross-entropy kernels share; `first` is the position of the logits.
template <class T>
struct Problem {
  Problem(const Args& args, int first, const char* op)
      : p(args.as<CrossEntropyParams>()), logits(args.in[first]), labels(args.in[first + 1]), op_(op) {
    int next = first + 2;
    if (p.weights != 0) weights_ = &args.in[next++];
    if (p.offsets != 0) offsets_ = &args.in[next++];
    if (p.margins != 0) margins_ = &args.in[next++];
  }

  std::int64_t label(std::int64_t r) const {
    const std::int64_t y = labels[r];
    if (y < 0 || y >= logits.cols) throwLabelOutOfRange(op_, y, r, logits.cols);
    return y;
  }
  double weight(std::int64_t y) const { return weights_ ? double(Line<T>(*weights_)[y]) : 1; }
  double z(std::int64_t r, std::int64_t c, std::int64_t y) const {
    double value = logits(r, c);
    if (offsets_) value += Line<T>(*offsets_)[c];
    if (margins_ && c == y) value -= Line<T>(*margins_)[c];
    return value;
  }
  // log(sum_c exp(z_c)) as top + log: apart, since the sum of the two would lose the logarithm of huge logits
  struct LogSum {
    double top, log;
    double minus(double z) const { return (top - z) + log; }
  };
  LogSum logSum(std::int64_t r, std::int64_t y) const {
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t c = 0; c < logits.cols; ++c) top = std::fmax(top, z(r, c, y));
    for (std::int64_t c = 0; c < logits.cols; ++c) sum += std::exp(z(r, c, y) - top);
    return {top, std::log(sum)};
  }

  const CrossEntropyParams& p;
  Rows<T> logits;
  Line<std::int32_t> labels;

 private:
  const char* op_;
  const View* weights_ = nullptr;
  const View* offsets_ = nullptr;
  const View* margins_ = nullptr;
};

// A row of dlogits: factor (p - (1-s) onehot - s/C)
template <class T>
void gradRow(const Problem<T>& q, const Rows<T>& d, std::int64_t r, double factor) {
  const std::int64_t y = q.label(r);
  const auto logSum = q.logSum(r, y);
  const double s = q.p.smoothing;
  for (std::int64_t c = 0; c < d.cols; ++c)
    d(r, c) = T(factor * (std::exp(-logSum.minus(q.z(r, c, y))) - (c == y ? 1 - s : 0) - s / d.cols));
}

// loss [R] (+ dlogits [R, C]) <- logits [R, C], labels [R] (+ weights, offsets, margins [C])
template <class T>
struct CrossEntropy {
  static void run(const Args& args) {
    const Problem<T> q(args, 0, "crossEntropy");
    const Line<T> loss(args.out[0]);
    const double s = q.p.smoothing;
    for (std::int64_t r = 0; r < loss.n; ++r) {
      const std::int64_t y = q.label(r);
      const auto logSum = q.logSum(r, y);
      double value = (1 - s) * logSum.minus(q.z(r, y, y));
      if (s != 0)
        for (std::int64_t c = 0; c < q.logits.cols; ++c) value += s / q.logits.cols * logSum.minus(q.z(r, c, y));
      loss[r] = T(q.weight(y) * value);
      if (args.outputs == 2) gradRow(q, Rows<T>(args.out[1]), r, q.weight(y));
    }
  }
};

// dlogits [R, C] <- g [R], logits [R, C], labels [R] (+ ...);  g w_y (p - (1-s) onehot - s/C)
template <class T>
struct CrossEntropyGrad {
  static void run(const Args& args) {
    const Problem<T> q(args, 1, "crossEntropyGrad");
    const Rows<T> d(args.out[0]);
    const Line<T> g(args.in[0]);
    for (std::int64_t r = 0; r < d.rows; ++r) gradRow(q, d, r, g[r] * q.weight(q.label(r)));
  }
};

}  // namespace

void registerSoftmax(KernelTable& t) {
  t.set(Op::Softmax, byType<Softmax>);
  t.set(Op::SoftmaxGrad, byType<SoftmaxGrad>);
  t.set(Op::CrossEntropy, byType<CrossEntropy>);
  t.set(Op::CrossEntropyGrad, byType<CrossEntropyGrad>);
}

}  // namespace gyrus::cpu::naive
