#include "cuda/staging.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

namespace gyrus::cuda {
namespace {

// Where nothing can be done about a failure: when giving back.
void ignored(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
}

char* pinned(std::size_t bytes) {
  void* data = nullptr;
  checked(cudaMallocHost(&data, bytes), "cudaMallocHost");
  return static_cast<char*>(data);
}

cudaEvent_t newEvent() {
  cudaEvent_t event = nullptr;
  checked(cudaEventCreateWithFlags(&event, cudaEventBlockingSync | cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return event;
}

}  // namespace

StagingRing::~StagingRing() {
  for (const Chunk& c : chunks_) {
    if (c.data) ignored(cudaFreeHost(c.data));
    if (c.read) ignored(cudaEventDestroy(c.read));
  }
}

std::pair<char*, std::size_t> StagingRing::take(std::size_t bytes) {
  constexpr std::size_t kAlign = 64;
  if (used_ >= kChunk) {
    Chunk& full = chunks_[at_];
    if (!full.read) full.read = newEvent();
    checked(cudaEventRecord(full.read, stream_), "cudaEventRecord");
    at_ = (at_ + 1) % kChunks;
    if (chunks_[at_].read) checked(cudaEventSynchronize(chunks_[at_].read), "cudaEventSynchronize");
    used_ = 0;
  }
  Chunk& chunk = chunks_[at_];
  if (!chunk.data) chunk.data = pinned(kChunk);
  const std::size_t n = std::min(bytes, kChunk - used_);
  char* data = chunk.data + used_;
  used_ += (n + kAlign - 1) / kAlign * kAlign;
  return {data, n};
}

PinnedPool::~PinnedPool() {
  for (const Buffer& b : free_) ignored(cudaFreeHost(b.data));
  for (cudaEvent_t event : events_) ignored(cudaEventDestroy(event));
}

PinnedPool::Buffer PinnedPool::take(std::size_t bytes) {
  const std::size_t capacity = std::bit_ceil(std::max(bytes, kSmallest));
  {
    const std::lock_guard<std::mutex> hold(lock_);
    const auto found =
        std::find_if(free_.begin(), free_.end(), [&](const Buffer& b) { return b.capacity == capacity; });
    if (found != free_.end()) {
      const Buffer buffer = *found;
      free_.erase(found);
      kept_ -= capacity;
      return buffer;
    }
  }
  return {pinned(capacity), capacity};
}

void PinnedPool::giveBack(Buffer buffer) noexcept {
  if (!buffer.data) return;
  {
    const std::lock_guard<std::mutex> hold(lock_);
    if (kept_ + buffer.capacity <= kKept) try {
        free_.push_back(buffer);
        kept_ += buffer.capacity;
        return;
      } catch (const std::bad_alloc&) {
      }
  }
  ignored(cudaFreeHost(buffer.data));
}

cudaEvent_t PinnedPool::takeEvent() {
  {
    const std::lock_guard<std::mutex> hold(lock_);
    if (!events_.empty()) {
      cudaEvent_t event = events_.back();
      events_.pop_back();
      return event;
    }
  }
  return newEvent();
}

void PinnedPool::giveBack(cudaEvent_t event) noexcept {
  if (!event) return;
  try {
    const std::lock_guard<std::mutex> hold(lock_);
    events_.push_back(event);
  } catch (const std::bad_alloc&) {
    ignored(cudaEventDestroy(event));
  }
}

DeviceScratch::~DeviceScratch() { freeBlocks(); }

// cudaFree waits for the kernels that use it.
void DeviceScratch::freeBlocks() {
  for (const Block& b : blocks_) ignored(cudaFree(b.data));
  blocks_.clear();
  used_ = 0;
  ++generation_;
}

void DeviceScratch::grow(std::size_t bytes) {
  constexpr std::size_t kSmallest = std::size_t{1} << 20;
  if (frozen_) throw Error(Code::Internal, "scratch: it can't grow while calls are captured");
  std::size_t held = 0;
  for (const Block& b : blocks_) held += b.size;
  const std::size_t size = std::max({bytes, kSmallest, held});
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, size);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(Code::OutOfMemory, "scratch: no memory for " + std::to_string(bytes) + " bytes");
  }
  checked(error, "scratch: cudaMalloc");
  blocks_.push_back({static_cast<char*>(data), size});
  used_ = 0;
}

void* DeviceScratch::take(std::size_t bytes) {
  constexpr std::size_t kAlign = 256;
  if (bytes > std::numeric_limits<std::size_t>::max() / 4)
    throw Error(Code::OutOfMemory, "scratch: no memory for " + std::to_string(bytes) + " bytes");
  const std::size_t need = (std::max<std::size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
  if (blocks_.empty() || blocks_.back().size - used_ < need) grow(need);
  void* result = blocks_.back().data + used_;
  used_ += need;
  return result;
}

void DeviceScratch::reset() {
  used_ = 0;
  if (blocks_.size() < 2) return;
  std::size_t total = 0;
  for (const Block& b : blocks_) total += b.size;
  freeBlocks();
  try {
    grow(total);
  } catch (const Error&) {
    // The next take() asks again and reports.
  }
}

}  // namespace gyrus::cuda
