// The host's memory as an Allocator takes it. Used by one thread; the total held by the process is shared.
#pragma once
#include "core/allocator.h"

namespace gyrus {

class HostMemory final : public Memory {
 public:
  bool obtain(Block* block) override;
  void giveBack(Block* block) override;
  std::size_t need(std::size_t capacity) const override;
  std::size_t limit() override;
  std::atomic<std::size_t>& reserved() override;

 private:
  bool carve(Block* block);

  Slab* slab_ = nullptr;  // that the next blocks are carved from
};

// The most bytes that the devices of one memory, the host's or a GPU's, may hold together: GYRUS_MEMORY_LIMIT, or that
// much, all there is. Throws Error(Config) when the variable is no positive integer.
std::size_t memoryLimit(std::size_t all);
// The same of the host's memory.
std::size_t memoryLimit();

}  // namespace gyrus
