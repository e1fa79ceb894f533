// The gate scores, shared by linearGradInput's score epilogue and gateStats.
#pragma once
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {

// stats f32 [C + 4, K], a [M, K], g [M, K], labels i32 [M / positions]; see GateStatsParams.
template <class T>
void accumulateGate(const char* op, const View& stats, const View& a, const View& g, const View& labels, double scale,
                    std::int64_t positions = 1);

}  // namespace gyrus::cpu::naive
