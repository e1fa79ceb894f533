// The launches of convolution and of the gradient of its input.
#include <cmath>

#include "cuda/conv/implicit.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kMostAcross = 65535;           // of a grid's second and third axis
constexpr std::int64_t kEnoughBlocks = 160;  // for every multiprocessor of a large GPU
constexpr int kMostRows = 256;               // of a tile

template <class Tile, class T>
void launchTile(Implicit<T> p, bool quads, std::int64_t pixels, int classes, int groups) {
  static_assert(Tile::kRows <= kMostRows);
  p.tilesAcross = (p.columns + Tile::kCols - 1) / Tile::kCols;
  const std::int64_t tiles = (pixels + Tile::kRows - 1) / Tile::kRows * p.tilesAcross;
  for (int c = 0; c < classes; c += kMostAcross)
    for (int g = 0; g < groups; g += kMostAcross) {
      p.firstClass = c;
      p.firstGroup = g;
      const dim3 grid(static_cast<unsigned>(tiles), std::min(classes - c, kMostAcross),
                      std::min(groups - g, kMostAcross));
      const auto run = [&]<bool Counted>() {
        if (quads)
          GYRUS_LAUNCH(grid, Tile::kThreads, 0, (implicitKernel<T, Tile, true, Counted>), p);
        else
          GYRUS_LAUNCH(grid, Tile::kThreads, 0, (implicitKernel<T, Tile, false, Counted>), p);
      };
      // Doubles are for checks of gradients: one kernel will do.
      if constexpr (std::is_same_v<T, float>) {
        if (!p.counted()) {
          run.template operator()<false>();
          continue;
        }
      }
      run.template operator()<true>();
    }
}

// Whether what a block of some rows gathers lies within 2^31 elements, and its taps within the marks.
template <class T>
bool countsIn32(const Implicit<T>& p, std::int64_t picture) {
  if (p.h.kernel > kQuadTaps || p.w.kernel > kQuadTaps) return false;
  const auto reach = [](const WindowAxis& a) {
    return double(a.y) * a.stride + a.pad + double(a.kernel) * a.dilation + double(a.x);
  };
  const double samples = std::min<double>(p.samples, double(kMostRows) / double(picture) + 2);
  const double source = samples * std::abs(double(p.source.n)) + reach(p.h) * std::abs(double(p.source.h)) +
                        reach(p.w) * std::abs(double(p.source.w)) + p.depth;
  const double weight =
      double(p.h.kernel) * p.w.kernel * std::abs(double(p.weight.tap)) + p.depth * std::abs(double(p.weight.channel));
  return std::max(source, weight) < 2147483648.0;
}

}  // namespace

template <class T>
void launchImplicit(Implicit<T> p, bool quads, int groups) {
  // The first class is the largest; along an axis, others are as large or one less.
  const int height = p.backward ? (p.h.x + p.h.stride - 1) / p.h.stride : p.h.y;
  const int width = p.backward ? (p.w.x + p.w.stride - 1) / p.w.stride : p.w.y;
  const std::int64_t pixels = std::int64_t{p.samples} * height * width;
  const int classes = p.backward ? p.h.classes() * p.w.classes() : 1;
  if (pixels == 0 || p.columns == 0) return;
  for (const int less : {0, 1}) {
    p.byH[less] = Divisor32(std::max(height - less, 1));
    p.byW[less] = Divisor32(std::max(width - less, 1));
  }
  quads = quads && countsIn32(p, std::int64_t{std::max(height - 1, 1)} * std::max(width - 1, 1));
  if constexpr (std::is_same_v<T, double>) {
    launchTile<Tile<double, 64, 32, 8, 2, 1, 1, 1>>(p, quads, pixels, classes, groups);
  } else {
    // Blocks of tiles of that size.
    const auto blocks = [&](int rows, int columns) {
      return (pixels + rows - 1) / rows * ((p.columns + columns - 1) / columns) * classes * groups;
    };
    if (p.columns <= 16)
      launchTile<Tile<float, 256, 16, 8, 2, 1, 1, 4>>(p, quads, pixels, classes, groups);
    else if (p.columns <= 32)
      launchTile<Tile<float, 128, 32, 32, 2, 2, 4, 2>>(p, quads, pixels, classes, groups);
    else if (p.columns > 64 && blocks(128, 128) >= kEnoughBlocks)
      launchTile<Tile<float, 128, 128, 16, 2, 2, 1, 2>>(p, quads, pixels, classes, groups);
    else if (p.columns <= 64 && blocks(128, 64) >= 2 * kEnoughBlocks)
      launchTile<Tile<float, 128, 64, 16, 2, 2, 2, 2>>(p, quads, pixels, classes, groups);
    else
      launchTile<Tile<float, 64, 64, 32, 2, 2, 4, 2>>(p, quads, pixels, classes, groups);
  }
}

template void launchImplicit<float>(Implicit<float>, bool, int);
template void launchImplicit<double>(Implicit<double>, bool, int);

}  // namespace gyrus::cuda
