// What the naive and the vector kernels for pictures have in common: where a resized pixel lies, and what a sample of
// augment drew. Compiled once, so every instruction set has the same values.
#pragma once
#include <cstdint>

#include "core/crop.h"
#include "cpu/naive/random_block.h"

namespace gyrus::cpu::naive {

// Output pixel i lies between input pixels low and high, at `part` of the way.
struct Place {
  std::int64_t low, high;
  double part;
};
Place placeOf(std::int64_t i, std::int64_t from, std::int64_t to);

// What sample b draws.
Crop cropOf(const AugmentParams& p, Stream& stream, std::int64_t b);

}  // namespace gyrus::cpu::naive
