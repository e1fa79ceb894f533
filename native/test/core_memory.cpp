// Allocator, handles and scratch.
#include <cmath>
#include <limits>

#include "core/host_memory.h"
#include "core/scratch.h"
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

TEST_CASE("allocator: size classes grow by at most a quarter and hold what was asked") {
  for (std::size_t n = 0; n < 100000; n += 37) {
    const std::size_t c = Allocator::sizeClass(n);
    REQUIRE(c >= n);
    REQUIRE(c % 64 == 0);
    if (n > 1024) REQUIRE(c * 4 <= n * 5 + 256);
  }
}

TEST_CASE("allocator: every size class has a place of its own, in order") {
  std::size_t capacity = Allocator::sizeClass(0), index = Allocator::classIndex(capacity);
  CHECK(index == 0);
  for (int i = 0; i < 200; ++i) {
    const std::size_t next = Allocator::sizeClass(capacity + 1);
    REQUIRE(next > capacity);
    REQUIRE(Allocator::classIndex(next) == index + 1);
    capacity = next;
    ++index;
  }
}

TEST_CASE("allocator: aligned, slack behind, reused, counted") {
  HostMemory memory;
  Allocator a(memory);
  for (std::size_t n : {0u, 1u, 63u, 1000u, 70000u, 1u << 20, (5u << 20) + 1}) {
    Block* b = a.allocate(n);
    CHECK(reinterpret_cast<std::uintptr_t>(b->data) % 64 == 0);
    std::memset(b->data, 1, n);
    volatile char sum = 0;
    for (std::size_t i = n; i < n + 64; ++i) sum = static_cast<char>(sum + b->data[i] * 0);
    CHECK(a.bytesInUse() == n);
    char* data = b->data;
    a.release(b);
    CHECK(a.bytesInUse() == 0);
    Block* again = a.allocate(n);
    CHECK(again->data == data);
    a.release(again);
  }
  CHECK(a.bytesReserved() > 0);
  a.trim();
  CHECK(a.bytesReserved() == 0);
  CHECK(a.peakBytes() == (5u << 20) + 1);
}

TEST_CASE("allocator: middle-sized blocks share huge pages, keep off each other and go back") {
  HostMemory memory;
  Allocator a(memory);
  std::vector<Block*> blocks;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 300; ++i) {
      blocks.push_back(a.allocate(32768 + static_cast<std::size_t>(i) * 1999));
      Block& b = *blocks.back();
      CHECK(reinterpret_cast<std::uintptr_t>(b.data) % 64 == 0);
      std::memset(b.data, i % 251, b.bytes + 64);
    }
    for (int i = 0; i < 300; ++i) {
      const Block& b = *blocks[static_cast<std::size_t>(i)];
      CHECK(std::all_of(b.data, b.data + b.bytes, [&](char c) { return c == static_cast<char>(i % 251); }));
    }
    // Every second one first: what is left still holds the slabs.
    for (std::size_t i = 0; i < blocks.size(); i += 2) a.release(blocks[i]);
    a.trim();
    CHECK(a.bytesReserved() > 0);
    for (std::size_t i = 1; i < blocks.size(); i += 2) {
      CHECK(blocks[i]->data[0] == static_cast<char>(i % 251));
      a.release(blocks[i]);
    }
    a.trim();
    CHECK(a.bytesReserved() == 0);
    blocks.clear();
  }
}

TEST_CASE("allocator: absurd sizes are refused by name") {
  HostMemory memory;
  Allocator a(memory);
  std::string what;
  try {
    a.allocate(std::size_t{1} << 60);
  } catch (const Error& e) {
    CHECK(e.code() == Code::OutOfMemory);
    what = e.what();
  }
  CHECK(what.find("1152921504606846976") != std::string::npos);
}

TEST_CASE("handles: stale, foreign and malformed ones are refused") {
  TestDevice d, other;
  const double h = d.alloc(16);
  CHECK(h > 0);
  CHECK(h < 9007199254740992.0);
  CHECK(codeOf([&] { other.release(h); }) == Code::Device);
  for (double bad : {0.0, -1.0, 0.5, h + 0.5, h + 1, 1e300, -h, std::nan(""), std::numeric_limits<double>::infinity()})
    CHECK(codeOf([&] { d.release(bad); }) == Code::Device);
  d.release(h);
  CHECK(codeOf([&] { d.release(h); }) == Code::Disposed);
  const double again = d.alloc(16);
  CHECK(again != h);
  CHECK(codeOf([&] { d.release(h); }) == Code::Disposed);
  CHECK(d.memory().buffers == 1);
}

TEST_CASE("scratch: aligned pieces, merged after a call that needed several blocks") {
  ScratchArena s;
  void* a = s.take(100);
  void* b = s.take(1 << 20);
  CHECK(reinterpret_cast<std::uintptr_t>(a) % 64 == 0);
  CHECK(reinterpret_cast<std::uintptr_t>(b) % 64 == 0);
  std::memset(a, 1, 100);
  std::memset(b, 1, 1 << 20);
  s.reset();
  const std::size_t held = s.capacity();
  s.take(100);
  s.take(1 << 20);
  s.reset();
  CHECK(s.capacity() == held);
  CHECK_THROWS_AS(s.take(std::numeric_limits<std::size_t>::max()), Error);
}

// On a thread of its own: the main thread's scratch has been through the tests before, in whatever blocks they left.
TEST_CASE("scratch: a thread's own, aligned, kept from call to call") {
  std::thread([] {
    void* const first = threadScratch(300000);
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
    std::memset(first, 1, 300000);
    CHECK(threadScratch(1000) == first);
    CHECK(threadScratch(300000) == first);
    void* other = nullptr;
    std::thread([&] { std::memset(other = threadScratch(300000), 2, 300000); }).join();
    CHECK(other != first);
    CHECK(static_cast<char*>(first)[299999] == 1);
    CHECK(codeOf([] { threadScratch(std::size_t(-1)); }) == Code::OutOfMemory);
  }).join();
}
