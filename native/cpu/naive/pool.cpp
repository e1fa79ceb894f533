// Naive pooling and its gradients: one window at a time.
#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/families.h"
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {
namespace {

template <class T>
T& at(const View& v, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return v.as<T>()[a * v.stride[0] + b * v.stride[1] + c * v.stride[2] + d * v.stride[3]];
}

// Input positions [from, to) of the window at output position o along one axis.
struct Span {
  std::int64_t from, to;
  Span(std::int64_t o, double kernel, double stride, double pad, std::int64_t n) {
    const double first = double(o) * stride - pad, last = first + kernel;
    from = first < 0 ? 0 : first > double(n) ? n : static_cast<std::int64_t>(first);
    to = last < 0 ? 0 : last > double(n) ? n : static_cast<std::int64_t>(last);
  }
};

// Calls f(n, oh, ow, c, rows, columns) for every window of y [N, OH, OW, C] on x [N, H, W, C].
template <class F>
void eachWindow(const Pool2dParams& p, const View& x, const View& y, F&& f) {
  for (std::int64_t n = 0; n < y.shape[0]; ++n)
    for (std::int64_t oh = 0; oh < y.shape[1]; ++oh)
      for (std::int64_t ow = 0; ow < y.shape[2]; ++ow)
        for (std::int64_t c = 0; c < y.shape[3]; ++c)
          f(n, oh, ow, c, Span(oh, p.kernelH, p.strideH, p.padTop, x.shape[1]),
            Span(ow, p.kernelW, p.strideW, p.padLeft, x.shape[2]));
}

double divisor(const Pool2dParams& p, Span rows, Span columns) {
  if (p.countPad != 0) return p.kernelH * p.kernelW;
  return double((rows.to - rows.from) * (columns.to - columns.from));
}

template <class T>
struct Pool2d {
  static void run(const Args& args) {
    const auto& p = args.as<Pool2dParams>();
    const View &y = args.out[0], &x = args.in[0];
    const bool max = p.kind == double(static_cast<int>(PoolKind::Max));
    eachWindow(p, x, y, [&](auto n, auto oh, auto ow, auto c, Span rows, Span columns) {
      double best = -std::numeric_limits<double>::infinity(), sum = 0, picked = 0;
      bool any = false;
      for (std::int64_t h = rows.from; h < rows.to; ++h)
        for (std::int64_t w = columns.from; w < columns.to; ++w) {
          const double v = at<T>(x, n, h, w, c);
          if (!any || (!std::isnan(best) && (v > best || std::isnan(v)))) {
            best = v;
            if (p.pick != 0) picked = at<T>(args.in[1], n, h, w, c);
          }
          any = true;
          sum += v;
        }
      const double by = divisor(p, rows, columns);
      at<T>(y, n, oh, ow, c) = T(p.pick != 0 ? picked : max ? best : by > 0 ? sum / by : 0);
    });
  }
};

template <class T>
struct Pool2dGrad {
  static void run(const Args& args) {
    const auto& p = args.as<Pool2dParams>();
    const View &dx = args.out[0], &g = args.in[0], &x = args.in[args.inputs - 1];
    const Rows<T> all(dx);
    for (std::int64_t r = 0; r < all.rows; ++r)
      for (std::int64_t c = 0; c < all.cols; ++c) all(r, c) = T(0);
    const bool max = p.kind == double(static_cast<int>(PoolKind::Max));
    eachWindow(p, dx, g, [&](auto n, auto oh, auto ow, auto c, Span rows, Span columns) {
      const T gradient = at<T>(g, n, oh, ow, c);
      if (!max) {
        for (std::int64_t h = rows.from; h < rows.to; ++h)
          for (std::int64_t w = columns.from; w < columns.to; ++w)
            at<T>(dx, n, h, w, c) += T(gradient / divisor(p, rows, columns));
        return;
      }
      std::int64_t atH = -1, atW = -1;
      for (std::int64_t h = rows.from; h < rows.to; ++h)
        for (std::int64_t w = columns.from; w < columns.to; ++w) {
          if (atH >= 0) {
            const double best = at<T>(x, n, atH, atW, c), v = at<T>(x, n, h, w, c);
            if (std::isnan(best) || !(v > best || std::isnan(v))) continue;
          }
          atH = h;
          atW = w;
        }
      if (atH >= 0) at<T>(dx, n, atH, atW, c) += gradient;
    });
  }
};

}  // namespace

void registerPool(KernelTable& t) {
  t.set(Op::Pool2d, byType<Pool2d>);
  t.set(Op::Pool2dGrad, byType<Pool2dGrad>);
}

}  // namespace gyrus::cpu::naive
