// Mixing of rows: shares by their distribution, Remix's rule, and batches against the definition.
#include <cmath>

#include "core/mix.h"
#include "core/philox.h"
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

TEST_CASE("mix: shares have mean, variance and quartiles of Beta(alpha, alpha)") {
  const std::uint32_t key[2] = {5, 6};
  // Quartile of Beta(alpha, alpha); for 0.5 it is sin^2(pi / 8), for 1 it is 1/4, for 2 the root of 3 x^2 - 2 x^3 =
  // 1/4.
  const struct { double alpha, quartile; } cases[] = {{0.5, 0.1464466}, {1, 0.25}, {2, 0.3263518}};
  for (const auto& [alpha, quartile] : cases) {
    const int n = 40000;
    double sum = 0, squares = 0;
    int below = 0;
    for (int i = 0; i < n; ++i) {
      const std::uint32_t counter[4] = {static_cast<std::uint32_t>(i), 0, 0, 0};
      std::uint32_t words[4];
      Philox::block(key, counter, words);
      const double share = symmetricBeta(alpha, (words[0] + 0.5) * 0x1p-32, (words[1] + 0.5) * 0x1p-32);
      CHECK(share >= 0);
      CHECK(share <= 1);
      sum += share;
      squares += (share - 0.5) * (share - 0.5);
      below += share < quartile;
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(variance / n));
    CHECK(squares / n == doctest::Approx(variance).epsilon(0.03));
    CHECK(std::abs(below / static_cast<double>(n) - 0.25) < 5 * std::sqrt(0.1875 / n));
  }
  // Where powers overflow and cosines vanish there are still numbers.
  CHECK(symmetricBeta(1e-12, 0.3, 0.1) == 1);
  CHECK(symmetricBeta(1e-12, 0.3, 0.4) == 0);
  CHECK(symmetricBeta(1e6, 0.3, 0.4) == doctest::Approx(0.5).epsilon(0.01));
  CHECK(std::isfinite(symmetricBeta(1, 0.5, 0.25)));
}

TEST_CASE("mix: Remix's labels lean to the rarer class") {
  Mix mix;
  mix.kappa = 3;
  mix.tau = 0.5;
  CHECK(remixShare(mix, 0.4, 30, 10) == 0);
  CHECK(remixShare(mix, 0.6, 30, 10) == 0.6);
  CHECK(remixShare(mix, 0.4, 29, 10) == 0.4);
  CHECK(remixShare(mix, 0.6, 10, 30) == 1);
  CHECK(remixShare(mix, 0.4, 10, 30) == 0.4);
  CHECK(remixShare(mix, 0.6, 10, 29) == 0.6);
}

TEST_CASE("mix: batches come with second labels and shares, the same for any prefetch") {
  Loader::Data data;
  data.rows = 50;
  data.features = 3;
  for (std::int32_t i = 0; i < 50; ++i) {
    for (int j = 0; j < 3; ++j) data.floats.push_back(static_cast<float>(i + 100 * j));
    data.labels.push_back(i);
  }
  data.mix = Mix{};
  data.mix->epochs = 2;
  data.mix->key[0] = 9;
  std::vector<std::int32_t> order;
  for (std::int32_t i = 0; i < 50; ++i) order.push_back((i * 7) % 50);
  TestDevice d;
  const auto take = [&](int prefetch, std::uint32_t epoch, std::int64_t first) {
    const auto l = d.createLoader(data, prefetch);
    l->start({order.begin() + first, order.end()}, 16, false, epoch, first);
    std::vector<float> all;
    bool right = true;
    while (const auto b = d.nextBatch(l)) {
      const auto n = static_cast<std::size_t>(b->rows);
      std::vector<float> x(n * 3), share(n);
      std::vector<std::int32_t> y(n), other(n);
      d.readSync(b->x, 0, x.data(), x.size() * 4);
      d.readSync(b->y, 0, y.data(), n * 4);
      d.readSync(b->other, 0, other.data(), n * 4);
      d.readSync(b->share, 0, share.data(), n * 4);
      for (const double handle : {b->x, b->y, b->other, b->share}) d.release(handle);
      for (std::size_t i = 0; i < n; ++i) {
        // Labels are row numbers, so they say what the row is made of.
        const float expected = share[i] * static_cast<float>(y[i]) + (1 - share[i]) * static_cast<float>(other[i]);
        right &= std::abs(x[3 * i] - expected) < 1e-3f && std::abs(x[3 * i + 2] - expected - 200) < 1e-2f;
        right &= share[i] >= 0.5f && share[i] <= 1;
      }
      all.insert(all.end(), x.begin(), x.end());
    }
    CHECK(right);
    return all;
  };
  const std::vector<float> all = take(3, 1, 0);
  CHECK(all == take(1, 1, 0));
  CHECK(all != take(3, 0, 0));
  CHECK(std::vector<float>(all.begin() + 32 * 3, all.end()) == take(2, 1, 32));
  const std::vector<float> late = take(2, 2, 0);
  for (std::size_t i = 0; i < 50; ++i) CHECK(late[3 * i] == static_cast<float>(order[i]));
  CHECK(d.memory().bytesInUse == 0);
}
