#include "cuda/backend.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/graph.h"
#include "cuda/fault.cuh"
#include "cuda/memory.h"
#include "cuda/reader.h"
#include "cuda/staging.h"

namespace gyrus::cuda {
namespace {

// The recorded launches of a program, one graph for each of the last few sets of inputs.
struct Captured final : Program::Compiled {
  struct Instance {
    std::vector<char*> bindings;
    cudaGraphExec_t exec = nullptr;
  };
  static constexpr std::size_t kInstances = 4;  // a loader's batches lie in a few buffers in turn
  static constexpr int kAttempts = 2;

  std::vector<Instance> instances;  // the one used last at the end
  std::uint64_t scratch = 0;        // the generation they use
  int failures = 0;

  // A graph under way is destroyed when it is done.
  void clear() {
    for (const Instance& i : instances)
      if (cudaGraphExecDestroy(i.exec) != cudaSuccess) cudaGetLastError();
    instances.clear();
  }
  ~Captured() override { clear(); }
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(int ordinal, std::string name, Precision precision)
      : Backend(false), ordinal_(ordinal), name_(std::move(name)), precision_(precision), memory_(ordinal) {
    checked(cudaMalloc(reinterpret_cast<void**>(&fault_.data), sizeof(DeviceFault)), "cudaMalloc");
    checked(cudaMemsetAsync(fault_.data, 0, sizeof(DeviceFault), stream_.handle), "cudaMemsetAsync");
  }
  ~CudaBackend() override { stop(); }

  Memory& memory() override { return memory_; }

  void call(Op op, Kernel kernel, const Args& args) override {
    guarded(nameOf(op), [&] {
      struct Scope {
        DeviceScratch& scratch;
        CurrentScope current;
        PrecisionScope precision;
        ~Scope() { scratch.reset(); }
      } scope{scratch_, {stream_.handle, fault_.data}, PrecisionScope{precision_}};
      Args own = args;
      own.scratch = &scratch_;
      kernel(own);
    });
  }

  void write(char* target, const void* data, std::size_t bytes) override {
    if (bytes == 0) return;
    guarded("write", [&] {
      const char* from = static_cast<const char*>(data);
      if (capturing_) return copy(target, from, bytes, cudaMemcpyHostToDevice);  // the program owns the data
      while (bytes > 0) {
        const auto [staged, n] = staging_.take(bytes);
        std::memcpy(staged, from, n);
        copy(target, staged, n, cudaMemcpyHostToDevice);
        target += n, from += n, bytes -= n;
      }
    });
  }

  void read(const char* source, std::size_t bytes, std::optional<Error> error, Completion completion) override {
    Reader::Job job;
    try {
      guarded("read", [&] {
        job.buffer = pool_.take(Reader::kData + bytes);
        job.reached = pool_.takeEvent();
        takeFault(job.buffer.data);
        if (source && bytes > 0) copy(job.buffer.data + Reader::kData, source, bytes, cudaMemcpyDeviceToHost);
        checked(cudaEventRecord(job.reached, stream_.handle), "cudaEventRecord");
      });
      job.bytes = bytes;
      job.fence = !source;
      job.error = std::move(error);
      job.completion = std::move(completion);
      reader_.push(std::move(job));
    } catch (const Error& e) {
      settle();  // copies into the buffer may be under way
      pool_.giveBack(job.buffer);
      pool_.giveBack(job.reached);
      completion(error ? &*error : &e, nullptr);
    }
  }

  std::optional<Error> readNow(void* into, const char* source, std::size_t bytes, std::optional<Error> error) override {
    constexpr std::size_t kSmall = std::size_t{64} << 10;
    const bool small = bytes <= kSmall;
    PinnedPool::Buffer buffer;
    try {
      guarded("read", [&] {
        buffer = pool_.take(Reader::kData + (small ? bytes : 0));
        takeFault(buffer.data);
        if (small && bytes > 0) copy(buffer.data + Reader::kData, source, bytes, cudaMemcpyDeviceToHost);
        checked(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
        if (std::optional<Error> fault = faultIn(buffer.data)) error = std::move(fault);
        if (error || bytes == 0) return;
        if (small) {
          std::memcpy(into, buffer.data + Reader::kData, bytes);
        } else {
          copy(into, source, bytes, cudaMemcpyDeviceToHost);
          checked(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize");
        }
      });
    } catch (const Error& e) {
      settle();
      if (!error) error = e;
    }
    pool_.giveBack(buffer);
    return error;
  }

  void replay(const std::shared_ptr<Program>& program, const std::vector<char*>& bindings,
              const std::atomic<bool>& stop, Op& op) override {
    program->bind(bindings);
    if (!program->compiled) program->compiled = std::make_unique<Captured>();
    auto& captured = static_cast<Captured&>(*program->compiled);
    Captured::Instance* instance = nullptr;
    guarded("replay", [&] {
      try {
        instance = instanceFor(captured, *program, bindings, stop, op);
      } catch (const Error&) {
        if (!usable()) throw;
        captured.clear();
        ++captured.failures;
      }
    });
    if (!instance) return program->run(*this, stop, op);
    guarded("replay", [&] {
      checked(cudaGraphLaunch(instance->exec, stream_.handle), "cudaGraphLaunch");
      if (program->writes()) holdWhileRunning(program);
    });
  }

  void settle() noexcept override {
    try {
      guarded("settle", [&] { checked(cudaStreamSynchronize(stream_.handle), "cudaStreamSynchronize"); });
    } catch (const Error&) {
      // Whoever reads next is told.
    }
    if (!capturing_) releaseDone(true);
  }

  void stop() noexcept override {
    reader_.stop();
    settle();
  }

 private:
  struct StreamHandle {
    cudaStream_t handle = nullptr;
    StreamHandle() { checked(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
    StreamHandle(const StreamHandle&) = delete;
    StreamHandle& operator=(const StreamHandle&) = delete;
    ~StreamHandle() {
      if (handle && cudaStreamDestroy(handle) != cudaSuccess) cudaGetLastError();
    }
  };
  struct FaultRecord {
    DeviceFault* data = nullptr;
    ~FaultRecord() {
      if (data && cudaFree(data) != cudaSuccess) cudaGetLastError();
    }
  };
  struct Running {
    std::shared_ptr<Program> program;
    cudaEvent_t done;
  };

  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    checked(cudaMemcpyAsync(to, from, bytes, kind, stream_.handle), "cudaMemcpyAsync");
  }

  // The record of the device's own errors, which begins anew.
  void takeFault(char* into) {
    copy(into, fault_.data, sizeof(DeviceFault), cudaMemcpyDeviceToHost);
    checked(cudaMemsetAsync(fault_.data, 0, sizeof(DeviceFault), stream_.handle), "cudaMemsetAsync");
  }

  // Runs f; what CUDA says is led by what was being done. After an error that CUDA doesn't recover from, such as an
  // illegal address, every later use of the device ends in the same message.
  template <class F>
  void guarded(const char* what, F&& f) {
    if (const std::optional<Error> lost = this->lost()) throw *lost;
    try {
      useDevice(ordinal_);
      f();
    } catch (const Error& e) {
      if (capturing_ || (e.code() != Code::Device && e.code() != Code::OutOfMemory)) throw;
      const Error named = this->named(what, e);
      if (e.code() == Code::Device && !usable()) throw lose(named);
      throw named;
    }
  }

  // "unary: cuda:0: ..." of "cuda: ..."
  Error named(const char* what, const Error& e) {
    std::string text = e.what();
    if (text.rfind("cuda: ", 0) == 0) text.erase(0, 6);
    return Error(e.code(), std::string(what) + ": " + name_ + ": " + text);
  }

  bool usable() {
    const cudaError_t error = cudaStreamQuery(stream_.handle);
    if (error != cudaSuccess) cudaGetLastError();
    return error == cudaSuccess || error == cudaErrorNotReady;
  }

  std::optional<Error> lost() {
    if (!isLost_.load(std::memory_order_acquire)) return std::nullopt;
    const std::lock_guard<std::mutex> hold(lostLock_);
    return lost_;
  }

  Error lose(const Error& error) {
    const std::lock_guard<std::mutex> hold(lostLock_);
    if (!lost_) lost_.emplace(Code::Device, std::string(error.what()) + "; this process can't use the device any more");
    isLost_.store(true, std::memory_order_release);
    return *lost_;
  }

  // What a wait of the reader's returned.
  std::optional<Error> failed(cudaError_t error) {
    if (const std::optional<Error> lost = this->lost()) return lost;
    if (error == cudaSuccess) return std::nullopt;
    try {
      checked(error, "cudaEventSynchronize");
    } catch (const Error& e) {
      const Error named = this->named("read", e);
      return usable() ? named : lose(named);
    }
    return std::nullopt;
  }

  // The graph of the program with its inputs bound, captured if need be; null where it is to be launched call by call.
  Captured::Instance* instanceFor(Captured& captured, Program& program, const std::vector<char*>& bindings,
                                  const std::atomic<bool>& stop, Op& op) {
    if (captured.failures >= Captured::kAttempts) return nullptr;
    std::vector<Captured::Instance>& all = captured.instances;
    if (captured.scratch != scratch_.generation()) captured.clear();
    captured.scratch = scratch_.generation();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Captured::Instance& i) { return i.bindings == bindings; });
    if (found != all.end()) {
      std::rotate(found, found + 1, all.end());
      return &all.back();
    }
    cudaGraph_t graph = capture(program, stop, op);
    if (!graph) {
      ++captured.failures;
      return nullptr;
    }
    struct Owner {
      cudaGraph_t graph;
      ~Owner() { cudaGraphDestroy(graph); }
    } owner{graph};
    if (all.size() < Captured::kInstances) {
      all.reserve(Captured::kInstances);
      all.push_back({bindings, instantiate(graph)});
    } else {
      std::rotate(all.begin(), all.begin() + 1, all.end());
      Captured::Instance& oldest = all.back();
      cudaGraphExecUpdateResultInfo info;
      if (cudaGraphExecUpdate(oldest.exec, graph, &info) != cudaSuccess) {
        cudaGetLastError();
        cudaGraphExec_t exec = instantiate(graph);
        cudaGraphExecDestroy(oldest.exec);
        oldest.exec = exec;
      }
      oldest.bindings = bindings;
    }
    return &all.back();
  }

  cudaGraphExec_t instantiate(cudaGraph_t graph) {
    cudaGraphExec_t exec = nullptr;
    checked(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
    return exec;
  }

  // Null when something in it can't be captured. Other threads go on using CUDA meanwhile, hence the relaxed mode.
  cudaGraph_t capture(Program& program, const std::atomic<bool>& stop, Op& op) {
    checked(cudaStreamBeginCapture(stream_.handle, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    capturing_ = true;
    scratch_.freeze(true);
    bool whole = true;
    try {
      program.run(*this, stop, op);
    } catch (const Error&) {
      whole = false;  // launched call by call it is reported, if it is one of the program's
    }
    scratch_.freeze(false);
    capturing_ = false;
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(stream_.handle, &graph);
    if (error != cudaSuccess) cudaGetLastError();
    if (error == cudaSuccess && whole && !stop.load(std::memory_order_relaxed)) return graph;
    if (graph) cudaGraphDestroy(graph);
    return nullptr;
  }

  // The program's own data is read by its copies when they run.
  void holdWhileRunning(const std::shared_ptr<Program>& program) {
    releaseDone(false);
    auto found = std::find_if(running_.begin(), running_.end(), [&](const Running& r) { return r.program == program; });
    if (found == running_.end()) {
      running_.push_back({program, pool_.takeEvent()});
      found = running_.end() - 1;
    }
    checked(cudaEventRecord(found->done, stream_.handle), "cudaEventRecord");
  }

  void releaseDone(bool all) noexcept {
    std::erase_if(running_, [&](Running& r) {
      if (!all && (r.program.use_count() > 1 || cudaEventQuery(r.done) != cudaSuccess)) return false;
      pool_.giveBack(r.done);
      return true;
    });
  }

  const int ordinal_;
  const std::string name_;
  const Precision precision_;
  DeviceMemory memory_;
  StreamHandle stream_;
  FaultRecord fault_;
  StagingRing staging_{stream_.handle};
  PinnedPool pool_;
  DeviceScratch scratch_;
  std::vector<Running> running_;
  bool capturing_ = false;
  std::atomic<bool> isLost_{false};
  std::mutex lostLock_;
  std::optional<Error> lost_;
  Reader reader_{ordinal_, pool_, [this](cudaError_t error) { return failed(error); }};
};

}  // namespace

std::unique_ptr<Backend> openBackend(int ordinal, const std::string& name, Precision precision) {
  return std::make_unique<CudaBackend>(ordinal, name, precision);
}

}  // namespace gyrus::cuda
