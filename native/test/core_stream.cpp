// Stream: order, draining, backpressure, sticky errors, completions, disposal with work queued.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/host_memory.h"
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

TEST_CASE("stream: calls, writes and reads in order") {
  TestDevice d;
  const double x = d.alloc(64);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> data(16, static_cast<float>(round));
    d.write(x, 0, data.data(), 64);
    const double y = d.twice(x, 16), z = d.twice(y, 16);
    data.assign(16, -100.f);
    d.write(x, 0, data.data(), 4);
    d.release(y);
    CHECK(d.first(z) == 4.f * static_cast<float>(round));
    d.release(z);
  }
  CHECK(d.memory().buffers == 1);
}

TEST_CASE("stream: a small queue holds the producer up and loses nothing") {
  Stream::Options options;
  options.maxCalls = 3;
  options.maxBytes = 100;
  TestDevice d(options);
  const double x = d.alloc(64), y = d.alloc(64);
  d.fill(x, 16, -1);
  for (int i = 0; i < 40; ++i) {
    std::vector<float> data(16, static_cast<float>(-i - 1));
    d.twice(x, 16, y);
    d.write(x, 0, data.data(), 64);
    CHECK(d.memory().queued <= 3);
  }
  d.twice(x, 16, y);
  CHECK(d.first(y) == -80.f);
}

TEST_CASE("stream: the first error sticks, calls are skipped, writes happen, it is reported once") {
  TestDevice d;
  const double x = d.alloc(64);
  d.fill(x, 16, 1);
  d.broken(x, 16);
  d.fill(x, 16, 2);
  float v = 5;
  d.write(x, 4, &v, 4);
  std::string what;
  try {
    d.sync();
  } catch (const Error& e) {
    what = e.what();
    CHECK(e.code() == Code::Shape);
  }
  CHECK(what == "copy: broken on purpose");
  d.sync();
  float out[2];
  d.readSync(x, 0, out, 8);
  CHECK(out[0] == 1);
  CHECK(out[1] == 5);
}

TEST_CASE("stream: asynchronous reads and fences") {
  TestDevice d;
  const double x = d.fill(0, 16, 3);
  std::atomic<int> done{0};
  float seen = 0;
  d.read(x, 0, 4, [&](const Error* e, std::unique_ptr<char[]> data) {
    if (!e) std::memcpy(&seen, data.get(), 4);
    ++done;
  });
  d.fill(x, 16, 4);
  d.broken(x, 16);
  bool failed = false;
  d.fence([&](const Error* e, std::unique_ptr<char[]>) {
    failed = e != nullptr;
    ++done;
  });
  while (done < 2) std::this_thread::yield();
  CHECK(seen == 3);
  CHECK(failed);
  d.sync();
}

TEST_CASE("stream: disposing with work queued settles every completion and refuses later calls") {
  TestDevice d;
  const double x = d.fill(0, 16, -1);
  std::atomic<int> settled{0};
  for (int i = 0; i < 20; ++i) {
    d.release(d.twice(x, 16));
    d.fence([&](const Error*, std::unique_ptr<char[]>) { ++settled; });
  }
  d.dispose();
  CHECK(settled == 20);
  CHECK(codeOf([&] { d.alloc(4); }) == Code::Disposed);
  CHECK(codeOf([&] { d.sync(); }) == Code::Disposed);
}

TEST_CASE("enqueue: without memory for an output the others are given back, whatever became of the command") {
  TestDevice d;
  const double x = d.fill(0, 16, -1), kept = d.alloc(64);
  d.sync();
  for (int round = 0; round < 3; ++round) {
    d.release(d.alloc(64));  // something to trim, for which the stream is drained
    for (int i = 0; i < 5; ++i) d.release(d.twice(x, 16));
    // Runs while the call waits for memory: another handle stands where the first output's would.
    const auto caller = std::this_thread::get_id();
    d.fence([&, caller](const Error*, std::unique_ptr<char[]>) {
      if (std::this_thread::get_id() == caller) std::fill(std::begin(d.command), std::end(d.command), kept);
    });
    const double n = std::floor(0.6 * static_cast<double>(memoryLimit()) / sizeof(float));
    CHECK(codeOf([&] { d.twoOutputs(x, n); }) == Code::OutOfMemory);
    d.sync();
    CHECK(d.memory().buffers == 2);
    CHECK(d.memory().bytesInUse == 128);
  }
  d.release(kept);  // still the buffer it was
  d.release(x);
}

TEST_CASE("enqueue: malformed commands are refused and leave nothing behind") {
  TestDevice d;
  const double x = d.alloc(64);
  const std::vector<std::vector<double>> bad = {
      {},
      {1, 2},
      {-1, 0, 0, 0},
      {1e9, 0, 0, 0},
      {std::nan(""), 0, 0, 0},
      {0, 1, 0, 1, 0, 0, 0, 9, 1, 1, 0},
      {0, 1, 0, 1, 0, 7, 0, 1, 4, 1, 0},
      {0, 1, 0, 1, 0, 0, -1, 1, 4, 1, 0},
      {0, 1, 0, 1, 0, 0, 0, 1, 4.5, 1, 0},
      {0, 1, 0, 1, 0, 0, 0, 1, 9e15, 1, 0},
      {0, 1, 0, 1, 0, 0, 0, 2, 9e15, 9e15, 9e15, 1, 0},
      {0, 1, 0, 1, x, 0, 1, 1, 16, 1, 0},
      {0, 1, 0, 1, x, 1, 0, 1, 16, 1, 0},
      {0, 1, 0, 1, x, 0, 0, 1, 16, 2, 0},
      {0, 1, 0, 1, x, 0, 0, 1, 16, 0, 0},
      {0, 1, 0, 1, x, 0, 0, 1, 16, 1},
      {0, 1, 0, 1, x, 0, 0, 1, 16, 1, 0, 0},
      {0, 1, 0, 1e9, x, 0, 0, 1, 16, 1, 0},
  };
  for (const auto& c : bad) {
    std::vector<double> copy = c;
    copy.resize(64, 0);
    INFO(c.size());
    CHECK_THROWS_AS(d.enqueue(copy.data(), c.size()), Error);
  }
  CHECK(d.memory().buffers == 1);
  CHECK(d.memory().queued == 0);
}
