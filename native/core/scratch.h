// The scratch memory of one stream: blocks that grow to the largest call seen and are reused by every later one.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/contract.h"

namespace gyrus {

class ScratchArena final : public Scratch {
 public:
  ScratchArena() = default;
  ScratchArena(const ScratchArena&) = delete;
  ScratchArena& operator=(const ScratchArena&) = delete;
  ~ScratchArena();

  // 64-byte aligned, with 64 readable bytes behind. Throws Error(OutOfMemory).
  void* take(std::size_t bytes) override;
  // Takes everything back. What was spread over several blocks becomes one, so that the next call needs no new block.
  void reset();
  std::size_t capacity() const;

 private:
  struct Block {
    char* data;
    std::size_t size;
  };
  void grow(std::size_t bytes);
  void freeBlocks();

  std::vector<Block> blocks_;
  std::size_t used_ = 0;  // of the last block
};

// Scratch of the calling thread, for one piece of work at a time: 64-byte aligned, of unspecified contents, good until
// the next call. Not for the stack, of which some systems give a thread 128 KiB. Throws Error(OutOfMemory).
void* threadScratch(std::size_t bytes);

}  // namespace gyrus
