// Scratch memory for as many pieces of work as run at a time.
#pragma once
#include "core/spin.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// A piece takes a slot when it starts and hands it back.
template <class T>
class Slots {
 public:
  // each: numbers of T in a slot.
  Slots(const Args& args, int64_t pieces, int64_t each)
      : count_(maxOf(1, minOf(pieces, Pool::threads()))), each_((ceilDiv(each, kLine) + 1) * kLine) {
    memory_ = take<T>(args, count_ * each_);
    taken_ = take<char>(args, count_);
    for (int64_t i = 0; i < count_; ++i) taken_[i] = 0;
  }

  template <class F>
  void with(F&& f) const {
    // There are as many slots as threads: one is free, or will be.
    int64_t i = 0;
    Spinner spinner;
    while (__atomic_exchange_n(&taken_[i], char{1}, __ATOMIC_ACQUIRE)) {
      if (++i < count_) continue;
      i = 0;
      spinner.pause();
    }
    f(memory_ + i * each_);
    __atomic_store_n(&taken_[i], char{0}, __ATOMIC_RELEASE);
  }

 private:
  static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  int64_t count_, each_;
  T* memory_;
  char* taken_;
};

}  // namespace gyrus::cpu::GYRUS_ISA
