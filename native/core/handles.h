// Buffers as numbers: device tag (8 bits) | generation (21) | index (24), a double below 2^53 that is never 0. The
// generation refuses a handle that outlived its buffer, the tag one of another device.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/allocator.h"

namespace gyrus {

class HandleTable {
 public:
  static constexpr std::uint32_t kIndexBits = 24, kGenerationBits = 21, kTagBits = 8;

  explicit HandleTable(std::uint32_t tag) : tag_(tag) {}

  // Throws Error(Device) when 2^24 buffers are alive.
  double add(Block* block);
  // `what` names the operation in the error: Error(Disposed) for a released one, Error(Device) for anything foreign.
  Block* get(double handle, const char* what) const;
  Block* remove(double handle, const char* what);
  std::size_t alive() const { return alive_; }
  // For shutting down: every block with a handle.
  template <class F>
  void drain(F&& f) {
    for (Slot& s : slots_)
      if (s.block) f(s.block), s.block = nullptr;
    alive_ = 0;
  }

 private:
  struct Slot {
    Block* block = nullptr;
    std::uint32_t generation = 0;
    std::uint32_t nextFree = 0;
  };
  std::uint32_t find(double handle, const char* what) const;

  std::uint32_t tag_;
  std::vector<Slot> slots_;
  std::uint32_t firstFree_ = UINT32_MAX;
  std::size_t alive_ = 0;
};

// A number as JavaScript would print it, for messages.
std::string describeNumber(double v);

// Tags 1..255 in turn, so that devices of one process refuse each other's handles.
std::uint32_t nextDeviceTag();

}  // namespace gyrus
