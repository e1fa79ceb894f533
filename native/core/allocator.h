// The caching allocator of one device. Blocks come in size classes (four per octave) and go back to a free list, so a
// training step touches fresh pages once. Used by one thread at a time; only the total held by the process is shared.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace gyrus {

// Memory in huge pages that blocks are carved from, one behind the other. Blocks that go back to the system give up
// their pages; the address range goes with the last of them.
struct Slab {
  char* base = nullptr;
  std::size_t used = 0;
  std::size_t blocks = 0;
};

struct Block {
  char* data = nullptr;
  std::size_t bytes = 0;     // asked for
  std::size_t capacity = 0;  // size class; in host memory at least 64 readable bytes follow it
  std::uint32_t references = 0;
  std::uint32_t owner = 0;  // the recording that allocated it, 0 for none
  void* base = nullptr;     // what the system handed out, unless it is part of a slab
  Slab* slab = nullptr;
  std::size_t held = 0;     // bytes of it
  std::uint32_t index = 0;  // of the size class
};

// Where blocks come from: the host's memory, or a GPU's.
class Memory {
 public:
  // Memory for block->capacity bytes: sets data, held and what giveBack needs. False when there is none.
  virtual bool obtain(Block* block) = 0;
  virtual void giveBack(Block* block) = 0;
  // What an allocation of that capacity will hold.
  virtual std::size_t need(std::size_t capacity) const = 0;
  // The most bytes all allocators of this memory may hold together, and how many they hold.
  virtual std::size_t limit() = 0;
  virtual std::atomic<std::size_t>& reserved() = 0;

 protected:
  ~Memory() = default;
};

class Allocator {
 public:
  // `beforeTrim` runs before cached blocks go back to the system: calls that are still queued may use them.
  explicit Allocator(Memory& memory, std::function<void()> beforeTrim = {});
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;
  ~Allocator();

  // A block with one reference. Throws Error(OutOfMemory) naming the bytes asked for.
  Block* allocate(std::size_t bytes);
  void retain(Block* block) { ++block->references; }
  // The block goes to the cache when its last reference is dropped; returns whether it did.
  bool release(Block* block);
  // A block that is alive is used for another size of the same class.
  void relabel(Block* block, std::size_t bytes);
  void trim();

  static std::size_t sizeClass(std::size_t bytes);
  // The place of a size class among all of them.
  static std::size_t classIndex(std::size_t capacity);

  std::size_t bytesInUse() const { return inUse_; }
  std::size_t peakBytes() const { return peak_; }
  std::size_t bytesReserved() const { return reserved_; }
  std::size_t blocks() const { return alive_; }

 private:
  static constexpr std::size_t kClasses = 4 + 4 * 56;  // up to 2^64 bytes

  void toSystem(Block* block);
  void count(std::size_t bytes);

  Memory& memory_;
  std::function<void()> beforeTrim_;
  std::vector<Block*> cache_[kClasses];
  std::size_t inUse_ = 0, peak_ = 0, reserved_ = 0, cached_ = 0, alive_ = 0;
};

}  // namespace gyrus
