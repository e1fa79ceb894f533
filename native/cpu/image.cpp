// Kernels for pictures [B, H, W, C]: bilinear resize with its gradient, and augmentation. Rows of a picture are lines
// of W * C numbers, so what happens along H is vector code for any number of channels.
#include "cpu/naive/image.h"

#include "cpu/families.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

// [B, H, W, C] as rows of W * C numbers, copied where W and C don't lie together.
View asLines(const View& v) {
  const int64_t unit = v.shape[3] > 1 ? v.stride[3] : v.stride[2];
  if (v.stride[2] != v.shape[3] * unit && v.shape[2] > 1) return v;
  View line = v;
  line.rank = 3;
  line.shape[2] = v.shape[2] * v.shape[3];
  line.stride[2] = unit;
  return line;
}
// Rows of a 4-D view count pixels; what matters here is the address of a picture's row.
template <class T>
struct Lines {
  Rows<T> rows;
  int64_t step, length;
  Lines(const Args& args, const View& v, bool read)
      : rows(args, asLines(v), read),
        step(asLines(v).rank == 3 ? rows.ld : v.shape[2] * v.shape[3]),
        length(v.shape[2] * v.shape[3]) {
    // Pixels apart by more than C, but evenly: Rows sees no need for a copy, and this file does.
    if (asLines(v).rank == 3 || rows.copied) return;
    gathered = take<T>(args, v.shape[0] * v.shape[1] * length);
    if (read)
      parallelRange(rows.rows, v.shape[3], [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r)
          for (int64_t c = 0; c < v.shape[3]; ++c) gathered[r * v.shape[3] + c] = rows.row(r)[c];
      });
  }
  GYRUS_INLINE T* line(int64_t r) const { return (gathered ? gathered : rows.data) + r * step; }
  void flush() const {
    if (gathered)
      parallelRange(rows.rows, rows.cols, [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; ++r)
          for (int64_t c = 0; c < rows.cols; ++c) rows.row(r)[c] = gathered[r * rows.cols + c];
      });
    rows.flush();
  }

 private:
  T* gathered = nullptr;
};

naive::Place* placesOf(const Args& args, int64_t from, int64_t to) {
  auto* places = take<naive::Place>(args, to);
  for (int64_t i = 0; i < to; ++i) places[i] = naive::placeOf(i, from, to);
  return places;
}

// y [B, h, w, C] <- x [B, H, W, C]: between two rows first, then between the pixels of that line.
template <class T>
void resizeBilinear(const Args& args) {
  using V = Vec<T>;
  const View &y = args.out[0], &x = args.in[0];
  const int64_t h = y.shape[1], w = y.shape[2], H = x.shape[1], C = x.shape[3], lines = y.shape[0] * h;
  if (y.size() == 0) return;
  const Lines<T> out(args, y, false), in(args, x, true);
  const naive::Place *rows = placesOf(args, H, h), *cols = placesOf(args, x.shape[2], w);
  T* between = take<T>(args, lines * in.length);
  parallelRange(lines, in.length + 2 * out.length, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const naive::Place& row = rows[i % h];
      const T *a = in.line(i / h * H + row.low), *b = in.line(i / h * H + row.high);
      T *mixed = between + i * in.length, *target = out.line(i);
      const V part = V::broadcast(static_cast<T>(row.part)), rest = V::broadcast(static_cast<T>(1 - row.part));
      eachVector<T>(in.length, [&](int64_t k, int lanes) {
        store(fma(rest, load(a + k, lanes), part * load(b + k, lanes)), mixed + k, lanes);
      });
      for (int64_t j = 0; j < w; ++j) {
        const T *left = mixed + cols[j].low * C, *right = mixed + cols[j].high * C;
        const V p = V::broadcast(static_cast<T>(cols[j].part)), q = V::broadcast(static_cast<T>(1 - cols[j].part));
        eachVector<T>(C, [&](int64_t c, int lanes) {
          store(fma(q, load(left + c, lanes), p * load(right + c, lanes)), target + j * C + c, lanes);
        });
      }
    }
  });
  out.flush();
}

// dx [B, H, W, C] <- g [B, h, w, C]: each row of dx collects from the rows of g that read it, in their order.
template <class T>
void resizeBilinearGrad(const Args& args) {
  using V = Vec<T>;
  const View &dx = args.out[0], &g = args.in[0];
  const int64_t h = g.shape[1], w = g.shape[2], H = dx.shape[1], C = dx.shape[3], lines = dx.shape[0] * H;
  if (dx.size() == 0) return;
  const Lines<T> out(args, dx, false), in(args, g, true);
  const naive::Place *rows = placesOf(args, H, h), *cols = placesOf(args, dx.shape[2], w);
  auto* starts = take<int64_t>(args, H);
  for (int64_t r = 0, i = 0; r < H; ++r) {
    while (i < h && rows[i].high < r) ++i;
    starts[r] = i;
  }
  T* collected = take<T>(args, lines * in.length);
  parallelRange(lines, (1 + ceilDiv(h, H)) * in.length + 2 * out.length, [&](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; ++line) {
      const int64_t r = line % H, sample = line / H;
      T *sum = collected + line * in.length, *target = out.line(line);
      for (int64_t k = 0; k < in.length; ++k) sum[k] = 0;
      for (int64_t k = 0; k < out.length; ++k) target[k] = 0;
      for (int64_t i = starts[r]; i < h && rows[i].low <= r; ++i) {
        const double weight = (rows[i].low == r ? 1 - rows[i].part : 0) + (rows[i].high == r ? rows[i].part : 0);
        const V f = V::broadcast(static_cast<T>(weight));
        const T* gr = in.line(sample * h + i);
        eachVector<T>(in.length, [&](int64_t k, int lanes) {
          store(fma(f, load(gr + k, lanes), load(sum + k, lanes)), sum + k, lanes);
        });
      }
      for (int64_t j = 0; j < w; ++j) {
        T *left = target + cols[j].low * C, *right = target + cols[j].high * C;
        const V p = V::broadcast(static_cast<T>(cols[j].part)), q = V::broadcast(static_cast<T>(1 - cols[j].part));
        eachVector<T>(C, [&](int64_t c, int lanes) {
          const V v = load(sum + j * C + c, lanes);
          store(fma(q, v, load(left + c, lanes)), left + c, lanes);
          store(fma(p, v, load(right + c, lanes)), right + c, lanes);
        });
      }
    }
  });
  out.flush();
}

// One line of a sample as numbers: columns shifted and mirrored, 0 outside.
template <class From>
void shiftedLine(const From* row, const View& x, const Crop& crop, float* to) {
  const int64_t W = x.shape[2], C = x.shape[3];
  const int64_t step = x.stride[2], unit = x.stride[3];
  for (int64_t j = 0; j < W; ++j) {
    const int64_t s = (crop.mirrored ? W - 1 - j : j) + crop.right;
    float* pixel = to + j * C;
    if (s < 0 || s >= W)
      for (int64_t c = 0; c < C; ++c) pixel[c] = 0;
    else
      for (int64_t c = 0; c < C; ++c) pixel[c] = static_cast<float>(row[s * step + c * unit]);
  }
}

// y f32 [B, H, W, C], inout state <- x (u8|f32), scale, shift [C]. No fused product: the values are the same
// everywhere.
void augment(const Args& args) {
  const auto& p = args.as<AugmentParams>();
  const View &y = args.out[0], &x = args.in[0];
  const int64_t B = y.shape[0], H = y.shape[1], C = y.shape[3], length = y.shape[2] * C;
  const float *scale = readLine<float>(args, args.in[1]), *shift = readLine<float>(args, args.in[2]);
  float *factors = take<float>(args, length), *offsets = take<float>(args, length);
  for (int64_t k = 0; k < length; ++k) {
    factors[k] = scale[k % C];
    offsets[k] = shift[k % C];
  }
  naive::Stream stream(args.out[1]);
  parallelRange(B, H * length * 2, [&](int64_t from, int64_t to) {
    naive::Stream own = stream;
    for (int64_t b = from; b < to; ++b) {
      const Crop crop = naive::cropOf(p, own, b);
      for (int64_t i = 0; i < H; ++i) {
        const int64_t r = i + crop.down;
        float* line = y.as<float>() + (b * H + i) * length;
        if (r < 0 || r >= H) {
          for (int64_t k = 0; k < length; ++k) line[k] = 0;
        } else if (x.dtype == DType::U8) {
          shiftedLine(x.as<uint8_t>() + b * x.stride[0] + r * x.stride[1], x, crop, line);
        } else {
          shiftedLine(x.as<float>() + b * x.stride[0] + r * x.stride[1], x, crop, line);
        }
        eachVector<float>(length, [&](int64_t k, int lanes) {
          store(load(line + k, lanes) * load(factors + k, lanes) + load(offsets + k, lanes), line + k, lanes);
        });
      }
    }
  });
  stream.advance(static_cast<uint64_t>(B) * 4);
}

}  // namespace

void registerImage(KernelTable& t) {
  t.set(Op::ResizeBilinear, GYRUS_BY_TYPE(resizeBilinear));
  t.set(Op::ResizeBilinearGrad, GYRUS_BY_TYPE(resizeBilinearGrad));
  t.set(Op::Augment, augment);
}

}  // namespace gyrus::cpu::GYRUS_ISA
