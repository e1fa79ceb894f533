#include "core/scratch.h"

#include <algorithm>
#include <limits>
#include <new>

namespace gyrus {
namespace {
constexpr std::size_t kAlign = 64;
constexpr std::size_t kSlack = 64;
constexpr std::size_t kSmallest = 64 << 10;
constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / 4;
}  // namespace

ScratchArena::~ScratchArena() { freeBlocks(); }

void ScratchArena::freeBlocks() {
  for (const Block& b : blocks_) ::operator delete (b.data, std::align_val_t{kAlign});
  blocks_.clear();
  used_ = 0;
}

std::size_t ScratchArena::capacity() const {
  std::size_t total = 0;
  for (const Block& b : blocks_) total += b.size;
  return total;
}

void ScratchArena::grow(std::size_t bytes) {
  const std::size_t size = std::max({bytes, kSmallest, capacity()});
  void* data = ::operator new (size, std::align_val_t{kAlign}, std::nothrow);
  if (!data) throw Error(Code::OutOfMemory, "scratch: no memory for " + std::to_string(bytes) + " bytes");
  blocks_.push_back({static_cast<char*>(data), size});
  used_ = 0;
}

void* threadScratch(std::size_t bytes) {
  thread_local ScratchArena own;
  own.reset();
  return own.take(bytes);
}

void* ScratchArena::take(std::size_t bytes) {
  if (bytes > kMost) throw Error(Code::OutOfMemory, "scratch: no memory for " + std::to_string(bytes) + " bytes");
  const std::size_t need = (bytes + kSlack + kAlign - 1) / kAlign * kAlign;
  if (blocks_.empty() || blocks_.back().size - used_ < need) grow(need);
  void* result = blocks_.back().data + used_;
  used_ += need;
  return result;
}

void ScratchArena::reset() {
  if (blocks_.size() > 1) {
    const std::size_t total = capacity();
    freeBlocks();
    try {
      grow(total);
    } catch (const Error&) {
      // The next take() asks again and reports.
    }
  }
  used_ = 0;
}

}  // namespace gyrus
