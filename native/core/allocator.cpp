#include "core/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <memory>
#include <new>

#include "core/error.h"
#include "core/features.h"

namespace gyrus {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kSlack = 64;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Address translation is a good part of what large operands cost, most of all in a virtual machine, so all but small
// blocks lie in huge pages: from kCarved on as parts of a slab, from kMapped on mapped one by one.
constexpr std::size_t kCarved = std::size_t{32} << 10;
constexpr std::size_t kMapped = std::size_t{2} << 20;
constexpr std::size_t kSlab = std::size_t{8} << 20;
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSlabs = false;  // between blocks of their own the sanitizer notices what goes beyond an end
#else
constexpr bool kSlabs = true;
#endif
constexpr std::size_t kCacheFloor = std::size_t{1} << 30;

std::atomic<std::size_t> processReserved{0};

std::size_t roundUp(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

std::size_t readLimit() {
  const std::string text = environment("GYRUS_MEMORY_LIMIT");
  if (text.empty()) {
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || size <= 0) return std::size_t{1} << 40;
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(size);
  }
  std::size_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9' || value > (std::size_t{1} << 56)) {
      value = 0;
      break;
    }
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  if (value == 0)
    throw Error(Code::Config, "GYRUS_MEMORY_LIMIT: expected a positive integer of bytes, got '" + text + "'");
  return value;
}

[[noreturn]] void outOfMemory(std::size_t bytes, const std::string& why) {
  throw Error(Code::OutOfMemory, "alloc: no memory for " + std::to_string(bytes) + " bytes: " + why);
}

// `bytes` that begin at a huge page, or null.
char* mapHuge(std::size_t bytes) {
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  // The surplus of the mapping is given back.
  const auto address = reinterpret_cast<std::uintptr_t>(mapped);
  const auto aligned = roundUp(address, kHugePage);
  if (aligned > address) munmap(mapped, aligned - address);
  const std::size_t behind = address + kHugePage - aligned;
  if (behind > 0) munmap(reinterpret_cast<void*>(aligned + bytes), behind);
#ifdef MADV_HUGEPAGE
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<char*>(aligned);
}

}  // namespace

std::size_t memoryLimit() {
  static const std::size_t limit = readLimit();
  return limit;
}

Allocator::Allocator(std::function<void()> beforeTrim) : beforeTrim_(std::move(beforeTrim)) {}

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

bool Allocator::fromSystem(Block* block) {
  if (block->capacity >= kMapped) {
    block->held = roundUp(block->capacity + kSlack, kPage);
    block->base = block->data = mapHuge(block->held);
    return block->base != nullptr;
  }
  if (kSlabs && block->capacity >= kCarved && carve(block)) return true;
  block->held = block->capacity + kSlack;
  block->base = std::aligned_alloc(kAlign, block->held);
  block->data = static_cast<char*>(block->base);
  return block->base != nullptr;
}

bool Allocator::carve(Block* block) {
  const std::size_t need = block->capacity + kSlack;
  if (!slab_ || slab_->used + need > kSlab) {
    auto slab = std::make_unique<Slab>();
    slab->base = mapHuge(kSlab);
    if (!slab->base) return false;
    slab_ = slab.release();  // the one before goes with its last block
  }
  block->slab = slab_;
  block->data = slab_->base + slab_->used;
  block->held = need;
  slab_->used += need;
  ++slab_->blocks;
  return true;
}

void Allocator::toSystem(Block* block) {
  if (Slab* slab = block->slab) {
    if (--slab->blocks == 0) {
      munmap(slab->base, kSlab);
      if (slab == slab_) slab_ = nullptr;
      delete slab;
    } else {  // its place isn't used again, but the memory goes back
      const std::size_t from = roundUp(reinterpret_cast<std::uintptr_t>(block->data), kPage);
      const std::size_t to = (reinterpret_cast<std::uintptr_t>(block->data) + block->held) / kPage * kPage;
      madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
    }
  } else if (block->capacity < kMapped) {
    std::free(block->base);
  } else {
    munmap(block->base, block->held);
  }
  reserved_ -= block->held;
  cached_ -= block->held;
  processReserved.fetch_sub(block->held, std::memory_order_relaxed);
  delete block;
}

void Allocator::count(std::size_t bytes) {
  inUse_ += bytes;
  peak_ = std::max(peak_, inUse_);
  ++alive_;
}

Block* Allocator::allocate(std::size_t bytes) {
  const std::size_t limit = memoryLimit();
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
  const std::size_t need = capacity + kSlack;
  if (processReserved.load(std::memory_order_relaxed) + need > limit) {
    trim();
    const std::size_t held = processReserved.load(std::memory_order_relaxed);
    if (held + need > limit)
      outOfMemory(bytes,
                  std::to_string(held) + " bytes are in use and the limit is " + std::to_string(limit) + " bytes");
  }
  auto block = std::make_unique<Block>();
  block->capacity = capacity;
  block->index = static_cast<std::uint32_t>(index);
  if (!fromSystem(block.get())) {
    trim();
    if (!fromSystem(block.get())) outOfMemory(bytes, "the system has none left");
  }
  block->bytes = bytes;
  block->references = 1;
  reserved_ += block->held;
  processReserved.fetch_add(block->held, std::memory_order_relaxed);
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
