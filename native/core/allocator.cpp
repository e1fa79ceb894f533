#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <string>

#include "core/error.h"

namespace gyrus {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kCacheFloor = std::size_t{1} << 30;

std::size_t roundUp(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

[[noreturn]] void outOfMemory(std::size_t bytes, const std::string& why) {
  throw Error(Code::OutOfMemory, "alloc: no memory for " + std::to_string(bytes) + " bytes: " + why);
}

}  // namespace

Allocator::Allocator(Memory& memory, std::function<void()> beforeTrim)
    : memory_(memory), beforeTrim_(std::move(beforeTrim)) {}

Allocator::~Allocator() {
  beforeTrim_ = nullptr;
  trim();
}

std::size_t Allocator::sizeClass(std::size_t bytes) {
  if (bytes <= 4 * kAlign) return std::max(kAlign, roundUp(bytes, kAlign));
  const std::size_t octave = std::bit_floor(bytes - 1);  // octave < bytes <= 2 * octave
  return roundUp(bytes, std::max(octave / 4, kAlign));
}

std::size_t Allocator::classIndex(std::size_t capacity) {
  if (capacity <= 4 * kAlign) return capacity / kAlign - 1;
  const int octave = std::bit_width(capacity - 1) - 1;               // 2^octave < capacity <= 2^(octave + 1)
  const std::size_t quarter = ((capacity - 1) >> (octave - 2)) - 4;  // 0..3
  return 4 * static_cast<std::size_t>(octave - 7) + quarter;
}

void Allocator::toSystem(Block* block) {
  const std::size_t held = block->held;
  memory_.giveBack(block);
  reserved_ -= held;
  cached_ -= held;
  memory_.reserved().fetch_sub(held, std::memory_order_relaxed);
  delete block;
}

void Allocator::count(std::size_t bytes) {
  inUse_ += bytes;
  peak_ = std::max(peak_, inUse_);
  ++alive_;
}

Block* Allocator::allocate(std::size_t bytes) {
  const std::size_t limit = memory_.limit();
  if (bytes > limit) outOfMemory(bytes, "the limit is " + std::to_string(limit) + " bytes");
  const std::size_t capacity = sizeClass(bytes);
  const std::size_t index = classIndex(capacity);
  std::vector<Block*>& list = cache_[index];
  if (!list.empty()) {
    Block* block = list.back();
    list.pop_back();
    cached_ -= block->held;
    block->bytes = bytes;
    block->references = 1;
    block->owner = 0;
    count(bytes);
    return block;
  }
  // Widths that change leave blocks of sizes nobody asks for again: more idle than used memory is given back.
  if (cached_ > std::max(kCacheFloor, inUse_)) trim();
  const std::size_t need = memory_.need(capacity);
  if (memory_.reserved().load(std::memory_order_relaxed) + need > limit) {
    trim();
    const std::size_t held = memory_.reserved().load(std::memory_order_relaxed);
    if (held + need > limit)
      outOfMemory(bytes,
                  std::to_string(held) + " bytes are in use and the limit is " + std::to_string(limit) + " bytes");
  }
  auto block = std::make_unique<Block>();
  block->capacity = capacity;
  block->index = static_cast<std::uint32_t>(index);
  if (!memory_.obtain(block.get())) {
    trim();
    if (!memory_.obtain(block.get())) outOfMemory(bytes, "the system has none left");
  }
  block->bytes = bytes;
  block->references = 1;
  reserved_ += block->held;
  memory_.reserved().fetch_add(block->held, std::memory_order_relaxed);
  count(bytes);
  return block.release();
}

bool Allocator::release(Block* block) {
  if (--block->references > 0) return false;
  inUse_ -= block->bytes;
  --alive_;
  cached_ += block->held;
  cache_[block->index].push_back(block);
  return true;
}

void Allocator::relabel(Block* block, std::size_t bytes) {
  inUse_ += bytes - block->bytes;
  peak_ = std::max(peak_, inUse_);
  block->bytes = bytes;
}

void Allocator::trim() {
  if (cached_ == 0) return;
  if (beforeTrim_) beforeTrim_();
  for (std::vector<Block*>& list : cache_) {
    for (Block* block : list) toSystem(block);
    list.clear();
  }
}

}  // namespace gyrus
