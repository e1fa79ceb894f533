// Gate scores: sums over the samples of |a g| per class and of |a|, a, (a == 0), (a g)^2, per unit. Either in a pass
// over a and the gradient g, which is gateStats, or by the kernel that makes g (gate_tile.cuh), where that moves fewer
// bytes. The two add in different orders; each is the same from run to run.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

constexpr std::int64_t kGateTotals = 4;  // the rows of stats below those of the classes

template <class T>
struct TileGate;

// stats f32 [C + 4, K] <- a T [..., K], labels i32 [samples], and a gradient like a; see GateStatsParams. `active`
// counts the columns that are added, null for all. LabelOutOfRange is raised in the name of `op`.
struct Gate {
  Op op;
  const View &stats, &a, &labels;
  double scale;
  const int* active = nullptr;

  std::int64_t samples() const { return labels.rank > 0 ? labels.shape[0] : 1; }
  std::int64_t classes() const { return stats.shape[0] - kGateTotals; }
};

// The pass of its own. A sample is `positions` rows of a and g.
void accumulateGate(const Args& args, const Gate& gate, const View& g, std::int64_t positions);

// Whether a kernel that makes g [samples, K] in tiles of some rows should add the scores too, rather than a pass. That
// reads g again, `samples` numbers a column; sums of parts, of tiles below each other or of the pass's slices, are
// classes + 4 numbers a column each, written and read. Tiles have room for kMostTileClasses.
bool gatePaysByTiles(std::int64_t samples, std::int64_t classes, std::int64_t rowsPerTile);

// Classes that a tile takes at most: their sums and a tile of 128 x 128 fit in the 64 KiB of compute capability 7.5.
constexpr std::int64_t kMostTileClasses = 56;

// Sets what the kernel needs for it, and takes the scratch.
template <class T>
TileGate<T> gateTiles(const Args& args, const Gate& gate, std::int64_t rowsPerTile);

// Behind that kernel: adds what tiles below each other have left.
template <class T>
void addGateTiles(const Gate& gate, std::int64_t rowsPerTile, const TileGate<T>& tiles);

}  // namespace gyrus::cuda
