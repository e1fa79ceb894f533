// The threads of a block, one fiber each that has to wait, all on the calling thread; and what they meet at.
#pragma once
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <type_traits>

#include "cuda/emulation/vector_types.h"

extern thread_local constinit uint3 threadIdx, blockIdx;
extern thread_local constinit dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace gyrus::cuda::emulation {

// A kernel as the host calls it.
struct Signature {
  std::string name;
  void (*call)(const void* kernel, void* const* arguments);
  int parameters;
  const std::size_t* sizes;
};

// In which order the threads of a block run between two meetings, and the blocks of a grid. A kernel without a race
// gives the same bits in all of them. The first is GYRUS_EMULATION_ORDER=forward|reverse|<seed>, or else forward.
struct Order {
  enum Kind { Forward, Reverse, Shuffled } kind = Forward;
  std::uint64_t seed = 0;
};
Order order();
void setOrder(Order order);

// Every word of memory nobody has written yet: NaN as float, bfloat16 and double (there a signalling one), and far out
// of range as an index.
inline constexpr std::uint32_t kPoison = 0x7FF7F7F7u;
void poison(void* data, std::size_t bytes);

inline constexpr unsigned kMostThreads = 1024;
inline constexpr std::size_t kStaticShared = 48 << 10;
// The most that a block has with what is sized at launch; of the compute capability set (cudart.h).
std::size_t optInShared();

// Runs every block of a grid. Throws Error(Device) naming kernel and block when a kernel throws or its threads fail to
// meet.
void runGrid(const Signature& kernel, const void* function, void* const* arguments, dim3 grid, dim3 block,
             std::size_t dynamicBytes);

// ---- called by kernels -----------------------------------------------------------------------------------
enum class Vote { None, Count, And, Or };
int barrier(std::source_location site, Vote vote = Vote::None, int predicate = 0);

enum class Meeting { Sync, Shuffle, Ballot };
// Waits for all lanes of the mask. Shuffle: `bytes` of the value of lane `source` go to result. Ballot: the lanes
// whose value (an int) isn't 0.
void meet(Meeting kind, unsigned mask, const void* value, void* result, std::size_t bytes, int source);
unsigned lane();
unsigned liveLanes();
// The error of the running kernel.
[[noreturn]] void fail(const std::string& what);

// The block's object of a call site: memory of exactly that size.
void* sharedObject(const void* site, std::size_t bytes, std::size_t alignment);
void* dynamicShared();
// Whether all these bytes are of one object of the block's.
bool isShared(const void* data, std::size_t bytes);

}  // namespace gyrus::cuda::emulation
