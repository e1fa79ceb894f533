// Lists of active neurons: i32, strictly ascending, of an axis of `size` neurons. Checked on the device, once per call;
// the kernels that follow read contiguous copies in which every index lies in range.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

struct Lists {
  const int* outputs = nullptr;  // null: all
  const int* inputs = nullptr;
};

// Launches the check of the lists there are. Raises IndexOutOfRange or NotAscending at the lowest position, that of
// `outputs` first.
Lists readLists(Op op, const Args& args, const View* outputs, std::int64_t outputSize, const View* inputs,
                std::int64_t inputSize);

}  // namespace gyrus::cuda
