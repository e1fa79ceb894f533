// Host memory: kernels run on the thread that runs the stream, parallel over the pool, and copies are copies.
#include <cstring>
#include <new>

#include "core/backend.h"
#include "core/graph.h"
#include "core/host_memory.h"
#include "core/scratch.h"

namespace gyrus {
namespace {

class HostBackend final : public Backend {
 public:
  HostBackend() : Backend(true) {}

  Memory& memory() override { return memory_; }

  void call(Op, Kernel kernel, const Args& args) override {
    struct Scope {
      ScratchArena& arena;
      ~Scope() { arena.reset(); }
    } scope{scratch_};
    Args own = args;
    own.scratch = &scratch_;
    kernel(own);
  }

  void write(char* target, const void* data, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(target, data, bytes);
  }

  void read(const char* source, std::size_t bytes, std::optional<Error> error, Completion completion) override {
    std::unique_ptr<char[]> copy;
    if (!error && source) {
      copy.reset(new (std::nothrow) char[bytes > 0 ? bytes : 1]);
      if (!copy) {
        error.emplace(Code::OutOfMemory, "read: no memory for " + std::to_string(bytes) + " bytes");
      } else if (bytes > 0) {
        std::memcpy(copy.get(), source, bytes);
      }
    }
    completion(error ? &*error : nullptr, std::move(copy));
  }

  std::optional<Error> readNow(void* into, const char* source, std::size_t bytes, std::optional<Error> error) override {
    if (!error && bytes > 0) std::memcpy(into, source, bytes);
    return error;
  }

  void replay(const std::shared_ptr<Program>& program, const std::vector<char*>& bindings,
              const std::atomic<bool>& stop, Op& op) override {
    program->bind(bindings);
    program->run(*this, stop, op);
  }

  void settle() noexcept override {}
  void stop() noexcept override {}

 private:
  HostMemory memory_;
  ScratchArena scratch_;
};

}  // namespace

std::unique_ptr<Backend> hostBackend() { return std::make_unique<HostBackend>(); }

}  // namespace gyrus
