// Gate scores: sums over the samples of |a g| per class and of |a|, a, (a == 0), (a g)^2, per unit. Used by gateStats
// and behind the gradients that linearGradInput and conv2dGradInput have just stored, so that all give the same bits.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

// stats f32 [C + 4, K] <- a, g T [..., K], labels i32 [samples]; see GateStatsParams. A sample is `positions` rows of a
// and g. `active` counts the columns that are added, null for all. Raises LabelOutOfRange.
void accumulateGate(Op op, const Args& args, const View& stats, const View& a, const View& g, const View& labels,
                    double scale, std::int64_t positions, const int* active = nullptr);

}  // namespace gyrus::cuda
