// A fiber: a stack of its own and a switch to it and back, which costs a dozen instructions.
#pragma once
#include <cstddef>

namespace gyrus::cuda::emulation {

// Runs `entry` on its own stack from the first resume() on. `entry` never returns; what it throws it catches itself.
class Fiber {
 public:
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();   // from outside of any fiber
  void suspend();  // from inside of this one: back to where it was resumed

 private:
  static void start();

  void (*entry_)();
  char* mapped_;
  void* here_ = nullptr;   // where the fiber stopped: a stack pointer or a ucontext
  void* there_ = nullptr;  // where it was resumed
  // What the sanitizers want to know of a switch.
  void* stackBottom_;
  std::size_t stackBytes_;
  const void* outerBottom_ = nullptr;
  std::size_t outerBytes_ = 0;
  void* sanitizerFiber_ = nullptr;
  void* outerFiber_ = nullptr;
};

}  // namespace gyrus::cuda::emulation
