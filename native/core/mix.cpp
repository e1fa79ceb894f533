#include "core/mix.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/philox.h"

namespace gyrus {
namespace {

enum Purpose : std::uint32_t { kShare = 1, kBox = 2, kPartner = 3 };

struct Words {
  std::uint32_t word[4];
  // In (0, 1).
  double uniform(int i) const { return (static_cast<double>(word[i]) + 0.5) * 0x1p-32; }
  std::int64_t below(int i, std::int64_t n) const {
    return static_cast<std::int64_t>(word[i] * static_cast<std::uint64_t>(n) >> 32);
  }
};

Words draw(const Mix& mix, std::uint32_t epoch, std::int64_t place, Purpose purpose) {
  const auto at = static_cast<std::uint64_t>(place);
  const std::uint32_t counter[4] = {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32), epoch,
                                    purpose};
  Words words;
  Philox::block(mix.key, counter, words.word);
  return words;
}

// Pastes a random box of `from` into `to`, of the area 1 - share where it isn't cut off by the edges. Returns what is
// left of `to`.
double paste(const Mix& mix, double share, const Words& words, const float* from, float* to) {
  const double side = std::sqrt(1 - share);
  const auto span = [&](std::int64_t extent, std::int64_t centre) {
    const auto length = static_cast<std::int64_t>(static_cast<double>(extent) * side);
    const std::int64_t begin = centre - length / 2;
    return std::pair{std::max<std::int64_t>(0, begin), std::min(extent, begin + length)};
  };
  const auto [top, bottom] = span(mix.height, words.below(0, mix.height));
  const auto [left, right] = span(mix.width, words.below(1, mix.width));
  for (std::int64_t i = top; i < bottom; ++i) {
    const std::int64_t at = (i * mix.width + left) * mix.channels;
    std::copy_n(from + at, (right - left) * mix.channels, to + at);
  }
  const auto area = static_cast<double>((bottom - top) * (right - left));
  return 1 - area / static_cast<double>(mix.height * mix.width);
}

}  // namespace

double symmetricBeta(double alpha, double u, double v) {
  const double cosine = std::cos(2 * std::numbers::pi * v);
  // t^2 / (2 alpha) of a t-distributed number with 2 alpha degrees of freedom; infinite for a small alpha.
  const double square = (std::pow(u, -1 / alpha) - 1) * cosine * cosine;
  return 0.5 + std::copysign(0.5 / std::sqrt(1 + 1 / square), cosine);
}

double remixShare(const Mix& mix, double share, std::int64_t first, std::int64_t second) {
  const double ratio = static_cast<double>(first) / static_cast<double>(second);
  if (ratio >= mix.kappa && share < mix.tau) return 0;
  if (ratio <= 1 / mix.kappa && 1 - share < mix.tau) return 1;
  return share;
}

void mixRows(const Mix& mix, const ClassCounts& counts, std::uint32_t epoch, std::int64_t place, std::vector<float>& x,
             std::vector<std::int32_t>& y, std::vector<std::int32_t>& other, std::vector<float>& share,
             std::vector<float>& scratch) {
  const std::size_t rows = y.size();
  other = y;
  share.assign(rows, 1);
  if (static_cast<std::int64_t>(epoch) >= mix.epochs) return;
  const std::size_t features = x.size() / rows;
  scratch = x;
  std::vector<std::size_t> partner(rows);
  std::iota(partner.begin(), partner.end(), std::size_t{0});
  const auto at = [&](std::size_t i) { return place + static_cast<std::int64_t>(i); };
  for (std::size_t i = rows - 1; i > 0; --i) {
    const std::int64_t j = draw(mix, epoch, at(i), kPartner).below(0, static_cast<std::int64_t>(i) + 1);
    std::swap(partner[i], partner[static_cast<std::size_t>(j)]);
  }
  const std::vector<std::int32_t> labels = y;
  for (std::size_t i = 0; i < rows; ++i) {
    const Words words = draw(mix, epoch, at(i), kShare);
    if (words.uniform(2) >= mix.probability || partner[i] == i) continue;
    double left = symmetricBeta(mix.alpha, words.uniform(0), words.uniform(1));
    const float* second = scratch.data() + partner[i] * features;
    float* out = x.data() + i * features;
    other[i] = labels[partner[i]];
    if (mix.kind == Mix::Kind::CutMix) {
      left = paste(mix, left, draw(mix, epoch, at(i), kBox), second, out);
    } else {
      const auto a = static_cast<float>(left), b = static_cast<float>(1 - left);
      for (std::size_t j = 0; j < features; ++j) out[j] = a * out[j] + b * second[j];
      if (mix.kind == Mix::Kind::Remix) left = remixShare(mix, left, counts.at(labels[i]), counts.at(other[i]));
    }
    if (left < 0.5) {
      std::swap(y[i], other[i]);
      left = 1 - left;
    }
    share[i] = static_cast<float>(left);
  }
}

}  // namespace gyrus
