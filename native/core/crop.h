// What the augmentation of a picture draws: a shift and a mirror image, from words of the random stream. Written once,
// for the op on every device and for the loader.
#pragma once
#include <cstdint>

namespace gyrus {

// Pixel (i, j) of the result is pixel (i + down, (mirrored ? width - 1 - j : j) + right), or 0 outside.
struct Crop {
  std::int64_t down, right;
  bool mirrored;
};

// Shifts from -padding to padding, mirrored with probability flip.
constexpr Crop drawCrop(std::int64_t padding, double flip, const std::uint32_t words[3]) {
  const auto shift = [&](std::uint64_t word) {
    return static_cast<std::int64_t>(word * static_cast<std::uint64_t>(2 * padding + 1) >> 32) - padding;
  };
  return {shift(words[0]), shift(words[1]), static_cast<double>(words[2]) * 0x1p-32 < flip};
}

}  // namespace gyrus
