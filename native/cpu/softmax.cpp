// Softmax, cross-entropy and their gradients: a few passes over each row, rows in parallel. The largest logit is taken
// off before exp, so that logits of any size are safe.
#include "cpu/families.h"
#include "cpu/math.h"
#include "cpu/row_tile.h"
#include "kernels/labels.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

template <class T>
constexpr T kInfinity = static_cast<T>(__builtin_inf());

GYRUS_INLINE float logOf(float x) { return ::logf(x); }
GYRUS_INLINE double logOf(double x) { return ::log(x); }

// Largest of z(c, lanes), NaN left out: it comes back through exp.
template <class T, class Z>
GYRUS_INLINE T largest(int64_t C, Z&& z) {
  constexpr int N = Vec<T>::N;
  Vec<T> top = Vec<T>::broadcast(-kInfinity<T>), other = top;
  int64_t c = 0;
  for (; c + 2 * N <= C; c += 2 * N) {
    top = max(z(c, N), top);
    other = max(z(c + N, N), other);
  }
  for (; c < C; c += N) {
    const int lanes = static_cast<int>(minOf(N, C - c));
    top = max(inLine(z(c, lanes), lanes, -kInfinity<T>), top);
  }
  return reduceMax(max(top, other));
}

// y <- x, over the last axis
template <class T>
void softmax(const Args& args) {
  using V = Vec<T>;
  const bool logarithm = args.as<SoftmaxParams>().log != 0;
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const int64_t C = y.cols;
  parallelRange(y.rows, C * 8, [&](int64_t from, int64_t to) {
    eachTile(from, to, C, [&](int64_t r0, int64_t rows) {
      T top[kTileOfRows], sum[kTileOfRows];
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        top[r] = largest<T>(C, [&](int64_t c, int lanes) GYRUS_INLINED { return load(in + c, lanes); });
      }
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        const T* next = x.row(minOf(r0 + r + rows, x.rows - 1));
        T* out = y.row(r0 + r);
        const V shift = V::broadcast(top[r]);
        sum[r] = sumOfLine<T>(C, [&](int64_t c, int lanes, V sums) GYRUS_INLINED {
          __builtin_prefetch(next + c);
          const V e = exp(load(in + c, lanes) - shift);
          if (!logarithm) store(e, out + c, lanes);
          return sums + inLine(e, lanes, T(0));
        });
      }
      for (int64_t r = 0; r < rows; ++r) {
        const T* in = x.row(r0 + r);
        T* out = y.row(r0 + r);
        if (logarithm) {
          const V shift = V::broadcast(top[r]), rest = V::broadcast(logOf(sum[r]));
          eachVector<T>(C, [&](int64_t c, int lanes)
                               GYRUS_INLINED { store(load(in + c, lanes) - shift - rest, out + c, lanes); });
        } else {
          const V scale = V::broadcast(T(1) / sum[r]);
          eachVector<T>(
              C, [&](int64_t c, int lanes) GYRUS_INLINED { store(load(out + c, lanes) * scale, out + c, lanes); });
        }
      }
    });
  });
  y.flush();
}

// dx <- g, y; softmax: y (g - sum g y); its logarithm: g - exp(y) sum g
template <class T>
void softmaxGrad(const Args& args) {
  using V = Vec<T>;
  const bool logarithm = args.as<SoftmaxParams>().log != 0;
  const Rows<T> dx = writeRows<T>(args, args.out[0]);
  const Rows<T> g = readRows<T>(args, args.in[0]), y = readRows<T>(args, args.in[1]);
  parallelRange(dx.rows, dx.cols * 8, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T *gr = g.row(r), *yr = y.row(r);
      T* out = dx.row(r);
      V dot = V::zero();
      eachVector<T>(dx.cols, [&](int64_t c, int lanes) {
        const V gc = load(gr + c, lanes);
        dot = logarithm ? dot + gc : fma(gc, load(yr + c, lanes), dot);
      });
      const V sum = V::broadcast(reduceAdd(dot));
      eachVector<T>(dx.cols, [&](int64_t c, int lanes) {
        const V gc = load(gr + c, lanes), yc = load(yr + c, lanes);
        store(logarithm ? gc - exp(yc) * sum : yc * (gc - sum), out + c, lanes);
      });
    }
  });
  dx.flush();
}

// The inputs that both cross-entropy kernels share; `first` is the position of the logits.
template <class T>
struct Problem {
  Rows<T> logits;
  const int32_t* labels;
  int64_t label_step;
  const T *weights = nullptr, *offsets = nullptr, *margins = nullptr;
  T smoothing;
  const char* op;

  Problem(const Args& args, int first, const char* name) : logits(readRows<T>(args, args.in[first])), op(name) {
    const auto& p = args.as<CrossEntropyParams>();
    const View& l = args.in[first + 1];
    labels = l.as<int32_t>();
    label_step = l.rank > 0 ? l.stride[0] : 0;
    int next = first + 2;
    if (p.weights != 0) weights = readLine<T>(args, args.in[next++]);
    if (p.offsets != 0) offsets = readLine<T>(args, args.in[next++]);
    if (p.margins != 0) margins = readLine<T>(args, args.in[next++]);
    smoothing = static_cast<T>(p.smoothing);
    // All labels first, so that the lowest bad row is named whatever the threads do.
    for (int64_t r = 0; r < logits.rows; ++r)
      if (label(r) < 0 || label(r) >= logits.cols) throwLabelOutOfRange(op, label(r), r, logits.cols);
  }

  GYRUS_INLINE int64_t label(int64_t r) const { return labels[r * label_step]; }

  // Logits c.. of row r with offsets and the label's margin.
  GYRUS_INLINE Vec<T> z(int64_t r, int64_t c, int lanes) const {
    Vec<T> v = load(logits.row(r) + c, lanes);
    if (offsets) v = v + load(offsets + c, lanes);
    const int64_t lane = label(r) - c;
    if (margins && lane >= 0 && lane < lanes) {
      T margin[Vec<T>::N] = {};
      margin[lane] = margins[label(r)];
      v = v - Vec<T>::load(margin);
    }
    return v;
  }
  GYRUS_INLINE T atLabel(int64_t r) const {
    const int64_t y = label(r);
    return logits.row(r)[y] + (offsets ? offsets[y] : T(0)) - (margins ? margins[y] : T(0));
  }
  GYRUS_INLINE T top(int64_t r) const {
    return largest<T>(logits.cols, [&](int64_t c, int lanes) { return z(r, c, lanes); });
  }
};

// A row of dlogits from its exponentials in `out`, of the given sum: factor (p - (1-s) onehot - s/C)
template <class T>
GYRUS_INLINE void finishGrad(T* out, int64_t C, int64_t y, T sum, T factor, T s) {
  using V = Vec<T>;
  const T scale = 1 / sum, even = s / static_cast<T>(C);
  const T of_label = factor * (out[y] * scale - (1 - s) - even);
  eachVector<T>(C, [&](int64_t c, int lanes) {
    const V q = load(out + c, lanes) * V::broadcast(scale) - V::broadcast(even);
    store(q * V::broadcast(factor), out + c, lanes);
  });
  out[y] = of_label;
}

// loss [R] (+ dlogits [R, C]) <- logits [R, C], labels [R] (+ weights, offsets, margins [C])
template <class T, bool Grad>
void crossEntropyOf(const Args& args) {
  using V = Vec<T>;
  const Problem<T> p(args, 0, "crossEntropy");
  const int64_t R = p.logits.rows, C = p.logits.cols;
  T* loss = args.out[0].as<T>();
  const int64_t loss_step = args.out[0].rank > 0 ? args.out[0].stride[0] : 0;
  const T s = p.smoothing;
  const Rows<T> d = writeRows<T>(args, args.out[Grad ? 1 : 0]);
  parallelRange(R, C * 8, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T top = p.top(r);
      V exps = V::zero(), shifted = V::zero();
      eachVector<T>(C, [&](int64_t c, int lanes) {
        const V z = p.z(r, c, lanes) - V::broadcast(top);
        const V e = exp(z);
        if constexpr (Grad) store(e, d.row(r) + c, lanes);
        exps = exps + inLine(e, lanes, T(0));
        if (s != 0) shifted = shifted + inLine(z, lanes, T(0));
      });
      const T sum = reduceAdd(exps), log_sum = logOf(sum);
      T value = (1 - s) * (log_sum - (p.atLabel(r) - top));
      if (s != 0) value += s * (log_sum - reduceAdd(shifted) / static_cast<T>(C));
      const T weight = p.weights ? p.weights[p.label(r)] : T(1);
      loss[r * loss_step] = p.weights ? weight * value : value;
      if constexpr (Grad) finishGrad(d.row(r), C, p.label(r), sum, weight, s);
    }
  });
  if constexpr (Grad) d.flush();
}

template <class T>
void crossEntropy(const Args& args) {
  args.outputs == 2 ? crossEntropyOf<T, true>(args) : crossEntropyOf<T, false>(args);
}

// dlogits [R, C] <- g [R], logits [R, C], labels [R] (+ ...);  g w_y (p - (1-s) onehot - s/C)
template <class T>
void crossEntropyGrad(const Args& args) {
  using V = Vec<T>;
  const Problem<T> p(args, 1, "crossEntropyGrad");
  const Rows<T> d = writeRows<T>(args, args.out[0]);
  const T* g = args.in[0].as<T>();
  const int64_t g_step = args.in[0].rank > 0 ? args.in[0].stride[0] : 0, C = d.cols;
  const T s = p.smoothing;
  parallelRange(d.rows, C * 8, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      T* out = d.row(r);
      const int64_t y = p.label(r);
      const V top = V::broadcast(p.top(r));
      V exps = V::zero();
      eachVector<T>(C, [&](int64_t c, int lanes) {
        const V e = exp(p.z(r, c, lanes) - top);
        store(e, out + c, lanes);
        exps = exps + inLine(e, lanes, T(0));
      });
      finishGrad(out, C, y, reduceAdd(exps), g[r * g_step] * (p.weights ? p.weights[y] : T(1)), s);
    }
  });
  d.flush();
}

}  // namespace

void registerSoftmax(KernelTable& t) {
  t.set(Op::Softmax, GYRUS_BY_TYPE(softmax));
  t.set(Op::SoftmaxGrad, GYRUS_BY_TYPE(softmaxGrad));
  t.set(Op::CrossEntropy, GYRUS_BY_TYPE(crossEntropy));
  t.set(Op::CrossEntropyGrad, GYRUS_BY_TYPE(crossEntropyGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
