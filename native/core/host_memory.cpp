// Host memory for an Allocator: huge pages for all but small blocks.
#include "core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

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

std::size_t roundUp(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

std::atomic<std::size_t> processReserved{0};

std::size_t machineMemory() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || size <= 0) return std::size_t{1} << 40;
  return static_cast<std::size_t>(pages) * static_cast<std::size_t>(size);
}

// 0 when there is none.
std::size_t readLimit() {
  const std::string text = environment("GYRUS_MEMORY_LIMIT");
  if (text.empty()) return 0;
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

std::size_t memoryLimit(std::size_t all) {
  static const std::size_t set = readLimit();
  return set > 0 ? set : all;
}

std::size_t memoryLimit() {
  static const std::size_t limit = memoryLimit(machineMemory());
  return limit;
}

std::size_t HostMemory::need(std::size_t capacity) const { return capacity + kSlack; }
std::size_t HostMemory::limit() { return memoryLimit(); }
std::atomic<std::size_t>& HostMemory::reserved() { return processReserved; }

bool HostMemory::obtain(Block* block) {
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

bool HostMemory::carve(Block* block) {
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

void HostMemory::giveBack(Block* block) {
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
}

}  // namespace gyrus
