// The emulated device's runtime: lazy streams, memory, events, graphs, injected failures.
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::cuda;

namespace {

__global__ void scaleBy(float* y, float factor, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] *= factor;
}

// A stream and n floats of the device for a test.
struct Fixture {
  cudaStream_t stream = nullptr;
  float* x = nullptr;
  int n;
  explicit Fixture(int n) : n(n) {
    checked(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    checked(cudaMalloc(&x, bytes()), "x");
  }
  ~Fixture() {
    emulation::reset();
    cudaFree(x);
    cudaStreamDestroy(stream);
  }
  std::size_t bytes() const { return static_cast<std::size_t>(n) * sizeof(float); }
  void fill(float value) {
    const std::vector<float> all(static_cast<std::size_t>(n), value);
    checked(cudaMemcpyAsync(x, all.data(), bytes(), cudaMemcpyHostToDevice, stream), "fill");
  }
  void scale(float factor) {
    const CurrentScope scope(stream, nullptr);
    GYRUS_LAUNCH(1, 32, 0, scaleBy, x, factor, n);
  }
};

}  // namespace

TEST_CASE("emulated runtime: a stream does nothing until somebody waits or asks") {
  Fixture f(8);
  f.fill(1);
  f.scale(3);
  CHECK(std::isnan(f.x[0]));  // still fresh
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  for (int i = 0; i < f.n; ++i) CHECK(f.x[i] == 3);
  f.scale(2);
  f.scale(2);
  f.scale(2);
  int asked = 0;
  while (cudaStreamQuery(f.stream) == cudaErrorNotReady) ++asked;
  CHECK(asked == 1);
  CHECK(f.x[7] == 24);
}

TEST_CASE("emulated runtime: pinned memory is read when the copy runs, pageable memory when it is enqueued") {
  Fixture f(1);
  float *pinned = nullptr, pageable = 1;
  REQUIRE(cudaMallocHost(&pinned, sizeof(float)) == cudaSuccess);
  *pinned = 1;
  CHECK(cudaMemcpyAsync(f.x, pinned, sizeof(float), cudaMemcpyHostToDevice, f.stream) == cudaSuccess);
  *pinned = 2;
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(*f.x == 2);
  CHECK(cudaMemcpyAsync(f.x, &pageable, sizeof(float), cudaMemcpyHostToDevice, f.stream) == cudaSuccess);
  pageable = 2;
  CHECK(cudaMemcpyAsync(&pageable, f.x, sizeof(float), cudaMemcpyDeviceToHost, f.stream) == cudaSuccess);
  CHECK(pageable == 1);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
}

TEST_CASE("emulated runtime: memory is checked, counted and freed in the stream's order") {
  const emulation::Allocated before = emulation::allocated();
  Fixture f(4);
  CHECK(emulation::allocated().bytes == before.bytes + 16);
  float host[8] = {};
  CHECK(cudaMemcpyAsync(f.x, host, 20, cudaMemcpyHostToDevice, f.stream) == cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(host, f.x, 16, cudaMemcpyHostToDevice, f.stream) == cudaErrorInvalidValue);
  void* late = nullptr;
  CHECK(cudaMallocAsync(&late, 100, f.stream) == cudaSuccess);
  CHECK(cudaMemsetAsync(late, 0, 100, f.stream) == cudaSuccess);
  CHECK(cudaFreeAsync(late, f.stream) == cudaSuccess);
  CHECK(cudaMemsetAsync(late, 0, 100, f.stream) == cudaErrorInvalidValue);
  CHECK(cudaFreeAsync(late, f.stream) == cudaErrorInvalidValue);
  CHECK(emulation::allocated().count == before.count + 2);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(emulation::allocated().count == before.count + 1);
  std::size_t free = 0, total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(cudaMalloc(&late, free + 1) == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("emulated runtime: events order streams") {
  Fixture f(2), g(2);
  cudaEvent_t filled = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming) == cudaSuccess);
  f.fill(5);
  CHECK(cudaEventRecord(filled, f.stream) == cudaSuccess);
  f.scale(2);
  CHECK(cudaStreamWaitEvent(g.stream, filled) == cudaSuccess);
  CHECK(cudaMemcpyAsync(g.x, f.x, 8, cudaMemcpyDeviceToDevice, g.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(g.stream) == cudaSuccess);
  CHECK(g.x[1] == 5);
  CHECK(f.x[1] == 5);  // what comes after the event hasn't run
  CHECK(cudaEventQuery(filled) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(f.x[1] == 10);
  CHECK(cudaEventDestroy(filled) == cudaSuccess);
}

TEST_CASE("emulated runtime: host functions run in order and may not call the device") {
  Fixture f(1);
  struct Seen {
    float* x;
    float value;
    cudaError_t inside;
  } seen{f.x, 0, cudaSuccess};
  f.fill(3);
  f.scale(2);
  CHECK(cudaLaunchHostFunc(
            f.stream,
            [](void* data) {
              auto* s = static_cast<Seen*>(data);
              s->value = *s->x;
              s->inside = cudaDeviceSynchronize();
            },
            &seen) == cudaSuccess);
  f.scale(2);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(seen.value == 6);
  CHECK(seen.inside == cudaErrorNotPermitted);
  CHECK(*f.x == 12);
}

TEST_CASE("emulated runtime: captured work runs when the graph is launched, each time") {
  Fixture f(3);
  f.fill(1);
  REQUIRE(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  f.scale(2);
  f.scale(5);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(f.stream, &graph) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(f.x[2] == 1);
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, f.stream) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, f.stream) == cudaSuccess);
  // Other arguments count from the next launch on.
  cudaGraphNode_t nodes[2];
  std::size_t count = 2;
  REQUIRE(cudaGraphGetNodes(graph, nodes, &count) == cudaSuccess);
  CHECK(count == 2);
  cudaKernelNodeParams params{};
  REQUIRE(cudaGraphKernelNodeGetParams(nodes[1], &params) == cudaSuccess);
  float factor = 0.5f;
  params.kernelParams[1] = &factor;
  CHECK(cudaGraphExecKernelNodeSetParams(exec, nodes[1], &params) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(f.x[2] == 100);
  CHECK(cudaGraphLaunch(exec, f.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(f.x[2] == 100);
  // A graph of the same form replaces it, one of another form doesn't.
  for (const int scales : {2, 1}) {
    REQUIRE(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    for (int i = 0; i < scales; ++i) f.scale(3);
    cudaGraph_t other = nullptr;
    REQUIRE(cudaStreamEndCapture(f.stream, &other) == cudaSuccess);
    cudaGraphExecUpdateResultInfo info{};
    const cudaError_t updated = cudaGraphExecUpdate(exec, other, &info);
    CHECK(updated == (scales == 2 ? cudaSuccess : cudaErrorGraphExecUpdateFailure));
    CHECK(cudaGraphDestroy(other) == cudaSuccess);
  }
  CHECK(cudaGraphLaunch(exec, f.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaSuccess);
  CHECK(f.x[2] == 900);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
}

TEST_CASE("emulated runtime: waiting and allocating spoil a capture") {
  Fixture f(1);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(cudaStreamSynchronize(f.stream) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(f.stream, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(graph == nullptr);
  REQUIRE(cudaStreamBeginCapture(f.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(f.stream, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
}

TEST_CASE("emulated runtime: the n-th call of a function fails as ordered") {
  void *p = nullptr, *q = nullptr;
  emulation::failCall("cudaMalloc", 2, cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&p, 4) == cudaSuccess);
  CHECK(cudaMalloc(&q, 4) == cudaErrorMemoryAllocation);
  CHECK(q == nullptr);
  CHECK(cudaMalloc(&q, 4) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaFree(q) == cudaSuccess);
  emulation::failCall("cudaLaunchKernel", 1, cudaErrorLaunchOutOfResources);
  Fixture f(1);
  CHECK_THROWS_WITH_AS(f.scale(2),
                       "cuda: scaleBy: cudaErrorLaunchOutOfResources: too many resources requested for launch", Error);
  CHECK(cudaGetLastError() == cudaSuccess);
}
