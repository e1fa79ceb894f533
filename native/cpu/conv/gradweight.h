// The gradient of a convolution's weights: for each tap, dw [C, F] = sum over pixels of x^T g. Blocks of pixels are
// copied into panels first, x in groups of XR channels and g in panels of NR, a pixel's numbers side by side and the
// pixels in the order (row, column, image), columns of x by phase of the stride; then the pixels that a tap reaches are
// runs in both. A 1x1 kernel reads x and g where they are. With a few channels only, such as an image's three, all taps
// count as channels, which a copy of x with zeros around it makes equal for all pixels. Pieces of work sum ranges of
// blocks for ranges of panels; their parts are added in a fixed order.
#pragma once
#include "core/pool.h"
#include "cpu/conv/gradkernel.h"
#include "cpu/rows.h"
#include "cpu/slots.h"

namespace gyrus::cpu::GYRUS_ISA {

// One axis of the weight gradient.
struct GradAxis {
  int64_t outputs, sources, taps, stride, pad, dilation;

  // Output positions [from, to) whose tap t lies inside of the source.
  void reach(int64_t t, int64_t* from, int64_t* to) const {
    const int64_t shift = t * dilation - pad;
    *from = shift >= 0 ? 0 : minOf(outputs, ceilDiv(-shift, stride));
    *to = shift >= sources ? *from : maxOf(*from, minOf(outputs, (sources - 1 - shift) / stride + 1));
  }
  // Source positions from the first tap of an output position to the last tap of the n-th after it.
  int64_t reach(int64_t n) const { return maxOf(0, n - 1) * stride + (taps - 1) * dilation + 1; }
  // Whether any tap reaches source positions of this remainder by the stride.
  bool wanted(int64_t phase) const {
    for (int64_t t = 0; t < minOf(taps, stride); ++t)
      if (((phase + pad - t * dilation) % stride + stride) % stride == 0) return true;
    return false;
  }
  // Place of source position w when they are ordered by remainder.
  int64_t place(int64_t w) const {
    const int64_t phase = w % stride;
    return phase * (sources / stride) + minOf(phase, sources % stride) + w / stride;
  }
};

template <class T>
struct WeightGradient {
  GradAxis vertical, horizontal;
  int64_t images, groups;
  int64_t C, N;  // channels of x and of g per group
  const T* x;
  int64_t ldx;
  const T* g;
  int64_t ldg;

  using Tile = ConvTile<T>;
  static constexpr int XR = Tile::XR, NR = Tile::NR, VN = Tile::VN;

  static constexpr int64_t kPixels = 128;

  // The taps as channels. With many channels the tiles are full anyway, and taps outside of the source cost more; a
  // stride makes the other way's copies dear.
  bool folded() const {
    return vertical.taps * horizontal.taps > 1 && C <= (vertical.stride * horizontal.stride > 1 ? 32 : 16);
  }
  // x and g where they are: one tap that always lies inside, and no vector of g that reaches beyond a pixel.
  bool direct() const {
    const auto inside = [](const GradAxis& a) {
      return a.taps == 1 && a.pad == 0 && (a.outputs - 1) * a.stride < a.sources;
    };
    return inside(vertical) && inside(horizontal) && N % VN == 0;
  }
  // Channels and taps as the sums have them.
  int64_t depth() const { return folded() ? C * vertical.taps * horizontal.taps : C; }
  int64_t taps() const { return folded() ? 1 : vertical.taps * horizontal.taps; }

  // Block of pixels: so many images and rows of the output.
  struct Blocks {
    int64_t images, rows;
    int64_t across, down;  // how many
  };

  Blocks cut() const {
    const int64_t bytes = (C + N) * static_cast<int64_t>(sizeof(T));
    const int64_t pixels = minOf(1024, maxOf(192, 512 * 1024 / bytes));
    const int64_t OH = vertical.outputs, OW = horizontal.outputs;
    Blocks b;
    if (folded()) {
      b.rows = minOf(OH, maxOf(1, 1024 / OW));
      return {1, b.rows, images, ceilDiv(OH, b.rows)};
    }
    b.images = minOf(images, ceilDiv(64, OW));
    b.rows = minOf(OH, maxOf(1, pixels / (b.images * OW)));
    if (b.rows == OH) b.images = minOf(images, maxOf(b.images, pixels / (OH * OW)));
    b.rows = ceilDiv(OH, ceilDiv(OH, b.rows));
    b.down = ceilDiv(OH, b.rows);
    b.across = ceilDiv(images, b.images);
    return b;
  }

  // store(group, tap, c, n, lanes, sums) takes dw of one channel c of x and `lanes` channels of g from n on.
  template <class Store>
  void run(const Args& args, Store&& store) const {
    const int64_t taps = this->taps(), D = depth();
    if (groups * D * N * taps == 0) return;
    const int64_t panels = ceilDiv(N, NR), c_groups = ceilDiv(D, XR);
    const int64_t size = panels * taps * c_groups * XR * NR;  // of the sums, per group
    const bool empty = images * vertical.outputs * horizontal.outputs * vertical.sources * horizontal.sources == 0;
    const Blocks b = empty ? Blocks{0, 0, 0, 0} : cut();
    const int64_t blocks = b.across * b.down;
    // Parts over pixels as memory allows, then over panels.
    constexpr int64_t pieces = 16;
    const int64_t fit = maxOf(1, (int64_t{4} << 20) / (size * static_cast<int64_t>(sizeof(T))));
    const int64_t parts = maxOf(1, minOf(blocks, minOf(fit, pieces)));
    const int64_t panel_step = ceilDiv(panels, minOf(panels, ceilDiv(pieces, parts * groups)));
    const int64_t panel_parts = ceilDiv(panels, panel_step);

    T* sums = take<T>(args, parts * groups * size);
    const bool copies = !direct();
    const int64_t x_rows = minOf(vertical.sources, vertical.reach(b.rows));
    const int64_t x_pixels = folded() ? vertical.reach(b.rows) * horizontal.reach(horizontal.outputs) * C
                                      : c_groups * XR * x_rows * horizontal.sources * b.images;
    const int64_t x_size = copies ? ceilDiv(x_pixels, 16) * 16 : 0;
    const int64_t g_size =
        copies && !(folded() && N % VN == 0) ? panel_step * NR * b.rows * horizontal.outputs * b.images : 0;
    // Where the numbers of a pixel's XR channels lie.
    int64_t* line = take<int64_t>(args, folded() ? D : XR);
    for (int64_t i = 0; i < (folded() ? D : XR); ++i) line[i] = folded() ? lineOf(i) : i;
    const int64_t work = parts * groups * panel_parts;
    const Slots<T> slots(args, work, x_size + g_size);
    parallelFor(work, [&](int64_t chunk) {
      const int64_t panel = chunk % panel_parts * panel_step, group = chunk / panel_parts % groups;
      const int64_t part = chunk / panel_parts / groups, panel_end = minOf(panels, panel + panel_step);
      T* sum = sums + (part * groups + group) * size;
      const int64_t per_panel = taps * c_groups * XR * NR;
      memset(sum + panel * per_panel, 0, static_cast<size_t>((panel_end - panel) * per_panel) * sizeof(T));
      slots.with([&](T* x_packed) {
        for (int64_t i = blocks * part / parts; i < blocks * (part + 1) / parts; ++i)
          if (folded())
            fold(b, i, group, panel, panel_end, line, x_packed, x_packed + x_size, sum);
          else if (copies)
            block(b, i, group, panel, panel_end, line, x_packed, x_packed + x_size, sum);
          else
            inPlace(b, i, group, panel, panel_end, line, sum);
      });
    });

    parallelRange(groups * panels * taps, D * NR * (parts + 2), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t tap = i % taps, panel = i / taps % panels, group = i / taps / panels;
        const T* sum = sums + group * size + (panel * taps + tap) * c_groups * XR * NR;
        const int lanes = static_cast<int>(minOf(NR, N - panel * NR));
        for (int64_t c = 0; c < D; ++c) {
          T total[NR];
          for (int n = 0; n < NR; n += VN) {
            Vec<T> v = Vec<T>::load(sum + c * NR + n);
            for (int64_t p = 1; p < parts; ++p) v = v + Vec<T>::load(sum + p * groups * size + c * NR + n);
            v.store(total + n);
          }
          store(group, folded() ? c / C : tap, folded() ? c % C : c, panel * NR, lanes, total);
        }
      }
    });
  }

 private:
  // Adds the pixels of one block to the sums of panels [panel, panel_end).
  void block(const Blocks& b, int64_t index, int64_t group, int64_t panel, int64_t panel_end, const int64_t* line,
             T* xp, T* gp, T* sum) const {
    const GradAxis &v = vertical, &h = horizontal;
    const int64_t n0 = index / b.down * b.images, n1 = minOf(images, n0 + b.images), B = n1 - n0;
    const int64_t r0 = index % b.down * b.rows, r1 = minOf(v.outputs, r0 + b.rows);
    const int64_t h0 = minOf(v.sources, maxOf(0, r0 * v.stride - v.pad));
    const int64_t h1 = maxOf(h0, minOf(v.sources, (r1 - 1) * v.stride - v.pad + (v.taps - 1) * v.dilation + 1));
    const int64_t OW = h.outputs, W = h.sources, taps = this->taps(), c_groups = ceilDiv(C, XR);
    const int64_t x_pixels = (h1 - h0) * W * B, g_pixels = (r1 - r0) * OW * B;

    for (int64_t y = h0; y < h1; ++y) {
      if (!v.wanted(y % v.stride)) continue;
      for (int64_t w = 0; w < W; ++w) {
        if (!h.wanted(w % h.stride)) continue;
        for (int64_t n = 0; n < B; ++n)
          spread(x + (((n0 + n) * v.sources + y) * W + w) * ldx + group * C, C,
                 xp + (((y - h0) * W + h.place(w)) * B + n) * XR, x_pixels * XR);
      }
    }
    for (int64_t p = panel; p < panel_end; ++p) {
      const int cols = static_cast<int>(minOf(NR, N - p * NR)), width = static_cast<int>(ceilDiv(cols, VN)) * VN;
      T* to = gp + (p - panel) * NR * g_pixels;
      for (int64_t y = r0; y < r1; ++y)
        for (int64_t w = 0; w < OW; ++w)
          for (int64_t n = 0; n < B; ++n) {
            const T* from = g + (((n0 + n) * v.outputs + y) * OW + w) * ldg + group * N + p * NR;
            for (int j = 0; j < width; j += VN) load(from + j, static_cast<int>(minOf(VN, cols - j))).store(to + j);
            to += width;
          }
    }

    for (int64_t p = panel; p < panel_end; ++p) {
      const int vectors = static_cast<int>(ceilDiv(minOf(NR, N - p * NR), VN)), width = vectors * VN;
      const GradKernel<T>* kernels = gradKernels<T>.of(vectors);
      GradTileArgs<T> t;
      t.line = line;
      t.x_row = v.stride * W * B * XR;
      t.g_row = OW * B * width;
      t.x_step = XR;
      t.g_step = width;
      t.fetch_row = t.fetch_step = 0;
      for (int64_t q = 0; q < c_groups; ++q)
        for (int64_t i = 0; i < v.taps; ++i) {
          int64_t y0, y1;
          v.reach(i, &y0, &y1);
          y0 = maxOf(y0, r0);
          y1 = minOf(y1, r1);
          if (y0 >= y1) continue;
          for (int64_t j = 0; j < h.taps; ++j) {
            int64_t w0, w1;
            h.reach(j, &w0, &w1);
            if (w0 >= w1) continue;
            const int64_t y = y0 * v.stride + i * v.dilation - v.pad - h0;
            const int64_t w = h.place(w0 * h.stride + j * h.dilation - h.pad);
            t.rows = y1 - y0;
            t.run = (w1 - w0) * B;
            t.x = xp + q * x_pixels * XR + (y * W + w) * B * XR;
            t.g = gp + (p - panel) * NR * g_pixels + ((y0 - r0) * OW + w0) * B * width;
            t.fetch = t.g;
            t.sum = sum + ((p * taps + i * h.taps + j) * c_groups + q) * XR * NR;
            kernels[minOf(XR, C - q * XR) - 1](t);
          }
        }
    }
  }

  // The same without copies.
  void inPlace(const Blocks& b, int64_t index, int64_t group, int64_t panel, int64_t panel_end, const int64_t* line,
               T* sum) const {
    const GradAxis &v = vertical, &h = horizontal;
    const int64_t n0 = index / b.down * b.images, n1 = minOf(images, n0 + b.images);
    const int64_t r0 = index % b.down * b.rows, r1 = minOf(v.outputs, r0 + b.rows), c_groups = ceilDiv(C, XR);
    // Without a stride the rows of an image follow each other, and so do whole images.
    const bool rows_join = v.stride * h.stride == 1 && h.sources == h.outputs;
    const bool images_join = rows_join && v.sources == v.outputs && r1 - r0 == v.outputs;
    GradTileArgs<T> t;
    t.line = line;
    t.x_step = h.stride * ldx;
    t.g_step = ldg;
    t.x_row = v.stride * h.sources * ldx;
    t.g_row = h.outputs * ldg;
    // A few pixels at a time, which stay in the first cache for all panels and groups of channels.
    const int64_t rows = r1 - r0, whole = rows * h.outputs * (images_join ? n1 - n0 : 1);
    const int64_t step = rows_join ? kPixels : maxOf(1, kPixels / h.outputs), end = rows_join ? whole : rows;
    for (int64_t n = n0; n < n1; n += images_join ? n1 - n0 : 1)
      for (int64_t i = 0; i < end; i += step) {
        const int64_t count = minOf(step, end - i);
        t.rows = rows_join ? 1 : count;
        t.run = rows_join ? count : h.outputs;
        const T* xs =
            x + (n * v.sources + r0 * v.stride) * h.sources * ldx + group * C + i * (rows_join ? ldx : t.x_row);
        const T* gs = g + (n * v.outputs + r0) * t.g_row + group * N + i * (rows_join ? ldg : t.g_row);
        for (int64_t p = panel; p < panel_end; ++p) {
          const GradKernel<T>* kernels = gradKernels<T>.of(static_cast<int>(minOf(NR, N - p * NR) / VN));
          t.g = gs + p * NR;
          for (int64_t q = 0; q < c_groups; ++q) {
            t.x = xs + q * XR;
            ahead(t, q, gs + p * NR + t.rows * t.g_row, p * NR < C ? xs + p * NR + t.rows * t.x_row : nullptr);
            t.sum = sum + (p * c_groups + q) * XR * NR;
            kernels[minOf(XR, C - q * XR) - 1](t);
          }
        }
      }
  }

  // The first group of channels asks for g of the pixels that come after these, the second for x.
  static void ahead(GradTileArgs<T>& t, int64_t q, const T* g, const T* x) {
    if (q == 0) {
      t.fetch = g;
      t.fetch_row = t.g_row;
      t.fetch_step = t.g_step;
    } else if (q == 1 && x) {
      t.fetch = x;
      t.fetch_row = t.x_row;
      t.fetch_step = t.x_step;
    } else {
      t.fetch = t.g;
      t.fetch_row = t.fetch_step = 0;
    }
  }

  // Where number i of a pixel (its taps' channels) lies in fold's copy.
  int64_t lineOf(int64_t i) const {
    const int64_t tap = i / C;
    return (tap / horizontal.taps * vertical.dilation * horizontal.reach(horizontal.outputs) +
            tap % horizontal.taps * horizontal.dilation) *
               C +
           i % C;
  }

  // The same with the taps as channels. Rows of x are copied with zeros where the source ends; g stays where it is
  // unless a vector would reach beyond a pixel.
  void fold(const Blocks& b, int64_t index, int64_t group, int64_t panel, int64_t panel_end, const int64_t* line, T* xp,
            T* gp, T* sum) const {
    const GradAxis &v = vertical, &h = horizontal;
    const int64_t n = index / b.down, r0 = index % b.down * b.rows, r1 = minOf(v.outputs, r0 + b.rows);
    const int64_t OW = h.outputs, width = h.reach(OW), D = depth(), c_groups = ceilDiv(D, XR);
    const int64_t before = minOf(width, h.pad), inside = maxOf(0, minOf(h.sources, width - h.pad));
    for (int64_t i = 0; i < v.reach(r1 - r0); ++i) {
      const int64_t y = r0 * v.stride - v.pad + i;
      T* to = xp + i * width * C;
      memset(to, 0, static_cast<size_t>(width * C) * sizeof(T));
      if (y < 0 || y >= v.sources) continue;
      const T* from = x + (n * v.sources + y) * h.sources * ldx + group * C;
      to += before * C;
      if (ldx == C) {
        memcpy(to, from, static_cast<size_t>(inside * C) * sizeof(T));
      } else {
        for (int64_t w = 0; w < inside; ++w)
          for (int64_t c = 0; c < C; ++c) to[w * C + c] = from[w * ldx + c];
      }
    }
    const bool copied = N % VN != 0;
    // Rows that stay in the first cache for all panels and tiles: half of it for x.
    const int64_t near = 16 * 1024 / (width * C * static_cast<int64_t>(sizeof(T)));
    const int64_t step = maxOf(1, minOf(kPixels / OW, (near - (v.taps - 1) * v.dilation - 1) / v.stride + 1));
    GradTileArgs<T> t;
    t.x_step = h.stride * C;
    t.x_row = v.stride * width * C;
    for (int64_t r = r0; r < r1; r += step) {
      t.rows = minOf(step, r1 - r);
      t.run = OW;
      t.x = xp + (r - r0) * t.x_row;
      for (int64_t p = panel; p < panel_end; ++p) {
        const int cols = static_cast<int>(minOf(NR, N - p * NR)), vectors = static_cast<int>(ceilDiv(cols, VN));
        const T* from = g + ((n * v.outputs + r) * OW) * ldg + group * N + p * NR;
        t.g = from;
        t.g_step = ldg;
        if (copied) {
          t.g = gp;
          t.g_step = vectors * VN;
          for (int64_t i = 0; i < t.rows * OW; ++i)
            for (int j = 0; j < cols; j += VN)
              load(from + i * ldg + j, static_cast<int>(minOf(VN, cols - j))).store(gp + i * t.g_step + j);
        }
        t.g_row = OW * t.g_step;
        const GradKernel<T>* kernels = gradKernels<T>.of(vectors);
        for (int64_t q = 0; q < c_groups; ++q) {
          t.line = line + q * XR;
          ahead(t, copied ? 1 : q, from + t.rows * t.g_row, nullptr);
          t.sum = sum + (p * c_groups + q) * XR * NR;
          kernels[minOf(XR, D - q * XR) - 1](t);
        }
      }
    }
  }

  // The n numbers of one pixel to its place in every group of channels, `step` apart.
  static void spread(const T* from, int64_t n, T* to, int64_t step) {
    int64_t c = 0;
    for (; c + XR <= n; c += XR, to += step) memcpy(to, from + c, XR * sizeof(T));
    for (int64_t i = c; i < n; ++i) to[i - c] = from[i];
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
