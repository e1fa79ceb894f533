// The CUDA kernels in the kernel tests, in builds with GYRUS_CUDA_TESTS: on the emulated device, which computes in the
// host's memory and with the threads of a block in several orders (a race gives other bits then), or on the machine's
// first GPU, with copies of the tensors in device memory of exactly their sizes and twice. Elsewhere there is no table.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/scratch.h"
#include "kernels/contract.h"
#ifdef GYRUS_CUDA_TESTS
#include "cuda/families.h"
#include "cuda/fault.cuh"
#endif

namespace gyrus::test {

// Whether every table computes with the host's library of mathematics.
#if defined(GYRUS_CUDA_TESTS) && !defined(GYRUS_CUDA_EMULATED)
inline constexpr bool kHostArithmetic = false;
#else
inline constexpr bool kHostArithmetic = true;
#endif

#ifdef GYRUS_CUDA_TESTS

// The kernels of the device; null on a machine without one.
inline const KernelTable* cudaTable() {
  static const KernelTable* const found = [] {
    int count = 0;
    const bool there = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    return there ? &cuda::table() : nullptr;
  }();
  return found;
}

// GYRUS_CUDA_EVERY=n: where a call takes long, under sanitizers, the device takes but the first of n calls of an op
// that are compared, in one order of threads.
inline int callsPerComparison() {
  static const int calls = [] {
    const char* text = std::getenv("GYRUS_CUDA_EVERY");
    return text == nullptr || *text == '\0' ? 1 : std::max(1, std::atoi(text));
  }();
  return calls;
}
inline bool deviceCompares(Op op) {
  static int calls[kOpCount] = {};
  return calls[static_cast<int>(op)]++ % callsPerComparison() == 0;
}

// Device memory of exactly the size asked for, poisoned.
class DeviceScratch final : public Scratch {
 public:
  ~DeviceScratch() {
    for (void* p : taken_) cudaFree(p);
  }
  void* take(std::size_t bytes) override {
    void* p = nullptr;
    cuda::checked(cudaMalloc(&p, bytes), "scratch");
    taken_.push_back(p);
#ifndef GYRUS_CUDA_EMULATED
    const std::vector<std::uint32_t> poison(bytes / 4 + 1, 0x7FF7F7F7);
    cuda::checked(cudaMemcpy(p, poison.data(), bytes, cudaMemcpyHostToDevice), "scratch");
    cuda::checked(cudaDeviceSynchronize(), "scratch");  // the kernel's stream doesn't wait for it
#endif
    return p;
  }

 private:
  std::vector<void*> taken_;
};

#ifdef GYRUS_CUDA_EMULATED

class DeviceMemory {
 public:
  explicit DeviceMemory(bool) {}
  void* address(void*, std::size_t, void* data) const { return data; }
  cuda::DeviceFault* fault() { return &fault_; }
  cuda::DeviceFault copyBack() const { return fault_; }

 private:
  cuda::DeviceFault fault_{};
};
inline void afterFailure() { cuda::emulation::reset(); }

// The order in which the threads of a block run, for a scope.
class ThreadOrder {
 public:
  explicit ThreadOrder(cuda::emulation::Order order) : before_(cuda::emulation::order()) {
    cuda::emulation::setOrder(order);
  }
  ~ThreadOrder() { cuda::emulation::setOrder(before_); }
  ThreadOrder(const ThreadOrder&) = delete;
  ThreadOrder& operator=(const ThreadOrder&) = delete;

 private:
  cuda::emulation::Order before_;
};

template <class Run>
void inShuffledOrder(const Run& run) {
  const ThreadOrder scope({cuda::emulation::Order::Shuffled, 7});
  run();
}
template <class Run>
void inEveryOrder(const Run& run) {
  if (callsPerComparison() > 1) return inShuffledOrder(run);
  using cuda::emulation::Order;
  for (const Order order : {Order{Order::Forward, 0}, Order{Order::Reverse, 0}, Order{Order::Shuffled, 7}}) {
    const ThreadOrder scope(order);
    run();
  }
}

#else

// Copies of the host's buffers on the device for one call, and the record of its faults.
class DeviceMemory {
 public:
  explicit DeviceMemory(bool used) {
    if (!used) return;
    cuda::checked(cudaMalloc(&fault_, sizeof(cuda::DeviceFault)), "fault");
    cuda::checked(cudaMemset(fault_, 0, sizeof(cuda::DeviceFault)), "fault");
  }
  ~DeviceMemory() {
    for (const Buffer& b : buffers_) cudaFree(b.device);
    if (fault_ != nullptr) cudaFree(fault_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Where `data`, an address within the buffer, lies for the call.
  void* address(char* buffer, std::size_t size, void* data) {
    if (fault_ == nullptr || size == 0) return data;
    const std::ptrdiff_t offset = static_cast<char*>(data) - buffer;
    for (const Buffer& b : buffers_)
      if (b.host == buffer) return b.device + offset;
    void* copy = nullptr;
    cuda::checked(cudaMalloc(&copy, size), "tensor");
    buffers_.push_back({buffer, static_cast<char*>(copy), size});
    cuda::checked(cudaMemcpy(copy, buffer, size, cudaMemcpyHostToDevice), "tensor");
    return buffers_.back().device + offset;
  }
  cuda::DeviceFault* fault() { return fault_; }
  cuda::DeviceFault copyBack() const {
    for (const Buffer& b : buffers_)
      cuda::checked(cudaMemcpy(b.host, b.device, b.size, cudaMemcpyDeviceToHost), "tensor");
    cuda::DeviceFault fault{};
    cuda::checked(cudaMemcpy(&fault, fault_, sizeof fault, cudaMemcpyDeviceToHost), "fault");
    return fault;
  }

 private:
  struct Buffer {
    char *host, *device;
    std::size_t size;
  };
  std::vector<Buffer> buffers_;
  cuda::DeviceFault* fault_ = nullptr;
};
inline void afterFailure() {}

template <class Run>
void inShuffledOrder(const Run& run) {
  run();
}
template <class Run>
void inEveryOrder(const Run& run) {
  run();
  run();
}

#endif

// Launches the kernel and waits for it; throws what it raised.
inline void runOnDevice(Kernel kernel, Args args, DeviceMemory& memory) {
  DeviceScratch scratch;
  args.scratch = &scratch;
  cudaStream_t stream = nullptr;
  cuda::checked(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  std::string wrong;
  try {
    const cuda::CurrentScope scope(stream, memory.fault());
    cuda::checked(cudaDeviceSynchronize(), "copies");  // a stream that doesn't block doesn't wait for them either
    kernel(args);
    cuda::checked(cudaStreamSynchronize(stream), "kernel");
  } catch (const Error& e) {
    wrong = e.what();
    afterFailure();
  }
  cudaStreamDestroy(stream);
  if (!wrong.empty()) throw Error(Code::Device, wrong);
  cuda::throwFault(memory.copyBack());
}

#else

inline const KernelTable* cudaTable() { return nullptr; }
inline bool deviceCompares(Op) { return false; }

class DeviceMemory {
 public:
  explicit DeviceMemory(bool) {}
  void* address(void*, std::size_t, void* data) const { return data; }
};
inline void runOnDevice(Kernel, const Args&, const DeviceMemory&) {}
template <class Run>
void inEveryOrder(const Run&) {}

#endif

}  // namespace gyrus::test
