// The asynchronous copies of an emulated block: each thread's wait in groups until it asks for them.
#pragma once
#include <cstddef>
#include <cstring>
#include <deque>
#include <vector>

#include "cuda/emulation/block.h"

namespace gyrus::cuda::emulation {

class Copies {
 public:
  void issue(void* to, const void* from, int size, int bytes) {
    if (bytes < 0 || bytes > size) fail("an asynchronous copy of " + std::to_string(bytes) + " bytes");
    const auto misaligned = [&](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % size != 0; };
    if (misaligned(to) || (bytes > 0 && misaligned(from))) fail("an asynchronous copy at a misaligned address");
    poison(to, static_cast<std::size_t>(size));
    open_.push_back({to, from, size, bytes});
  }
  void commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  void wait(std::size_t pending) {
    for (; groups_.size() > pending; groups_.pop_front())
      for (const Copy& c : groups_.front()) {
        if (c.bytes > 0) std::memcpy(c.to, c.from, static_cast<std::size_t>(c.bytes));
        std::memset(static_cast<char*>(c.to) + c.bytes, 0, static_cast<std::size_t>(c.size - c.bytes));
      }
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    int size, bytes;
  };
  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
};

// Those of the running thread. A kernel waits for all of them before it ends, so that each block begins with none.
inline Copies& copies() {
  static thread_local std::vector<Copies> ofThread(kMostThreads);
  return ofThread[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
}

}  // namespace gyrus::cuda::emulation
