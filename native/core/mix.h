// Mixing of the rows of a batch with each other and of their labels: mixup (Zhang et al. 2018), Remix (Chou et al.
// 2020) and CutMix (Yun et al. 2019). Everything is drawn by key, epoch and place in it.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace gyrus {

struct Mix {
  enum class Kind : std::uint8_t { Mixup, Remix, CutMix };

  Kind kind = Kind::Mixup;
  double alpha = 1;        // shares are drawn from Beta(alpha, alpha)
  double probability = 1;  // of a row to be mixed
  // Remix: from a ratio of class sizes of kappa on, the rarer label takes all where its share is above 1 - tau.
  double kappa = 3, tau = 0.5;
  std::int64_t epochs = 0;                           // the first epochs, which are mixed
  std::int64_t height = 0, width = 0, channels = 0;  // CutMix: of a picture
  std::uint32_t key[2] = {0, 0};
};

using ClassCounts = std::unordered_map<std::int32_t, std::int64_t>;

// A number of Beta(alpha, alpha) from two uniform numbers in (0, 1), by Student's t. Source: Devroye 1996, "Random
// variate generation in one line of code".
double symmetricBeta(double alpha, double u, double v);

// Remix's share of the first label, for a share of the first row and the sizes of both classes.
double remixShare(const Mix& mix, double share, std::int64_t first, std::int64_t second);

// x [rows, features] and y [rows] become mixed, with second labels `other` [rows] and shares [rows] of the labels in y,
// which are those of the larger share. `place` is that of the first row in the epoch; `scratch` keeps its memory.
void mixRows(const Mix& mix, const ClassCounts& counts, std::uint32_t epoch, std::int64_t place, std::vector<float>& x,
             std::vector<std::int32_t>& y, std::vector<std::int32_t>& other, std::vector<float>& share,
             std::vector<float>& scratch);

}  // namespace gyrus
