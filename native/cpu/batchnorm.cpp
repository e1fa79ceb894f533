// Batch normalisation over the columns of x [R, C], with the ReLU and the residual sum that follow it, and its
// gradient.
//
// Memory sets the time, so rows stream through once per pass, four at a time. Where C is small and rows are contiguous
// several rows are laid side by side ("folded") and seen as one row of whole vectors: C = 16 or C = 3 run like C = 64.
// Variances: each block of rows is read from memory once for its mean and again from cache for the deviations from
// that mean; the blocks are merged in double in a fixed order. No cancellation, and the cut depends on shapes alone.
#include "cpu/families.h"
#include "cpu/lists.h"
#include "cpu/loops.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

constexpr int64_t kSerial = 32768;       // elements; below, one thread is quicker
constexpr int64_t kFoldedBlock = 32768;  // 128 KiB of f32: the second reading of a block comes from L2
constexpr int64_t kRows = 128;           // of a block that isn't folded
constexpr int64_t kFoldBelow = 256, kFoldTo = 64;

// [R, C] as `rows` folded rows of `width` = fold * C columns, then `tail` plain rows that are left over. Without a fold
// the cut depends on R alone: a channel's statistics keep their bits when others are born beside it.
//
// Counted channels lie in rows that have others behind them. They are folded as if they didn't, so that a channel's
// statistics have the bits that they have without the others; the rows of a folded one are then `apart`.
struct Fold {
  int64_t R, C, fold = 1, rows, width, tail, step, blocks;
  bool apart = false;

  // `contiguous`: whether the rows are, or were it for the channels that aren't active; `packed`: whether they are.
  Fold(int64_t R, int64_t C, int lanes, bool contiguous, bool packed) : R(R), C(C) {
    if (contiguous && C > 0 && R * C > kSerial && C < kFoldBelow) {
      int64_t f = 1;
      while (f * C % lanes != 0 || f * C < kFoldTo) f *= 2;
      if (f <= R) fold = f;
    }
    apart = fold > 1 && !packed;
    rows = R / fold;
    width = fold * C;
    tail = R % fold;
    step = fold > 1 ? kFoldedBlock / width : kRows;
    blocks = ceilDiv(rows, step);
  }

  // For what has no sums: the same rows, folded only where that costs nothing.
  Fold inPlace() const { return apart ? Fold(R, C, 1, false, false) : *this; }

  // f(first column, first row, columns) of each stretch of neighbouring columns in a row of `width`.
  template <class F>
  void eachStretch(int64_t of, F&& f) const {
    if (!apart || of == C) return f(0, 0, of);
    for (int64_t i = 0; i < fold; ++i) f(i * C, i, C);
  }

  int64_t pieces() const { return blocks + (tail > 0); }
  int64_t rowsOf(int64_t block) const { return block < blocks ? minOf(step, rows - block * step) : tail; }
  int64_t foldOf(int64_t block) const { return block < blocks ? fold : 1; }

  // f(block, first row of [R, C], rows, width); the tail is the last block. `reversed`: begin with what the pass before
  // read last, which is still in the cache.
  template <class F>
  void each(F&& f, bool reversed = false) const {
    const int64_t n = pieces();
    const auto piece = [&](int64_t i) {
      const int64_t b = reversed ? n - 1 - i : i;
      f(b, minOf(b * step, rows) * fold, rowsOf(b), foldOf(b) * C);
    };
    if (R * C <= kSerial)
      for (int64_t i = 0; i < n; ++i) piece(i);
    else
      parallelFor(n, piece);
  }
};

// A matrix and the distance of its rows when folded.
template <class T>
struct Operand {
  T* data = nullptr;
  int64_t ld = 0, step = 0;
  Operand() = default;
  Operand(const Rows<T>& r, const Fold& f) : data(r.data), ld(r.ld), step(f.fold * r.ld) {}
  GYRUS_INLINE T* row(int64_t r) const { return data + r * ld; }
};

template <class T>
bool packed(const Rows<T>& r) {
  return r.ld == r.cols;
}

// A line of C numbers repeated for every row of a fold.
template <class T, class F>
T* repeated(const Args& args, const Fold& f, F&& at) {
  T* line = take<T>(args, f.width);
  for (int64_t c = 0; c < f.C; ++c) line[c] = at(c);
  for (int64_t i = f.C; i < f.width; ++i) line[i] = line[i - f.C];
  return line;
}

// first, second [width] = sums over the rows of the two terms that term(row, c, lanes, a, b) gives, four rows at a
// time.
template <class T, class F>
GYRUS_INLINE void addRows(int64_t rows, int64_t width, T* first, T* second, F&& term) {
  using V = Vec<T>;
  for (int64_t c = 0; c < width; ++c) first[c] = second[c] = 0;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    eachVector<T>(width, [&](int64_t c, int lanes) {
      V a[4], b[4];
      for (int i = 0; i < 4; ++i) term(r + i, c, lanes, a[i], b[i]);
      store(load(first + c, lanes) + ((a[0] + a[1]) + (a[2] + a[3])), first + c, lanes);
      store(load(second + c, lanes) + ((b[0] + b[1]) + (b[2] + b[3])), second + c, lanes);
    });
  for (; r < rows; ++r)
    eachVector<T>(width, [&](int64_t c, int lanes) {
      V a, b;
      term(r, c, lanes, a, b);
      store(load(first + c, lanes) + a, first + c, lanes);
      store(load(second + c, lanes) + b, second + c, lanes);
    });
}
template <class T>
GYRUS_INLINE void meanOfRows(const T* x, int64_t ld, int64_t rows, int64_t width, T* mean) {
  using V = Vec<T>;
  for (int64_t c = 0; c < width; ++c) mean[c] = 0;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const T *x0 = x + r * ld, *x1 = x0 + ld, *x2 = x1 + ld, *x3 = x2 + ld;
    eachVector<T>(width, [&](int64_t c, int lanes) {
      const V sum = (load(x0 + c, lanes) + load(x1 + c, lanes)) + (load(x2 + c, lanes) + load(x3 + c, lanes));
      store(load(mean + c, lanes) + sum, mean + c, lanes);
    });
  }
  for (; r < rows; ++r)
    eachVector<T>(width, [&](int64_t c, int lanes) {
      store(load(mean + c, lanes) + load(x + r * ld + c, lanes), mean + c, lanes);
    });
  const V share = V::broadcast(T(1) / static_cast<T>(rows));
  eachVector<T>(width, [&](int64_t c, int lanes) { store(load(mean + c, lanes) * share, mean + c, lanes); });
}

// add(c, n, p) for every block of n rows and every one of its columns that stands for channel c, in a fixed order; p is
// the column in part [pieces][lines][width]. out [outs][C] is set to 0 first.
template <class T, class F>
void merge(const Fold& f, int64_t lines, int64_t outs, const T* part, double* out, F&& add) {
  parallelRange(f.C, f.pieces() * f.fold * lines, [&](int64_t from, int64_t to) {
    for (int64_t k = 0; k < outs; ++k)
      for (int64_t c = from; c < to; ++c) out[k * f.C + c] = 0;
    for (int64_t b = 0; b < f.pieces(); ++b) {
      const T* p = part + b * lines * f.width;
      const double n = static_cast<double>(f.rowsOf(b));
      for (int64_t i = 0; i < f.foldOf(b); ++i)
        for (int64_t c = from; c < to; ++c) add(c, n, p + i * f.C + c);
    }
  });
}

// mean and sum of squared deviations [C] in double of x
template <class T>
void moments(const Args& args, const Fold& f, const Operand<T>& x, double* mean, double* m2) {
  const int64_t W = f.width;
  T* part = take<T>(args, f.pieces() * 3 * W);
  f.each([&](int64_t b, int64_t r0, int64_t rows, int64_t width) {
    T *point = part + b * 3 * W, *rest = point + W, *squares = rest + W;
    const int64_t ld = width == f.C ? x.ld : x.step;
    f.eachStretch(width, [&](int64_t column, int64_t row, int64_t cols) {
      const T* from = x.row(r0 + row);
      T* near = point + column;
      meanOfRows(from, ld, rows, cols, near);
      // The deviations' own sum says how far the block's mean is off by rounding.
      addRows<T>(rows, cols, rest + column, squares + column,
                 [&](int64_t r, int64_t c, int lanes, Vec<T>& a, Vec<T>& b2) {
                   a = load(from + r * ld + c, lanes) - load(near + c, lanes);
                   b2 = a * a;
                 });
    });
  });
  merge(f, 3, 1, part, mean, [&](int64_t c, double n, const T* p) { mean[c] += n * p[0] + p[W]; });
  for (int64_t c = 0; c < f.C; ++c) mean[c] /= static_cast<double>(f.R);
  merge(f, 3, 1, part, m2, [&](int64_t c, double n, const T* p) {
    const double rest = p[W], off = p[0] + rest / n - mean[c];
    m2[c] += p[2 * W] - rest * rest / n + n * off * off;
  });
}

// y = relu?((x - mean) * scale + beta (+ residual)); the lines have f.width numbers
template <class T, bool relu, bool add>
void applyRows(const Fold& f, Operand<T> y, Operand<T> x, Operand<T> residual, const T* mean, const T* scale,
               const T* beta, bool reversed) {
  using V = Vec<T>;
  f.each(
      [&](int64_t, int64_t r0, int64_t rows, int64_t width) {
        const bool folded = width != f.C;
        T* to = y.row(r0);
        const T *from = x.row(r0), *side = add ? residual.row(r0) : nullptr;
        const bool streams = f.R * f.C * static_cast<int64_t>(sizeof(T)) >= kStreamFrom &&
                             reinterpret_cast<uintptr_t>(to) % sizeof(V) == 0 && (folded ? y.step : y.ld) % V::N == 0;
        for (int64_t r = 0; r < rows; ++r) {
          eachVector<T>(width, [&](int64_t c, int lanes) {
            V v = fma(load(from + c, lanes) - load(mean + c, lanes), load(scale + c, lanes), load(beta + c, lanes));
            if constexpr (add) v = v + load(side + c, lanes);
            if constexpr (relu) v = max(V::zero(), v);  // the second operand where one is NaN: NaN passes
            if constexpr (sizeof(T) == sizeof(float))
              if (streams && lanes == V::N) return v.stream(to + c);
            store(v, to + c, lanes);
          });
          to += folded ? y.step : y.ld;
          from += folded ? x.step : x.ld;
          if constexpr (add) side += folded ? residual.step : residual.ld;
        }
        if (streams) fence();
      },
      reversed);
}
template <class T>
void apply(const Fold& folded, const Rows<T>& y_rows, const Rows<T>& x_rows, const Rows<T>* side, const T* mean,
           const T* scale, const T* beta, bool relu, bool reversed) {
  const Fold f = folded.inPlace();
  const Operand<T> y(y_rows, f), x(x_rows, f), residual = side ? Operand<T>(*side, f) : Operand<T>();
  const bool add = side != nullptr;
  (relu  ? add ? applyRows<T, true, true> : applyRows<T, true, false>
    : add ? applyRows<T, false, true>
         : applyRows<T, false, false>)(f, y, x, residual, mean, scale, beta, reversed);
}

// The call on the channels that count, when they are counted; the others become 0 in the first outputs.
template <class T>
Args cutDown(const Args& args, bool counted, int outputs) {
  if (!counted) return args;
  const Args cut = activeColumns(args);
  for (int i = 0; i < outputs; ++i) clearColumns<T>(args.out[i], cut.out[i].shape[cut.out[i].rank - 1]);
  return cut;
}

// Whether all rows by channels among the arguments lie packed.
inline bool packedRows(const View* v, int n) {
  for (int i = 0; i < n; ++i)
    if (v[i].rank == 2 && (leading(v[i]) != v[i].shape[1] || v[i].stride[1] != 1)) return false;
  return true;
}

// For the active channels x of a call; `packed`: whether they lie so themselves.
template <class T>
Fold foldOf(const Args& whole, bool counted, bool packed, const Rows<T>& x) {
  const bool contiguous = counted ? packedRows(whole.out, whole.outputs) && packedRows(whole.in, whole.inputs) : packed;
  return Fold(x.rows, x.cols, Vec<T>::N, contiguous, packed);
}

GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// y [R, C], mean, rstd [C], inout runningMean, runningVar [C] <- x [R, C], gamma, beta [C] (+ residual [R, C])
template <class T>
void batchNorm(const Args& whole) {
  const auto& p = whole.as<BatchNormParams>();
  const Args args = cutDown<T>(whole, p.counted != 0, 3);
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const Rows<T> means = writeRows<T>(args, args.out[1]), rstds = writeRows<T>(args, args.out[2]);
  const Rows<T> running_mean = readRows<T>(args, args.out[3]), running_var = readRows<T>(args, args.out[4]);
  const T *gamma = readLine<T>(args, args.in[1]), *beta = readLine<T>(args, args.in[2]);
  const Rows<T> side = readRows<T>(args, args.in[p.residual != 0 ? 3 : 0]);
  const Fold f = foldOf<T>(whole, p.counted != 0, packed(x) && packed(y) && packed(side), x);
  double *mean = take<double>(args, f.C), *m2 = take<double>(args, f.C);
  moments(args, f, Operand<T>(x, f), mean, m2);
  const double R = static_cast<double>(f.R);
  for (int64_t c = 0; c < f.C; ++c) {
    means.data[c] = static_cast<T>(mean[c]);
    rstds.data[c] = static_cast<T>(1 / rootOf(m2[c] / R + p.eps));
    running_mean.data[c] = static_cast<T>((1 - p.momentum) * running_mean.data[c] + p.momentum * mean[c]);
    running_var.data[c] = static_cast<T>((1 - p.momentum) * running_var.data[c] + p.momentum * m2[c] / (R - 1));
  }
  const T* middle = repeated<T>(args, f, [&](int64_t c) { return means.data[c]; });
  const T* scale = repeated<T>(args, f, [&](int64_t c) { return gamma[c] * rstds.data[c]; });
  const T* shift = repeated<T>(args, f, [&](int64_t c) { return beta[c]; });
  apply(f, y, x, p.residual != 0 ? &side : nullptr, middle, scale, shift, p.relu != 0, true);
  y.flush();
  means.flush();
  rstds.flush();
  running_mean.flush();
  running_var.flush();
}

// y [R, C] <- x [R, C], gamma, beta, runningMean, runningVar [C] (+ residual [R, C])
template <class T>
void batchNormEval(const Args& whole) {
  const auto& p = whole.as<BatchNormEvalParams>();
  const Args args = cutDown<T>(whole, p.counted != 0, 1);
  const Rows<T> y = writeRows<T>(args, args.out[0]), x = readRows<T>(args, args.in[0]);
  const T *gamma = readLine<T>(args, args.in[1]), *beta = readLine<T>(args, args.in[2]);
  const T *mean = readLine<T>(args, args.in[3]), *var = readLine<T>(args, args.in[4]);
  const Rows<T> side = readRows<T>(args, args.in[p.residual != 0 ? 5 : 0]);
  const bool contiguous = packed(x) && packed(y) && packed(side);
  const Fold f(x.rows, x.cols, Vec<T>::N, contiguous, contiguous);
  const T* middle = repeated<T>(args, f, [&](int64_t c) { return mean[c]; });
  const T* scale = repeated<T>(args, f, [&](int64_t c) { return static_cast<T>(gamma[c] / rootOf(var[c] + p.eps)); });
  const T* shift = repeated<T>(args, f, [&](int64_t c) { return beta[c]; });
  apply(f, y, x, p.residual != 0 ? &side : nullptr, middle, scale, shift, p.relu != 0, false);
  y.flush();
}

// dx = scale v - (x - mean) slope - shift, v = g where y > 0; v itself goes to `masked` when that is wanted
template <class T, bool relu>
void gradient(const Args& whole, const Args& args, bool counted, bool residual) {
  using V = Vec<T>;
  const Rows<T> dx_rows = writeRows<T>(args, args.out[0]);
  const Rows<T> dgamma = writeRows<T>(args, args.out[1]), dbeta = writeRows<T>(args, args.out[2]);
  const Rows<T> dres_rows = writeRows<T>(args, args.out[residual ? 3 : 0]);
  const Rows<T> g_rows = readRows<T>(args, args.in[0]), x_rows = readRows<T>(args, args.in[1]);
  const T *mean = readLine<T>(args, args.in[2]), *rstd = readLine<T>(args, args.in[3]);
  const T* gamma = readLine<T>(args, args.in[4]);
  const Rows<T> y_rows = readRows<T>(args, args.in[relu ? 5 : 0]);
  const Fold f =
      foldOf<T>(whole, counted,
                packed(dx_rows) && packed(dres_rows) && packed(g_rows) && packed(x_rows) && packed(y_rows), x_rows);
  const Operand<T> gs(g_rows, f), xs(x_rows, f), ys(y_rows, f);
  const int64_t W = f.width;
  const T* middle = repeated<T>(args, f, [&](int64_t c) { return mean[c]; });
  T* part = take<T>(args, f.pieces() * 2 * W);
  f.each([&](int64_t b, int64_t r0, int64_t rows, int64_t width) {
    const bool folded = width != f.C;
    const auto step = [&](const Operand<T>& o) { return folded ? o.step : o.ld; };
    f.eachStretch(width, [&](int64_t column, int64_t row, int64_t cols) {
      const T *gp = gs.row(r0 + row), *xp = xs.row(r0 + row), *yp = ys.row(r0 + row);
      const int64_t gd = step(gs), xd = step(xs), yd = step(ys);
      addRows<T>(rows, cols, part + b * 2 * W + column, part + b * 2 * W + W + column,
                 [&](int64_t r, int64_t c, int lanes, V& sum, V& dot) {
                   sum = load(gp + r * gd + c, lanes);
                   if constexpr (relu) sum = select(load(yp + r * yd + c, lanes) > V::zero(), sum, V::zero());
                   dot = sum * (load(xp + r * xd + c, lanes) - load(middle + c, lanes));
                 });
    });
  });
  double *sum = take<double>(args, 2 * f.C), *dot = sum + f.C;
  merge(f, 2, 2, part, sum, [&](int64_t c, double, const T* p) {
    sum[c] += p[0];
    dot[c] += p[W];
  });
  const double R = static_cast<double>(f.R);
  for (int64_t c = 0; c < f.C; ++c) {
    dot[c] *= rstd[c];
    dgamma.data[c] = static_cast<T>(dot[c]);
    dbeta.data[c] = static_cast<T>(sum[c]);
  }
  const auto scaleOf = [&](int64_t c) { return static_cast<double>(gamma[c]) * rstd[c]; };
  const T* scale = repeated<T>(args, f, [&](int64_t c) { return static_cast<T>(scaleOf(c)); });
  const T* slope = repeated<T>(args, f, [&](int64_t c) { return static_cast<T>(scaleOf(c) * rstd[c] * dot[c] / R); });
  const T* shift = repeated<T>(args, f, [&](int64_t c) { return static_cast<T>(scaleOf(c) * sum[c] / R); });
  const Fold plain = f.inPlace();
  const Operand<T> dx(dx_rows, plain), dres(dres_rows, plain), g(g_rows, plain), x(x_rows, plain), y(y_rows, plain);
  plain.each(
      [&](int64_t, int64_t r0, int64_t rows, int64_t width) {
        const bool folded = width != plain.C;
        for (int64_t r = 0; r < rows; ++r) {
          const auto at = [&](const Operand<T>& o) { return o.row(r0) + r * (folded ? o.step : o.ld); };
          const T *gp = at(g), *xp = at(x), *yp = at(y);
          T *to = at(dx), *masked = at(dres);
          eachVector<T>(width, [&](int64_t c, int lanes) {
            V v = load(gp + c, lanes);
            if constexpr (relu) v = select(load(yp + c, lanes) > V::zero(), v, V::zero());
            const V d = load(xp + c, lanes) - load(middle + c, lanes);
            const V drift = fma(d, load(slope + c, lanes), load(shift + c, lanes));
            store(v * load(scale + c, lanes) - drift, to + c, lanes);
            if (residual) store(v, masked + c, lanes);
          });
        }
      },
      true);
  dx_rows.flush();
  dgamma.flush();
  dbeta.flush();
  if (residual) dres_rows.flush();
}

// dx [R, C], dgamma, dbeta [C] (+ dresidual [R, C]) <- g, x [R, C], mean, rstd, gamma [C] (+ y [R, C])
template <class T>
void batchNormGrad(const Args& args) {
  const auto& p = args.as<BatchNormGradParams>();
  const bool counted = p.counted != 0;
  const Args active = cutDown<T>(args, counted, args.outputs);
  (p.relu != 0 ? gradient<T, true> : gradient<T, false>)(args, active, counted, p.residual != 0);
}

}  // namespace

void registerBatchNorm(KernelTable& t) {
  t.set(Op::BatchNorm, GYRUS_BY_TYPE(batchNorm));
  t.set(Op::BatchNormGrad, GYRUS_BY_TYPE(batchNormGrad));
  t.set(Op::BatchNormEval, GYRUS_BY_TYPE(batchNormEval));
}

}  // namespace gyrus::cpu::GYRUS_ISA
