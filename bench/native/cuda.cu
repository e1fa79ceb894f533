// The limits of a GPU, and cuBLAS where it is found at run time: for comparison only, no part of the product. Calls are
// captured into graphs, so that the work is measured and not the launches.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>

#include "bench.h"

namespace {

void checked(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("cuda: ") + what + ": " + cudaGetErrorString(error));
}

class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes) {
    checked(cudaMalloc(&data_, bytes), "cudaMalloc");
    checked(cudaMemset(data_, 0, bytes), "cudaMemset");
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

// Numbers in [-1, 1), as f32 or bfloat16: products of zeros run faster than real ones.
template <class T>
__global__ void fillKernel(T* x, size_t n) {
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < n; i += size_t{gridDim.x} * 256) {
    unsigned s = static_cast<unsigned>(i) * 2654435761u;
    s = (s ^ (s >> 15)) * 2246822519u;
    x[i] = static_cast<T>(static_cast<float>(static_cast<int>(s ^ (s >> 13))) * 0x1p-31f);
  }
}

constexpr int kChains = 16, kFmaSteps = 4096;
__global__ void fmaKernel(float* sink) {
  float sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = 1.0f + 0.01f * static_cast<float>(i + threadIdx.x);
  for (int step = 0; step < kFmaSteps; step++)
    for (int i = 0; i < kChains; i++) sums[i] = __fmaf_rn(sums[i], 0.999f, 0.001f);
  for (int i = 1; i < kChains; i++) sums[0] += sums[i];
  if (sums[0] == 12345.0f) *sink = sums[0];
}

template <int Inputs, bool Stores>
__global__ void streamKernel(const float4* x, const float4* y, float4* z, size_t n) {
  float4 sum = make_float4(0, 0, 0, 0);
  for (size_t i = blockIdx.x * size_t{256} + threadIdx.x; i < n; i += size_t{gridDim.x} * 256) {
    float4 v = x[i];
    if (Inputs > 1) {
      const float4 w = y[i];
      v = make_float4(v.x + 0.5f * w.x, v.y + 0.5f * w.y, v.z + 0.5f * w.z, v.w + 0.5f * w.w);
    }
    if (Stores)
      z[i] = v;
    else
      sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
  }
  if (!Stores && sum.x + sum.y + sum.z + sum.w == 12345.0f) z[0] = sum;
}

// Runs per second of what `enqueue` puts on the stream.
double graphRate(cudaStream_t stream, double seconds, const std::function<void()>& enqueue) {
  enqueue();
  checked(cudaStreamSynchronize(stream), "run");
  double began = now();
  enqueue();
  checked(cudaStreamSynchronize(stream), "run");
  const int calls = static_cast<int>(std::clamp(2e-3 / (now() - began), 1.0, 64.0));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  checked(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < calls; i++) enqueue();
  checked(cudaStreamEndCapture(stream, &graph), "capture");
  checked(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  const auto timed = [&](int times) {
    const double start = now();
    for (int i = 0; i < times; i++) checked(cudaGraphLaunch(exec, stream), "launch");
    checked(cudaStreamSynchronize(stream), "launch");
    return now() - start;
  };
  timed(1);
  int batch = 1;
  while (timed(batch) < std::min(0.005, seconds / 5)) batch *= 2;
  double spent = 0, runs = 0;
  while (spent < seconds) {
    spent += timed(batch);
    runs += static_cast<double>(batch) * calls;
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  return runs / spent;
}

class Gpu : public Engine {
 public:
  Gpu() {
    checked(cudaGetDeviceProperties(&properties_, 0), "device");
    checked(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  }
  std::string version() const override { return properties_.name; }

  double measure(const Request& request) override {
    if (request.word(0) == "fma" && request.size() == 2) {
      const DeviceBuffer sink(16);
      const int blocks = properties_.multiProcessorCount * 8;
      const double rate =
          graphRate(stream_, request.number(1), [&] { fmaKernel<<<blocks, 256, 0, stream_>>>(sink.as<float>()); });
      return rate * 2.0 * kChains * kFmaSteps * 256 * blocks;
    }
    if (request.word(0) == "stream" && request.size() == 4)
      return stream(request.word(1), request.count(2), request.number(3));
    throw std::runtime_error("cuda: unknown request " + request.word(0));
  }

 protected:
  cudaDeviceProp properties_;
  cudaStream_t stream_ = nullptr;

 private:
  double stream(const std::string& name, int64_t bytes, double seconds) {
    const size_t arrays = name == "read" ? 1 : name == "copy" ? 2 : name == "triad" || name == "nt" ? 3 : 0;
    if (arrays == 0) throw std::runtime_error("expected read, copy, triad or nt, got " + name);
    const size_t n = static_cast<size_t>(bytes) / arrays / 16;
    if (n == 0) throw std::runtime_error("stream: " + std::to_string(bytes) + " bytes are too few");
    const DeviceBuffer x(n * 16), y(n * 16), z(n * 16);
    const auto blocks =
        static_cast<unsigned>(std::min<size_t>((n + 255) / 256, size_t(properties_.multiProcessorCount) * 32));
    const double rate = graphRate(stream_, seconds, [&] {
      const auto *a = x.as<const float4>(), *b = y.as<const float4>();
      float4* c = z.as<float4>();
      if (arrays == 1)
        streamKernel<1, false><<<blocks, 256, 0, stream_>>>(a, b, c, n);
      else if (arrays == 2)
        streamKernel<1, true><<<blocks, 256, 0, stream_>>>(a, b, c, n);
      else
        streamKernel<2, true><<<blocks, 256, 0, stream_>>>(a, b, c, n);
      checked(cudaGetLastError(), "stream");
    });
    return rate * static_cast<double>(arrays * n * 16);
  }
};

// Its interface is in C; these are the few names and numbers of it that are used.
class CuBlas final : public Gpu {
  enum {
    kNone = 0,
    kTransposed = 1,
    kF32 = 0,
    kBf16 = 14,
    kCompute32 = 68,
    kCompute32Tf32 = 77,
    kDefaultAlgorithm = -1
  };
  using GemmEx = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                         const void*, void*, int, int, int, int);

 public:
  CuBlas() {
    for (const char* name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
      if ((library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL))) break;
    }
    if (!library_) throw std::runtime_error("no libcublas.so.13 or .12 in the system's folders or LD_LIBRARY_PATH");
    called(symbol<int (*)(void**)>("cublasCreate_v2")(&handle_), "cublasCreate");
    called(symbol<int (*)(void*, cudaStream_t)>("cublasSetStream_v2")(handle_, stream_), "cublasSetStream");
    // A graph must not allocate: the workspace is given.
    workspace_ = std::make_unique<DeviceBuffer>(kWorkspace);
    called(symbol<int (*)(void*, void*, size_t)>("cublasSetWorkspace_v2")(handle_, workspace_->as<void>(), kWorkspace),
           "cublasSetWorkspace");
    gemm_ = symbol<GemmEx>("cublasGemmEx");
  }
  std::string version() const override {
    int version = 0;
    symbol<int (*)(void*, int*)>("cublasGetVersion_v2")(handle_, &version);
    return std::to_string(version);
  }
  double measure(const Request& request) override {
    if (request.word(0) != "gemm" || request.size() != 8) throw std::runtime_error("cublas: only gemm");
    const int m = int(request.count(1)), n = int(request.count(2)), k = int(request.count(3));
    const bool ta = request.count(4) != 0, tb = request.count(5) != 0;
    const std::string precision = request.word(6);
    const bool bf16 = precision == "bf16";
    if (!bf16 && precision != "f32" && precision != "tf32") throw std::runtime_error("cublas: precision " + precision);
    const size_t sizeA = size_t(m) * size_t(k), sizeB = size_t(k) * size_t(n);
    const DeviceBuffer a(sizeA * 4), b(sizeB * 4), c(size_t(m) * size_t(n) * 4);
    const auto fill = [&](const DeviceBuffer& x, size_t size) {
      if (bf16)
        fillKernel<<<1024, 256, 0, stream_>>>(x.as<__nv_bfloat16>(), size);
      else
        fillKernel<<<1024, 256, 0, stream_>>>(x.as<float>(), size);
    };
    fill(a, sizeA);
    fill(b, sizeB);
    const float one = 1, zero = 0;
    const int type = bf16 ? kBf16 : kF32, compute = precision == "tf32" ? kCompute32Tf32 : kCompute32;
    // Column-major: C^T = op(B)^T op(A)^T.
    return graphRate(stream_, request.number(7), [&] {
      called(
          gemm_(handle_, tb ? kTransposed : kNone, ta ? kTransposed : kNone, n, m, k, &one, b.as<void>(), type,
                tb ? k : n, a.as<void>(), type, ta ? m : k, &zero, c.as<void>(), kF32, n, compute, kDefaultAlgorithm),
          "cublasGemmEx");
    });
  }

 private:
  static constexpr size_t kWorkspace = 64u << 20;
  static void called(int status, const char* what) {
    if (status != 0) throw std::runtime_error(std::string(what) + ": status " + std::to_string(status));
  }
  template <class F>
  F symbol(const char* name) const {
    void* found = dlsym(library_, name);
    if (!found) throw std::runtime_error(std::string("cublas: no symbol ") + name);
    return reinterpret_cast<F>(found);
  }

  void* library_ = nullptr;
  void* handle_ = nullptr;
  GemmEx gemm_ = nullptr;
  std::unique_ptr<DeviceBuffer> workspace_;
};

}  // namespace

std::unique_ptr<Engine> makeGpu() { return std::make_unique<Gpu>(); }
std::unique_ptr<Engine> makeCuBlas() { return std::make_unique<CuBlas>(); }
