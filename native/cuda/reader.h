// Waits for reads on a thread of its own, so that neither the thread that launches work nor JavaScript does.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "core/backend.h"
#include "cuda/staging.h"

namespace gyrus::cuda {

class Reader {
 public:
  // In `buffer`, once `reached` has happened: a DeviceFault, and kData bytes on what was read.
  static constexpr std::size_t kData = 64;
  struct Job {
    PinnedPool::Buffer buffer;
    cudaEvent_t reached = nullptr;
    std::size_t bytes = 0;
    bool fence = false;
    std::optional<Error> error;  // that was known before
    Completion completion;
  };

  // `failed` turns what the wait returned into the error to report, or nothing.
  Reader(int ordinal, PinnedPool& pool, std::function<std::optional<Error>(cudaError_t)> failed)
      : ordinal_(ordinal), pool_(pool), failed_(std::move(failed)) {}
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { stop(); }

  void push(Job job);
  // Finishes what was pushed and ends the thread.
  void stop() noexcept;

 private:
  void loop();
  void finish(Job& job);

  const int ordinal_;
  PinnedPool& pool_;
  const std::function<std::optional<Error>(cudaError_t)> failed_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

// What the device's fault record holds, as the Error that the CPU's kernel throws.
std::optional<Error> faultIn(const char* record);

}  // namespace gyrus::cuda
