// Active neurons of an axis of `size`. Lists, i32, strictly ascending, are checked on the device, once per call; the
// kernels that follow read contiguous copies in which every index lies in range. Counts of the first ones are read by
// each block of a kernel: a captured launch goes on to be right when they change.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

struct Lists {
  const int* outputs = nullptr;  // null: all
  const int* inputs = nullptr;
  const int* outputCount = nullptr;  // null: not counted
  const int* inputCount = nullptr;
};

// How many of `size` are active by a count, null for all.
__device__ __forceinline__ std::int64_t activeOf(const int* count, std::int64_t size) {
  if (!count) return size;
  const int n = *count;
  return n < 0 ? 0 : n < size ? n : size;
}

// Launches the check of the lists there are. Raises IndexOutOfRange or NotAscending at the lowest position, that of
// `outputs` first.
Lists readLists(Op op, const Args& args, Neurons byOutput, const View* outputs, std::int64_t outputSize,
                Neurons byInput, const View* inputs, std::int64_t inputSize);

}  // namespace gyrus::cuda
