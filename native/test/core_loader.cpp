// Loader: rows, order, epochs given up half-way, disposal.
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {
Loader::Data rows(std::int64_t n) {
  Loader::Data d;
  d.rows = n;
  d.features = 3;
  d.scale = 0.5;
  d.shift = 1;
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
