// Reductions over trailing axes. f32 sums run in vectors over at most 64 terms a lane and are then joined in f64,
// always in the same order: the cut into pieces depends on the shape alone. Two walks: along rows (the reduced axis is
// contiguous, or packed) and down columns (the kept axis is contiguous).
#include <type_traits>

#include "cpu/families.h"
#include "cpu/loops.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

template <class T>
struct SumOp {
  static constexpr bool centered = false;
  static constexpr double identity = 0;
  static GYRUS_INLINE Vec<T> map(Vec<T> v, Vec<T>) { return v; }
  static GYRUS_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return a + b; }
  static GYRUS_INLINE double join(double a, double b) { return a + b; }
  static GYRUS_INLINE double lanes(Vec<T> v) { return reduceAdd(v); }
};

// sum (x - center)^2
template <class T>
struct SquaresOp : SumOp<T> {
  static constexpr bool centered = true;
  static GYRUS_INLINE Vec<T> map(Vec<T> v, Vec<T> center) { return (v - center) * (v - center); }
};

template <class T>
struct MaxOp {
  static constexpr bool centered = false;
  static constexpr double identity = -INFINITY;
  static GYRUS_INLINE Vec<T> map(Vec<T> v, Vec<T>) { return v; }
  static GYRUS_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return maxNaN(a, b); }
  static GYRUS_INLINE double join(double a, double b) { return a != a ? a : b != b || b > a ? b : a; }
  static GYRUS_INLINE double lanes(Vec<T> v) { return isNaN(v).any() ? NAN : static_cast<double>(reduceMax(v)); }
};

template <class T>
struct MinOp {
  static constexpr bool centered = false;
  static constexpr double identity = INFINITY;
  static GYRUS_INLINE Vec<T> map(Vec<T> v, Vec<T>) { return v; }
  static GYRUS_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return minNaN(a, b); }
  static GYRUS_INLINE double join(double a, double b) { return a != a ? a : b != b || b < a ? b : a; }
  static GYRUS_INLINE double lanes(Vec<T> v) { return isNaN(v).any() ? NAN : static_cast<double>(reduceMin(v)); }
};

constexpr int kTerms = 64;  // terms a vector lane adds before it is joined in f64

// The kept and the reduced axes of x, each coalesced.
struct Split {
  View keptView, reducedView;
  static View part(const View& x, int from, int to) {
    View v = x;
    v.rank = to - from;
    for (int d = from; d < to; ++d) {
      v.shape[d - from] = x.shape[d];
      v.stride[d - from] = x.stride[d];
    }
    return v;
  }
  Split(const View& x, int axes) : keptView(part(x, 0, x.rank - axes)), reducedView(part(x, x.rank - axes, x.rank)) {}
};

// Offset of linear position i.
GYRUS_INLINE int64_t offsetOf(const Nest<1>& t, int64_t i) {
  if (t.rank == 0) return i * t.unit[0];
  int64_t at[1];
  t.offsets(i / t.inner, at);
  return at[0] + i % t.inner * t.unit[0];
}

// n contiguous elements, n <= 4 * N * kTerms
template <class T, class Op>
GYRUS_INLINE double reduceBlock(const T* p, int64_t n, Vec<T> center) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const V identity = V::broadcast(static_cast<T>(Op::identity));
  V a0 = identity, a1 = identity, a2 = identity, a3 = identity;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    a0 = Op::join(a0, Op::map(V::load(p + i), center));
    a1 = Op::join(a1, Op::map(V::load(p + i + N), center));
    a2 = Op::join(a2, Op::map(V::load(p + i + 2 * N), center));
    a3 = Op::join(a3, Op::map(V::load(p + i + 3 * N), center));
  }
  for (; i + N <= n; i += N) a0 = Op::join(a0, Op::map(V::load(p + i), center));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) {
    const V last = select(Mask<T>::firstN(rest), Op::map(V::loadN(p + i, rest), center), identity);
    a1 = Op::join(a1, last);
  }
  return Op::lanes(Op::join(Op::join(a0, a1), Op::join(a2, a3)));
}

template <class T>
GYRUS_INLINE bool isLarge(int64_t count) {
  return count * static_cast<int64_t>(sizeof(T)) >= kStreamFrom;
}
// Asks for as much as a row, some rows ahead, of an operand that no cache holds: rows are too short for the hardware to
// see far.
template <class T>
GYRUS_INLINE void fetchAhead(const T* row, int64_t n) {
  constexpr int64_t ahead = 2048;
  const auto* p = reinterpret_cast<const char*>(row) + ahead;
  for (int64_t b = 0; b < n * static_cast<int64_t>(sizeof(T)); b += 64) prefetch(p + b);
}

// What one row's total becomes.
template <class T>
struct Finish {
  ReduceKind kind;
  double n, correction;

  GYRUS_INLINE T operator()(double total) const { return static_cast<T>(kind == ReduceKind::Mean ? total / n : total); }
  GYRUS_INLINE T center(double total) const { return static_cast<T>(total / n); }
  // The center was rounded to T: sum (x - c)^2 = sum (x - mean)^2 + n (mean - c)^2.
  GYRUS_INLINE T variance(double total, double squares) const {
    const double off = total / n - static_cast<double>(center(total)), sum = squares - n * off * off;
    return static_cast<T>((sum < 0 ? 0 : sum) / (n > correction ? n - correction : 0.0));
  }
};

// Rows of one block: a row is in L1 when it is read again for its variance, and nothing but the result is written.
template <class T, class Op>
void reduceShortRows(T* y, const T* x, int64_t K, int64_t stride, int64_t n, const Finish<T>& finish) {
  using V = Vec<T>;
  const bool ahead = isLarge<T>(K * n);
  constexpr int64_t most = 8, near = 4096;  // rows whose variances are under way at a time, all in L1
  const int64_t tile = maxOf(1, minOf(most, near / n));
  parallelRange(K, n, [&](int64_t from, int64_t to) {
    double total[most];
    for (int64_t i = from; i < to; i += tile) {
      const int64_t rows = minOf(tile, to - i);
      const T* p = x + i * stride;
      for (int64_t r = 0; r < rows; ++r) {
        if (ahead) fetchAhead(p + r * stride, n);
        total[r] = reduceBlock<T, Op>(p + r * stride, n, V::zero());
      }
      for (int64_t r = 0; r < rows; ++r)
        if (finish.kind == ReduceKind::Variance) {
          const V center = V::broadcast(finish.center(total[r]));
          y[i + r] = finish.variance(total[r], reduceBlock<T, SquaresOp<T>>(p + r * stride, n, center));
        } else {
          y[i + r] = finish(total[r]);
        }
    }
  });
}

// Reduced positions [from, to) below one kept element.
template <class T, class Op>
double reduceRow(const T* x, const Nest<1>& reduced, int64_t from, int64_t to, T center) {
  constexpr int64_t block = 4 * Vec<T>::N * kTerms;
  const Vec<T> c = Vec<T>::broadcast(center);
  const int64_t stride = reduced.unit[0];
  if (reduced.rank == 0 && stride == 1 && to - from <= block) return reduceBlock<T, Op>(x + from, to - from, c);
  double total = Op::identity;
  for (int64_t i = from; i < to;) {
    const int64_t inRow = minOf(to - i, reduced.rank == 0 ? to - i : reduced.inner - i % reduced.inner);
    const T* p = x + offsetOf(reduced, i);
    if (stride == 1) {
      for (int64_t k = 0; k < inRow; k += block)
        total = Op::join(total, reduceBlock<T, Op>(p + k, minOf(block, inRow - k), c));
    } else {
      T buffer[block];
      for (int64_t k = 0; k < inRow; k += block) {
        const int64_t n = minOf(block, inRow - k);
        moveAs<T>(buffer, 1, p + k * stride, stride, n);
        total = Op::join(total, reduceBlock<T, Op>(buffer, n, c));
      }
    }
    i += inRow;
  }
  return total;
}

constexpr int64_t kColumns = 256;

template <int n>
struct Rows {
  static constexpr int value = n;
};

// total[j] = reduction over positions [from, to) of x[., j] for w <= kColumns contiguous columns.
template <class T, class Op>
void reduceColumns(const T* x, const Nest<1>& reduced, int64_t from, int64_t to, int64_t w, const T* center,
                   double* total) {
  using V = Vec<T>;
  constexpr int N = V::N;
  for (int64_t j = 0; j < w; ++j) total[j] = Op::identity;
  T part[kColumns + N];  // whole vectors: the last one is read right after it was written
  int64_t at[kTerms];
  for (int64_t i = from; i < to; i += kTerms) {
    const int64_t rows = minOf(kTerms, to - i);
    for (int64_t r = 0; r < rows; ++r) at[r] = offsetOf(reduced, i + r);
    // Rows stream through, eight at a time; the sums of the columns stay in L1.
    for (int64_t j = 0; j < w + N; ++j) part[j] = static_cast<T>(Op::identity);
    const auto add = [&](int64_t r, auto count) {
      constexpr int R = decltype(count)::value;
      const auto column = [&](int64_t j, int n) GYRUS_INLINED {
        const bool whole = n == N;
        const V c = !Op::centered ? V::zero() : whole ? V::load(center + j) : V::loadN(center + j, n);
        V v[R];
        for (int k = 0; k < R; ++k)
          v[k] = Op::map(whole ? V::load(x + at[r + k] + j) : V::loadN(x + at[r + k] + j, n), c);
        if constexpr (R == 8)
          for (int k = 0; k < 4; ++k) v[k] = Op::join(v[k], v[k + 4]);
        if constexpr (R == 8) v[0] = Op::join(Op::join(v[0], v[1]), Op::join(v[2], v[3]));
        Op::join(V::load(part + j), v[0]).store(part + j);
      };
      int64_t j = 0;
      for (; j + N <= w; j += N) column(j, N);
      if (j < w) column(j, static_cast<int>(w - j));
    };
    int64_t r = 0;
    for (; r + 8 <= rows; r += 8) add(r, Rows<8>());
    for (; r < rows; ++r) add(r, Rows<1>());
    for (int64_t j = 0; j < w; ++j) total[j] = Op::join(total[j], static_cast<double>(part[j]));
  }
}

// total [kept] <- x; center [kept] for ops that want it
template <class T, class Op>
void reduceInto(const Args& args, const T* x, const Nest<1>& kept, const Nest<1>& reduced, const T* center,
                double* total) {
  const int64_t K = kept.count, n = reduced.count;
  const bool down = kept.unit[0] == 1 && kept.inner >= 4 && reduced.unit[0] != 1;
  const int64_t width = down ? minOf(kept.inner, kColumns) : 1;
  const int64_t each = maxOf(kTerms, kGrain / width);  // reduced positions of a piece
  const int64_t pieces = maxOf(1, ceilDiv(n, each));
  double* partial = total;
  if (pieces > 1) partial = args.scratch->template array<double>(K * pieces);
  if (down) {
    const int64_t perRow = ceilDiv(kept.inner, width), groups = K / kept.inner * perRow;
    const auto run = [&](int64_t g, int64_t piece) {
      const int64_t first = g % perRow * width, i = g / perRow * kept.inner + first;
      reduceColumns<T, Op>(x + offsetOf(kept, i), reduced, piece * each, minOf(n, (piece + 1) * each),
                           minOf(width, kept.inner - first), Op::centered ? center + i : nullptr,
                           partial + piece * K + i);
    };
    parallelRange(groups * pieces, width * minOf(n, each), [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; ++c) run(c / pieces, c % pieces);
    });
  } else {
    parallelRange(K * pieces, minOf(n, each), [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; ++c) {
        const int64_t i = c / pieces, piece = c % pieces;
        partial[piece * K + i] = reduceRow<T, Op>(x + offsetOf(kept, i), reduced, piece * each,
                                                  minOf(n, (piece + 1) * each), Op::centered ? center[i] : T(0));
      }
    });
  }
  if (pieces == 1) return;
  for (int64_t i = 0; i < K; ++i) {
    double sum = partial[i];
    for (int64_t p = 1; p < pieces; ++p) sum = Op::join(sum, partial[p * K + i]);
    total[i] = sum;
  }
}

// Everything that has no vector walk: f folds one element into an accumulator of type A.
template <class T, class A, class F>
void reducePlain(const View& y, const T* x, const Nest<1>& kept, const Nest<1>& reduced, A start, F f) {
  T* out = y.as<T>();
  parallelRange(kept.count, reduced.count, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const T* p = x + offsetOf(kept, i);
      A acc = start;
      for (int64_t o = 0; o < reduced.count; o += reduced.inner) {
        const T* row = p + offsetOf(reduced, o);
        for (int64_t k = 0; k < reduced.inner; ++k) acc = f(acc, row[k * reduced.unit[0]]);
      }
      out[i] = static_cast<T>(acc);
    }
  });
}

template <class T>
void reduceFloat(const Args& args, ReduceKind kind, double correction, const Nest<1>& kept, const Nest<1>& reduced) {
  const View& y = args.out[0];
  const T* x = args.in[0].as<T>();
  T* out = y.as<T>();
  const int64_t K = kept.count;
  const double n = static_cast<double>(reduced.count);
  if (kind == ReduceKind::Prod) {
    reducePlain(y, x, kept, reduced, 1.0, [](double a, T v) { return a * static_cast<double>(v); });
    return;
  }
  const Finish<T> finish{kind, n, correction};
  const auto by = [&](auto op) {
    using Op = decltype(op);
    if (kept.rank == 0 && reduced.rank == 0 && reduced.unit[0] == 1 && reduced.inner <= 4 * Vec<T>::N * kTerms)
      return reduceShortRows<T, Op>(out, x, K, kept.unit[0], reduced.inner, finish);
    double* total = args.scratch->template array<double>(K);
    reduceInto<T, Op>(args, x, kept, reduced, nullptr, total);
    if (kind != ReduceKind::Variance) {
      for (int64_t i = 0; i < K; ++i) out[i] = finish(total[i]);
      return;
    }
    T* center = args.scratch->template array<T>(K);
    double* squares = args.scratch->template array<double>(K);
    for (int64_t i = 0; i < K; ++i) center[i] = finish.center(total[i]);
    reduceInto<T, SquaresOp<T>>(args, x, kept, reduced, center, squares);
    for (int64_t i = 0; i < K; ++i) out[i] = finish.variance(total[i], squares[i]);
  };
  if (kind == ReduceKind::Max)
    by(MaxOp<T>());
  else if (kind == ReduceKind::Min)
    by(MinOp<T>());
  else
    by(SumOp<T>());
}

void reduceInt(const Args& args, ReduceKind kind, const Nest<1>& kept, const Nest<1>& reduced) {
  const View& y = args.out[0];
  const int32_t* x = args.in[0].as<int32_t>();
  // Sums and products wrap.
  if (kind == ReduceKind::Sum)
    reducePlain(y, x, kept, reduced, uint32_t{0}, [](uint32_t a, int32_t v) { return a + static_cast<uint32_t>(v); });
  else if (kind == ReduceKind::Prod)
    reducePlain(y, x, kept, reduced, uint32_t{1}, [](uint32_t a, int32_t v) { return a * static_cast<uint32_t>(v); });
  else if (kind == ReduceKind::Max)
    reducePlain(y, x, kept, reduced, INT32_MIN, [](int32_t a, int32_t v) { return a > v ? a : v; });
  else
    reducePlain(y, x, kept, reduced, INT32_MAX, [](int32_t a, int32_t v) { return a < v ? a : v; });
}

// y [kept...] contiguous <- x [kept..., reduced...]
void reduce(const Args& args) {
  const auto& p = args.as<ReduceParams>();
  const auto kind = static_cast<ReduceKind>(static_cast<int>(p.kind));
  const View& x = args.in[0];
  const Split split(x, static_cast<int>(p.axes));
  const View *const keptViews[1] = {&split.keptView}, *const reducedViews[1] = {&split.reducedView};
  const Nest<1> kept(keptViews, false), reduced(reducedViews, true);
  if (kept.count == 0) return;
  if (x.dtype == DType::F32)
    reduceFloat<float>(args, kind, p.correction, kept, reduced);
  else if (x.dtype == DType::F64)
    reduceFloat<double>(args, kind, p.correction, kept, reduced);
  else if (x.dtype == DType::I32)
    reduceInt(args, kind, kept, reduced);
  else if (kind == ReduceKind::Any)
    reducePlain(args.out[0], x.as<uint8_t>(), kept, reduced, 0, [](int a, uint8_t v) { return a | (v != 0); });
  else
    reducePlain(args.out[0], x.as<uint8_t>(), kept, reduced, 1, [](int a, uint8_t v) { return a & (v != 0); });
}

// Whether v comes before the extreme so far; NaN is the extreme, and the first one stays.
template <class T>
GYRUS_INLINE bool beats(T v, T extreme, bool smallest) {
  return extreme == extreme && (v != v || (smallest ? v < extreme : v > extreme));
}

// Position of the first extreme among n elements.
template <class T>
int64_t extremeStrided(const T* p, int64_t n, int64_t stride, bool smallest) {
  int64_t best = 0;
  T extreme = p[0];
  for (int64_t i = 1; i < n && extreme == extreme; ++i) {
    const T v = p[i * stride];
    if (beats(v, extreme, smallest)) {
      extreme = v;
      best = i;
    }
  }
  return best;
}

// The extremes so far, lane by lane, with their positions as numbers of the same type; equal ones keep the first.
template <class T, bool smallest>
struct Extremes {
  using V = Vec<T>;
  V value, at;
  GYRUS_INLINE void take(V v, V position) {
    const Mask<T> beats = smallest ? v < value : v > value;
    value = select(beats, v, value);
    at = select(beats, position, at);
  }
  GYRUS_INLINE void join(const Extremes& o) {
    const Mask<T> beats = smallest ? o.value < value : o.value > value;
    const Mask<T> first = beats | ((o.value == value) & (o.at < at));
    value = select(first, o.value, value);
    at = select(first, o.at, at);
  }
  GYRUS_INLINE int64_t first() const {
    const V extreme = V::broadcast(smallest ? reduceMin(value) : reduceMax(value));
    return static_cast<int64_t>(reduceMin(select(value == extreme, at, V::broadcast(static_cast<T>(INFINITY)))));
  }
};

template <class T>
constexpr T kCounting[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                             16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

// Of n contiguous numbers, 2 N <= n <= 2^24 so that f32 counts them. A sum on the way tells whether there is a NaN.
template <class T, bool smallest>
GYRUS_INLINE int64_t extremeBlock(const T* p, int64_t n) {
  using V = Vec<T>;
  constexpr int N = V::N;
  static_assert(2 * N <= 32);
  const V lanes = V::load(kCounting<T>), step = V::broadcast(static_cast<T>(2 * N));
  Extremes<T, smallest> a{V::load(p), lanes}, b{V::load(p + N), lanes};
  V at = lanes, sum = a.value, other = b.value;
  const auto both = [&](int64_t i) GYRUS_INLINED {
    const V v = V::load(p + i), w = V::load(p + i + N);
    sum = sum + v;
    other = other + w;
    a.take(v, at);
    b.take(w, at);
  };
  int64_t i = 2 * N;
  for (; i + 2 * N <= n; i += 2 * N) {
    at = at + step;
    both(i);
  }
  if (i < n) {  // the last 2 N: what was seen before does not beat itself
    at = lanes + V::broadcast(static_cast<T>(n - 2 * N));
    both(n - 2 * N);
  }
  if (isNaN(sum + other).any()) return extremeStrided(p, n, 1, smallest);
  b.at = b.at + V::broadcast(static_cast<T>(N));
  a.join(b);
  return a.first();
}

template <class T>
int64_t extremeAt(const T* p, int64_t n, int64_t stride, bool smallest) {
  if constexpr (std::is_same_v<T, int32_t>) {
    return extremeStrided(p, n, stride, smallest);
  } else {
    if (stride != 1 || n < 2 * Vec<T>::N) return extremeStrided(p, n, stride, smallest);
    constexpr int64_t block = 1 << 20;
    int64_t best = -1;
    for (int64_t i = 0; i < n; i += block) {
      const int64_t m = minOf(block, n - i);
      const int64_t at = i + (m < 2 * Vec<T>::N ? extremeStrided(p + i, m, 1, smallest)
                              : smallest        ? extremeBlock<T, true>(p + i, m)
                                                : extremeBlock<T, false>(p + i, m));
      if (best < 0 || beats(p[at], p[best], smallest)) best = at;
    }
    return best;
  }
}

// The extreme of one long row: pieces in parallel, then the pieces in order.
template <class T>
int64_t extremeOfLong(const Args& args, const T* p, int64_t n, int64_t stride, bool smallest) {
  const int64_t pieces = ceilDiv(n, kGrain);
  auto* best = args.scratch->template array<int64_t>(pieces);
  parallelFor(pieces, [&](int64_t c) {
    const int64_t from = c * kGrain;
    best[c] = from + extremeAt(p + from * stride, minOf(kGrain, n - from), stride, smallest);
  });
  int64_t first = best[0];
  for (int64_t c = 1; c < pieces; ++c) {
    if (beats(p[best[c] * stride], p[first * stride], smallest)) first = best[c];
  }
  return first;
}

template <class T>
void argReduceAs(const Args& args, const Nest<2>& nest, int64_t n, int64_t stride, bool smallest) {
  int32_t* y = args.out[0].as<int32_t>();
  const T* x = args.in[0].as<T>();
  if (nest.count == 1 && n > 2 * kGrain) {
    y[0] = static_cast<int32_t>(extremeOfLong(args, x, n, stride, smallest));
    return;
  }
  const bool ahead = stride == 1 && isLarge<T>(nest.count * n);
  parallelRange(nest.count, n, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      int64_t at[2] = {}, k = i;
      if (nest.rank > 0) {
        nest.offsets(i / nest.inner, at);
        k = i % nest.inner;
      }
      if (ahead) fetchAhead(x + at[1] + k * nest.unit[1], n);
      y[at[0] + k * nest.unit[0]] = static_cast<int32_t>(extremeAt(x + at[1] + k * nest.unit[1], n, stride, smallest));
    }
  });
}

// y i32 [kept...] <- x [kept..., n]; the first extreme wins, NaN is the extreme
void argReduce(const Args& args) {
  const bool smallest = static_cast<ArgKind>(static_cast<int>(args.as<ArgReduceParams>().kind)) == ArgKind::ArgMin;
  const View &y = args.out[0], &x = args.in[0];
  const int64_t n = x.shape[x.rank - 1], stride = x.stride[x.rank - 1];
  const View rows = Split(x, 1).keptView;
  const View* const v[2] = {&y, &rows};
  const Nest<2> nest(v);
  if (nest.count == 0) return;
  if (x.dtype == DType::F32)
    argReduceAs<float>(args, nest, n, stride, smallest);
  else if (x.dtype == DType::F64)
    argReduceAs<double>(args, nest, n, stride, smallest);
  else
    argReduceAs<int32_t>(args, nest, n, stride, smallest);
}

}  // namespace

void registerReduce(KernelTable& t) {
  t.set(Op::Reduce, reduce);
  t.set(Op::ArgReduce, argReduce);
}

}  // namespace gyrus::cpu::GYRUS_ISA
