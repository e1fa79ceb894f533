// What the parts of the program share: a request, an engine that answers it, buffers and the clock.
#pragma once

#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

// The words of a request. The number of words is checked by whoever takes them apart.
class Request {
 public:
  explicit Request(std::vector<std::string> words) : words_(std::move(words)) {}

  size_t size() const { return words_.size(); }
  const std::string& word(size_t i) const {
    if (i >= words_.size()) throw std::runtime_error("a request of " + std::to_string(words_.size()) + " words");
    return words_[i];
  }
  int64_t count(size_t i) const {
    size_t used = 0;
    const int64_t value = std::stoll(word(i), &used);
    if (used != word(i).size() || value < 0) throw std::runtime_error("expected a count, got " + word(i));
    return value;
  }
  double number(size_t i) const { return std::stod(word(i)); }

 private:
  std::vector<std::string> words_;
};

// One library, or the machine itself.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string version() const = 0;
  // The answer to a request whose last word is the time in seconds; a rate per second.
  virtual double measure(const Request& request) = 0;
};

std::unique_ptr<Engine> makeLimits(int threads);
std::unique_ptr<Engine> makeOpenBlas(int threads);
std::unique_ptr<Engine> makeOneDnn(int threads);
#ifdef GYRUS_BENCH_CUDA
std::unique_ptr<Engine> makeGpu();
std::unique_ptr<Engine> makeCuBlas();
#endif

// Floats on huge pages where the system has them, filled with numbers in [-1, 1): no peer may be slow because of its
// memory or of denormal numbers.
class Buffer {
 public:
  explicit Buffer(size_t count) : bytes_((count * sizeof(float) + kPage - 1) / kPage * kPage + kPage) {
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(base_, bytes_, MADV_HUGEPAGE);
#endif
    data_ = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(base_) + kPage - 1) / kPage * kPage);
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
      state = state * 1664525u + 1013904223u;
      data_[i] = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
    }
  }
  ~Buffer() { munmap(base_, bytes_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  float* data() const { return data_; }

 private:
  static constexpr size_t kPage = 2u << 20;
  size_t bytes_;
  void* base_;
  float* data_;
};

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Calls per second: one call to warm up, batches that double until one takes 5 ms, then as many batches as fill the
// time.
inline double rate(const std::function<void()>& run, double seconds) {
  const auto timed = [&](int64_t calls) {
    const double began = now();
    for (int64_t i = 0; i < calls; i++) run();
    return now() - began;
  };
  run();
  int64_t batch = 1;
  while (timed(batch) < std::min(0.005, seconds / 5)) batch *= 2;
  int64_t calls = 0;
  double spent = 0;
  while (spent < seconds || calls == 0) {
    spent += timed(batch);
    calls += batch;
  }
  return static_cast<double>(calls) / spent;
}
