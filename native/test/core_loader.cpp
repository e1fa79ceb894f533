// Loader: rows, order, epochs given up half-way, disposal.
#include "core/philox.h"
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {
Loader::Data rows(std::int64_t n) {
  Loader::Data d;
  d.rows = n;
  d.features = 3;
  d.scale = {0.5f};
  d.shift = {1};
  for (std::int64_t i = 0; i < n * 3; ++i) d.bytes.push_back(static_cast<std::uint8_t>(i));
  for (std::int64_t i = 0; i < n; ++i) d.labels.push_back(static_cast<std::int32_t>(i));
  return d;
}

std::int32_t label(TestDevice& d, const Device::Batch& b) {
  std::int32_t v = -1;
  d.readSync(b.y, 0, &v, 4);
  d.release(b.x);
  d.release(b.y);
  return v;
}
}  // namespace

TEST_CASE("loader: batches in order, scaled, with the odd rest") {
  TestDevice d;
  const auto l = d.createLoader(rows(7), 2);
  CHECK(codeOf([&] { d.nextBatch(l); }) == Code::Config);
  l->start({6, 5, 4, 3, 2}, 2, false);
  std::vector<std::int64_t> sizes;
  std::vector<std::int32_t> labels;
  while (const auto b = d.nextBatch(l)) {
    float x[3];
    d.readSync(b->x, 0, x, sizeof x);
    sizes.push_back(b->rows);
    labels.push_back(label(d, *b));
    CHECK(x[2] == static_cast<float>(labels.back() * 3 + 2) * 0.5f + 1);
  }
  CHECK(sizes == std::vector<std::int64_t>{2, 2, 1});
  CHECK(labels == std::vector<std::int32_t>{6, 4, 2});
  CHECK_FALSE(d.nextBatch(l));
  l->start({0, 1, 2}, 2, true);
  CHECK(d.nextBatch(l)->rows == 2);
  CHECK_FALSE(d.nextBatch(l));
  CHECK(codeOf([&] { l->start({0, 7}, 1, false); }) == Code::Config);
  CHECK(codeOf([&] { l->start({-1}, 1, false); }) == Code::Config);
}

TEST_CASE("loader: a new epoch drops what was prefetched, not what was handed out") {
  TestDevice d;
  const auto l = d.createLoader(rows(7), 3);
  for (int round = 0; round < 30; ++round) {
    l->start({0, 1, 2, 3, 4, 5}, 1, false);
    const auto a = d.nextBatch(l), b = d.nextBatch(l);
    l->start({6, 5}, 1, false);
    const auto c = d.nextBatch(l);
    CHECK(label(d, *c) == 6);
    CHECK(label(d, *b) == 1);
    CHECK(label(d, *a) == 0);
  }
}

TEST_CASE("loader: disposal lets batches under way arrive; a device's disposal ends all waiting") {
  TestDevice d;
  auto l = d.createLoader(rows(7), 1);
  l->start({0, 1, 2, 3}, 1, false);
  const auto a = d.nextBatch(l), b = d.nextBatch(l);
  l->dispose();
  CHECK(codeOf([&] { d.nextBatch(l); }) == Code::Disposed);
  CHECK(label(d, *b) == 1);
  CHECK(label(d, *a) == 0);
  auto m = d.createLoader(rows(7), 1);
  m->start({0, 1, 2, 3}, 1, false);
  for (int i = 0; i < 4; ++i) d.nextBatch(m);
  d.dispose();
}

TEST_CASE(
    "loader: pictures are shifted, mirrored and normalised by channel, the same for any batches and any beginning") {
  const std::int64_t n = 20, H = 3, W = 5, C = 2;
  for (const bool bytes : {true, false}) {
    Loader::Data data;
    data.rows = n;
    data.features = H * W * C;
    for (std::int64_t i = 0; i < n * data.features; ++i) {
      data.bytes.push_back(static_cast<std::uint8_t>(i * 7 + 1));
      data.labels.resize(static_cast<std::size_t>(n));
    }
    const std::vector<std::uint8_t> source = data.bytes;
    if (!bytes) {
      data.floats.assign(source.begin(), source.end());
      data.bytes.clear();
    }
    data.scale = {0.5f, 2};
    data.shift = {1, -3};
    data.augment = Loader::Augment{H, W, C, 2, 0.5, {11, 12}};
    std::vector<std::int32_t> order;
    for (std::int32_t i = 0; i < n; ++i) order.push_back((i * 7) % n);
    TestDevice d;
    const auto l = d.createLoader(data, 3);
    // All pictures of an epoch from place `first` on.
    const auto take = [&](std::uint32_t epoch, std::int64_t batch, std::int64_t first) {
      l->start({order.begin() + first, order.end()}, batch, false, epoch, first);
      std::vector<float> all;
      while (const auto b = d.nextBatch(l)) {
        std::vector<float> x(static_cast<std::size_t>(b->rows * data.features));
        d.readSync(b->x, 0, x.data(), x.size() * sizeof(float));
        all.insert(all.end(), x.begin(), x.end());
        label(d, *b);
      }
      return all;
    };
    const std::vector<float> all = take(4, 6, 0);
    CHECK(all == take(4, 20, 0));
    CHECK(all != take(5, 6, 0));
    CHECK(std::vector<float>(all.begin() + 7 * data.features, all.end()) == take(4, 3, 7));

    // Against the definition, with the words of the stream.
    int mirrored = 0, shifted = 0;
    bool right = true;
    for (std::int64_t k = 0; k < n; ++k) {
      const std::uint32_t counter[4] = {static_cast<std::uint32_t>(k), 0, 4, 0};
      std::uint32_t words[4];
      Philox::block(data.augment->key, counter, words);
      const Crop crop = drawCrop(2, 0.5, words);
      mirrored += crop.mirrored;
      shifted += crop.down != 0 || crop.right != 0;
      for (std::int64_t i = 0; i < H; ++i)
        for (std::int64_t j = 0; j < W; ++j)
          for (std::int64_t c = 0; c < C; ++c) {
            const std::int64_t r = i + crop.down, s = (crop.mirrored ? W - 1 - j : j) + crop.right;
            const auto at = static_cast<std::size_t>(((order[static_cast<std::size_t>(k)] * H + r) * W + s) * C + c);
            const float raw = r >= 0 && r < H && s >= 0 && s < W ? source[at] : 0;
            right &=
                all[static_cast<std::size_t>(((k * H + i) * W + j) * C + c)] == raw * (c ? 2 : 0.5f) + (c ? -3 : 1);
          }
    }
    CHECK(right);
    CHECK(mirrored > 2);
    CHECK(mirrored < 18);
    CHECK(shifted > 10);
  }
}
