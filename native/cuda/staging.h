// Memory that copies and kernels of one stream borrow: pinned memory on the way to the device and back, events, and the
// device's scratch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

// Pinned memory for host data on its way to the device, handed out piece by piece; a chunk comes round again when the
// device has read it.
class StagingRing {
 public:
  explicit StagingRing(cudaStream_t stream) : stream_(stream) {}
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;
  ~StagingRing();

  // At most `bytes`, at least one byte, for a copy that is enqueued before the next call. Waits for a chunk if need be.
  std::pair<char*, std::size_t> take(std::size_t bytes);

 private:
  static constexpr std::size_t kChunk = std::size_t{4} << 20;
  static constexpr int kChunks = 4;
  struct Chunk {
    char* data = nullptr;
    cudaEvent_t read = nullptr;  // the device is done with what was taken of it
  };
  const cudaStream_t stream_;
  Chunk chunks_[kChunks];
  int at_ = 0;
  std::size_t used_ = 0;
};

// Pinned memory for values on their way back, and events. Any thread.
class PinnedPool {
 public:
  struct Buffer {
    char* data = nullptr;
    std::size_t capacity = 0;
  };
  PinnedPool() = default;
  PinnedPool(const PinnedPool&) = delete;
  PinnedPool& operator=(const PinnedPool&) = delete;
  ~PinnedPool();

  Buffer take(std::size_t bytes);
  void giveBack(Buffer buffer) noexcept;
  cudaEvent_t takeEvent();
  void giveBack(cudaEvent_t event) noexcept;

 private:
  static constexpr std::size_t kSmallest = 4096, kKept = std::size_t{64} << 20;
  std::mutex lock_;
  std::vector<Buffer> free_;
  std::size_t kept_ = 0;
  std::vector<cudaEvent_t> events_;
};

// The device's scratch: blocks that grow to the largest call seen. Since the stream runs calls in order, they may share
// it as soon as their kernels are launched.
class DeviceScratch final : public Scratch {
 public:
  DeviceScratch() = default;
  DeviceScratch(const DeviceScratch&) = delete;
  DeviceScratch& operator=(const DeviceScratch&) = delete;
  ~DeviceScratch();

  // 256-byte aligned. Throws Error(OutOfMemory), and Error(Internal) when it would have to grow while frozen.
  void* take(std::size_t bytes) override;
  void reset();
  void freeze(bool frozen) { frozen_ = frozen; }
  // Changes when memory that was handed out has been given back: recorded launches must not use it any more.
  std::uint64_t generation() const { return generation_; }

 private:
  struct Block {
    char* data;
    std::size_t size;
  };
  void grow(std::size_t bytes);
  void freeBlocks();

  std::vector<Block> blocks_;
  std::size_t used_ = 0;  // of the last block
  std::uint64_t generation_ = 0;
  bool frozen_ = false;
};

}  // namespace gyrus::cuda
