// Problems that only the device sees: an index or label out of range, weights that are none. A kernel raises the first
// in the stream's record and goes on without touching memory it must not; whoever waits for the stream next throws it
// as the Error the CPU's kernel would have thrown.
#pragma once
#include "cuda/runtime.h"
#include "kernels/indices.h"
#include "kernels/labels.h"
#include "kernels/ops.h"

namespace gyrus::cuda {

enum class FaultCode : int { None = 0, Index, Label, NotAscendingOutputs, NotAscendingInputs, BadWeights };

// In device memory, zeroed by the backend. Index: value, limit. Label: value, at (its row), limit. NotAscending: at.
// BadWeights: at (the row).
struct DeviceFault {
  int code, op;
  long long value, at, limit;
};

#if defined(__CUDACC__) || defined(GYRUS_CUDA_EMULATED)
// What a kernel gets of it.
struct Fault {
  DeviceFault* record;
  int op;

  __device__ void raise(FaultCode code, long long value, long long at, long long limit) const {
    if (atomicCAS(&record->code, 0, static_cast<int>(code)) != 0) return;
    record->op = op;
    record->value = value;
    record->at = at;
    record->limit = limit;
  }
  // Whether an index may be used; raises it otherwise.
  __device__ bool accepts(long long index, long long size) const {
    if (index >= 0 && index < size) return true;
    raise(FaultCode::Index, index, 0, size);
    return false;
  }
};

inline Fault faultOf(Op op) { return {current().fault, static_cast<int>(op)}; }
#endif

// On the host, from a copy of the record: throws what was raised, if anything was.
inline void throwFault(const DeviceFault& fault) {
  const char* op = fault.code == 0 ? "" : nameOf(static_cast<Op>(fault.op));
  switch (static_cast<FaultCode>(fault.code)) {
    case FaultCode::None:
      return;
    case FaultCode::Index:
      throwIndexOutOfRange(op, fault.value, fault.limit);
    case FaultCode::Label:
      throwLabelOutOfRange(op, fault.value, fault.at, fault.limit);
    case FaultCode::NotAscendingOutputs:
      throwNotAscending(op, "outputs", fault.at);
    case FaultCode::NotAscendingInputs:
      throwNotAscending(op, "inputs", fault.at);
    case FaultCode::BadWeights:
      throwBadWeights(op, fault.at);
  }
}

}  // namespace gyrus::cuda
