// Optimiser steps over all parameters in one parallel pass. An element's step count is the younger of its row's and its
// column's; since 1/(1 - b^t) falls with t, the bias correction of the younger is the larger of the two, so counters
// are turned into factors once per row and column and the element loop stays vector code.
#include "core/pool.h"
#include "cpu/families.h"
#include "cpu/rows.h"
#include "kernels/counts.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

constexpr int64_t kChunk = 16384;  // elements of a piece of work, over all parameters laid end to end

GYRUS_INLINE int64_t elements(const View& v) {
  int64_t n = 1;
  for (int i = 0; i < v.rank; ++i) n *= v.shape[i];
  return n;
}

// Where the elements of views of one shape lie: `lines` runs of `length` elements, `per_row` lines to an index of axis
// 0.
struct Lines {
  int64_t lines, length, per_row;
};

GYRUS_INLINE Lines linesOf(const View& v) {
  Lines l{1, v.rank > 0 ? v.shape[v.rank - 1] : 1, 1};
  for (int i = 0; i + 1 < v.rank; ++i) l.lines *= v.shape[i];
  if (v.rank > 1) l.per_row = maxOf(1, l.lines / maxOf(1, v.shape[0]));
  return l;
}

// Start of a line and the distance of its elements.
template <class T>
struct Line {
  T* data;
  int64_t step;
};

template <class T>
GYRUS_INLINE Line<T> lineOf(const View& v, int64_t line) {
  return {v.as<T>() + rowOffset(v, line), v.rank > 0 ? v.stride[v.rank - 1] : 0};
}

// Elements i.. of a line as a vector, whatever the step.
template <class T>
GYRUS_INLINE Vec<T> loadLine(const Line<T>& l, int64_t i, int lanes) {
  if (l.step == 1) return load(l.data + i, lanes);
  T x[Vec<T>::N] = {};
  for (int k = 0; k < lanes; ++k) x[k] = l.data[(i + k) * l.step];
  return Vec<T>::load(x);
}
template <class T>
GYRUS_INLINE void storeLine(Vec<T> v, const Line<T>& l, int64_t i, int lanes) {
  if (l.step == 1) {
    store(v, l.data + i, lanes);
    return;
  }
  T x[Vec<T>::N];
  v.store(x);
  for (int k = 0; k < lanes; ++k) l.data[(i + k) * l.step] = x[k];
}

// Runs f(j, line, from, to) over pieces of lines of all views; views[j * stride] is the j-th. The cut depends on the
// sizes alone.
template <class F>
GYRUS_INLINE void eachPiece(const Args& args, const View* views, int count, int stride, F&& f) {
  int64_t* start = take<int64_t>(args, count + 1);
  start[0] = 0;
  for (int j = 0; j < count; ++j) start[j + 1] = start[j] + elements(views[j * stride]);
  const auto chunk = [&](int64_t index) {
    int64_t at = index * kChunk;
    const int64_t end = minOf(start[count], at + kChunk);
    int j = 0;
    for (int width = count; width > 1;) {  // the last j with start[j] <= at
      const int half = width / 2;
      if (start[j + half] <= at) j += half;
      width -= half;
    }
    for (; at < end; ++j) {
      const int64_t stop = minOf(end, start[j + 1]), length = linesOf(views[j * stride]).length;
      while (at < stop) {
        const int64_t line = (at - start[j]) / length, from = (at - start[j]) % length;
        const int64_t n = minOf(stop - at, length - from);
        f(index, j, line, from, from + n);
        at += n;
      }
    }
  };
  const int64_t chunks = ceilDiv(start[count], kChunk);
  if (chunks <= 2) {
    for (int64_t i = 0; i < chunks; ++i) chunk(i);
  } else {
    parallelFor(chunks, chunk);
  }
}

GYRUS_INLINE int64_t distinct(const View& v) {
  return v.rank == 0 || v.stride[0] == 0 ? minOf(1, elements(v)) : v.shape[0];
}

// Increases every distinct counter by 1. Two views of one counter (row and column of an axis without a width) count
// once.
GYRUS_INLINE void countStep(const Args& args, int count, int per) {
  const auto counter = [&](int i) -> const View& { return args.out[i / 2 * per + per - 2 + i % 2]; };
  for (int i = 0; i < 2 * count; ++i) {
    const View& v = counter(i);
    int64_t from = 0;
    for (int j = 0; j < i; ++j)
      if (counter(j).data == v.data) from = maxOf(from, distinct(counter(j)));
    for (int64_t k = from; k < distinct(v); ++k) v.as<float>()[k * (v.rank > 0 ? v.stride[0] : 0)] += 1;
  }
}

// What a step count t gives: whatever `factors` numbers the optimiser needs of it, each falling with t but for t
// itself. One record per distinct row and column of a parameter: [rows + cols][3] = t, first, second.
template <class T>
struct Counters {
  const T *rows, *cols;  // [3][n]: all t, all first factors, all second ones
  int64_t row_count, col_count;
  bool shared_rows, shared_cols;

  GYRUS_INLINE T row(int which, int64_t r) const { return rows[which * row_count + (shared_rows ? 0 : r)]; }
};

// fill(t, first, second) turns a count into its factors.
template <class T, class F>
GYRUS_INLINE const T* factorsOf(const Args& args, const View& v, F&& fill) {
  const int64_t n = distinct(v), step = v.rank > 0 ? v.stride[0] : 0;
  T* out = take<T>(args, 3 * n);
  float seen = -1;
  T first = 0, second = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float t = v.as<float>()[i * step];
    if (t != seen) fill(static_cast<double>(t), first, second);  // most neighbours are of one age
    seen = t;
    out[i] = static_cast<T>(t);
    out[n + i] = first;
    out[2 * n + i] = second;
  }
  return out;
}

template <class T, class F>
GYRUS_INLINE Counters<T>* countersOf(const Args& args, int count, int per, F&& fill) {
  auto* counters = take<Counters<T>>(args, count);
  for (int j = 0; j < count; ++j) {
    const View &r = args.out[j * per + per - 2], &c = args.out[j * per + per - 1];
    counters[j] = {factorsOf<T>(args, r, fill),
                   factorsOf<T>(args, c, fill),
                   distinct(r),
                   distinct(c),
                   distinct(r) <= 1,
                   distinct(c) <= 1};
  }
  return counters;
}

// The age of the elements of a row, and their two factors.
template <class T>
struct Age {
  Vec<T> t, first, second;
};

// A row's age; where one counter serves all columns, that column's is worked in already.
template <class T>
GYRUS_INLINE Age<T> rowAge(const Counters<T>& k, int64_t r) {
  using V = Vec<T>;
  const Age<T> row = {V::broadcast(k.row(0, r)), V::broadcast(k.row(1, r)), V::broadcast(k.row(2, r))};
  if (!k.shared_cols) return row;
  return {min(row.t, V::broadcast(k.cols[0])), max(row.first, V::broadcast(k.cols[k.col_count])),
          max(row.second, V::broadcast(k.cols[2 * k.col_count]))};
}

// The loop over elements is compiled for lines of step 1 with one age for the whole row, for lines of step 1 with an
// age per column, and for everything else.
template <bool packed_, bool uniform_>
struct Variant {
  static constexpr bool packed = packed_, uniform = uniform_;
};
template <class F>
GYRUS_INLINE void byVariant(bool packed, bool uniform, F&& f) {
  if (packed && uniform)
    f(Variant<true, true>());
  else if (packed)
    f(Variant<true, false>());
  else
    f(Variant<false, false>());
}
// One number of an age (0: t, by the smaller; 1, 2: factors, by the larger) for the columns c.. of a row.
template <bool uniform, int which, class T>
GYRUS_INLINE Vec<T> agedBy(Vec<T> row, const Counters<T>& k, int64_t c, int lanes) {
  if constexpr (uniform) return row;
  if (k.shared_cols) return row;
  const Vec<T> column = load(k.cols + which * k.col_count + c, lanes);
  return which == 0 ? min(row, column) : max(row, column);
}
template <bool packed, class T>
GYRUS_INLINE Vec<T> read(const Line<T>& l, int64_t i, int lanes) {
  if constexpr (packed) return load(l.data + i, lanes);
  return loadLine(l, i, lanes);
}
template <bool packed, class T>
GYRUS_INLINE void write(Vec<T> v, const Line<T>& l, int64_t i, int lanes) {
  if constexpr (packed)
    store(v, l.data + i, lanes);
  else
    storeLine(v, l, i, lanes);
}

template <class F>
GYRUS_INLINE void eachVectorIn(int64_t from, int64_t to, int N, F&& f) {
  int64_t i = from;
  for (; i + N <= to; i += N) f(i, N);
  if (i < to) f(i, static_cast<int>(to - i));
}

template <class T>
struct SgdFactors {
  Vec<T> rate, scale, decay, momentum, fresh;
};

// The step of n neighbouring elements that are no longer young and have moved before: nothing is left to choose per
// element. p, v (when there is a momentum) <- g
template <bool momentum, bool nesterov, class T>
GYRUS_INLINE void settledSgd(T* p, T* v, const T* g, int64_t n, SgdFactors<T> s) {
  using V = Vec<T>;
  eachVectorIn(0, n, V::N, [&](int64_t i, int lanes) {
    const V before = load(p + i, lanes);
    V d = fma(s.decay, before, load(g + i, lanes) * s.scale);
    if constexpr (momentum) {
      const V moved = fma(s.momentum, load(v + i, lanes), s.fresh * d);
      store(moved, v + i, lanes);
      d = nesterov ? fma(s.momentum, moved, d) : moved;
    }
    store(before - s.rate * d, p + i, lanes);
  });
}

// per parameter: p, v (when momentum != 0), rowSteps, colSteps <- hyper, g
template <class T>
void sgdStep(const Args& whole) {
  using V = Vec<T>;
  const auto& s = whole.as<SgdParams>();
  const Args args = activeBlocks(whole, sizeof(SgdParams) / sizeof(double), s.momentum != 0 ? 4 : 3);
  const double* decay = args.record + sizeof(SgdParams) / sizeof(double);
  const bool momentum = s.momentum != 0, nesterov = s.nesterov != 0;
  const int count = static_cast<int>(s.count), per = momentum ? 4 : 3;
  const Line<double> hyper = lineOf<double>(args.in[0], 0);
  const V rate = V::broadcast(static_cast<T>(hyper.data[0])),
          scale = V::broadcast(static_cast<T>(hyper.data[hyper.step]));
  const V mu = V::broadcast(static_cast<T>(s.momentum)), fresh = V::broadcast(static_cast<T>(1 - s.dampening));
  const V one = V::broadcast(T(1)), young = V::broadcast(static_cast<T>(s.young));
  countStep(args, count, per);
  const Counters<T>* counters = countersOf<T>(args, count, per, [](double, T& a, T& b) { a = b = T(1); });
  eachPiece(args, args.out, count, per, [&](int64_t, int j, int64_t line, int64_t from, int64_t to) {
    const View* o = args.out + j * per;
    const Line<T> p = lineOf<T>(o[0], line), g = lineOf<T>(args.in[1 + j], line);
    const Line<T> v = momentum ? lineOf<T>(o[1], line) : p;
    const V wd = V::broadcast(static_cast<T>(decay[j]));
    const Age<T> row = rowAge(counters[j], line / linesOf(o[0]).per_row);
    const Counters<T> k = counters[j];
    // Copies, since a store to a parameter might change what lies behind a reference, for all the compiler knows.
    const V rates = rate, mus = mu, freshes = fresh, scales = scale, age = row.t, youngs = young, ones = one;
    const bool moves = momentum, looks_ahead = nesterov, adjacent = p.step == 1 && g.step == 1 && v.step == 1;
    const T oldest = static_cast<T>(s.young > 1 ? s.young : 1);
    if (adjacent && k.shared_cols && k.row(0, line / linesOf(o[0]).per_row) > oldest && k.cols[0] > oldest) {
      const SgdFactors<T> f = {rate, scale, wd, mu, fresh};
      const int64_t n = to - from;
      if (!moves)
        settledSgd<false, false>(p.data + from, v.data + from, g.data + from, n, f);
      else if (looks_ahead)
        settledSgd<true, true>(p.data + from, v.data + from, g.data + from, n, f);
      else
        settledSgd<true, false>(p.data + from, v.data + from, g.data + from, n, f);
      return;
    }
    byVariant(adjacent, k.shared_cols, [&](auto variant) {
      constexpr bool packed = decltype(variant)::packed, uniform = decltype(variant)::uniform;
      eachVectorIn(from, to, V::N, [&](int64_t i, int lanes) {
        const V t = agedBy<uniform, 0>(age, k, i, lanes), before = read<packed>(p, i, lanes);
        V d = read<packed>(g, i, lanes) * scales;
        d = select(t > youngs, fma(wd, before, d), d);
        if (moves) {
          const V moved = select(t <= ones, d, fma(mus, read<packed>(v, i, lanes), freshes * d));
          write<packed>(moved, v, i, lanes);
          d = looks_ahead ? fma(mus, moved, d) : moved;
        }
        write<packed>(before - rates * d, p, i, lanes);
      });
    });
  });
}

// per parameter: p, m, v, rowSteps, colSteps <- hyper, g
template <class T>
void adamStep(const Args& whole) {
  using V = Vec<T>;
  const auto& s = whole.as<AdamParams>();
  const Args args = activeBlocks(whole, sizeof(AdamParams) / sizeof(double), 5);
  const double* decay = args.record + sizeof(AdamParams) / sizeof(double);
  const bool decoupled = s.decoupled != 0;
  const int count = static_cast<int>(s.count), per = 5;
  const Line<double> hyper = lineOf<double>(args.in[0], 0);
  const double lr = hyper.data[0];
  const V rate = V::broadcast(static_cast<T>(lr)), scale = V::broadcast(static_cast<T>(hyper.data[hyper.step]));
  const V b1 = V::broadcast(static_cast<T>(s.beta1)), c1 = V::broadcast(static_cast<T>(1 - s.beta1));
  const V b2 = V::broadcast(static_cast<T>(s.beta2)), c2 = V::broadcast(static_cast<T>(1 - s.beta2));
  const V eps = V::broadcast(static_cast<T>(s.eps)), young = V::broadcast(static_cast<T>(s.young));
  countStep(args, count, per);
  const Counters<T>* counters = countersOf<T>(args, count, per, [&](double t, T& first, T& second) {
    first = static_cast<T>(1 / (1 - ::pow(s.beta1, t)));
    second = static_cast<T>(1 / ::sqrt(1 - ::pow(s.beta2, t)));
  });
  eachPiece(args, args.out, count, per, [&](int64_t, int j, int64_t line, int64_t from, int64_t to) {
    const View* o = args.out + j * per;
    const Line<T> p = lineOf<T>(o[0], line), m = lineOf<T>(o[1], line), v = lineOf<T>(o[2], line);
    const Line<T> g = lineOf<T>(args.in[1 + j], line);
    const V wd = V::broadcast(static_cast<T>(decoupled ? lr * decay[j] : decay[j]));
    const Age<T> row = rowAge(counters[j], line / linesOf(o[0]).per_row);
    const Counters<T> k = counters[j];
    const V rates = rate, scales = scale, b1s = b1, b2s = b2, c1s = c1, c2s = c2, epss = eps;
    const V youngs = young;
    const bool apart = decoupled;
    const V age = row.t, firsts = row.first, seconds = row.second;
    byVariant(p.step == 1 && m.step == 1 && v.step == 1 && g.step == 1, k.shared_cols, [&](auto variant) {
      constexpr bool packed = decltype(variant)::packed, uniform = decltype(variant)::uniform;
      eachVectorIn(from, to, V::N, [&](int64_t i, int lanes) {
        const V t = agedBy<uniform, 0>(age, k, i, lanes), first = agedBy<uniform, 1>(firsts, k, i, lanes);
        const V second = agedBy<uniform, 2>(seconds, k, i, lanes);
        const V before = read<packed>(p, i, lanes), decays = select(t > youngs, wd * before, V::zero());
        V d = read<packed>(g, i, lanes) * scales, next = before;
        if (apart)
          next = next - decays;
        else
          d = d + decays;
        const V m1 = fma(b1s, read<packed>(m, i, lanes), c1s * d),
                v1 = fma(b2s, read<packed>(v, i, lanes), c2s * d * d);
        write<packed>(m1, m, i, lanes);
        write<packed>(v1, v, i, lanes);
        write<packed>(next - rates * (m1 * first) / fma(sqrt(v1), second, epss), p, i, lanes);
      });
    });
  });
}

// Sum of squares of n elements of a line, in double.
GYRUS_INLINE double squares(const Line<double>& l, int64_t from, int64_t to) {
  VecD sum = VecD::zero();
  eachVectorIn(from, to, VecD::N, [&](int64_t i, int lanes) {
    const VecD x = loadLine(l, i, lanes);
    sum = fma(x, x, sum);
  });
  return reduceAdd(sum);
}
GYRUS_INLINE double squares(const Line<float>& l, int64_t from, int64_t to) {
  constexpr int kLanes = 8;
  double sum[kLanes] = {};
  int64_t i = from;
  if (l.step == 1) {
    const float* p = l.data;
    for (; i + kLanes <= to; i += kLanes)
      for (int k = 0; k < kLanes; ++k) {
        const double x = p[i + k];
        sum[k] += x * x;
      }
  }
  for (; i < to; ++i) {
    const double x = l.data[i * l.step];
    sum[0] += x * x;
  }
  return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

// v with its elements one after the other.
template <class T>
View packed(const Args& args, const View& v) {
  const Rows<T> rows = readRows<T>(args, v);
  T* const line = take<T>(args, rows.rows * rows.cols);
  for (int64_t r = 0; r < rows.rows; ++r)
    for (int64_t c = 0; c < rows.cols; ++c) line[r * rows.cols + c] = rows.row(r)[c];
  View copy = v;
  copy.data = line;
  std::int64_t step = 1;
  for (int d = v.rank - 1; d >= 0; --d) {
    copy.stride[d] = step;
    step *= v.shape[d];
  }
  return copy;
}

// norm [1] <- g_0..g_{n-1}. Where neurons are counted the active blocks are laid together: the sums are then cut as
// they are for gradients of that size.
template <class T>
void gradNorm(const Args& whole) {
  Args args = activeGradients(whole);
  if (whole.numbers > 0) {
    View* const in = args.scratch->template array<View>(args.inputs);
    for (int j = 0; j < args.inputs; ++j) {
      const bool counted = whole.record[2 * j] != 0 || whole.record[2 * j + 1] != 0;
      in[j] = counted ? packed<T>(args, args.in[j]) : args.in[j];
    }
    args.in = in;
  }
  int64_t total = 0;
  for (int j = 0; j < args.inputs; ++j) total += elements(args.in[j]);
  const int64_t chunks = ceilDiv(total, kChunk);
  double* part = take<double>(args, chunks);
  for (int64_t i = 0; i < chunks; ++i) part[i] = 0;
  eachPiece(args, args.in, args.inputs, 1, [&](int64_t chunk, int j, int64_t line, int64_t from, int64_t to) {
    part[chunk] += squares(lineOf<T>(args.in[j], line), from, to);
  });
  double sum = 0;
  for (int64_t i = 0; i < chunks; ++i) sum += part[i];
  *args.out[0].as<T>() = static_cast<T>(::sqrt(sum));
}

// g_0..g_{n-1} <- norm [1]
template <class T>
void clipGrads(const Args& args) {
  const double factor = args.as<ClipGradsParams>().maxNorm / (static_cast<double>(*args.in[0].as<T>()) + 1e-6);
  if (factor >= 1) return;  // a NaN norm goes on and makes every gradient NaN, as PyTorch's does
  const Vec<T> f = Vec<T>::broadcast(static_cast<T>(factor));
  eachPiece(args, args.out, args.outputs, 1, [&](int64_t, int j, int64_t line, int64_t from, int64_t to) {
    const Line<T> g = lineOf<T>(args.out[j], line);
    eachVectorIn(from, to, Vec<T>::N, [&](int64_t i, int lanes) { storeLine(loadLine(g, i, lanes) * f, g, i, lanes); });
  });
}

}  // namespace

// Without parameters there is nothing to do, and no first output to tell the type.
#define GYRUS_BY_PARAMETER_TYPE(fn)                                                 \
  [](const Args& a) {                                                               \
    if (a.outputs > 0) a.out[0].dtype == DType::F64 ? fn<double>(a) : fn<float>(a); \
  }

void registerOptimizer(KernelTable& t) {
  t.set(Op::SgdStep, GYRUS_BY_PARAMETER_TYPE(sgdStep));
  t.set(Op::AdamStep, GYRUS_BY_PARAMETER_TYPE(adamStep));
  t.set(Op::GradNorm, GYRUS_BY_PARAMETER_TYPE(gradNorm));
  t.set(Op::ClipGrads, GYRUS_BY_PARAMETER_TYPE(clipGrads));
}

}  // namespace gyrus::cpu::GYRUS_ISA
