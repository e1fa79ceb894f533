// Depthwise convolution, where each channel sees only itself: forward, gradient of the input (the same computation on
// g) and of the weights. Lanes are channels. A row of output pixels falls into runs that see the same taps at the same
// distances (plan.h), so that no product with a zero of the margin is made and nothing is copied but the weights, one
// line of channels per tap. The cut of work depends on the shapes alone.
#pragma once
#include "cpu/conv/microkernel.h"
#include "cpu/slots.h"

namespace gyrus::cpu::GYRUS_ISA {

// Taps of one class of positions: where they read, counted from the base, and where their weights lie.
struct TapList {
  int count;
  int64_t *x, *w;
};

// Positions output, output + div, ...: their bases are base, base + mul, ...
struct TapRun {
  int64_t output, base, count;
  const TapList* taps;
};

// One axis of the taps. x_step, w_step: numbers from one source position and from one tap to the next.
class TapAxis {
 public:
  TapAxis(const Args& args, const ConvAxis& a, int64_t x_step, int64_t w_step) : plan_(planAxis(args, a)) {
    lists_ = take<TapList>(args, plan_.classes);
    for (int i = 0; i < plan_.classes; ++i) {
      const AxisClass& k = plan_.of[i];
      lists_[i] = {k.count, take<int64_t>(args, k.count), take<int64_t>(args, k.count)};
      for (int j = 0; j < k.count; ++j) {
        lists_[i].x[j] = k.offset[j] * x_step;
        lists_[i].w[j] = k.tap[j] * w_step;
      }
    }
    runs_ = take<TapRun>(args, a.outputs);
    for (int64_t phase = 0; phase < minOf(a.div, a.outputs); ++phase)
      for (int64_t o = phase; o < a.outputs; o += a.div) {
        if (o == phase || runs_[count_ - 1].taps != &taps(o)) runs_[count_++] = {o, base(o), 0, &taps(o)};
        ++runs_[count_ - 1].count;
      }
  }

  const TapList& taps(int64_t o) const { return lists_[plan_.number[o]]; }
  int64_t base(int64_t o) const { return plan_.base[o]; }
  const TapRun* begin() const { return runs_; }
  const TapRun* end() const { return runs_ + count_; }

 private:
  AxisPlan plan_;
  TapList* lists_;
  TapRun* runs_;
  int64_t count_ = 0;
};

// y[pixel, c] = sum over taps of x[.., c] * w[tap, c], then what the store applies.
template <class T>
struct Depthwise {
  ConvAxis vertical, horizontal;
  int64_t images, C;
  const T* x;
  int64_t ldx;
  T* y;
  int64_t ldy;
  const T *scale, *shift;  // [C] or null
  const T* residual;
  int64_t ld_residual;
  bool relu;

  // weight(c, i, j) is the weight of tap (i, j) for channel c.
  template <class Weight>
  void run(const Args& args, Weight&& weight) const {
    const int64_t rows = images * vertical.outputs, taps = vertical.taps * horizontal.taps;
    if (rows * horizontal.outputs * C == 0) return;
    const int64_t line = ceilDiv(C, VN) * VN;
    T* packed = take<T>(args, taps * line);
    memset(packed, 0, static_cast<size_t>(taps * line) * sizeof(T));
    for (int64_t c = 0; c < C; ++c)
      for (int64_t i = 0; i < vertical.taps; ++i)
        for (int64_t j = 0; j < horizontal.taps; ++j) packed[(i * horizontal.taps + j) * line + c] = weight(c, i, j);
    const TapAxis v(args, vertical, horizontal.sources * ldx, horizontal.taps * line), h(args, horizontal, ldx, line);
    const auto piece = [&](int64_t from, int64_t to, Tap* list) {
      for (int64_t row = from; row < to; ++row) {
        const int64_t image = row / vertical.outputs, o = row % vertical.outputs;
        const int64_t source = (image * vertical.sources + v.base(o)) * horizontal.sources;
        for (const TapRun& r : h) {
          Pixels p{list,
                   0,
                   (source + r.base) * ldx,
                   horizontal.mul * ldx,
                   packed,
                   row * horizontal.outputs + r.output,
                   horizontal.div};
          const TapList &down = v.taps(o), &along = *r.taps;
          for (int i = 0; i < down.count; ++i)
            for (int j = 0; j < along.count; ++j)
              list[p.taps++] = {down.x[i] + along.x[j] - down.x[0] - along.x[0], down.w[i] + along.w[j]};
          if (p.taps > 0) p.source += down.x[0] + along.x[0];
          int64_t left = r.count;
          for (; left >= MR; left -= MR) {
            pixels<MR>(p);
            p.source += MR * p.source_step;
            p.pixel += MR * p.pixel_step;
          }
          rest<MR - 1>(p, left);
        }
      }
    };
    // An eighth of a product counts as an element of work.
    const int64_t each = horizontal.outputs * C * maxOf(1, taps / 8);
    const Slots<Tap> slots(args, rows, taps);
    parallelRange(rows, each, [&](int64_t from, int64_t to) { slots.with([&](Tap* list) { piece(from, to, list); }); });
  }

 private:
  using V = Vec<T>;
  static constexpr int VN = V::N, NV = ConvTile<T>::NV;
  // Each pixel has a pointer of its own.
  static constexpr int MR = ConvTile<T>::MR < 6 ? ConvTile<T>::MR : 6;

  struct Tap {
    int64_t x, w;  // x: from the first tap
  };
  struct Pixels {
    const Tap* list;
    int64_t taps;
    int64_t source, source_step;  // what the first tap of the first pixel reads
    const T* w;
    int64_t pixel, pixel_step;  // where they are stored
  };

  // All channels of M pixels, so that memory is gone through in order.
  template <int M>
  void pixels(const Pixels& p) const {
    int64_t c = 0;
    for (; c + NV * VN <= C; c += NV * VN) tile<M, NV, true>(p, c, VN);
    for (; c + VN <= C; c += VN) tile<M, 1, true>(p, c, VN);
    if (c < C) tile<M, 1, false>(p, c, static_cast<int>(C - c));
  }
  template <int M>
  void rest(const Pixels& p, int64_t count) const {
    if constexpr (M > 0) {
      if (count == M)
        pixels<M>(p);
      else
        rest<M - 1>(p, count);
    }
  }

  // M pixels x W vectors of channels in registers, one tap after the other.
  template <int M, int W, bool Whole>
  GYRUS_INLINE void tile(const Pixels& p, int64_t channel, int lanes) const {
    V acc[M][W];
    GYRUS_UNROLL
    for (int m = 0; m < M; ++m) GYRUS_UNROLL
    for (int j = 0; j < W; ++j) acc[m][j] = V::zero();
    if (Whole) lanes = VN;
    if (p.taps > 0) {
      const T* from[M];
      GYRUS_UNROLL
      for (int m = 0; m < M; ++m) from[m] = x + (p.source + channel + m * p.source_step);
      const T* const weights = p.w + channel;
      for (const Tap *t = p.list, *end = t + p.taps; t < end; ++t) {
        V w[W];
        GYRUS_UNROLL
        for (int j = 0; j < W; ++j) w[j] = V::load(weights + t->w + j * VN);
        GYRUS_UNROLL
        for (int m = 0; m < M; ++m) GYRUS_UNROLL
        for (int j = 0; j < W; ++j) acc[m][j] = fma(load(from[m] + t->x + j * VN, lanes), w[j], acc[m][j]);
      }
    }
    if (!(scale || shift || residual || relu)) {
      T* const to = y + p.pixel * ldy + channel;
      const int64_t next = p.pixel_step * ldy;
      GYRUS_UNROLL
      for (int m = 0; m < M; ++m) GYRUS_UNROLL
      for (int j = 0; j < W; ++j) store(acc[m][j], to + m * next + j * VN, lanes);
      return;
    }
    GYRUS_UNROLL
    for (int m = 0; m < M; ++m) {
      const int64_t pixel = p.pixel + m * p.pixel_step;
      GYRUS_UNROLL
      for (int j = 0; j < W; ++j) {
        const int64_t c = channel + j * VN;
        store(finished(acc[m][j], lanes, scale, shift, c, residual, pixel * ld_residual + c, relu), y + pixel * ldy + c,
              lanes);
      }
    }
  }
};

// dw[tap, c] = sum over pixels of g[.., c] * x[.., c].
template <class T>
struct DepthwiseWeightGradient {
  ConvAxis vertical, horizontal;  // of the forward pass
  int64_t images, C;
  const T* x;
  int64_t ldx;
  const T* g;
  int64_t ldg;

  // store(tap, c, lanes, sums) takes one tap of channels c ...
  template <class Store>
  void run(const Args& args, Store&& store) const {
    const int64_t bands = ceilDiv(vertical.outputs, kRows), pieces = images * bands;
    const int64_t taps = vertical.taps * horizontal.taps;
    if (C * taps == 0) return;
    const int64_t line = ceilDiv(C, VN) * VN, size = taps * line;
    // Parts of the images' bands of rows, each with sums of its own, that are added in order.
    const int64_t fit = maxOf(1, (int64_t{4} << 20) / (size * static_cast<int64_t>(sizeof(T))));
    const int64_t worth = images * vertical.outputs * horizontal.outputs * size >> 17;
    const int64_t parts = maxOf(1, minOf(minOf(pieces, fit), minOf(worth, 64)));
    T* sums = take<T>(args, parts * size);
    const TapAxis v(args, vertical, horizontal.sources * ldx, horizontal.taps * line), h(args, horizontal, ldx, line);
    parallelFor(parts, [&](int64_t part) {
      T* sum = sums + part * size;
      memset(sum, 0, static_cast<size_t>(size) * sizeof(T));
      for (int64_t i = pieces * part / parts; i < pieces * (part + 1) / parts; ++i)
        band(v, h, i / bands, i % bands * kRows, line, sum);
    });
    parallelRange(taps, line * parts, [&](int64_t from, int64_t to) {
      for (int64_t tap = from; tap < to; ++tap)
        eachVector<T>(C, [&](int64_t c, int lanes) {
          const T* sum = sums + tap * line + c;
          V total = V::load(sum);
          for (int64_t p = 1; p < parts; ++p) total = total + V::load(sum + p * size);
          T numbers[VN];
          total.store(numbers);
          store(tap, c, lanes, numbers);
        });
    });
  }

 private:
  using V = Vec<T>;
  static constexpr int VN = V::N;
  // Rows and columns of taps that are summed at once: nine sums and a vector of g.
  static constexpr int kTaps = 3;
  // Rows and pixels of a row that all channels are gone through for, so that they stay in the first cache.
  static constexpr int64_t kRows = 8, kColumns = 16;

  struct Pixels {
    int64_t source;  // the base of the first pixel, in numbers of x; may be negative
    int64_t tap_row, tap_column;
    int64_t x_row, x_column;  // from one pixel to the next
    const T* g;
    int64_t g_row, g_column;
    int64_t rows, columns;
    int64_t sum_row, sum_column;  // from one tap to the next
  };

  // Rows [first, first + kRows) of an image.
  void band(const TapAxis& v, const TapAxis& h, int64_t image, int64_t first, int64_t line, T* sum) const {
    const int64_t end = minOf(vertical.outputs, first + kRows);
    for (const TapRun& down : v) {
      const int64_t skip = maxOf(0, first - down.output),
                    rows = minOf(down.output + down.count, end) - down.output - skip;
      if (rows <= 0) continue;
      for (const TapRun& along : h)
        for (int64_t n = 0; n < along.count; n += kColumns) {
          const int64_t output = down.output + skip, base = down.base + skip * vertical.mul;
          const Pixels p{
              ((image * vertical.sources + base) * horizontal.sources + along.base + n * horizontal.mul) * ldx,
              vertical.step * horizontal.sources * ldx,
              horizontal.step * ldx,
              vertical.mul * horizontal.sources * ldx,
              horizontal.mul * ldx,
              g + ((image * vertical.outputs + output) * horizontal.outputs + along.output + n) * ldg,
              horizontal.outputs * ldg,
              ldg,
              rows,
              minOf(kColumns, along.count - n),
              horizontal.taps * line,
              line};
          block(p, *down.taps, *along.taps, sum);
        }
    }
  }

  // The taps that lie inside follow each other: their distances are those of the kernel.
  void block(const Pixels& p, const TapList& down, const TapList& along, T* sum) const {
    for (int64_t c = 0; c < C; c += VN)
      for (int i = 0; i < down.count; i += kTaps)
        for (int j = 0; j < along.count; j += kTaps) {
          const T* from = x + (p.source + c + down.x[i] + along.x[j]);
          T* to = sum + (c + down.w[i] + along.w[j]);
          const int64_t tap_rows = minOf(kTaps, down.count - i), tap_columns = minOf(kTaps, along.count - j);
          if (c + VN <= C)
            choose<kTaps, kTaps, true>(p, from, p.g + c, to, VN, tap_rows, tap_columns);
          else
            choose<kTaps, kTaps, false>(p, from, p.g + c, to, static_cast<int>(C - c), tap_rows, tap_columns);
        }
  }

  template <int R, int S, bool Whole>
  GYRUS_INLINE static void choose(const Pixels& p, const T* from, const T* g, T* sum, int lanes, int64_t tap_rows,
                                  int64_t tap_columns) {
    if (tap_rows == R && tap_columns == S) return add<R, S, Whole>(p, from, g, sum, lanes);
    if constexpr (R > 1)
      if (tap_rows < R) return choose<R - 1, S, Whole>(p, from, g, sum, lanes, tap_rows, tap_columns);
    if constexpr (S > 1) choose<R, S - 1, Whole>(p, from, g, sum, lanes, tap_rows, tap_columns);
  }

  // Adds the pixels to the sums of R x S taps.
  template <int R, int S, bool Whole>
  static __attribute__((noinline)) void add(const Pixels& p, const T* x, const T* g, T* sum, int lanes) {
    V acc[R][S];
    GYRUS_UNROLL
    for (int r = 0; r < R; ++r) GYRUS_UNROLL
    for (int s = 0; s < S; ++s) acc[r][s] = V::load(sum + r * p.sum_row + s * p.sum_column);
    if (Whole) lanes = VN;
    const int64_t column = p.tap_column, x_step = p.x_column, g_step = p.g_column, columns = p.columns;
    for (int64_t i = 0; i < p.rows; ++i) {
      const T* from[R];
      GYRUS_UNROLL
      for (int r = 0; r < R; ++r) from[r] = x + i * p.x_row + r * p.tap_row;
      const T* gs = g + i * p.g_row;
      for (int64_t n = 0; n < columns; ++n) {
        const V gv = load(gs, lanes);
        GYRUS_UNROLL
        for (int r = 0; r < R; ++r) GYRUS_UNROLL
        for (int s = 0; s < S; ++s) acc[r][s] = fma(load(from[r] + s * column, lanes), gv, acc[r][s]);
        GYRUS_UNROLL
        for (int r = 0; r < R; ++r) from[r] += x_step;
        gs += g_step;
      }
    }
    GYRUS_UNROLL
    for (int r = 0; r < R; ++r) GYRUS_UNROLL
    for (int s = 0; s < S; ++s) acc[r][s].store(sum + r * p.sum_row + s * p.sum_column);
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
