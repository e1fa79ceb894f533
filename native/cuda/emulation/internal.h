// What the parts of the emulated runtime share: the work of streams and graphs, and the state of the device.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/emulation/cudart.h"

struct CUstream_st;
struct CUgraph_st;

// One piece of work, of a stream or as the node of a graph.
struct CUgraphNode_st {
  enum Kind { Kernel, Copy, Set, Host, Free, Wait, Record, Graph } kind = Host;
  // kernel
  const gyrus::cuda::emulation::Signature* signature = nullptr;
  const void* function = nullptr;
  dim3 grid, block;
  std::size_t sharedBytes = 0;
  std::vector<std::vector<std::uint64_t>> arguments;  // a copy of each
  std::vector<void*> pointers;                        // to them, for those who ask
  // copy, set, free
  void* to = nullptr;
  const void* from = nullptr;
  std::vector<char> staged;  // pageable memory is read when the call is made
  std::size_t bytes = 0;
  int value = 0;
  // host
  cudaHostFn_t call = nullptr;
  void* userData = nullptr;
  // wait: for this much work of another stream
  std::shared_ptr<CUstream_st> stream;
  std::uint64_t ticket = 0;
  // record
  std::shared_ptr<double> time;
  // graph
  std::vector<std::shared_ptr<const CUgraphNode_st>> nodes;
};

struct CUstream_st {
  bool blocking = true;  // to the legacy stream
  std::deque<std::shared_ptr<const CUgraphNode_st>> queue;
  std::uint64_t enqueued = 0, performed = 0;
  std::shared_ptr<CUgraph_st> capture;
  bool capturesOrigin = false;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
};

struct CUevent_st {
  std::shared_ptr<CUstream_st> stream;
  std::uint64_t ticket = 0;
  std::shared_ptr<CUgraph_st> capture;  // recorded in this one
  std::shared_ptr<double> time;
  bool timed = true;
};

struct CUgraph_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
  bool invalidated = false;
};

struct CUgraphExec_st {
  std::vector<std::shared_ptr<const CUgraphNode_st>> nodes;
  std::vector<cudaGraphNode_t> origins;  // the nodes they were made from
};

namespace gyrus::cuda::emulation {

using Node = CUgraphNode_st;

struct Memory {
  std::size_t bytes;
  bool dying;  // freed by work that has not run yet
};

struct State {
  std::mutex mutex;           // of everything here; never held while work runs
  std::recursive_mutex work;  // held by the thread that runs work
  std::map<char*, Memory> device, pinned;
  std::size_t used = 0, capacity = std::size_t{1} << 30;
  std::map<cudaStream_t, std::shared_ptr<CUstream_st>> streams;
  std::shared_ptr<CUstream_st> legacy = std::make_shared<CUstream_st>();
  std::unordered_map<const void*, Signature> kernels;
  std::unordered_map<const void*, std::size_t> dynamicLimit;
  cudaError_t sticky = cudaSuccess;
  std::string fault;
  struct Failure {
    std::string name;
    int left;
    cudaError_t error;
  };
  std::vector<Failure> failures;

  State();
};
State& state();

// To begin every call: an injected failure, or what an earlier kernel left behind.
cudaError_t enter(const char* name);
#define GYRUS_ENTER(name) \
  if (const cudaError_t refused = ::gyrus::cuda::emulation::enter(name); refused != cudaSuccess) return refused

// Notes an error for cudaGetLastError.
cudaError_t noted(cudaError_t error);

// The calling thread's or, in the global mode, anybody's capture forbids this call; the capture becomes invalid.
cudaError_t refusedByCapture();

std::shared_ptr<CUstream_st> streamOf(cudaStream_t stream);  // null: no such stream
// Appends to the stream's queue, or to the graph it is captured into.
cudaError_t enqueue(const std::shared_ptr<CUstream_st>& stream, std::shared_ptr<CUgraphNode_st> node);
// Runs work of a stream until `ticket` pieces have been performed.
cudaError_t drain(const std::shared_ptr<CUstream_st>& stream, std::uint64_t ticket);
cudaError_t drainAll();
void perform(const Node& node);

// Whether [p, p + bytes) is inside of one living allocation.
bool within(const std::map<char*, Memory>& all, const void* p, std::size_t bytes);
void freeDevice(void* p);
cudaError_t kernelNode(Node& node, const void* function, dim3 grid, dim3 block, void* const* arguments,
                       std::size_t sharedBytes);
cudaError_t copyNode(Node& node, void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);

}  // namespace gyrus::cuda::emulation
