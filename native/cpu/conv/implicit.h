// The convolution y = w * x and the gradient of its input as one computation: pixels in tiles of a class (plan.h) times
// weights packed once per call. The cut of work depends on the shapes alone, so any number of threads gives the same
// bits.
//
//   pack the weights (parallel over panels)
//   for each group of images x range of tiles x range of panels (parallel):
//     for each class of pixels, some of its tiles, block of depth, panel: the micro-kernel on each of these tiles
#pragma once
#include "core/pool.h"
#include "cpu/conv/microkernel.h"
#include "cpu/conv/plan.h"
#include "cpu/gemm/pack.h"
#include "cpu/slots.h"

namespace gyrus::cpu::GYRUS_ISA {

// Weights as the driver sees them: number (n, k) of tap (i, j) at w + n * row + i * tap_row + j * tap_column + k * col.
// n runs over the channels that come out, k over those of the source. Lists name the entries, or are null.
template <class T>
struct ConvWeights {
  const T* w;
  int64_t row, col, tap_row, tap_column;
  int64_t rows, columns;  // of the kernel
  const int32_t *row_list, *col_list;

  T at(int64_t n, int64_t k, int64_t i, int64_t j) const {
    return w[(row_list ? row_list[n] : n) * row + (col_list ? col_list[k] : k) * col + i * tap_row + j * tap_column];
  }

  // Panel of n0 .. n0 + cols: out[((i * columns + j) * K + k) * width + n].
  void pack(int64_t n0, int cols, int64_t k0, int64_t K, T* out, int width) const {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        const T* from = w + i * tap_row + j * tap_column;
        if (!row_list && !col_list) {
          packPanel(from + n0 * row + k0 * col, row, col, cols, K, out, width);
        } else {
          gatherPanel(from + (row_list ? 0 : n0 * row) + (col_list ? 0 : k0 * col), row, col,
                      row_list ? row_list + n0 : nullptr, col_list ? col_list + k0 : nullptr, cols, K, out, width);
        }
        padPanel(out, cols, width, K);
        out += K * width;
      }
  }
};

template <class T>
struct ImplicitGemm {
  ConvAxis vertical, horizontal;
  int64_t images, groups;
  int64_t K, N;  // channels of the source and channels that come out, per group
  const T* x;
  int64_t ldx;
  T* y;
  int64_t ldy;
  const T *scale, *shift;  // [groups * N] or null
  const T* residual;
  int64_t ld_residual;
  bool relu;

  using Tile = ConvTile<T>;
  static constexpr int MR = Tile::MR, NR = Tile::NR, VN = Tile::VN;
  // Tiles that all panels go over before the next ones: their pixels stay close, in x as in y.
  static constexpr int64_t kTogether = 16;

  // pack(group, n0, cols, out, width) fills one panel. done(first, count): all of these images have been stored; not
  // called, and `false` returned, where images are shared between pieces of work.
  template <class Pack, class Done>
  bool run(const Args& args, Pack&& pack, Done&& done) const {
    const int64_t per_image = vertical.outputs * horizontal.outputs;
    if (images * per_image * N * groups == 0) return false;
    const int64_t taps = vertical.taps * horizontal.taps, depth = taps * K;
    const int64_t panels = ceilDiv(N, NR), panel_size = depth * NR;
    T* packed = take<T>(args, groups * panels * panel_size);
    parallelRange(groups * panels, panel_size * 2, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t n0 = i % panels * NR;
        const int cols = static_cast<int>(minOf(NR, N - n0));
        pack(i / panels, n0, cols, packed + i * panel_size, static_cast<int>(ceilDiv(cols, VN)) * VN);
      }
    });

    // Enough images for full tiles at the corners, too, where the images are small.
    int64_t together = minOf(images, ceilDiv(64 * MR, per_image));
    if (together > MR) together = together / MR * MR;
    const ConvSource source{vertical.sources, horizontal.sources, ldx, K};
    const bool plain = !(scale || shift || residual || relu);
    const ConvPlan plan = planConv(args, vertical, horizontal, source, together, MR, Tile::KC, plain);

    const int64_t image_groups = ceilDiv(images, together);
    const int64_t tiles = plan.tiles, work = plan.work * N;  // of a group of images
    // About 1/48 of the whole for each piece of work, but no less than some 10 us. Large weights are shared out by
    // panels, so that each is read once per group of images.
    const int64_t target = maxOf(int64_t{1} << 20, work * image_groups * groups / 48);
    int64_t tile_parts = 1, panel_parts = 1;
    if (work > target) {
      const int64_t parts = ceilDiv(work, target);
      if (panel_size * panels * static_cast<int64_t>(sizeof(T)) > 256 * 1024) panel_parts = minOf(panels, parts);
      tile_parts = minOf(ceilDiv(tiles, 4), ceilDiv(parts, panel_parts));
    }
    const int64_t tile_step = ceilDiv(tiles, tile_parts), panel_step = ceilDiv(panels, panel_parts);
    tile_parts = ceilDiv(tiles, tile_step);
    panel_parts = ceilDiv(panels, panel_step);
    const bool whole = tile_parts * panel_parts * groups == 1;
    const int64_t parts = tile_parts * panel_parts;
    const int64_t pieces = image_groups * groups * parts;
    const Slots<int64_t> slots(args, pieces, DepthList::size(plan));
    parallelFor(pieces, [&](int64_t chunk) {
      const int64_t part = chunk % parts, group = chunk / parts % groups, first = chunk / parts / groups * together;
      const int64_t tile = part / panel_parts * tile_step, panel = part % panel_parts * panel_step;
      slots.with([&](int64_t* memory) {
        piece(plan, memory, packed + group * panels * panel_size, depth, group, first, minOf(together, images - first),
              tile, minOf(tiles, tile + tile_step), panel, minOf(panels, panel + panel_step));
      });
      if (whole) done(first, minOf(together, images - first));
    });
    return whole;
  }

 private:
  // Tiles [tile, tile_end) of `count` images from `first` on x panels [panel, panel_end).
  void piece(const ConvPlan& plan, int64_t* memory, const T* packed, int64_t depth, int64_t group, int64_t first,
             int64_t count, int64_t tile, int64_t tile_end, int64_t panel, int64_t panel_end) const {
    const int64_t per_image = vertical.outputs * horizontal.outputs;
    ConvTileArgs<T> t;
    t.x = x + first * vertical.sources * horizontal.sources * ldx + group * K;
    t.ldy = ldy;
    t.relu = relu;
    t.ld_residual = ld_residual;
    const bool plain = !(scale || shift || residual || relu);
    // Of the pixels that no tap reaches.
    T* const zeros = y + first * per_image * ldy + group * N + panel * NR;
    const int64_t width = minOf(N, panel_end * NR) - panel * NR;
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
    for (int c = 0; c < plan.classCount; ++c) {
      const PixelClass& k = plan.classes[c];
      if (k.firstTile < 0) continue;
      const bool host = c == plan.host && plan.hasGuests;
      const int64_t pixels = k.perImage * count;
      const int64_t from = maxOf(0, tile - k.firstTile) * MR, to = minOf(pixels, (tile_end - k.firstTile) * MR);
      if (from >= to) continue;
      const DepthList blocks(plan, k, memory);
      for (int64_t start = from; start < to; start += kTogether * MR) {
        const int64_t end = minOf(to, start + kTogether * MR);
        for (int b = 0; b < blocks.count(); ++b) {
          const bool finish = b + 1 == blocks.count();
          for (int64_t p = panel; p < panel_end; ++p) {
            const int64_t n = group * N + p * NR;
            const int64_t cols = minOf(NR, N - p * NR);
            const ConvKernel<T>* kernels = convKernels<T>.of(static_cast<int>(ceilDiv(cols, VN)));
            t.last = static_cast<int>((cols - 1) % VN) + 1;
            t.b = packed + p * depth * NR;
            t.y = y + first * per_image * ldy + n;
            t.scale = scale ? scale + n : nullptr;
            t.shift = shift ? shift + n : nullptr;
            t.residual = residual ? residual + first * per_image * ld_residual + n : nullptr;
            t.segments = blocks[b].segments;
            t.count = blocks[b].count;
            t.add = b > 0;
            t.finish = finish;
            t.bare = !t.add && t.last == VN && (plain || !finish);
            // A pixel that one tap only reads has not come near by its neighbours' taps.
            t.fetch = p == panel && b == 0 && k.depth == K ? K : 0;
            if (!host || !finish) {
              tiles(plan, t, kernels, k.first, start, end);
              continue;
            }
            // The memory that is written next is asked for while the products of this tile are made.
            const int64_t np = panel_end - panel, hosts = ceilDiv(pixels, MR) * np;
            int64_t at = start / MR * np + (p - panel) * ceilDiv(end - start, MR);
            for (int64_t i = start; i < end; i += MR, ++at) {
              for (int64_t q = i + MR; q < minOf(end, i + 2 * MR); ++q)
                __builtin_prefetch(t.y + plan.pixel[k.first + q] * ldy, 1);
              guests(plan, count, at + 1, hosts, [&](int64_t pixel) {
                for (int64_t j = 0; j < width; j += line) __builtin_prefetch(zeros + pixel * ldy + j, 1);
              });
              tiles(plan, t, kernels, k.first, i, minOf(i + MR, end));
              guests(plan, count, at, hosts,
                     [&](int64_t pixel) { memset(zeros + pixel * ldy, 0, static_cast<size_t>(width) * sizeof(T)); });
            }
          }
        }
      }
    }
  }

  // f(pixel) for those that no tap reaches: the share `at` of `shares`.
  template <class F>
  static void guests(const ConvPlan& plan, int64_t images, int64_t at, int64_t shares, F&& f) {
    if (at == shares) return;
    for (int c = 0; c < plan.classCount; ++c) {
      const PixelClass& k = plan.classes[c];
      if (k.firstTile >= 0) continue;
      const int64_t all = k.perImage * images;
      for (int64_t i = all * at / shares; i < all * (at + 1) / shares; ++i) f(plan.pixel[k.first + i]);
    }
  }

  // Pixels [from, to) of a class whose lists begin at `first`.
  static void tiles(const ConvPlan& plan, ConvTileArgs<T>& t, const ConvKernel<T>* kernels, int64_t first, int64_t from,
                    int64_t to) {
    t.source = plan.source + first + from;
    t.pixel = plan.pixel + first + from;
    t.tiles = (to - from) / MR;
    if (t.tiles > 0) kernels[MR - 1](t);
    const int64_t rest = (to - from) % MR;
    if (rest == 0) return;
    t.source += t.tiles * MR;
    t.pixel += t.tiles * MR;
    t.tiles = 1;
    kernels[rest - 1](t);
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
