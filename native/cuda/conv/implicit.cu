// The launches of convolution and of the gradient of its input.
#include "cuda/conv/implicit.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kMostAcross = 65535;           // of a grid's second and third axis
constexpr std::int64_t kEnoughBlocks = 160;  // for every multiprocessor of a large GPU

template <class Tile, class T>
void launchTile(Implicit<T> p, bool quads, std::int64_t pixels, int classes, int groups) {
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

}  // namespace

template <class T>
void launchImplicit(const Implicit<T>& p, bool quads, int groups) {
  // The first class is the largest.
  const std::int64_t height = p.backward ? (p.h.x + p.h.stride - 1) / p.h.stride : p.h.y;
  const std::int64_t width = p.backward ? (p.w.x + p.w.stride - 1) / p.w.stride : p.w.y;
  const std::int64_t pixels = p.samples * height * width;
  const int classes = p.backward ? p.h.classes() * p.w.classes() : 1;
  if (pixels == 0 || p.columns == 0) return;
  if constexpr (std::is_same_v<T, double>) {
    launchTile<Tile<double, 64, 32, 8, 2, 1>>(p, quads, pixels, classes, groups);
  } else {
    const std::int64_t large = (pixels + 127) / 128 * ((p.columns + 127) / 128) * classes * groups;
    if (p.columns <= 32)
      launchTile<Tile<float, 128, 32, 16, 2, 1>>(p, quads, pixels, classes, groups);
    else if (p.columns <= 64 || large < kEnoughBlocks)
      launchTile<Tile<float, 64, 64, 16, 2, 1>>(p, quads, pixels, classes, groups);
    else
      launchTile<Tile<float, 128, 128, 8, 2, 2>>(p, quads, pixels, classes, groups);
  }
}

template void launchImplicit<float>(const Implicit<float>&, bool, int);
template void launchImplicit<double>(const Implicit<double>&, bool, int);

}  // namespace gyrus::cuda
