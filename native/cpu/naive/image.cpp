// Naive kernels for pictures: bilinear resize with its gradient, and augmentation.
#include "cpu/naive/image.h"

#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/rows.h"
#include "cpu/naive/strided.h"

namespace gyrus::cpu::naive {

Place placeOf(std::int64_t i, std::int64_t from, std::int64_t to) {
  double at = (double(i) + 0.5) * double(from) / double(to) - 0.5;
  if (at < 0) at = 0;
  if (at > double(from - 1)) at = double(from - 1);
  const auto low = static_cast<std::int64_t>(at);
  return {low, low + 1 < from ? low + 1 : low, at - double(low)};
}

Crop cropOf(const AugmentParams& p, Stream& stream, std::int64_t b) {
  const auto first = static_cast<std::uint64_t>(b) * 4;
  const std::uint32_t words[3] = {stream.word(first), stream.word(first + 1), stream.word(first + 2)};
  return drawCrop(static_cast<std::int64_t>(p.padding), p.flip, words);
}

namespace {

template <class T>
T& pixel(const View& v, std::int64_t b, std::int64_t i, std::int64_t j, std::int64_t c) {
  return v.as<T>()[b * v.stride[0] + i * v.stride[1] + j * v.stride[2] + c * v.stride[3]];
}

// f(b, i, j, c, weights of the four neighbours) for every pixel of the smaller or larger picture `to`.
template <class F>
void eachPixel(const View& to, std::int64_t height, std::int64_t width, F&& f) {
  for (std::int64_t b = 0; b < to.shape[0]; ++b)
    for (std::int64_t i = 0; i < to.shape[1]; ++i)
      for (std::int64_t j = 0; j < to.shape[2]; ++j) {
        const Place row = placeOf(i, height, to.shape[1]), col = placeOf(j, width, to.shape[2]);
        for (std::int64_t c = 0; c < to.shape[3]; ++c) f(b, i, j, c, row, col);
      }
}

// y [B, h, w, C] <- x [B, H, W, C]
template <class T>
struct Resize {
  static void run(const Args& args) {
    const View &y = args.out[0], &x = args.in[0];
    eachPixel(y, x.shape[1], x.shape[2], [&](auto b, auto i, auto j, auto c, const Place& row, const Place& col) {
      const auto line = [&](std::int64_t r) {
        return (1 - col.part) * pixel<T>(x, b, r, col.low, c) + col.part * pixel<T>(x, b, r, col.high, c);
      };
      pixel<T>(y, b, i, j, c) = T((1 - row.part) * line(row.low) + row.part * line(row.high));
    });
  }
};

// dx [B, H, W, C] <- g [B, h, w, C]
template <class T>
struct ResizeGrad {
  static void run(const Args& args) {
    const View &dx = args.out[0], &g = args.in[0];
    eachPixel(dx, 1, 1,
              [&](auto b, auto i, auto j, auto c, const Place&, const Place&) { pixel<T>(dx, b, i, j, c) = 0; });
    eachPixel(g, dx.shape[1], dx.shape[2], [&](auto b, auto i, auto j, auto c, const Place& row, const Place& col) {
      const double d = pixel<T>(g, b, i, j, c);
      const auto give = [&](std::int64_t r, std::int64_t s, double weight) {
        pixel<T>(dx, b, r, s, c) += T(weight * d);
      };
      give(row.low, col.low, (1 - row.part) * (1 - col.part));
      give(row.low, col.high, (1 - row.part) * col.part);
      give(row.high, col.low, row.part * (1 - col.part));
      give(row.high, col.high, row.part * col.part);
    });
  }
};

// y f32 [B, H, W, C], inout state <- x (u8|f32), scale, shift [C]
void augment(const Args& args) {
  const auto& p = args.as<AugmentParams>();
  const View &y = args.out[0], &x = args.in[0];
  const Line<float> scale(args.in[1]), shift(args.in[2]);
  const std::int64_t H = y.shape[1], W = y.shape[2];
  Stream stream(args.out[1]);
  for (std::int64_t b = 0; b < y.shape[0]; ++b) {
    const Crop crop = cropOf(p, stream, b);
    for (std::int64_t i = 0; i < H; ++i)
      for (std::int64_t j = 0; j < W; ++j) {
        const std::int64_t r = i + crop.down, s = (crop.mirrored ? W - 1 - j : j) + crop.right;
        const bool inside = r >= 0 && r < H && s >= 0 && s < W;
        for (std::int64_t c = 0; c < y.shape[3]; ++c) {
          const std::int64_t at = b * x.stride[0] + r * x.stride[1] + s * x.stride[2] + c * x.stride[3];
          const float value = inside ? static_cast<float>(fetch(x, at)) : 0.0f;
          pixel<float>(y, b, i, j, c) = value * scale[c] + shift[c];
        }
      }
  }
  stream.advance(static_cast<std::uint64_t>(y.shape[0]) * 4);
}

}  // namespace

void registerImage(KernelTable& t) {
  t.set(Op::ResizeBilinear, byType<Resize>);
  t.set(Op::ResizeBilinearGrad, byType<ResizeGrad>);
  t.set(Op::Augment, augment);
}

}  // namespace gyrus::cpu::naive
