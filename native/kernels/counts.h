// Counts of active neurons among the last inputs of a call, where the record has no flag for them.
//   random: the numbers are those of a y [..., count], the other columns become 0
//   gateStats: the sums of units beyond the count stay as they are
//   layerNorm, layerNormGrad: statistics and sums are over the first channels; what belongs to the others becomes 0,
//   and
//     so do mean and rstd where none is left
//   gradNorm: the record has two numbers per gradient, which of the inputs behind the gradients count its rows and its
//     columns, 0 for all; beyond a count a gradient is 0
// A count is an i32 [1], held to 0..extent.
#pragma once
#include "kernels/active.h"

namespace gyrus {

// The count behind the first n inputs of a call; null where there is none.
inline const View* countBehind(const Args& args, int n) { return args.inputs > n ? args.in + n : nullptr; }

// The operands of gateStats, cut down to the active units. For views that the host can read.
struct ActiveUnits {
  View stats, a, g;

  explicit ActiveUnits(const Args& args) : stats(args.out[0]), a(args.in[0]), g(args.in[1]) {
    const View* const count = countBehind(args, 3);
    if (!count) return;
    const std::int64_t n = activeCount(*count, a.shape[1]);
    for (View* v : {&stats, &a, &g}) *v = leadingBlock(*v, 1, n);
  }
};

// The channels of x [R, C], as large as the first output, that count: those of the count behind the first n inputs, or
// all. For views that the host can read.
struct ActiveChannels {
  std::int64_t count;
  bool counted;

  ActiveChannels(const Args& args, int n) : count(args.out[0].shape[1]), counted(args.inputs > n) {
    if (counted) count = activeCount(args.in[n], count);
  }
  View of(const View& v) const { return counted ? leadingBlock(v, v.rank - 1, count) : v; }
};

// How many of the inputs of gradNorm are gradients.
inline int gradientsOf(const Args& args) { return args.numbers > 0 ? args.numbers / 2 : args.inputs; }

// Its gradients, each cut down to its active block. For views that the host can read.
Args activeGradients(const Args& args);

}  // namespace gyrus
