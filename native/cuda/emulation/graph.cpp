// Capture of streams into graphs, and graphs. A graph is the list of its nodes in the order of the captured calls,
// which honours every dependency.
#include <cstring>

#include "cuda/emulation/internal.h"

namespace gyrus::cuda::emulation {

cudaError_t kernelNode(Node& node, const void* function, dim3 grid, dim3 block, void* const* arguments,
                       std::size_t sharedBytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto known = s.kernels.find(function);
  if (known == s.kernels.end()) return cudaErrorInvalidDeviceFunction;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0)
    return cudaErrorInvalidConfiguration;
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || std::uint64_t{block.x} * block.y * block.z > kMostThreads)
    return cudaErrorInvalidConfiguration;
  const auto limit = s.dynamicLimit.find(function);
  if (sharedBytes > (limit == s.dynamicLimit.end() ? kStaticShared : limit->second)) return cudaErrorInvalidValue;
  const Signature& signature = known->second;
  node.kind = Node::Kernel;
  node.signature = &signature;
  node.function = function;
  node.grid = grid;
  node.block = block;
  node.sharedBytes = sharedBytes;
  node.arguments.clear();
  node.pointers.clear();
  for (int i = 0; i < signature.parameters; ++i) {
    node.arguments.emplace_back((signature.sizes[i] + 15) / 16 * 2);
    std::memcpy(node.arguments.back().data(), arguments[i], signature.sizes[i]);
  }
  for (auto& a : node.arguments) node.pointers.push_back(a.data());
  return cudaSuccess;
}

}  // namespace gyrus::cuda::emulation

using namespace gyrus::cuda::emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  GYRUS_ENTER("cudaStreamBeginCapture");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  if (!stream) return noted(cudaErrorStreamCaptureUnsupported);
  const std::lock_guard lock(state().mutex);
  if (s->capture) return noted(cudaErrorInvalidValue);
  s->capture = std::make_shared<CUgraph_st>();
  s->capturesOrigin = true;
  s->mode = mode;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  GYRUS_ENTER("cudaStreamEndCapture");
  *graph = nullptr;
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  const std::lock_guard lock(state().mutex);
  if (!s->capture) return noted(cudaErrorInvalidValue);
  if (!s->capturesOrigin) return noted(cudaErrorStreamCaptureUnmatched);
  const auto captured = s->capture;
  for (const auto& [handle, other] : state().streams)
    if (other->capture == captured) other->capture.reset();
  s->capturesOrigin = false;
  if (captured->invalidated) return noted(cudaErrorStreamCaptureInvalidated);
  *graph = new CUgraph_st{captured->nodes, false};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  GYRUS_ENTER("cudaStreamIsCapturing");
  const auto s = streamOf(stream);
  if (!s) return noted(cudaErrorInvalidResourceHandle);
  const std::lock_guard lock(state().mutex);
  *status = !s->capture               ? cudaStreamCaptureStatusNone
            : s->capture->invalidated ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  GYRUS_ENTER("cudaGraphInstantiate");
  if (!graph) return noted(cudaErrorInvalidValue);
  auto made = new CUgraphExec_st;
  for (const auto& node : graph->nodes) {
    made->nodes.push_back(std::make_shared<const Node>(*node));
    made->origins.push_back(node.get());
  }
  *exec = made;
  return cudaSuccess;
}

// The nodes as they are now: updating the graph afterwards doesn't change this launch.
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  GYRUS_ENTER("cudaGraphLaunch");
  const auto s = streamOf(stream);
  if (!s || !exec) return noted(cudaErrorInvalidResourceHandle);
  auto node = std::make_shared<Node>();
  node->kind = Node::Graph;
  node->nodes = exec->nodes;
  return noted(enqueue(s, std::move(node)));
}
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  GYRUS_ENTER("cudaGraphUpload");
  return noted(exec && streamOf(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  GYRUS_ENTER("cudaGraphDestroy");
  if (!graph) return noted(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  GYRUS_ENTER("cudaGraphExecDestroy");
  if (!exec) return noted(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* info) {
  GYRUS_ENTER("cudaGraphExecUpdate");
  if (!exec || !graph || !info) return noted(cudaErrorInvalidValue);
  *info = {cudaGraphExecUpdateSuccess, nullptr, nullptr};
  if (exec->nodes.size() != graph->nodes.size()) {
    info->result = cudaGraphExecUpdateErrorTopologyChanged;
    return noted(cudaErrorGraphExecUpdateFailure);
  }
  for (std::size_t i = 0; i < graph->nodes.size(); ++i)
    if (exec->nodes[i]->kind != graph->nodes[i]->kind) {
      info->result = cudaGraphExecUpdateErrorNodeTypeChanged;
      info->errorNode = graph->nodes[i].get();
      return noted(cudaErrorGraphExecUpdateFailure);
    }
  for (std::size_t i = 0; i < graph->nodes.size(); ++i) exec->nodes[i] = std::make_shared<const Node>(*graph->nodes[i]);
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  GYRUS_ENTER("cudaGraphGetNodes");
  if (!graph || !count) return noted(cudaErrorInvalidValue);
  if (nodes)
    for (std::size_t i = 0; i < *count; ++i) nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
  if (!nodes || *count > graph->nodes.size()) *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  GYRUS_ENTER("cudaGraphNodeGetType");
  if (!node) return noted(cudaErrorInvalidValue);
  *type = node->kind == Node::Kernel ? cudaGraphNodeTypeKernel
          : node->kind == Node::Copy ? cudaGraphNodeTypeMemcpy
          : node->kind == Node::Set  ? cudaGraphNodeTypeMemset
                                     : cudaGraphNodeTypeHost;
  return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t node, cudaKernelNodeParams* params) {
  GYRUS_ENTER("cudaGraphKernelNodeGetParams");
  if (!node || node->kind != Node::Kernel) return noted(cudaErrorInvalidValue);
  node->pointers.clear();  // a copied node has its own
  for (auto& a : node->arguments) node->pointers.push_back(a.data());
  *params = {const_cast<void*>(node->function),
             node->grid,
             node->block,
             static_cast<unsigned>(node->sharedBytes),
             node->pointers.data(),
             nullptr};
  return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* params) {
  GYRUS_ENTER("cudaGraphExecKernelNodeSetParams");
  if (!exec || !node || !params) return noted(cudaErrorInvalidValue);
  for (std::size_t i = 0; i < exec->origins.size(); ++i) {
    if (exec->origins[i] != node) continue;
    auto changed = std::make_shared<Node>(*exec->nodes[i]);
    if (changed->kind != Node::Kernel) return noted(cudaErrorInvalidValue);
    if (const cudaError_t error = kernelNode(*changed, params->func, params->gridDim, params->blockDim,
                                             params->kernelParams, params->sharedMemBytes);
        error != cudaSuccess)
      return noted(error);
    exec->nodes[i] = std::move(changed);
    return cudaSuccess;
  }
  return noted(cudaErrorInvalidValue);
}

cudaError_t cudaGraphExecMemcpyNodeSetParams1D(cudaGraphExec_t exec, cudaGraphNode_t node, void* to, const void* from,
                                               std::size_t bytes, cudaMemcpyKind kind) {
  GYRUS_ENTER("cudaGraphExecMemcpyNodeSetParams1D");
  if (!exec || !node) return noted(cudaErrorInvalidValue);
  for (std::size_t i = 0; i < exec->origins.size(); ++i) {
    if (exec->origins[i] != node) continue;
    auto changed = std::make_shared<Node>(*exec->nodes[i]);
    if (changed->kind != Node::Copy) return noted(cudaErrorInvalidValue);
    if (const cudaError_t error = copyNode(*changed, to, from, bytes, kind); error != cudaSuccess) return noted(error);
    exec->nodes[i] = std::move(changed);
    return cudaSuccess;
  }
  return noted(cudaErrorInvalidValue);
}
