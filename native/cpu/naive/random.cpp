// Naive random kernels and the values of the random streams (random_block.h).
#include <cmath>
#include <cstdint>

#include "core/philox.h"
#include "cpu/families.h"
#include "cpu/naive/random_block.h"
#include "cpu/naive/strided.h"
#include "kernels/indices.h"

namespace gyrus::cpu::naive {

namespace {
std::uint32_t stateWord(const View& state, int i) {
  return static_cast<std::uint32_t>(state.as<std::int32_t>()[i * state.stride[0]]);
}
void blockAt(const Stream& s, std::uint64_t block, std::uint32_t out[4]) {
  const std::uint64_t c = s.counter + block;
  const std::uint32_t counter[4] = {static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0, 0};
  Philox::block(s.key, counter, out);
}
}  // namespace

Stream::Stream(const View& state)
    : key{stateWord(state, 0), stateWord(state, 1)},
      counter(stateWord(state, 2) | std::uint64_t{stateWord(state, 3)} << 32),
      state_(state) {}

void Stream::load(std::uint64_t block) {
  if (any_ && block == loaded_) return;
  blockAt(*this, block, words_);
  loaded_ = block;
  any_ = true;
}

std::uint32_t Stream::word(std::uint64_t i) {
  load(i / 4);
  return words_[i % 4];
}

void Stream::advance(std::uint64_t words) {
  const std::uint64_t next = counter + (words + 3) / 4;
  state_.as<std::int32_t>()[2 * state_.stride[0]] = static_cast<std::int32_t>(static_cast<std::uint32_t>(next));
  state_.as<std::int32_t>()[3 * state_.stride[0]] = static_cast<std::int32_t>(static_cast<std::uint32_t>(next >> 32));
}

namespace {

// 24 bits, in [0, 1)
double unit(std::uint32_t w) { return static_cast<double>(w >> 8) * 0x1p-24; }

// Rounding may reach b, which is outside [a, b).
template <class T>
T below(T y, T b, T a) {
  return y >= b && a < b ? std::nextafter(b, a) : y;
}

template <class T>
void rangeOf(const RandomParams& p, const Stream& stream, T* y, std::int64_t from, std::int64_t to) {
  const auto kind = static_cast<RandomKind>(static_cast<int>(p.kind));
  const T on = static_cast<T>(p.b);
  for (std::int64_t i = from; i < to; i += 4) {
    std::uint32_t w[4];
    blockAt(stream, static_cast<std::uint64_t>(i) / 4, w);
    T v[4];
    if (kind == RandomKind::Uniform) {
      for (int k = 0; k < 4; ++k)
        v[k] = below(static_cast<T>(p.a + (p.b - p.a) * unit(w[k])), static_cast<T>(p.b), static_cast<T>(p.a));
    } else if (kind == RandomKind::Bernoulli) {
      for (int k = 0; k < 4; ++k) v[k] = unit(w[k]) < p.a ? on : T(0);
    } else {
      // Box-Muller; the radius takes all 32 bits, in (0, 1], so the tail reaches 6.6 standard deviations.
      for (int k = 0; k < 4; k += 2) {
        const double radius = p.b * std::sqrt(-2 * std::log((static_cast<double>(w[k]) + 1) * 0x1p-32));
        const double angle = 6.28318530717958647693 * (static_cast<double>(w[k + 1]) * 0x1p-32);
        v[k] = static_cast<T>(p.a + radius * std::cos(angle));
        v[k + 1] = static_cast<T>(p.a + radius * std::sin(angle));
      }
    }
    for (int k = 0; k < 4 && i + k < to; ++k) y[i + k] = v[k];
  }
}

template <class T>
void randomRows(const RandomParams& p, const Stream& stream, T* y, const ActiveDraw& draw, const Args& args) {
  const std::int64_t n = draw.rows * draw.active;
  if (draw.active == draw.cols) return randomRange(p, stream, y, 0, n);
  T* line = args.scratch->array<T>(n);
  randomRange(p, stream, line, 0, n);
  draw.spread(line, y, 0, draw.rows);
}

// y T contiguous, inout state
void random(const Args& args) {
  const auto& p = args.as<RandomParams>();
  const View& y = args.out[0];
  const ActiveDraw draw(args);
  Stream stream(args.out[1]);
  if (y.dtype == DType::F64)
    randomRows(p, stream, y.as<double>(), draw, args);
  else
    randomRows(p, stream, y.as<float>(), draw, args);
  stream.advance(static_cast<std::uint64_t>(draw.rows * draw.active));
}

// y i32 [n], inout state;  Fisher-Yates from the end, one word per swap
void permutation(const Args& args) {
  const View& y = args.out[0];
  const std::int64_t n = y.shape[0], stride = y.stride[0];
  auto* p = y.as<std::int32_t>();
  Stream stream(args.out[1]);
  for (std::int64_t i = 0; i < n; ++i) p[i * stride] = static_cast<std::int32_t>(i);
  for (std::int64_t i = n - 1; i > 0; --i) {
    const std::uint64_t w = stream.word(static_cast<std::uint64_t>(n - 1 - i));
    const std::int64_t j = static_cast<std::int64_t>(w * static_cast<std::uint64_t>(i + 1) >> 32);
    const std::int32_t swapped = p[i * stride];
    p[i * stride] = p[j * stride];
    p[j * stride] = swapped;
  }
  stream.advance(static_cast<std::uint64_t>(n));
}

// y i32 [R, S], inout state <- weights T [R, C]
void categorical(const Args& args) {
  const View &y = args.out[0], &weights = args.in[0];
  const std::int64_t rows = y.shape[0], draws = y.shape[1], classes = weights.shape[1];
  double* cdf = args.scratch->array<double>(classes);
  Stream stream(args.out[1]);
  for (std::int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const double w = fetch(weights, r * weights.stride[0] + c * weights.stride[1]);
      if (!(w >= 0)) throwBadWeights("categorical", r);
      cdf[c] = sum += w;
    }
    if (!(sum > 0 && std::isfinite(sum))) throwBadWeights("categorical", r);
    categoricalRange(stream, cdf, classes, y.as<std::int32_t>() + r * y.stride[0], y.stride[1], r * draws,
                     (r + 1) * draws);
  }
  stream.advance(static_cast<std::uint64_t>(rows * draws));
}

}  // namespace

void randomRange(const RandomParams& p, const Stream& stream, float* y, std::int64_t from, std::int64_t to) {
  rangeOf(p, stream, y, from, to);
}
void randomRange(const RandomParams& p, const Stream& stream, double* y, std::int64_t from, std::int64_t to) {
  rangeOf(p, stream, y, from, to);
}

void categoricalRange(Stream stream, const double* cdf, std::int64_t classes, std::int32_t* y, std::int64_t stride,
                      std::int64_t from, std::int64_t to) {
  const double total = cdf[classes - 1];
  for (std::int64_t i = from; i < to; ++i) {
    const double target = static_cast<double>(stream.word(static_cast<std::uint64_t>(i))) * 0x1p-32 * total;
    // The first class whose running sum exceeds the target: a class of weight 0 is never drawn.
    std::int64_t low = 0, high = classes - 1;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (cdf[middle] > target || cdf[middle] >= total)
        high = middle;
      else
        low = middle + 1;
    }
    y[(i - from) * stride] = static_cast<std::int32_t>(low);
  }
}

void registerRandom(KernelTable& t) {
  t.set(Op::Random, random);
  t.set(Op::Permutation, permutation);
  t.set(Op::Categorical, categorical);
}

}  // namespace gyrus::cpu::naive
