// The only door to CUDA: cuda_runtime.h where nvcc compiles (and for the host files beside it), the emulation of
// emulation/ where the host compiler does with GYRUS_CUDA_EMULATED. Both eat the same source:
//   GYRUS_LAUNCH(grid, block, sharedBytes, kernel<...>, args...)  launches on currentStream() and checks the launch;
//   GYRUS_SHARED(Type, name)            the block's object of this type (arrays by an alias: using Tile =
//   float[32][33]); GYRUS_DYNAMIC_SHARED(T, name)       a T* to the launch's sharedBytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/error.h"

#ifdef GYRUS_CUDA_EMULATED
#include "cuda/emulation/emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GYRUS_SHARED(Type, name) __shared__ Type name
#define GYRUS_DYNAMIC_SHARED(T, name)                                  \
  extern __shared__ __align__(128) unsigned char gyrusDynamicShared[]; \
  T* name = reinterpret_cast<T*>(gyrusDynamicShared)
#endif

#define GYRUS_LAUNCH(grid, block, sharedBytes, ...) \
  ::gyrus::cuda::launch(#__VA_ARGS__, grid, block, sharedBytes, __VA_ARGS__)

namespace gyrus::cuda {

struct DeviceFault;

// What a kernel's host side works with on this thread: the stream it launches on and the stream's fault record, in
// device memory (fault.cuh). Set by the backend around each call.
struct Current {
  cudaStream_t stream = nullptr;
  DeviceFault* fault = nullptr;
};
inline Current& current() {
  static thread_local Current c;
  return c;
}
inline cudaStream_t currentStream() { return current().stream; }

// What matrix products and convolutions of f32 compute with: f32, or tensor cores, which round their inputs to TF32 (10
// bits of mantissa) or bfloat16 (7) and add up in f32. Of this thread, like the stream.
enum class Precision { F32, TF32, BF16 };
inline Precision& precisionOfThread() {
  static thread_local Precision p = Precision::F32;
  return p;
}
inline Precision currentPrecision() { return precisionOfThread(); }

class PrecisionScope {
 public:
  explicit PrecisionScope(Precision p) : before_(currentPrecision()) { precisionOfThread() = p; }
  ~PrecisionScope() { precisionOfThread() = before_; }
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  Precision before_;
};

class CurrentScope {
 public:
  CurrentScope(cudaStream_t stream, DeviceFault* fault) : before_(current()) { current() = {stream, fault}; }
  ~CurrentScope() { current() = before_; }
  CurrentScope(const CurrentScope&) = delete;
  CurrentScope& operator=(const CurrentScope&) = delete;

 private:
  Current before_;
};

// Throws Error(OutOfMemory | Device) "cuda: <what>: <name>: <text>" unless the call succeeded.
inline void checked(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it has been seen
  std::string text = std::string("cuda: ") + what + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error);
#ifdef GYRUS_CUDA_EMULATED
  if (error == cudaErrorLaunchFailure) text += ": " + emulation::lastFault();
#endif
  throw Error(error == cudaErrorMemoryAllocation ? Code::OutOfMemory : Code::Device, std::move(text));
}

// "scale<float>" of "scale<float>, y, x, n"
inline std::string kernelName(const char* text) {
  int depth = 0;
  const char* end = text;
  for (; *end && !(*end == ',' && depth == 0); ++end)
    depth += (*end == '<' || *end == '(') - (*end == '>' || *end == ')');
  return {text, end};
}

#ifdef GYRUS_CUDA_EMULATED
template <class... P, std::size_t... I>
void describeKernel(const void* kernel, const char* text, std::index_sequence<I...>) {
  static constexpr std::size_t sizes[] = {sizeof(P)..., 0};
  emulation::describe(
      kernel, kernelName(text).c_str(),
      [](const void* function, [[maybe_unused]] void* const* arguments) {
        reinterpret_cast<void (*)(P...)>(const_cast<void*>(function))(*static_cast<const P*>(arguments[I])...);
      },
      sizeof...(P), sizes);
}
#endif

template <class... P, class... A>
void launch(const char* text, dim3 grid, dim3 block, std::size_t sharedBytes, void (*kernel)(P...), A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "the kernel takes another number of arguments");
  static_assert((std::is_trivially_copyable_v<P> && ...), "arguments are copied to the device as bytes");
  static_assert((sizeof(P) + ... + 0) <= 4000, "the arguments of a kernel are 4 KiB at most");
  const auto* function = reinterpret_cast<const void*>(kernel);
#ifdef GYRUS_CUDA_EMULATED
  describeKernel<P...>(function, text, std::index_sequence_for<P...>{});
#endif
  std::tuple<std::remove_cv_t<P>...> values(std::forward<A>(args)...);
  const cudaError_t error = std::apply(
      [&](auto&... v) {
        void* pointers[] = {&v..., nullptr};
        return cudaLaunchKernel(function, grid, block, pointers, sharedBytes, currentStream());
      },
      values);
  if (error != cudaSuccess) checked(error, kernelName(text).c_str());
}

// Blocks of `perBlock` items that cover n; loops of the grid take what is beyond the limit.
inline unsigned blocksFor(std::int64_t n, std::int64_t perBlock, std::int64_t most = 1 << 20) {
  const std::int64_t blocks = (n + perBlock - 1) / perBlock;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

}  // namespace gyrus::cuda
