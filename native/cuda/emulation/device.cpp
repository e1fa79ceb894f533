// The emulated device: errors, attributes, memory.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/error.h"
#include "cuda/emulation/internal.h"

namespace gyrus::cuda::emulation {
namespace {

thread_local cudaError_t lastError = cudaSuccess;
std::atomic<int> capability{86};
constexpr std::align_val_t kAlign{256};

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "driver version is insufficient for runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not ended in the same stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints"},
};
const ErrorText* textOf(cudaError_t error) {
  for (const ErrorText& e : kErrors)
    if (e.error == error) return &e;
  return nullptr;
}

cudaError_t allocate(void** pointer, std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (bytes > s.capacity - s.used) return cudaErrorMemoryAllocation;
  void* data = ::operator new(bytes, kAlign, std::nothrow);
  if (!data) return cudaErrorMemoryAllocation;
  poison(data, bytes);
  s.device[static_cast<char*>(data)] = {bytes, false};
  s.used += bytes;
  *pointer = data;
  return cudaSuccess;
}

cudaError_t allocateHost(void** pointer, std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* data = ::operator new(bytes, kAlign, std::nothrow);
  if (!data) return cudaErrorMemoryAllocation;
  poison(data, bytes);
  s.pinned[static_cast<char*>(data)] = {bytes, false};
  *pointer = data;
  return cudaSuccess;
}

// A free that is refused, as by a device that was lost, leaves the memory to reset().
cudaError_t abandon(std::map<char*, Memory>& all, void* pointer, cudaError_t error) {
  const std::lock_guard lock(state().mutex);
  const auto found = all.find(static_cast<char*>(pointer));
  if (found != all.end()) found->second.dying = true;
  return error;
}

}  // namespace

State::State() {
  const char* text = std::getenv("GYRUS_EMULATION_FAIL");
  for (std::string rest = text ? text : ""; !rest.empty();) {
    const std::string one = rest.substr(0, rest.find(','));
    rest = one.size() == rest.size() ? "" : rest.substr(one.size() + 1);
    const std::size_t a = one.find(':'), b = one.find(':', a + 1);
    const int n = a == std::string::npos ? 0 : std::atoi(one.c_str() + a + 1);
    const int error = b == std::string::npos ? 0 : std::atoi(one.c_str() + b + 1);
    if (n < 1 || error < 1)
      throw Error(Code::Config, "GYRUS_EMULATION_FAIL: expected name:n:error[,...], got '" + std::string(text) + "'");
    failures.push_back({one.substr(0, a), n, static_cast<cudaError_t>(error)});
  }
}

State& state() {
  static State s;
  return s;
}

cudaError_t noted(cudaError_t error) {
  if (error != cudaSuccess) lastError = error;
  return error;
}

cudaError_t enter(const char* name) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  for (std::size_t i = 0; i < s.failures.size(); ++i)
    if (s.failures[i].name == name && --s.failures[i].left == 0) {
      const cudaError_t error = s.failures[i].error;
      s.failures.erase(s.failures.begin() + static_cast<std::ptrdiff_t>(i));
      if (error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure) s.sticky = error;  // as on hardware
      return noted(error);
    }
  return noted(s.sticky);
}

void describe(const void* function, const char* name, void (*call)(const void*, void* const*), int parameters,
              const std::size_t* sizes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (!s.kernels.count(function)) s.kernels[function] = {name, call, parameters, sizes};
}

std::string lastFault() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.fault;
}

void failCall(const char* name, int n, cudaError_t error) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.failures.push_back({name, n, error});
}

void setComputeCapability(int number) { capability = number; }
std::size_t optInShared() { return (capability < 80 ? 64 : 99) << 10; }

void setCapacity(std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.capacity = bytes < s.used ? s.used : bytes;
}

Allocated allocated() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return {s.used, s.device.size()};
}

void reset() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.failures.clear();
  s.sticky = cudaSuccess;
  s.fault.clear();
  lastError = cudaSuccess;
  const auto forget = [](CUstream_st& stream) {
    stream.queue.clear();
    stream.performed = stream.enqueued;
    stream.capture.reset();
    stream.capturesOrigin = false;
  };
  forget(*s.legacy);
  for (auto& [handle, stream] : s.streams) forget(*stream);
  for (auto* all : {&s.device, &s.pinned})
    for (auto at = all->begin(); at != all->end();) {
      if (!at->second.dying) {
        ++at;
        continue;
      }
      if (all == &s.device) s.used -= at->second.bytes;
      ::operator delete(at->first, kAlign);
      at = all->erase(at);
    }
}

bool within(const std::map<char*, Memory>& all, const void* p, std::size_t bytes) {
  char* at = static_cast<char*>(const_cast<void*>(p));
  auto next = all.upper_bound(at);
  if (next == all.begin()) return false;
  const auto& [start, memory] = *--next;
  const auto offset = static_cast<std::size_t>(at - start);
  return !memory.dying && offset <= memory.bytes && bytes <= memory.bytes - offset;
}

void freeDevice(void* p) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.device.find(static_cast<char*>(p));
  poison(p, found->second.bytes);
  s.used -= found->second.bytes;
  s.device.erase(found);
  ::operator delete(p, kAlign);
}

}  // namespace gyrus::cuda::emulation

using namespace gyrus::cuda::emulation;

cudaError_t cudaGetLastError() {
  const cudaError_t error = lastError;
  lastError = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return lastError; }
const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* t = textOf(error);
  return t ? t->name : "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* t = textOf(error);
  return t ? t->text : "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int* version) {
  GYRUS_ENTER("cudaDriverGetVersion");
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  GYRUS_ENTER("cudaRuntimeGetVersion");
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  GYRUS_ENTER("cudaGetDeviceCount");
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  GYRUS_ENTER("cudaSetDevice");
  return noted(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  GYRUS_ENTER("cudaGetDevice");
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  GYRUS_ENTER("cudaGetDeviceProperties");
  if (device != 0) return noted(cudaErrorInvalidDevice);
  cudaDeviceProp p{};
  std::strcpy(p.name, "emulated device");
  {
    const std::lock_guard lock(state().mutex);
    p.totalGlobalMem = state().capacity;
  }
  p.sharedMemPerBlock = kStaticShared;
  p.sharedMemPerBlockOptin = optInShared();
  p.sharedMemPerMultiprocessor = 100 << 10;
  p.regsPerBlock = 65536;
  p.warpSize = warpSize;
  p.maxThreadsPerBlock = static_cast<int>(kMostThreads);
  p.maxThreadsPerMultiProcessor = 1536;
  for (int i = 0; i < 3; ++i) {
    p.maxThreadsDim[i] = i < 2 ? 1024 : 64;
    p.maxGridSize[i] = i == 0 ? 2147483647 : 65535;
  }
  p.major = capability / 10;
  p.minor = capability % 10;
  p.multiProcessorCount = 2;
  p.l2CacheSize = 4 << 20;
  p.memoryPoolsSupported = 1;
  *properties = p;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  GYRUS_ENTER("cudaDeviceGetAttribute");
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = p.maxGridSize[0];
      break;
    case cudaDevAttrMaxGridDimY:
      *value = p.maxGridSize[1];
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(p.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = p.memoryPoolsSupported;
      break;
    case cudaDevAttrIntegrated:
    case cudaDevAttrClockRate:
      *value = 0;
      break;
    default:
      return noted(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  GYRUS_ENTER("cudaDeviceSynchronize");
  if (const cudaError_t error = refusedByCapture(); error != cudaSuccess) return noted(error);
  return noted(drainAll());
}

cudaError_t cudaDeviceReset() {
  reset();
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  GYRUS_ENTER("cudaFuncSetAttribute");
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > optInShared()) return noted(cudaErrorInvalidValue);
  const std::lock_guard lock(state().mutex);
  state().dynamicLimit[function] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  GYRUS_ENTER("cudaMalloc");
  if (const cudaError_t error = refusedByCapture(); error != cudaSuccess) return noted(error);
  return noted(allocate(pointer, bytes));
}

cudaError_t cudaFree(void* pointer) {
  if (const cudaError_t error = enter("cudaFree"); error != cudaSuccess) return abandon(state().device, pointer, error);
  if (!pointer) return cudaSuccess;
  if (const cudaError_t error = refusedByCapture(); error != cudaSuccess) return noted(error);
  if (const cudaError_t error = drainAll(); error != cudaSuccess) return abandon(state().device, pointer, noted(error));
  {
    const std::lock_guard lock(state().mutex);
    const auto found = state().device.find(static_cast<char*>(pointer));
    if (found == state().device.end() || found->second.dying) return noted(cudaErrorInvalidValue);
  }
  freeDevice(pointer);
  return cudaSuccess;
}

// Not a node of graphs here: a captured allocation is refused.
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  GYRUS_ENTER("cudaMallocAsync");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (s->capture) return noted(cudaErrorStreamCaptureUnsupported);
  return noted(allocate(pointer, bytes));
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  GYRUS_ENTER("cudaFreeAsync");
  if (!pointer) return cudaSuccess;
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (s->capture) return noted(cudaErrorStreamCaptureUnsupported);
  {
    const std::lock_guard lock(state().mutex);
    const auto found = state().device.find(static_cast<char*>(pointer));
    if (found == state().device.end() || found->second.dying) return noted(cudaErrorInvalidValue);
    found->second.dying = true;
  }
  auto node = std::make_shared<Node>();
  node->kind = Node::Free;
  node->to = pointer;
  return noted(enqueue(s, std::move(node)));
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  GYRUS_ENTER("cudaMallocHost");
  return noted(allocateHost(pointer, bytes));
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  GYRUS_ENTER("cudaHostAlloc");
  return noted(allocateHost(pointer, bytes));
}

cudaError_t cudaFreeHost(void* pointer) {
  if (const cudaError_t error = enter("cudaFreeHost"); error != cudaSuccess)
    return abandon(state().pinned, pointer, error);
  if (!pointer) return cudaSuccess;
  if (const cudaError_t error = drainAll(); error != cudaSuccess) return abandon(state().pinned, pointer, noted(error));
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.pinned.erase(static_cast<char*>(pointer)) == 0) return noted(cudaErrorInvalidValue);
  ::operator delete(pointer, kAlign);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  GYRUS_ENTER("cudaMemGetInfo");
  const std::lock_guard lock(state().mutex);
  *free = state().capacity - state().used;
  *total = state().capacity;
  return cudaSuccess;
}
