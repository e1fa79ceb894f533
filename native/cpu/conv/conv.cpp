// The convolution ops: views and records turned into calls of the drivers.
#include "cpu/columns.h"
#include "cpu/conv/depthwise.h"
#include "cpu/conv/gradweight.h"
#include "cpu/conv/implicit.h"
#include "cpu/families.h"
#include "cpu/gate.h"
#include "cpu/lists.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

struct Geometry {
  int64_t stride[2], pad[2], dilation[2], groups;
  explicit Geometry(const Conv2dShapeParams& p)
      : stride{static_cast<int64_t>(p.strideH), static_cast<int64_t>(p.strideW)},
        pad{static_cast<int64_t>(p.padTop), static_cast<int64_t>(p.padLeft)},
        dilation{static_cast<int64_t>(p.dilationH), static_cast<int64_t>(p.dilationW)},
        groups(static_cast<int64_t>(p.groups)) {}

  // Axis a of pixels (0: rows, 1: columns), y <- x and dx <- g.
  ConvAxis forward(int a, const View& y, const View& x, const View& w) const {
    return ConvAxis::forward(y.shape[a + 1], x.shape[a + 1], w.shape[a + 1], stride[a], pad[a], dilation[a]);
  }
  ConvAxis gradient(int a, const View& dx, const View& g, const View& w) const {
    return ConvAxis::gradient(dx.shape[a + 1], g.shape[a + 1], w.shape[a + 1], stride[a], pad[a], dilation[a]);
  }
  // Each channel sees only itself. One channel alone has no lanes to fill: its taps are what there is to go over.
  bool depthwise(int64_t K, int64_t N) const { return K == 1 && N == 1 && groups > 1; }
};

// The channels of w that take part. The entries of a list are found by it; where they are a run, w's pointer is moved.
struct Lists {
  int next = 2;  // the input behind them
  bool outCounted, inCounted;
  Active out, in;
  Lists(const char* op, const Args& args, const Conv2dShapeParams& p, const View& w)
      : outCounted(neuronsOf(p.outputs) == Neurons::Counted),
        inCounted(neuronsOf(p.inputs) == Neurons::Counted),
        out(read(op, "outputs", args, p.outputs, w.shape[0])),
        in(read(op, "inputs", args, p.inputs, w.shape[3])) {}
  int64_t offset(const View& w) const { return out.first * w.stride[0] + in.first * w.stride[3]; }
  // The active channels of views [.., C] that have all of them.
  View activeOutputs(const View& v) const { return outCounted ? leadingBlock(v, v.rank - 1, out.count) : v; }
  View activeInputs(const View& v) const { return inCounted ? leadingBlock(v, v.rank - 1, in.count) : v; }

 private:
  Active read(const char* op, const char* what, const Args& args, double flag, int64_t size) {
    return readActiveNeurons(op, what, args, neuronsOf(flag), flag != 0 ? &args.in[next++] : nullptr, size);
  }
};

// y <- x, w, (lists), (bias), (scale, shift), (residual)
template <class T>
void conv2d(const Args& args) {
  const auto& p = args.as<Conv2dParams>();
  const Geometry s(p.shape);
  const View& w = args.in[1];
  const Lists lists("conv2d", args, p.shape, w);
  const View yv = lists.activeOutputs(args.out[0]), xv = lists.activeInputs(args.in[0]);
  clearColumns<T>(args.out[0], yv.shape[3]);
  const Rows<T> x = readRows<T>(args, xv);
  const int64_t F = yv.shape[3], ldy = args.out[0].shape[3];
  int next = lists.next;
  const T *scale = nullptr, *shift = nullptr;
  if (p.bias != 0) shift = readActive<T>(args, args.in[next++], lists.out);
  if (p.affine != 0) {
    scale = readActive<T>(args, args.in[next++], lists.out);
    const T* after = readActive<T>(args, args.in[next++], lists.out);
    if (shift) {
      T* both = take<T>(args, F);
      for (int64_t i = 0; i < F; ++i) both[i] = after[i] + shift[i] * scale[i];
      after = both;
    }
    shift = after;
  }
  const T* residual = nullptr;
  int64_t ld_residual = 0;
  if (p.residual != 0) {
    const Rows<T> r = readRows<T>(args, lists.activeOutputs(args.in[next]));
    residual = r.data;
    ld_residual = r.ld;
  }
  const int64_t N = F / s.groups, K = xv.shape[3] / s.groups;
  const ConvAxis vertical = s.forward(0, yv, xv, w), horizontal = s.forward(1, yv, xv, w);
  const ConvWeights<T> weights{w.as<T>() + lists.offset(w),
                               w.stride[0],
                               w.stride[3],
                               w.stride[1],
                               w.stride[2],
                               w.shape[1],
                               w.shape[2],
                               lists.out.list,
                               lists.in.list};
  if (s.depthwise(K, N)) {
    const Depthwise<T> depthwise{vertical,         horizontal, yv.shape[0], F,     x.data,   x.ld,
                                 yv.as<T>(),       ldy,        scale,       shift, residual, ld_residual,
                                 p.activation != 0};
    depthwise.run(args, [&](int64_t c, int64_t i, int64_t j) { return weights.at(c, 0, i, j); });
    return;
  }
  const ImplicitGemm<T> gemm{vertical, horizontal, yv.shape[0], s.groups,    K,
                             N,        x.data,     x.ld,        yv.as<T>(),  ldy,
                             scale,    shift,      residual,    ld_residual, p.activation != 0};
  gemm.run(
      args,
      [&](int64_t group, int64_t n0, int cols, T* out, int width) {
        weights.pack(group * N + n0, cols, 0, K, out, width);
      },
      [](int64_t, int64_t) {});
}

// dx (+ stats) <- g, w, (lists), (a, labels)
template <class T>
void conv2dGradInput(const Args& args) {
  const auto& p = args.as<Conv2dGradInputParams>();
  const Geometry s(p.shape);
  const View& w = args.in[1];
  const Lists lists("conv2dGradInput", args, p.shape, w);
  const View dx = lists.activeInputs(args.out[0]), gv = lists.activeOutputs(args.in[0]);
  clearColumns<T>(args.out[0], dx.shape[3]);
  const Rows<T> g = readRows<T>(args, gv);
  const int64_t C = dx.shape[3], ldx = args.out[0].shape[3], N = C / s.groups, K = gv.shape[3] / s.groups;
  const ConvAxis vertical = s.gradient(0, dx, gv, w), horizontal = s.gradient(1, dx, gv, w);
  // The taps backwards: from the last one on, with strides against the view's.
  const int64_t last = (w.shape[1] - 1) * w.stride[1] + (w.shape[2] - 1) * w.stride[2];
  const ConvWeights<T> weights{w.as<T>() + last + lists.offset(w),
                               w.stride[3],
                               w.stride[0],
                               -w.stride[1],
                               -w.stride[2],
                               w.shape[1],
                               w.shape[2],
                               lists.in.list,
                               lists.out.list};
  // done(first, count): these images have been stored; false when it wasn't called.
  const auto run = [&](auto&& done) {
    if (s.depthwise(K, N)) {
      const Depthwise<T> depthwise{vertical, horizontal, dx.shape[0], C,       g.data, g.ld, dx.as<T>(),
                                   ldx,      nullptr,    nullptr,     nullptr, 0,      false};
      depthwise.run(args, [&](int64_t c, int64_t i, int64_t j) { return weights.at(0, c, i, j); });
      return false;
    }
    const ImplicitGemm<T> gemm{vertical,   horizontal, dx.shape[0], s.groups, K,       N, g.data, g.ld,
                               dx.as<T>(), ldx,        nullptr,     nullptr,  nullptr, 0, false};
    return gemm.run(
        args,
        [&](int64_t group, int64_t n0, int cols, T* out, int width) {
          weights.pack(n0, cols, group * K, K, out, width);
        },
        done);
  };
  if (p.score == 0) {
    run([](int64_t, int64_t) {});
    return;
  }
  const SampleGate<T> gate("conv2dGradInput", args, lists.activeInputs(args.out[1]),
                           lists.activeInputs(args.in[lists.next]), dx, args.in[lists.next + 1], p.scale,
                           dx.shape[1] * dx.shape[2]);
  const bool hot = run([&](int64_t first, int64_t count) { gate.samples(first, first + count); });
  if (!hot) gate.allSamples();
  gate.finish();
}

// dw (+ db) <- g, x, (lists)
template <class T>
void conv2dGradWeight(const Args& args) {
  const auto& p = args.as<Conv2dGradWeightParams>();
  const Geometry s(p.shape);
  const View& dw = args.out[0];
  const Lists lists("conv2dGradWeight", args, p.shape, dw);
  const View gv = lists.activeOutputs(args.in[0]), xv = lists.activeInputs(args.in[1]);
  const Rows<T> g = readRows<T>(args, gv), x = readRows<T>(args, xv);
  const int64_t F = gv.shape[3], N = F / s.groups, C = xv.shape[3] / s.groups;
  const int64_t row = dw.shape[1] * dw.shape[2] * dw.shape[3];
  T* out = dw.as<T>();
  if (F * C == 0 || !lists.in.all())
    memset(out, 0, static_cast<size_t>(dw.size()) * sizeof(T));
  else if (!lists.out.all())
    clearInactive(out, lists.out, {nullptr, 0, row, row});
  // Tap of channel c of a group's x and of channels f ... of g.
  const auto set = [&](int64_t f, int64_t tap, int64_t c, int lanes, const T* sums) {
    T* to = out + tap * dw.shape[3] + lists.in[c];
    if (lists.out.list) {
      for (int i = 0; i < lanes; ++i) to[lists.out.list[f + i] * row] = sums[i];
    } else {
      to += (lists.out.first + f) * row;
      for (int i = 0; i < lanes; ++i) to[i * row] = sums[i];
    }
  };
  if (s.depthwise(C, N)) {
    const DepthwiseWeightGradient<T> gradient{
        s.forward(0, gv, xv, dw), s.forward(1, gv, xv, dw), xv.shape[0], F, x.data, x.ld, g.data, g.ld};
    gradient.run(args, [&](int64_t tap, int64_t c, int lanes, const T* sums) { set(c, tap, 0, lanes, sums); });
  } else {
    const WeightGradient<T> gradient{{gv.shape[1], xv.shape[1], dw.shape[1], s.stride[0], s.pad[0], s.dilation[0]},
                                     {gv.shape[2], xv.shape[2], dw.shape[2], s.stride[1], s.pad[1], s.dilation[1]},
                                     xv.shape[0],
                                     s.groups,
                                     C,
                                     N,
                                     x.data,
                                     x.ld,
                                     g.data,
                                     g.ld};
    gradient.run(args, [&](int64_t group, int64_t tap, int64_t c, int64_t n, int lanes, const T* sums) {
      set(group * N + n, tap, c, lanes, sums);
    });
  }
  if (p.bias == 0) return;
  using V = Vec<T>;
  T *sum = take<T>(args, F), *unused = take<T>(args, F);
  sumColumns<T>(args, g.rows, F, sum, unused,
                [&](int64_t m, int64_t n, int lanes, V& total, V&) { total = total + load(g.row(m) + n, lanes); });
  writeActive(args, args.out[1], lists.out, sum);
}

}  // namespace

void registerConv(KernelTable& t) {
  t.set(Op::Conv2d, GYRUS_BY_TYPE(conv2d));
  t.set(Op::Conv2dGradInput, GYRUS_BY_TYPE(conv2dGradInput));
  t.set(Op::Conv2dGradWeight, GYRUS_BY_TYPE(conv2dGradWeight));
}

}  // namespace gyrus::cpu::GYRUS_ISA
