#include "cuda/reader.h"

#include <cstring>
#include <new>

#include "cuda/fault.cuh"
#include "cuda/memory.h"

namespace gyrus::cuda {

static_assert(sizeof(DeviceFault) <= Reader::kData);

std::optional<Error> faultIn(const char* record) {
  DeviceFault fault;
  std::memcpy(&fault, record, sizeof fault);
  try {
    throwFault(fault);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

void Reader::push(Job job) {
  const std::lock_guard<std::mutex> hold(lock_);
  jobs_.push_back(std::move(job));
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  changed_.notify_one();
}

void Reader::stop() noexcept {
  {
    const std::lock_guard<std::mutex> hold(lock_);
    stop_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Reader::loop() {
  std::unique_lock<std::mutex> hold(lock_);
  for (;;) {
    changed_.wait(hold, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    hold.unlock();
    finish(job);
    hold.lock();
  }
}

void Reader::finish(Job& job) {
  std::optional<Error> error;
  std::unique_ptr<char[]> copy;
  try {
    useDevice(ordinal_);
    error = failed_(cudaEventSynchronize(job.reached));
    // The device's own error is of a call before the one that failed here.
    if (!error) error = faultIn(job.buffer.data);
    if (!error) error = std::move(job.error);
    if (!error && !job.fence) {
      copy.reset(new (std::nothrow) char[job.bytes > 0 ? job.bytes : 1]);
      if (!copy)
        error.emplace(Code::OutOfMemory, "read: no memory for " + std::to_string(job.bytes) + " bytes");
      else
        std::memcpy(copy.get(), job.buffer.data + kData, job.bytes);
    }
  } catch (const Error& e) {
    error = e;
  }
  pool_.giveBack(job.buffer);
  pool_.giveBack(job.reached);
  job.completion(error ? &*error : nullptr, std::move(copy));
}

}  // namespace gyrus::cuda
