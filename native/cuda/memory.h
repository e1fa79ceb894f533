// A GPU's memory as an Allocator takes it. Used by one thread; the total held by the process is shared.
#pragma once
#include "core/allocator.h"

namespace gyrus::cuda {

class DeviceMemory final : public Memory {
 public:
  explicit DeviceMemory(int ordinal);
  bool obtain(Block* block) override;
  void giveBack(Block* block) override;
  std::size_t need(std::size_t capacity) const override { return capacity; }
  // GYRUS_MEMORY_LIMIT, or all the memory of the device.
  std::size_t limit() override { return limit_; }
  std::atomic<std::size_t>& reserved() override;

 private:
  bool carve(Block* block);

  const int ordinal_;
  std::size_t limit_;
  Slab* slab_ = nullptr;  // that the next small blocks are carved from
};

// Makes the device the calling thread's.
void useDevice(int ordinal);

}  // namespace gyrus::cuda
