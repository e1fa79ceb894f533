#include "cuda/memory.h"

#include <memory>

#include "core/host_memory.h"
#include "cuda/runtime.h"

namespace gyrus::cuda {
namespace {

// An allocation of its own takes the driver microseconds and, on most devices, 2 MiB of addresses.
#ifdef GYRUS_CUDA_EMULATED
constexpr std::size_t kCarved = 0;  // between blocks of their own the emulation notices what goes beyond an end
#else
constexpr std::size_t kCarved = std::size_t{1} << 20;
#endif
constexpr std::size_t kSlab = std::size_t{8} << 20;
constexpr std::size_t kAlign = 256;
constexpr int kMostDevices = 64;

std::atomic<std::size_t> processReserved[kMostDevices];

// Null when the device has none left. Throws Error(Device).
char* allocate(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  checked(error, "alloc: cudaMalloc");
  return static_cast<char*>(data);
}

}  // namespace

void useDevice(int ordinal) {
  thread_local int used = -1;
  if (used == ordinal) return;
  checked(cudaSetDevice(ordinal), "cudaSetDevice");
  used = ordinal;
}

DeviceMemory::DeviceMemory(int ordinal) : ordinal_(ordinal) {
  useDevice(ordinal);
  std::size_t free = 0, total = 0;
  checked(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  limit_ = memoryLimit(total);
}

std::atomic<std::size_t>& DeviceMemory::reserved() { return processReserved[ordinal_ % kMostDevices]; }

bool DeviceMemory::carve(Block* block) {
  const std::size_t need = (block->capacity + kAlign - 1) / kAlign * kAlign;
  if (!slab_ || slab_->used + need > kSlab) {
    char* base = allocate(kSlab);
    if (!base) return false;
    slab_ = new Slab{base, 0, 0};  // the one before goes with its last block
  }
  block->slab = slab_;
  block->data = slab_->base + slab_->used;
  slab_->used += need;
  ++slab_->blocks;
  return true;
}

bool DeviceMemory::obtain(Block* block) {
  useDevice(ordinal_);
  block->held = block->capacity;
  if (block->capacity < kCarved && carve(block)) return true;
  block->base = block->data = allocate(block->capacity);
  return block->data != nullptr;
}

// Of a device that was lost nothing comes back, and nobody asks for it.
void DeviceMemory::giveBack(Block* block) {
  void* data = block->base;
  if (Slab* slab = block->slab) {
    if (--slab->blocks > 0) return;
    data = slab->base;
    if (slab == slab_) slab_ = nullptr;
    delete slab;
  }
  if (cudaFree(data) != cudaSuccess) cudaGetLastError();
}

}  // namespace gyrus::cuda
