// The random stream as kernels see it: the state lies on the device and moves on there, in the order of the stream, so
// that a captured graph draws new numbers at each replay.
#pragma once
#include "core/philox.h"
#include "core/view.h"
#include "cuda/runtime.h"

namespace gyrus::cuda {

// Four i32: a 64-bit seed, then a 64-bit block counter, low words first.
struct RandomState {
  std::int32_t* words;
  std::int64_t stride;

  RandomState() = default;
  explicit RandomState(const View& v) : words(v.as<std::int32_t>()), stride(v.stride[0]) {}
  __device__ std::uint32_t word(int i) const { return static_cast<std::uint32_t>(words[i * stride]); }
  __device__ void setCounter(std::uint64_t counter) const {
    words[2 * stride] = static_cast<std::int32_t>(static_cast<std::uint32_t>(counter));
    words[3 * stride] = static_cast<std::int32_t>(static_cast<std::uint32_t>(counter >> 32));
  }
};

// The words of one call, read from the state before it moves on.
struct RandomWords {
  std::uint32_t key[2];
  std::uint64_t counter;

  __device__ explicit RandomWords(const RandomState& s)
      : key{s.word(0), s.word(1)}, counter(s.word(2) | std::uint64_t{s.word(3)} << 32) {}
  __device__ void block(std::uint64_t number, std::uint32_t (&out)[4]) const {
    const std::uint64_t c = counter + number;
    const std::uint32_t at[4] = {static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0, 0};
    Philox::block(key, at, out);
  }
  __device__ std::uint32_t word(std::uint64_t i) const {
    std::uint32_t w[4];
    block(i / 4, w);
    const std::uint32_t low = i & 1 ? w[1] : w[0], high = i & 1 ? w[3] : w[2];
    return i & 2 ? high : low;
  }
};

// Moves the state on by `words` words once everything launched before has read it.
void advance(const RandomState& state, std::uint64_t words);

}  // namespace gyrus::cuda
