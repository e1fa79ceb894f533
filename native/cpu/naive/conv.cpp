// Naive convolution and its gradients: a loop per axis, any strides, sums in double.
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/families.h"
#include "cpu/naive/gate.h"
#include "cpu/naive/lists.h"
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {
namespace {

// Element of a view of rank 4.
template <class T>
T& at(const View& v, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return v.as<T>()[a * v.stride[0] + b * v.stride[1] + c * v.stride[2] + d * v.stride[3]];
}

// Calls f(n, oh, ow, f, h, w, c, wf, kh, kw, wc) for every product of the convolution, the output outermost.
template <class F>
void eachProduct(const Conv2dShapeParams& p, const View& x, const View& y, const View& w, const List& outputs,
                 const List& inputs, F&& f) {
  const auto groups = static_cast<std::int64_t>(p.groups);
  const std::int64_t H = x.shape[1], W = x.shape[2], C = x.shape[3] / groups, F_ = y.shape[3] / groups;
  for (std::int64_t n = 0; n < y.shape[0]; ++n)
    for (std::int64_t oh = 0; oh < y.shape[1]; ++oh)
      for (std::int64_t ow = 0; ow < y.shape[2]; ++ow)
        for (std::int64_t o = 0; o < y.shape[3]; ++o)
          for (std::int64_t kh = 0; kh < w.shape[1]; ++kh)
            for (std::int64_t kw = 0; kw < w.shape[2]; ++kw) {
              const auto h = static_cast<std::int64_t>(double(oh) * p.strideH - p.padTop + double(kh) * p.dilationH);
              const auto v = static_cast<std::int64_t>(double(ow) * p.strideW - p.padLeft + double(kw) * p.dilationW);
              if (h < 0 || h >= H || v < 0 || v >= W) continue;
              const std::int64_t first = o / F_ * C;
              for (std::int64_t c = 0; c < C; ++c) f(n, oh, ow, o, h, v, first + c, outputs[o], kh, kw, inputs[c]);
            }
}

std::int64_t flat(const View& v, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return ((a * v.shape[1] + b) * v.shape[2] + c) * v.shape[3] + d;
}

struct Lists {
  int next = 2;  // the input behind the lists
  List outputs, inputs;
  Lists(const char* op, const Args& args, const Conv2dShapeParams& p, const View& w)
      : outputs(op, "outputs", p.outputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.outputs), w.shape[0]),
        inputs(op, "inputs", p.inputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.inputs), w.shape[3]) {}
};

// The active channels of a view [N, H, W, C] that has all of them.
View activeChannels(const View& v, const List& channels) {
  return channels.counted ? leadingBlock(v, 3, channels.count) : v;
}

template <class T>
void zero(const View& v) {
  const Rows<T> all(v);
  for (std::int64_t r = 0; r < all.rows; ++r)
    for (std::int64_t c = 0; c < all.cols; ++c) all(r, c) = T(0);
}

// y <- x, w, (lists), (bias), (scale, shift), (residual)
template <class T>
struct Conv2d {
  static void run(const Args& args) {
    const auto& p = args.as<Conv2dParams>();
    const View& w = args.in[1];
    const Lists lists("conv2d", args, p.shape, w);
    const View y = activeChannels(args.out[0], lists.outputs), x = activeChannels(args.in[0], lists.inputs);
    zero<T>(args.out[0]);
    std::vector<double> sum(static_cast<std::size_t>(y.size()), 0.0);
    eachProduct(p.shape, x, y, w, lists.outputs, lists.inputs,
                [&](auto n, auto oh, auto ow, auto o, auto h, auto v, auto c, auto wf, auto kh, auto kw, auto wc) {
                  sum[static_cast<std::size_t>(flat(y, n, oh, ow, o))] +=
                      double(at<T>(x, n, h, v, c)) * at<T>(w, wf, kh, kw, wc);
                });
    int next = lists.next;
    const View* bias = p.bias != 0 ? &args.in[next++] : nullptr;
    const View* scale = p.affine != 0 ? &args.in[next++] : nullptr;
    const View* shift = p.affine != 0 ? &args.in[next++] : nullptr;
    const Rows<T> out(y), residual(p.residual != 0 ? activeChannels(args.in[next], lists.outputs) : x);
    for (std::int64_t r = 0; r < out.rows; ++r)
      for (std::int64_t o = 0; o < out.cols; ++o) {
        double v = sum[static_cast<std::size_t>(r * out.cols + o)];
        if (bias) v += Line<T>(*bias)[lists.outputs[o]];
        if (scale) v = v * Line<T>(*scale)[lists.outputs[o]] + Line<T>(*shift)[lists.outputs[o]];
        if (p.residual != 0) v += residual(r, o);
        out(r, o) = T(p.activation != 0 && v < 0 ? 0 : v);
      }
  }
};

// dx (+ stats) <- g, w, (lists), (a, labels)
template <class T>
struct Conv2dGradInput {
  static void run(const Args& args) {
    const auto& p = args.as<Conv2dGradInputParams>();
    const View& w = args.in[1];
    const Lists lists("conv2dGradInput", args, p.shape, w);
    const View dx = activeChannels(args.out[0], lists.inputs), g = activeChannels(args.in[0], lists.outputs);
    zero<T>(args.out[0]);
    std::vector<double> sum(static_cast<std::size_t>(dx.size()), 0.0);
    eachProduct(p.shape, dx, g, w, lists.outputs, lists.inputs,
                [&](auto n, auto oh, auto ow, auto o, auto h, auto v, auto c, auto wf, auto kh, auto kw, auto wc) {
                  sum[static_cast<std::size_t>(flat(dx, n, h, v, c))] +=
                      double(at<T>(g, n, oh, ow, o)) * at<T>(w, wf, kh, kw, wc);
                });
    const Rows<T> out(dx);
    for (std::int64_t r = 0; r < out.rows; ++r)
      for (std::int64_t c = 0; c < out.cols; ++c) out(r, c) = T(sum[static_cast<std::size_t>(r * out.cols + c)]);
    if (p.score == 0) return;
    const View& stats = args.out[1];
    accumulateGate<T>("conv2dGradInput", lists.inputs.counted ? leadingBlock(stats, 1, lists.inputs.count) : stats,
                      activeChannels(args.in[lists.next], lists.inputs), dx, args.in[lists.next + 1], p.scale,
                      dx.shape[1] * dx.shape[2]);
  }
};

// dw (+ db) <- g, x, (lists)
template <class T>
struct Conv2dGradWeight {
  static void run(const Args& args) {
    const auto& p = args.as<Conv2dGradWeightParams>();
    const View& dw = args.out[0];
    const Lists lists("conv2dGradWeight", args, p.shape, dw);
    const View g = activeChannels(args.in[0], lists.outputs), x = activeChannels(args.in[1], lists.inputs);
    const std::int64_t C = x.shape[3] / static_cast<std::int64_t>(p.shape.groups);
    const List all;
    View compact = dw;
    compact.shape[0] = g.shape[3];
    compact.shape[3] = C;
    std::vector<double> sum(static_cast<std::size_t>(compact.size()), 0.0);
    eachProduct(p.shape, x, g, compact, all, all,
                [&](auto n, auto oh, auto ow, auto o, auto h, auto v, auto c, auto wf, auto kh, auto kw, auto wc) {
                  sum[static_cast<std::size_t>(flat(compact, wf, kh, kw, wc))] +=
                      double(at<T>(g, n, oh, ow, o)) * at<T>(x, n, h, v, c);
                });
    const Rows<T> rows(g);
    zero<T>(dw);
    for (std::int64_t o = 0; o < g.shape[3]; ++o)
      for (std::int64_t kh = 0; kh < dw.shape[1]; ++kh)
        for (std::int64_t kw = 0; kw < dw.shape[2]; ++kw)
          for (std::int64_t c = 0; c < C; ++c)
            at<T>(dw, lists.outputs[o], kh, kw, lists.inputs[c]) =
                T(sum[static_cast<std::size_t>(flat(compact, o, kh, kw, c))]);
    if (p.bias == 0) return;
    const Line<T> db(args.out[1]);
    for (std::int64_t o = 0; o < db.n; ++o) db[o] = T(0);
    for (std::int64_t o = 0; o < rows.cols; ++o) {
      double total = 0;
      for (std::int64_t r = 0; r < rows.rows; ++r) total += rows(r, o);
      db[lists.outputs[o]] = T(total);
    }
  }
};

}  // namespace

void registerConv(KernelTable& t) {
  t.set(Op::Conv2d, byType<Conv2d>);
  t.set(Op::Conv2dGradInput, byType<Conv2dGradInput>);
  t.set(Op::Conv2dGradWeight, byType<Conv2dGradWeight>);
}

}  // namespace gyrus::cpu::naive
