// Naive optimiser steps: one element at a time, in double, with the step counters of the element's row and column.
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/families.h"
#include "cpu/naive/rows.h"
#include "kernels/counts.h"

namespace gyrus::cpu::naive {
namespace {

// Element i of a view in row-major order, of any rank.
template <class T>
T& element(const View& v, std::int64_t i) {
  std::int64_t offset = 0;
  for (int d = v.rank - 1; d >= 0; --d) {
    offset += i % v.shape[d] * v.stride[d];
    i /= v.shape[d];
  }
  return v.as<T>()[offset];
}

// Increases every distinct counter by 1. `per` outputs belong to a parameter; the last two are its counters.
// Two views of one counter (row and column of an axis that carries no width) count once.
void countStep(const Args& args, int count, int per) {
  std::vector<const View*> counters;
  for (int i = 0; i < count; ++i)
    for (int j = per - 2; j < per; ++j) counters.push_back(&args.out[i * per + j]);
  const auto distinct = [](const View& v) { return v.rank == 0 || v.stride[0] == 0 ? v.size() > 0 : v.shape[0]; };
  for (std::size_t i = 0; i < counters.size(); ++i) {
    std::int64_t from = 0;
    for (std::size_t j = 0; j < i; ++j)
      if (counters[j]->data == counters[i]->data && distinct(*counters[j]) > from) from = distinct(*counters[j]);
    for (std::int64_t k = from; k < distinct(*counters[i]); ++k) Line<float>(*counters[i])[k] += 1;
  }
}

// Step count of element i of p: the younger of its row and its column.
double stepOf(const View& p, const View& rowSteps, const View& colSteps, std::int64_t i) {
  const std::int64_t cols = p.rank > 0 ? p.shape[p.rank - 1] : 1;
  const std::int64_t row = p.rank > 1 ? i / (p.size() / p.shape[0]) : 0;
  return std::fmin(Line<float>(rowSteps)[row], Line<float>(colSteps)[i % cols]);
}

// per parameter: p, v (when momentum != 0), rowSteps, colSteps <- hyper, g
template <class T>
struct SgdStep {
  static void run(const Args& whole) {
    const auto& s = whole.as<SgdParams>();
    const Args args = activeBlocks(whole, sizeof(SgdParams) / sizeof(double), s.momentum != 0 ? 4 : 3);
    const double* decay = args.record + sizeof(SgdParams) / sizeof(double);
    const int count = static_cast<int>(s.count), per = s.momentum != 0 ? 4 : 3;
    const double lr = Line<double>(args.in[0])[0], scale = Line<double>(args.in[0])[1];
    countStep(args, count, per);
    for (int j = 0; j < count; ++j) {
      const View* o = args.out + j * per;
      const View& gv = args.in[1 + j];
      for (std::int64_t i = 0; i < o[0].size(); ++i) {
        const double t = stepOf(o[0], o[per - 2], o[per - 1], i);
        T& p = element<T>(o[0], i);
        double d = element<T>(gv, i) * scale;
        if (t > s.young) d += decay[j] * p;
        if (s.momentum != 0) {
          T& v = element<T>(o[1], i);
          const double moved = t <= 1 ? d : s.momentum * v + (1 - s.dampening) * d;
          v = T(moved);
          d = s.nesterov != 0 ? d + s.momentum * moved : moved;
        }
        p = T(p - lr * d);
      }
    }
  }
};

// per parameter: p, m, v, rowSteps, colSteps <- hyper, g
template <class T>
struct AdamStep {
  static void run(const Args& whole) {
    const auto& s = whole.as<AdamParams>();
    const Args args = activeBlocks(whole, sizeof(AdamParams) / sizeof(double), 5);
    const double* decay = args.record + sizeof(AdamParams) / sizeof(double);
    const int count = static_cast<int>(s.count);
    const double lr = Line<double>(args.in[0])[0], scale = Line<double>(args.in[0])[1];
    countStep(args, count, 5);
    for (int j = 0; j < count; ++j) {
      const View* o = args.out + j * 5;
      const View& gv = args.in[1 + j];
      for (std::int64_t i = 0; i < o[0].size(); ++i) {
        const double t = stepOf(o[0], o[3], o[4], i);
        T& p = element<T>(o[0], i);
        T& m = element<T>(o[1], i);
        T& v = element<T>(o[2], i);
        const double wd = t > s.young ? decay[j] : 0;
        double g = element<T>(gv, i) * scale, next = p;
        if (s.decoupled != 0)
          next -= lr * wd * next;
        else
          g += wd * next;
        const double m1 = s.beta1 * m + (1 - s.beta1) * g, v1 = s.beta2 * v + (1 - s.beta2) * g * g;
        const double corrected = m1 / (1 - std::pow(s.beta1, t));
        next -= lr * corrected / (std::sqrt(v1 / (1 - std::pow(s.beta2, t))) + s.eps);
        m = T(m1);
        v = T(v1);
        p = T(next);
      }
    }
  }
};

// norm [1] <- g_0..g_{n-1}
template <class T>
struct GradNorm {
  static void run(const Args& args) {
    double sum = 0;
    for (int j = 0; j < gradientsOf(args); ++j)
      for (std::int64_t i = 0; i < args.in[j].size(); ++i) {
        const double g = element<T>(args.in[j], i);
        sum += g * g;
      }
    Line<T>(args.out[0])[0] = T(std::sqrt(sum));
  }
};

// g_0..g_{n-1} <- norm [1]
template <class T>
struct ClipGrads {
  static void run(const Args& args) {
    double factor = args.as<ClipGradsParams>().maxNorm / (Line<T>(args.in[0])[0] + 1e-6);
    if (factor > 1) factor = 1;  // a NaN norm makes every gradient NaN, as PyTorch's does
    for (int j = 0; j < args.outputs; ++j)
      for (std::int64_t i = 0; i < args.out[j].size(); ++i) {
        T& g = element<T>(args.out[j], i);
        g = T(g * factor);
      }
  }
};

template <template <class> class F>
void byParameterType(const Args& a) {
  if (a.outputs > 0) byType<F>(a);
}

}  // namespace

void registerOptimizer(KernelTable& t) {
  t.set(Op::SgdStep, byParameterType<SgdStep>);
  t.set(Op::AdamStep, byParameterType<AdamStep>);
  t.set(Op::GradNorm, byParameterType<GradNorm>);
  t.set(Op::ClipGrads, byParameterType<ClipGrads>);
}

}  // namespace gyrus::cpu::naive
