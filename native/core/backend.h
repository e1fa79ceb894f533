// What differs from one kind of memory to another: where blocks come from, how host data gets in and out, how a call
// and a recorded program run. The stream, the allocator's cache, handles and recordings are the same for all.
#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/allocator.h"
#include "kernels/contract.h"

namespace gyrus {

class Program;

// Called once, on a thread of the device's: with an error, or with the bytes that were read (null for a fence).
using Completion = std::function<void(const Error* error, std::unique_ptr<char[]> data)>;

class Backend {
 public:
  // `hostMemory`: kernels read and write what the host can as well, and are done when they return.
  explicit Backend(bool hostMemory) : hostMemory_(hostMemory) {}
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  bool hostMemory() const { return hostMemory_; }
  virtual Memory& memory() = 0;

  // ---- what the stream runs, one at a time and in order; each may return before the device has done it
  virtual void call(Op op, Kernel kernel, const Args& args) = 0;
  // Copies host data, which is the caller's again on return.
  virtual void write(char* target, const void* data, std::size_t bytes) = 0;
  // Hands `bytes` from `source` (null: a fence) to `completion` when everything before has run; or the first error:
  // one of the device's own, which is thereby taken from it, before `error`.
  virtual void read(const char* source, std::size_t bytes, std::optional<Error> error, Completion completion) = 0;
  // The same, waiting. Returns the error; `into` is untouched then.
  virtual std::optional<Error> readNow(void* into, const char* source, std::size_t bytes,
                                       std::optional<Error> error) = 0;
  // Runs a program whose inputs are bound. `op` follows the call that is running, for the error's message. Ends early
  // when `stop` is set.
  virtual void replay(const std::shared_ptr<Program>& program, const std::vector<char*>& bindings,
                      const std::atomic<bool>& stop, Op& op) = 0;

  // ---- for the thread that owns the device
  // Waits until everything that was started has run.
  virtual void settle() noexcept = 0;
  // The stream has ended: waits for what is under way, completions included.
  virtual void stop() noexcept = 0;

 private:
  const bool hostMemory_;
};

// The CPU's, and that of tests.
std::unique_ptr<Backend> hostBackend();

}  // namespace gyrus
