// The check of lists of active neurons.
#include "cuda/fault.cuh"
#include "cuda/lists.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;

struct Source {
  const int* data;
  std::int64_t stride, size;
  int n;
  int* to;
};

// The list's copy, and the lowest position with a problem (n: none), by one block. An index that can't be used becomes
// 0 in the copy.
__device__ int copyList(const Source& s, int& lowest) {
  if (threadIdx.x == 0) lowest = s.n;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < s.n; i += kBlock) {
    const int index = s.data[i * s.stride];
    const bool inside = index >= 0 && index < s.size;
    s.to[i] = inside ? index : 0;
    if (!inside || (i > 0 && index <= s.data[(i - 1) * s.stride])) atomicMin(&lowest, i);
  }
  __syncthreads();
  return lowest;
}

__device__ void raiseAt(const Source& s, int at, FaultCode notAscending, const Fault& fault) {
  const int index = s.data[at * s.stride];
  if (index < 0 || index >= s.size)
    fault.raise(FaultCode::Index, index, at, s.size);
  else
    fault.raise(notAscending, index, at, s.size);
}

__global__ void __launch_bounds__(kBlock) copyLists(Source outputs, Source inputs, Fault fault) {
  GYRUS_SHARED(int, lowestOutput);
  GYRUS_SHARED(int, lowestInput);
  const int output = copyList(outputs, lowestOutput), input = copyList(inputs, lowestInput);
  if (threadIdx.x != 0) return;
  if (output < outputs.n)
    raiseAt(outputs, output, FaultCode::NotAscendingOutputs, fault);
  else if (input < inputs.n)
    raiseAt(inputs, input, FaultCode::NotAscendingInputs, fault);
}

Source sourceOf(const Args& args, Neurons kind, const View* v, std::int64_t size) {
  if (kind != Neurons::Listed || v->shape[0] == 0) return {};
  return {v->as<int>(), v->stride[0], size, static_cast<int>(v->shape[0]), args.scratch->array<int>(v->shape[0])};
}

}  // namespace

Lists readLists(Op op, const Args& args, Neurons byOutput, const View* outputs, std::int64_t outputSize,
                Neurons byInput, const View* inputs, std::int64_t inputSize) {
  const Source o = sourceOf(args, byOutput, outputs, outputSize), i = sourceOf(args, byInput, inputs, inputSize);
  if (o.n + i.n > 0) GYRUS_LAUNCH(1, kBlock, 0, copyLists, o, i, faultOf(op));
  const auto countOf = [](Neurons kind, const View* v) { return kind == Neurons::Counted ? v->as<int>() : nullptr; };
  return {o.to, i.to, countOf(byOutput, outputs), countOf(byInput, inputs)};
}

}  // namespace gyrus::cuda
