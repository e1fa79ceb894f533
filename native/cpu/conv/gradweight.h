// The gradient of a convolution's weights: for each tap, dw [C, F] = sum over pixels of x^T g. Blocks of pixels are
// copied into panels first, x in groups of XR channels and g in panels of NR, a pixel's numbers side by side and the
// pixels in the order (row, column, image), columns of x by phase of the stride; then the pixels that a tap reaches are
// runs in both. A 1x1 kernel reads x and g where they are. With a few channels only, such as an image's three, the taps
// of a row are copied side by side and count as channels. Pieces of work sum ranges of blocks for ranges of panels;
// their parts are added in a fixed order.
#pragma once
#include "core/pool.h"
#include "cpu/conv/tiles.h"
#include "cpu/gemm/microkernel.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct GradTileArgs {
  int64_t rows, run;       // runs, and pixels in each
  const T* x;              // XR numbers of the first pixel
  const T* g;              // NV vectors of the first pixel
  int64_t x_row, g_row;    // from run to run
  int64_t x_step, g_step;  // from pixel to pixel
  T* sum;                  // [XR][NR], added to
};

template <class T>
using GradKernel = void (*)(const GradTileArgs<T>&);

// sum [M, NV vectors] += x^T g over the runs.
template <class T, int M, int NV>
void gradKernel(const GradTileArgs<T>& t) {
  using V = Vec<T>;
  using Tile = ConvTile<T>;
  V acc[M][NV];
  GYRUS_UNROLL
  for (int i = 0; i < M; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();
  const int64_t x_step = t.x_step, g_step = t.g_step;
  for (int64_t r = 0; r < t.rows; ++r) {
    const T* x = t.x + r * t.x_row;
    const T* g = t.g + r * t.g_row;
    for (int64_t n = t.run; n > 0; --n) {
      V gv[NV];
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) gv[j] = V::load(g + j * V::N);
      GYRUS_UNROLL
      for (int i = 0; i < M; ++i) {
        const V xv = V::broadcast(x[i]);
        GYRUS_UNROLL
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(xv, gv[j], acc[i][j]);
      }
      x += x_step;
      g += g_step;
    }
  }
  GYRUS_UNROLL
  for (int i = 0; i < M; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) {
    T* p = t.sum + i * Tile::NR + j * V::N;
    (V::load(p) + acc[i][j]).store(p);
  }
}

template <class T>
struct GradKernels {
  static constexpr int XR = ConvTile<T>::XR, NV = ConvTile<T>::NV;
  GradKernel<T> kernel[NV][XR];
  GradKernels() { fill<NV, XR>(); }

  static const GradKernel<T>* of(int vectors) {
    static const GradKernels set;
    return set.kernel[vectors - 1];
  }

 private:
  template <int V, int M>
  void fill() {
    kernel[V - 1][M - 1] = gradKernel<T, M, V>;
    if constexpr (M > 1)
      fill<V, M - 1>();
    else if constexpr (V > 1)
      fill<V - 1, XR>();
  }
};

// One axis of the weight gradient.
struct GradAxis {
  int64_t outputs, sources, taps, stride, pad, dilation;

  // Output positions [from, to) whose tap t lies inside of the source.
  void reach(int64_t t, int64_t* from, int64_t* to) const {
    const int64_t shift = t * dilation - pad;
    *from = shift >= 0 ? 0 : least(outputs, divUp(-shift, stride));
    *to = shift >= sources ? *from : most(*from, least(outputs, (sources - 1 - shift) / stride + 1));
  }
  // Whether any tap reaches source positions of this remainder by the stride.
  bool wanted(int64_t phase) const {
    for (int64_t t = 0; t < least(taps, stride); ++t)
      if (((phase + pad - t * dilation) % stride + stride) % stride == 0) return true;
    return false;
  }
  // Place of source position w when they are ordered by remainder.
  int64_t place(int64_t w) const {
    const int64_t phase = w % stride;
    return phase * (sources / stride) + least(phase, sources % stride) + w / stride;
  }
};

// Which of several scratch areas a piece of work uses; as many as there are threads.
class ThreadSlots {
 public:
  ThreadSlots(const Args& args, int n) : n_(n), taken_(take<int>(args, n)) {
    for (int i = 0; i < n; ++i) taken_[i] = 0;
  }
  int acquire() {
    for (int i = 0;; i = i + 1 < n_ ? i + 1 : 0)
      if (__atomic_exchange_n(taken_ + i, 1, __ATOMIC_ACQUIRE) == 0) return i;
  }
  void release(int i) { __atomic_store_n(taken_ + i, 0, __ATOMIC_RELEASE); }

 private:
  int n_;
  int* taken_;
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

  // The taps of a row as channels.
  bool folded() const { return C < XR && horizontal.taps > 1; }
  // x and g where they are: one tap that always lies inside, and no vector of g that reaches beyond a pixel.
  bool direct() const {
    const auto inside = [](const GradAxis& a) {
      return a.taps == 1 && a.pad == 0 && (a.outputs - 1) * a.stride < a.sources;
    };
    return inside(vertical) && inside(horizontal) && N % VN == 0;
  }
  // Channels, taps of a row and columns as they lie in the packed x.
  int64_t depth() const { return folded() ? C * horizontal.taps : C; }
  int64_t across() const { return folded() ? 1 : horizontal.taps; }
  int64_t columns() const { return folded() ? horizontal.outputs : horizontal.sources; }

  // Block of pixels: so many images and rows of the output.
  struct Blocks {
    int64_t images, rows;
    int64_t across, down;  // how many
  };

  Blocks cut() const {
    const int64_t bytes = (C + N) * static_cast<int64_t>(sizeof(T));
    const int64_t pixels = least(1024, most(192, 512 * 1024 / bytes));
    const int64_t OH = vertical.outputs, OW = horizontal.outputs;
    Blocks b;
    b.images = least(images, divUp(64, OW));
    b.rows = least(OH, most(1, pixels / (b.images * OW)));
    if (b.rows == OH) b.images = least(images, most(b.images, pixels / (OH * OW)));
    b.rows = divUp(OH, divUp(OH, b.rows));
    b.down = divUp(OH, b.rows);
    b.across = divUp(images, b.images);
    return b;
  }

  // store(group, tap, c, n, lanes, sums) takes dw of one channel c of x and `lanes` channels of g from n on.
  template <class Store>
  void run(const Args& args, Store&& store) const {
    const int64_t taps = vertical.taps * across(), D = depth();
    if (groups * D * N * taps == 0) return;
    const int64_t panels = divUp(N, NR), c_groups = divUp(D, XR);
    const int64_t size = panels * taps * c_groups * XR * NR;  // of the sums, per group
    const bool empty = images * vertical.outputs * horizontal.outputs * vertical.sources * horizontal.sources == 0;
    const Blocks b = empty ? Blocks{0, 0, 0, 0} : cut();
    const int64_t blocks = b.across * b.down;
    // Parts over pixels as memory allows, then over panels.
    constexpr int64_t pieces = 16;
    const int64_t fit = most(1, (int64_t{4} << 20) / (size * static_cast<int64_t>(sizeof(T))));
    const int64_t parts = most(1, least(blocks, least(fit, pieces)));
    const int64_t panel_step = divUp(panels, least(panels, divUp(pieces, parts * groups)));
    const int64_t panel_parts = divUp(panels, panel_step);

    T* sums = take<T>(args, parts * groups * size);
    const int64_t halo = (vertical.taps - 1) * vertical.dilation + 1;
    const int64_t x_rows = least(vertical.sources, most(0, b.rows - 1) * vertical.stride + halo);
    const bool copies = !direct();
    const int64_t x_size = copies ? divUp(c_groups * XR * x_rows * columns() * b.images, 16) * 16 : 0;
    const int64_t g_size = copies ? panel_step * NR * b.rows * horizontal.outputs * b.images : 0;
    const int threads = Pool::threads();
    ThreadSlots slots(args, threads);
    T* space = take<T>(args, threads * (x_size + g_size));
    parallelFor(parts * groups * panel_parts, [&](int64_t chunk) {
      const int64_t panel = chunk % panel_parts * panel_step, group = chunk / panel_parts % groups;
      const int64_t part = chunk / panel_parts / groups, panel_end = least(panels, panel + panel_step);
      T* sum = sums + (part * groups + group) * size;
      const int64_t per_panel = taps * c_groups * XR * NR;
      memset(sum + panel * per_panel, 0, static_cast<size_t>((panel_end - panel) * per_panel) * sizeof(T));
      const int slot = slots.acquire();
      T* x_packed = space + slot * (x_size + g_size);
      for (int64_t i = blocks * part / parts; i < blocks * (part + 1) / parts; ++i)
        if (copies)
          block(b, i, group, panel, panel_end, x_packed, x_packed + x_size, sum);
        else
          inPlace(b, i, group, panel, panel_end, sum);
      slots.release(slot);
    });

    parallelRange(groups * panels * taps, D * NR * (parts + 2), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t tap = i % taps, panel = i / taps % panels, group = i / taps / panels;
        const T* sum = sums + group * size + (panel * taps + tap) * c_groups * XR * NR;
        const int lanes = static_cast<int>(least(NR, N - panel * NR));
        for (int64_t c = 0; c < D; ++c) {
          T total[NR];
          for (int n = 0; n < NR; n += VN) {
            Vec<T> v = Vec<T>::load(sum + c * NR + n);
            for (int64_t p = 1; p < parts; ++p) v = v + Vec<T>::load(sum + p * groups * size + c * NR + n);
            v.store(total + n);
          }
          // Of a row's taps as channels, tap is the row.
          const int64_t at = folded() ? tap * horizontal.taps + c / C : tap;
          store(group, at, folded() ? c % C : c, panel * NR, lanes, total);
        }
      }
    });
  }

 private:
  // Adds the pixels of one block to the sums of panels [panel, panel_end).
  void block(const Blocks& b, int64_t index, int64_t group, int64_t panel, int64_t panel_end, T* xp, T* gp,
             T* sum) const {
    const GradAxis &v = vertical, &h = horizontal;
    const int64_t n0 = index / b.down * b.images, n1 = least(images, n0 + b.images), B = n1 - n0;
    const int64_t r0 = index % b.down * b.rows, r1 = least(v.outputs, r0 + b.rows);
    const int64_t h0 = least(v.sources, most(0, r0 * v.stride - v.pad));
    const int64_t h1 = most(h0, least(v.sources, (r1 - 1) * v.stride - v.pad + (v.taps - 1) * v.dilation + 1));
    const int64_t OW = h.outputs, W = columns(), taps = v.taps * across(), D = depth(), c_groups = divUp(D, XR);
    const int64_t x_pixels = (h1 - h0) * W * B, g_pixels = (r1 - r0) * OW * B;

    for (int64_t y = h0; y < h1; ++y) {
      if (!v.wanted(y % v.stride)) continue;
      if (folded()) {
        for (int64_t w = 0; w < OW; ++w)
          for (int64_t n = 0; n < B; ++n)
            fold(x + ((n0 + n) * v.sources + y) * h.sources * ldx + group * C, w,
                 xp + (((y - h0) * W + w) * B + n) * XR, x_pixels * XR);
        continue;
      }
      for (int64_t w = 0; w < W; ++w) {
        if (!h.wanted(w % h.stride)) continue;
        for (int64_t n = 0; n < B; ++n)
          spread(x + (((n0 + n) * v.sources + y) * W + w) * ldx + group * C, C,
                 xp + (((y - h0) * W + h.place(w)) * B + n) * XR, x_pixels * XR);
      }
    }
    for (int64_t p = panel; p < panel_end; ++p) {
      const int cols = static_cast<int>(least(NR, N - p * NR)), width = static_cast<int>(divUp(cols, VN)) * VN;
      T* to = gp + (p - panel) * NR * g_pixels;
      for (int64_t y = r0; y < r1; ++y)
        for (int64_t w = 0; w < OW; ++w)
          for (int64_t n = 0; n < B; ++n) {
            const T* from = g + (((n0 + n) * v.outputs + y) * OW + w) * ldg + group * N + p * NR;
            for (int j = 0; j < width; j += VN) load(from + j, static_cast<int>(least(VN, cols - j))).store(to + j);
            to += width;
          }
    }

    for (int64_t p = panel; p < panel_end; ++p) {
      const int vectors = static_cast<int>(divUp(least(NR, N - p * NR), VN)), width = vectors * VN;
      const GradKernel<T>* kernels = GradKernels<T>::of(vectors);
      GradTileArgs<T> t;
      t.x_row = v.stride * W * B * XR;
      t.g_row = OW * B * width;
      t.x_step = XR;
      t.g_step = width;
      for (int64_t q = 0; q < c_groups; ++q)
        for (int64_t i = 0; i < v.taps; ++i) {
          int64_t y0, y1;
          v.reach(i, &y0, &y1);
          y0 = most(y0, r0);
          y1 = least(y1, r1);
          if (y0 >= y1) continue;
          for (int64_t j = 0; j < across(); ++j) {
            int64_t w0 = 0, w1 = OW;
            if (!folded()) h.reach(j, &w0, &w1);
            if (w0 >= w1) continue;
            const int64_t y = y0 * v.stride + i * v.dilation - v.pad - h0;
            const int64_t w = folded() ? 0 : h.place(w0 * h.stride + j * h.dilation - h.pad);
            t.rows = y1 - y0;
            t.run = (w1 - w0) * B;
            t.x = xp + q * x_pixels * XR + (y * W + w) * B * XR;
            t.g = gp + (p - panel) * NR * g_pixels + ((y0 - r0) * OW + w0) * B * width;
            t.sum = sum + ((p * taps + i * across() + j) * c_groups + q) * XR * NR;
            kernels[least(XR, D - q * XR) - 1](t);
          }
        }
    }
  }

  // The same without copies.
  void inPlace(const Blocks& b, int64_t index, int64_t group, int64_t panel, int64_t panel_end, T* sum) const {
    const GradAxis &v = vertical, &h = horizontal;
    const int64_t n0 = index / b.down * b.images, n1 = least(images, n0 + b.images);
    const int64_t r0 = index % b.down * b.rows, r1 = least(v.outputs, r0 + b.rows), c_groups = divUp(C, XR);
    // Without a stride the rows of an image follow each other, and so do whole images.
    const bool rows_join = v.stride * h.stride == 1 && h.sources == h.outputs;
    const bool images_join = rows_join && v.sources == v.outputs && r1 - r0 == v.outputs;
    GradTileArgs<T> t;
    t.x_step = h.stride * ldx;
    t.g_step = ldg;
    t.x_row = v.stride * h.sources * ldx;
    t.g_row = h.outputs * ldg;
    // A few pixels at a time, which stay in the first cache for all panels and groups of channels.
    const int64_t rows = r1 - r0, whole = rows * h.outputs * (images_join ? n1 - n0 : 1);
    const int64_t step = rows_join ? kPixels : most(1, kPixels / h.outputs), end = rows_join ? whole : rows;
    for (int64_t n = n0; n < n1; n += images_join ? n1 - n0 : 1)
      for (int64_t i = 0; i < end; i += step) {
        const int64_t count = least(step, end - i);
        t.rows = rows_join ? 1 : count;
        t.run = rows_join ? count : h.outputs;
        const T* xs =
            x + (n * v.sources + r0 * v.stride) * h.sources * ldx + group * C + i * (rows_join ? ldx : t.x_row);
        const T* gs = g + (n * v.outputs + r0) * t.g_row + group * N + i * (rows_join ? ldg : t.g_row);
        for (int64_t p = panel; p < panel_end; ++p) {
          const GradKernel<T>* kernels = GradKernels<T>::of(static_cast<int>(least(NR, N - p * NR) / VN));
          t.g = gs + p * NR;
          for (int64_t q = 0; q < c_groups; ++q) {
            t.x = xs + q * XR;
            t.sum = sum + (p * c_groups + q) * XR * NR;
            kernels[least(XR, C - q * XR) - 1](t);
          }
        }
      }
  }

  // All taps of output column w in one row of x, zeros where they lie outside.
  void fold(const T* row, int64_t w, T* to, int64_t step) const {
    const GradAxis& h = horizontal;
    const int64_t first = w * h.stride - h.pad;
    if (ldx == C && h.dilation == 1 && first >= 0 && first + h.taps <= h.sources) {
      spread(row + first * C, C * h.taps, to, step);
      return;
    }
    int64_t q = 0;
    for (int64_t j = 0; j < h.taps; ++j) {
      const int64_t at = w * h.stride + j * h.dilation - h.pad;
      const bool inside = at >= 0 && at < h.sources;
      for (int64_t c = 0; c < C; ++c) {
        to[q++] = inside ? row[at * ldx + c] : T(0);
        if (q == XR) {
          q = 0;
          to += step;
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
