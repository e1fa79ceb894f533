// The values of a random stream, compiled once for all instruction sets: whatever computes a part of a stream calls
// these, so the bits are the same everywhere and for any cut into chunks.
#pragma once
#include <cstdint>

#include "kernels/counts.h"

namespace gyrus::cpu::naive {

// The generator's state tensor (i32 [4]): a 64-bit seed, then a 64-bit block counter, low words first.
class Stream {
 public:
  explicit Stream(const View& state);
  // Word number i of the call.
  std::uint32_t word(std::uint64_t i);
  // Writes back counter + ceil(words / 4).
  void advance(std::uint64_t words);

  std::uint32_t key[2];
  std::uint64_t counter;

 private:
  void load(std::uint64_t block);
  View state_;
  std::uint64_t loaded_ = 0;
  bool any_ = false;
  std::uint32_t words_[4] = {};
};

// Elements [from, to) of a call on RandomParams; `from` is a multiple of 4, y points at element 0.
void randomRange(const RandomParams& p, const Stream& stream, float* y, std::int64_t from, std::int64_t to);
void randomRange(const RandomParams& p, const Stream& stream, double* y, std::int64_t from, std::int64_t to);

// The columns of y that RandomParams draws: those that a count says, or all.
struct ActiveDraw {
  std::int64_t rows, cols, active;

  explicit ActiveDraw(const Args& args) {
    const View& y = args.out[0];
    cols = y.rank > 0 ? y.shape[y.rank - 1] : 1;
    rows = cols > 0 ? y.size() / cols : 0;
    const View* const count = countBehind(args, 0);
    active = count ? activeCount(*count, cols) : cols;
  }

  // Rows [from, to) of y <- the numbers of the active columns; the others become 0.
  template <class T>
  void spread(const T* line, T* y, std::int64_t from, std::int64_t to) const {
    for (std::int64_t r = from; r < to; ++r)
      for (std::int64_t c = 0; c < cols; ++c) y[r * cols + c] = c < active ? line[r * active + c] : T(0);
  }
};

// Draws [from, to) (element numbers r*S + s) of one row of weights, by its running sum `cdf` [C].
void categoricalRange(Stream stream, const double* cdf, std::int64_t classes, std::int32_t* y, std::int64_t stride,
                      std::int64_t from, std::int64_t to);

}  // namespace gyrus::cpu::naive
