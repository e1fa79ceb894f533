// Which taps reach which pixels. The output pixels of a convolution fall into classes: those of one class see the same
// taps inside of the source, at the same offsets from a base of their own. For a 3x3 kernel with a margin of 1 there
// are nine: four corners, four edges, and the middle. A tile takes pixels of one class only, from any row and image,
// so that no product with a zero of the margin is made, and nothing is copied or padded first. The gradient of the
// input is the same computation on g; with a stride, its pixels fall into classes by phase.
#pragma once
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// One axis: source position of output position o and tap t is (o * mul - pad + t * step) / div, where that is whole.
struct ConvAxis {
  int64_t outputs, sources, taps, mul, pad, step, div;

  static ConvAxis forward(int64_t out, int64_t in, int64_t taps, int64_t stride, int64_t pad, int64_t dilation) {
    return {out, in, taps, stride, pad, dilation, 1};
  }
  // Tap t of the gradient is tap taps - 1 - t of the convolution, so that the source goes up with t here as well.
  static ConvAxis gradient(int64_t out, int64_t in, int64_t taps, int64_t stride, int64_t pad, int64_t dilation) {
    return {out, in, taps, 1, (taps - 1) * dilation - pad, dilation, stride};
  }
};

// Taps of one class of positions of an axis: number and distance from the base, in source positions.
struct AxisClass {
  int count;
  int64_t members;  // positions of this class
  int32_t* tap;
  int64_t* offset;
};

struct AxisPlan {
  int classes;
  AxisClass* of;
  int32_t* number;  // [outputs] class of a position
  int64_t* base;    // [outputs] source position its offsets count from; may lie outside
};

GYRUS_INLINE int64_t floorDiv(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

inline AxisPlan planAxis(const Args& args, const ConvAxis& a) {
  AxisPlan plan{0, take<AxisClass>(args, a.outputs), take<int32_t>(args, a.outputs), take<int64_t>(args, a.outputs)};
  int32_t* tap = take<int32_t>(args, a.taps);
  int64_t* offset = take<int64_t>(args, a.taps);
  for (int64_t o = 0; o < a.outputs; ++o) {
    const int64_t first = o * a.mul - a.pad, base = floorDiv(first, a.div);
    int n = 0;
    for (int64_t t = 0; t < a.taps; ++t) {
      const int64_t at = first + t * a.step;
      if (at < 0 || at % a.div != 0 || at / a.div >= a.sources) continue;
      tap[n] = static_cast<int32_t>(t);
      offset[n++] = at / a.div - base;
    }
    int c = 0;
    for (; c < plan.classes; ++c) {
      const AxisClass& k = plan.of[c];
      bool same = k.count == n;
      for (int i = 0; same && i < n; ++i) same = k.tap[i] == tap[i] && k.offset[i] == offset[i];
      if (same) break;
    }
    if (c == plan.classes) {
      AxisClass& k = plan.of[plan.classes++] = {n, 0, take<int32_t>(args, n), take<int64_t>(args, n)};
      for (int i = 0; i < n; ++i) {
        k.tap[i] = tap[i];
        k.offset[i] = offset[i];
      }
    }
    ++plan.of[c].members;
    plan.number[o] = static_cast<int32_t>(c);
    plan.base[o] = base;
  }
  return plan;
}

// A run of products: `length` numbers from offset a of each pixel's base with lines b.. of the packed weights.
struct Segment {
  int64_t a, b, length;
};

// Segments of one block of depth.
struct DepthBlock {
  const Segment* segments;
  int64_t count;
};

struct PixelClass {
  const AxisClass *rows, *columns;
  int64_t depth;      // products per output number
  int64_t first;      // of its pixels in the lists
  int64_t perImage;   // pixels per image; the lists go on image by image
  int64_t firstTile;  // of its tiles, for whole groups of images; -1: they have none, but are guests
};

struct ConvSource {
  int64_t rows, columns;  // extents of the source
  int64_t step;           // numbers from one pixel to the next
  int64_t channels;       // of the group: the depth of a tap
};

// Everything that is the same for all groups of `images` images.
struct ConvPlan {
  int classCount;
  PixelClass* classes;
  int host;         // the class with most to compute
  bool hasGuests;   // pixels that no tap reaches become zeros beside the tiles of the host, while that computes
  int64_t tiles;    // of a group of images
  int64_t work;     // of their products, per output number
  int64_t images;   // per group
  int64_t* source;  // [pixels of a group] offset of the base, in numbers; may be negative
  int64_t* pixel;   // [pixels of a group] which output pixel, counted over the group
  ConvSource from;
  int64_t tapRows, tapColumns;
  int64_t mostDepth;  // of a block
};

// The segments of a class in blocks of depth. They are listed anew by each piece of work: all classes of a large kernel
// together would have far more of them than the kernel has taps.
class DepthList {
 public:
  // Numbers of memory that a list needs.
  static int64_t size(const ConvPlan& plan) {
    const int64_t taps = plan.tapRows * plan.tapColumns,
                  blocks = maxOf(1, ceilDiv(taps * plan.from.channels, plan.mostDepth));
    return (2 * taps + blocks) * kSegment + blocks * kBlock;
  }

  DepthList(const ConvPlan& plan, const PixelClass& k, int64_t* memory) {
    const AxisClass &r = *k.rows, &c = *k.columns;
    const int64_t C = plan.from.channels;
    Segment* const segments = reinterpret_cast<Segment*>(memory);
    int count = 0;
    for (int y = 0; y < r.count; ++y)
      for (int x = 0; x < c.count; ++x) {
        const Segment s{(r.offset[y] * plan.from.columns + c.offset[x]) * plan.from.step,
                        (r.tap[y] * plan.tapColumns + c.tap[x]) * C, C};
        // Neighbouring taps of neighbouring pixels are one run when all of a pixel's channels belong to it.
        Segment* last = count > 0 ? segments + count - 1 : nullptr;
        if (last && last->a + last->length == s.a && last->b + last->length == s.b)
          last->length += C;
        else
          segments[count++] = s;
      }
    cut(plan, k, segments, count, segments + count);
  }

  int count() const { return count_; }
  const DepthBlock& operator[](int i) const { return blocks_[i]; }

 private:
  static constexpr int64_t kSegment = sizeof(Segment) / sizeof(int64_t), kBlock = sizeof(DepthBlock) / sizeof(int64_t);

  // Cuts the segments into blocks of at most mostDepth.
  void cut(const ConvPlan& plan, const PixelClass& k, const Segment* segments, int count, Segment* to) {
    const int64_t n = maxOf(1, ceilDiv(k.depth, plan.mostDepth)), depth = maxOf(1, ceilDiv(ceilDiv(k.depth, n), 4) * 4);
    blocks_ = reinterpret_cast<DepthBlock*>(to + count + n);
    int64_t left = 0;
    for (int i = 0; i < count; ++i) {
      Segment s = segments[i];
      while (s.length > 0) {
        if (left == 0) {
          blocks_[count_++] = {to, 0};
          left = depth;
        }
        const int64_t length = minOf(left, s.length);
        *to++ = {s.a, s.b, length};
        ++blocks_[count_ - 1].count;
        s.a += length;
        s.b += length;
        s.length -= length;
        left -= length;
      }
    }
    if (count_ == 0) blocks_[count_++] = {to, 0};  // no tap inside: zeros and the epilogue
  }

  DepthBlock* blocks_;
  int count_ = 0;
};

inline ConvPlan planConv(const Args& args, const ConvAxis& v, const ConvAxis& h, const ConvSource& source,
                         int64_t images, int tile, int64_t most_depth, bool guests) {
  const AxisPlan rows = planAxis(args, v), columns = planAxis(args, h);
  const int64_t per_image = v.outputs * h.outputs;
  ConvPlan plan{0,
                take<PixelClass>(args, static_cast<int64_t>(rows.classes) * columns.classes),
                0,
                false,
                0,
                0,
                images,
                take<int64_t>(args, images * per_image),
                take<int64_t>(args, images * per_image),
                source,
                v.taps,
                h.taps,
                most_depth};
  int64_t pixels = 0;
  for (int i = 0; i < rows.classes; ++i)
    for (int j = 0; j < columns.classes; ++j) {
      const AxisClass &r = rows.of[i], &c = columns.of[j];
      PixelClass& k = plan.classes[plan.classCount++];
      k.rows = &r;
      k.columns = &c;
      k.depth = r.count * c.count * source.channels;
      k.first = pixels;
      k.perImage = r.members * c.members;
      pixels += k.perImage * images;
      const PixelClass& host = plan.classes[plan.host];
      if (k.depth * k.perImage > host.depth * host.perImage) plan.host = plan.classCount - 1;
      int64_t n = k.first;
      for (int64_t image = 0; image < images; ++image)
        for (int64_t y = 0; y < v.outputs; ++y) {
          if (rows.number[y] != i) continue;
          for (int64_t x = 0; x < h.outputs; ++x) {
            if (columns.number[x] != j) continue;
            plan.source[n] = ((image * source.rows + rows.base[y]) * source.columns + columns.base[x]) * source.step;
            plan.pixel[n++] = image * per_image + y * h.outputs + x;
          }
        }
    }
  for (int i = 0; i < plan.classCount; ++i) {
    PixelClass& k = plan.classes[i];
    k.firstTile = -1;
    if (guests && k.depth == 0 && i != plan.host) {
      plan.hasGuests = true;
      continue;
    }
    k.firstTile = plan.tiles;
    const int64_t n = ceilDiv(k.perImage * images, tile);
    plan.tiles += n;
    plan.work += 2 * n * tile * k.depth;
  }
  return plan;
}

}  // namespace gyrus::cpu::GYRUS_ISA
