// The pool: every chunk once, exceptions, nesting, two streams at once, changes of the thread count.
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/pool.h"
#include "vendor/doctest.h"

using namespace gyrus;

TEST_CASE("pool: every chunk runs once, for 1 to 8 threads") {
  const int before = Pool::threads();
  for (int n = 1; n <= 8; ++n) {
    Pool::setThreads(n);
    for (int round = 0; round < 50; ++round) {
      std::vector<int> hits(101, 0);
      parallelFor(101, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
      bool once = true;
      for (int h : hits) once = once && h == 1;
      REQUIRE(once);
    }
  }
  Pool::setThreads(before);
}

TEST_CASE("pool: the error of the lowest failing chunk is rethrown and the pool goes on") {
  Pool::setThreads(4);
  for (int round = 0; round < 50; ++round) {
    std::string what;
    try {
      parallelFor(64, [](std::int64_t i) {
        if (i % 7 == 3) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& e) {
      what = e.what();
    }
    CHECK(what == "3");
  }
  std::atomic<int> count{0};
  parallelFor(10, [&](std::int64_t) { ++count; });
  CHECK(count == 10);
}

TEST_CASE("pool: nested loops run inline") {
  Pool::setThreads(3);
  std::atomic<int> count{0};
  parallelFor(8, [&](std::int64_t) { parallelFor(8, [&](std::int64_t) { ++count; }); });
  CHECK(count == 64);
}

TEST_CASE("pool: two streams at once") {
  Pool::setThreads(2);
  std::atomic<std::int64_t> sum{0};
  auto stream = [&] {
    for (int round = 0; round < 300; ++round) parallelFor(16, [&](std::int64_t i) { sum += i; });
  };
  std::thread other(stream);
  stream();
  other.join();
  CHECK(sum == 2 * 300 * 120);
}

TEST_CASE("pool: released by the last user, started again by the next job") {
  Pool::setThreads(2);
  Pool::retain();
  std::atomic<int> count{0};
  parallelFor(4, [&](std::int64_t) { ++count; });
  Pool::release();
  parallelFor(4, [&](std::int64_t) { ++count; });
  CHECK(count == 8);
  CHECK_THROWS_AS(Pool::setThreads(0), Error);
  CHECK_THROWS_AS(Pool::setThreads(100000), Error);
}
