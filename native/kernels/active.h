// Axes of neurons of which the first few are active, as a count i32 [1] says. For kernels whose views the host can
// read. Compiled once, like the rest of this folder.
#pragma once
#include <cstdint>

#include "kernels/contract.h"

namespace gyrus {

// The count, held to 0..size.
std::int64_t activeCount(const View& count, std::int64_t size);

// The first n along an axis of v.
View leadingBlock(View v, int axis, std::int64_t n);

// A call of an optimiser, whose record has `fixed` numbers before the weight decays and `per` outputs per parameter,
// with every parameter cut down to its active block. The call itself where nothing is counted.
Args activeBlocks(const Args& args, int fixed, int per);

// A call whose last input is a count, with the last axis of everything else cut down to it.
Args activeColumns(const Args& args);

}  // namespace gyrus
