// Waiting without sleeping, for the tens of microseconds that a hand-over between kernels takes.
#pragma once
#include <thread>

namespace gyrus {

inline void cpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Gives the core away once it has waited longer than a hand-over takes: the other thread may need this very core.
class Spinner {
 public:
  void pause() {
    if (++turns_ < 1000) {
      cpuRelax();
    } else {
      std::this_thread::yield();
    }
  }

 private:
  int turns_ = 0;
};

}  // namespace gyrus
