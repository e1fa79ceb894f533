// Streams, events and launches of the emulated device.
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "cuda/emulation/internal.h"

namespace gyrus::cuda::emulation {
namespace {

thread_local bool inHostFunction = false;

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void fault(const std::string& what) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.sticky = cudaErrorLaunchFailure;
  s.fault = what;
}

bool isSticky() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.sticky != cudaSuccess;
}

std::uint64_t enqueuedOf(const CUstream_st& stream) {
  const std::lock_guard lock(state().mutex);
  return stream.enqueued;
}

std::vector<std::shared_ptr<CUstream_st>> blockingStreams() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  std::vector<std::shared_ptr<CUstream_st>> all;
  for (const auto& [handle, stream] : s.streams)
    if (stream->blocking) all.push_back(stream);
  return all;
}

// Half of what is left, so that asking again and again gets there and "not ready" is seen on the way.
cudaError_t poll(const std::shared_ptr<CUstream_st>& stream, std::uint64_t ticket) {
  std::uint64_t performed;
  {
    const std::lock_guard lock(state().mutex);
    performed = stream->performed;
  }
  if (performed < ticket) {
    const std::unique_lock running(state().work, std::try_to_lock);
    if (!running) return cudaErrorNotReady;
    const std::uint64_t half = performed + (ticket - performed + 1) / 2;
    if (const cudaError_t error = drain(stream, half); error != cudaSuccess) return error;
    if (half < ticket) return cudaErrorNotReady;
  }
  return cudaSuccess;
}

}  // namespace

std::shared_ptr<CUstream_st> streamOf(cudaStream_t stream) {
  State& s = state();
  if (!stream) return s.legacy;
  const std::lock_guard lock(s.mutex);
  const auto found = s.streams.find(stream);
  return found == s.streams.end() ? nullptr : found->second;
}

cudaError_t refusedByCapture() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  for (const auto& [handle, stream] : s.streams)
    if (stream->capture && stream->mode != cudaStreamCaptureModeRelaxed) {
      stream->capture->invalidated = true;
      return cudaErrorStreamCaptureUnsupported;
    }
  return cudaSuccess;
}

cudaError_t enqueue(const std::shared_ptr<CUstream_st>& stream, std::shared_ptr<CUgraphNode_st> node) {
  State& s = state();
  if (inHostFunction) return cudaErrorNotPermitted;
  if (stream == s.legacy) {
    for (const auto& other : blockingStreams()) {
      if (other->capture) {
        other->capture->invalidated = true;
        return cudaErrorStreamCaptureImplicit;
      }
      if (const cudaError_t error = drain(other, enqueuedOf(*other)); error != cudaSuccess) return error;
    }
  } else if (stream->blocking && !stream->capture) {
    if (const cudaError_t error = drain(s.legacy, enqueuedOf(*s.legacy)); error != cudaSuccess) return error;
  }
  const std::lock_guard lock(s.mutex);
  if (stream->capture) {
    if (stream->capture->invalidated) return cudaErrorStreamCaptureInvalidated;
    stream->capture->nodes.push_back(std::move(node));
    return cudaSuccess;
  }
  stream->queue.push_back(std::move(node));
  ++stream->enqueued;
  return cudaSuccess;
}

void perform(const Node& node) {
  switch (node.kind) {
    case Node::Kernel: {
      std::vector<void*> arguments;
      for (const auto& a : node.arguments) arguments.push_back(const_cast<std::uint64_t*>(a.data()));
      runGrid(*node.signature, node.function, arguments.data(), node.grid, node.block, node.sharedBytes);
      break;
    }
    case Node::Copy:
      std::memmove(node.to, node.staged.empty() ? node.from : node.staged.data(), node.bytes);
      break;
    case Node::Set:
      std::memset(node.to, node.value, node.bytes);
      break;
    case Node::Host:
      inHostFunction = true;
      node.call(node.userData);
      inHostFunction = false;
      break;
    case Node::Free:
      freeDevice(node.to);
      break;
    case Node::Wait:
      drain(node.stream, node.ticket);
      break;
    case Node::Record:
      *node.time = now();
      break;
    case Node::Graph:
      for (const auto& inner : node.nodes) perform(*inner);
  }
}

cudaError_t drain(const std::shared_ptr<CUstream_st>& stream, std::uint64_t ticket) {
  State& s = state();
  if (inHostFunction) return cudaErrorNotPermitted;
  const std::lock_guard running(s.work);
  for (;;) {
    std::shared_ptr<const Node> node;
    {
      const std::lock_guard lock(s.mutex);
      if (s.sticky != cudaSuccess) return s.sticky;
      if (stream->performed >= ticket || stream->queue.empty()) return cudaSuccess;
      node = std::move(stream->queue.front());
      stream->queue.pop_front();
    }
    try {
      perform(*node);
    } catch (const std::exception& e) {
      fault(e.what());
    }
    const std::lock_guard lock(s.mutex);
    ++stream->performed;
  }
}

cudaError_t drainAll() {
  State& s = state();
  std::vector<std::shared_ptr<CUstream_st>> all;
  {
    const std::lock_guard lock(s.mutex);
    for (const auto& [handle, stream] : s.streams) all.push_back(stream);
    all.push_back(s.legacy);
  }
  for (const auto& stream : all)
    if (const cudaError_t error = drain(stream, enqueuedOf(*stream)); error != cudaSuccess) return error;
  return isSticky() ? cudaErrorLaunchFailure : cudaSuccess;
}

// What is known when the call is made: directions, ranges.
cudaError_t copyNode(Node& node, void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (bytes > 0) {
    const bool toDevice = within(s.device, to, bytes), fromDevice = within(s.device, from, bytes);
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
    if (kind != cudaMemcpyDefault) {
      const bool wantsTo = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
      const bool wantsFrom = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
      if (wantsTo != toDevice || wantsFrom != fromDevice) return cudaErrorInvalidValue;
    }
  }
  node.kind = Node::Copy;
  node.to = to;
  node.from = from;
  node.bytes = bytes;
  return cudaSuccess;
}

}  // namespace gyrus::cuda::emulation

using namespace gyrus::cuda::emulation;

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  GYRUS_ENTER("cudaMemcpyAsync");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  auto node = std::make_shared<Node>();
  if (const cudaError_t error = copyNode(*node, to, from, bytes, kind); error != cudaSuccess) return noted(error);
  bool pageableTo, pageableFrom;
  {
    const std::lock_guard lock(state().mutex);
    const auto pageable = [&](const void* p) {
      return !within(state().device, p, bytes) && !within(state().pinned, p, bytes);
    };
    pageableTo = pageable(to);
    pageableFrom = pageable(from);
  }
  if (!s->capture && pageableFrom && bytes > 0)
    node->staged.assign(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
  if (const cudaError_t error = enqueue(s, std::move(node)); error != cudaSuccess) return noted(error);
  // As on hardware, a copy into pageable memory returns when it is done.
  return s->capture || !pageableTo ? cudaSuccess : noted(drain(s, enqueuedOf(*s)));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  GYRUS_ENTER("cudaMemcpy");
  auto node = std::make_shared<Node>();
  if (const cudaError_t error = copyNode(*node, to, from, bytes, kind); error != cudaSuccess) return noted(error);
  if (const cudaError_t error = enqueue(state().legacy, std::move(node)); error != cudaSuccess) return noted(error);
  return noted(drain(state().legacy, enqueuedOf(*state().legacy)));
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  GYRUS_ENTER("cudaMemsetAsync");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  {
    const std::lock_guard lock(state().mutex);
    if (bytes > 0 && !within(state().device, to, bytes) && !within(state().pinned, to, bytes))
      return noted(cudaErrorInvalidValue);
  }
  auto node = std::make_shared<Node>();
  node->kind = Node::Set;
  node->to = to;
  node->value = value;
  node->bytes = bytes;
  return noted(enqueue(s, std::move(node)));
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  GYRUS_ENTER("cudaStreamCreateWithFlags");
  if (flags > cudaStreamNonBlocking) return noted(cudaErrorInvalidValue);
  auto s = std::make_shared<CUstream_st>();
  s->blocking = flags == cudaStreamDefault;
  const std::lock_guard lock(state().mutex);
  *stream = s.get();
  state().streams[s.get()] = std::move(s);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  GYRUS_ENTER("cudaStreamCreate");
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

// Its work still gets done: here at once.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  GYRUS_ENTER("cudaStreamDestroy");
  const auto s = streamOf(stream);
  if (!s || !stream) return noted(cudaErrorInvalidResourceHandle);
  const cudaError_t error = drain(s, enqueuedOf(*s));
  const std::lock_guard lock(state().mutex);
  state().streams.erase(stream);
  return noted(error);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  GYRUS_ENTER("cudaStreamSynchronize");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (s->capture) {
    s->capture->invalidated = true;
    return noted(cudaErrorStreamCaptureUnsupported);
  }
  if (!stream) return noted(drainAll());
  cudaError_t error = drain(s, enqueuedOf(*s));
  if (error == cudaSuccess && isSticky()) error = cudaErrorLaunchFailure;
  return noted(error);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  GYRUS_ENTER("cudaStreamQuery");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (s->capture) {
    s->capture->invalidated = true;
    return noted(cudaErrorStreamCaptureUnsupported);
  }
  return poll(s, enqueuedOf(*s));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  GYRUS_ENTER("cudaStreamWaitEvent");
  const auto s = streamOf(stream);
  if (!s || !event) return noted(cudaErrorInvalidResourceHandle);
  if (event->capture) {  // the stream joins the capture; its nodes stay in the order of the calls
    const std::lock_guard lock(state().mutex);
    s->capture = event->capture;
    return cudaSuccess;
  }
  if (s->capture || !event->stream) return cudaSuccess;
  auto node = std::make_shared<Node>();
  node->kind = Node::Wait;
  node->stream = event->stream;
  node->ticket = event->ticket;
  return noted(enqueue(s, std::move(node)));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  GYRUS_ENTER("cudaEventCreateWithFlags");
  *event = new CUevent_st;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  GYRUS_ENTER("cudaEventCreate");
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  GYRUS_ENTER("cudaEventDestroy");
  if (!event) return noted(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  GYRUS_ENTER("cudaEventRecord");
  const auto s = streamOf(stream);
  if (!s || !event) return noted(cudaErrorInvalidResourceHandle);
  event->capture = s->capture;
  if (s->capture) return cudaSuccess;
  auto node = std::make_shared<Node>();
  node->kind = Node::Record;
  node->time = event->time = std::make_shared<double>(0);
  if (const cudaError_t error = enqueue(s, std::move(node)); error != cudaSuccess) return noted(error);
  event->stream = s;
  event->ticket = enqueuedOf(*s);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  GYRUS_ENTER("cudaEventSynchronize");
  if (!event) return noted(cudaErrorInvalidResourceHandle);
  if (event->capture) return noted(cudaErrorStreamCaptureUnsupported);
  if (!event->stream) return cudaSuccess;
  cudaError_t error = drain(event->stream, event->ticket);
  if (error == cudaSuccess && isSticky()) error = cudaErrorLaunchFailure;
  return noted(error);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  GYRUS_ENTER("cudaEventQuery");
  if (!event) return noted(cudaErrorInvalidResourceHandle);
  if (event->capture) return noted(cudaErrorStreamCaptureUnsupported);
  return event->stream ? poll(event->stream, event->ticket) : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  GYRUS_ENTER("cudaEventElapsedTime");
  if (!from || !to || !from->time || !to->time || !from->timed || !to->timed)
    return noted(cudaErrorInvalidResourceHandle);
  if (*from->time == 0 || *to->time == 0) return cudaErrorNotReady;
  *milliseconds = static_cast<float>(*to->time - *from->time);
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* userData) {
  GYRUS_ENTER("cudaLaunchHostFunc");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (!function) return noted(cudaErrorInvalidValue);
  auto node = std::make_shared<Node>();
  node->kind = Node::Host;
  node->call = function;
  node->userData = userData;
  return noted(enqueue(s, std::move(node)));
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, std::size_t sharedBytes,
                             cudaStream_t stream) {
  GYRUS_ENTER("cudaLaunchKernel");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  auto node = std::make_shared<Node>();
  if (const cudaError_t error = kernelNode(*node, function, grid, block, arguments, sharedBytes); error != cudaSuccess)
    return noted(error);
  return noted(enqueue(s, std::move(node)));
}
