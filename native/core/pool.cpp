// One job at a time. A job is published in `state` as (epoch, open, workers inside); a worker enters by raising the
// count while the job is open, so that a late one can never touch the next job's counter.
#include "core/pool.h"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/features.h"
#include "core/placement.h"
#include "core/spin.h"

namespace gyrus {
namespace {

constexpr int kMostThreads = 256;
constexpr std::uint64_t kInside = 0xffff;
constexpr std::uint64_t kOpen = 0x10000;
constexpr std::uint64_t kEpoch = 0x20000;  // one step of the epoch
constexpr auto kSpin = std::chrono::microseconds(40);

thread_local bool insideChunk = false;

int threadsFromEnvironment() {
  const std::string text = environment("GYRUS_THREADS");
  if (text.empty()) return std::min(cpuFeatures().cores, kMostThreads);
  std::size_t used = 0;
  int n = 0;
  try {
    n = std::stoi(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used != text.size() || n < 1 || n > kMostThreads)
    throw Error(Code::Config, "GYRUS_THREADS: expected an integer from 1 to " + std::to_string(kMostThreads) +
                                  ", got '" + text + "'");
  return n;
}

class State {
 public:
  int threads() {
    int n = threads_.load(std::memory_order_relaxed);
    if (n > 0) return n;
    const int first = threadsFromEnvironment();
    threads_.compare_exchange_strong(n, first);
    return threads_.load();
  }

  void setThreads(int n) {
    if (n < 1 || n > kMostThreads)
      throw Error(Code::Config, "setThreads: expected an integer from 1 to " + std::to_string(kMostThreads) + ", got " +
                                    std::to_string(n));
    std::lock_guard<std::mutex> hold(runner_);
    if (n == threads_.load()) return;
    join();
    threads_.store(n);
  }

  void run(std::int64_t chunks, Pool::Body body, void* context) {
    if (chunks <= 0) return;
    if (insideChunk || chunks == 1 || threads() == 1 || !runner_.try_lock()) {
      for (std::int64_t i = 0; i < chunks; ++i) body(context, i);
      return;
    }
    std::lock_guard<std::mutex> hold(runner_, std::adopt_lock);
    if (workers_.empty()) start();

    chunks_ = chunks;
    body_ = body;
    context_ = context;
    next_.store(0, std::memory_order_relaxed);
    state_.store((epoch_ += kEpoch) | kOpen, std::memory_order_seq_cst);
    const int here = currentCore();
    runnerCore_.store(here, std::memory_order_relaxed);
    makeWay(here);
    wake(chunks - 1);

    insideChunk = true;
    work();
    insideChunk = false;

    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    Spinner spinner;
    while (state_.load(std::memory_order_acquire) & kInside) spinner.pause();

    if (failed_) {
      std::exception_ptr error = std::move(error_);
      error_ = nullptr;
      failed_ = false;
      std::rethrow_exception(error);
    }
  }

  void retain() {
    std::lock_guard<std::mutex> hold(runner_);
    ++users_;
  }

  void release() {
    std::lock_guard<std::mutex> hold(runner_);
    if (users_ > 0 && --users_ == 0) join();
  }

 private:
  void work() {
    for (;;) {
      const std::int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= chunks_) return;
      try {
        body_(context_, i);
      } catch (...) {
        // Chunks are handed out in order, so every one below the first failing has been started: which error is
        // reported doesn't depend on the number of threads.
        next_.store(chunks_, std::memory_order_relaxed);
        std::lock_guard<std::mutex> hold(errorLock_);
        if (!failed_ || i < failedChunk_) {
          failed_ = true;
          failedChunk_ = i;
          error_ = std::current_exception();
        }
        return;
      }
    }
  }

  void wake(std::int64_t wanted) {
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    std::lock_guard<std::mutex> hold(sleepLock_);
    const std::int64_t asleep = sleepers_.load(std::memory_order_relaxed);
    if (wanted >= asleep) {
      sleepSignal_.notify_all();
    } else {
      for (std::int64_t i = 0; i < wanted; ++i) sleepSignal_.notify_one();
    }
  }

  // Workers last seen on the runner's core have to leave it: one that spins there doesn't get to run to see to it
  // itself, and one that sleeps would wake there and stop the runner.
  void makeWay(int core) {
    if (core < 0) return;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      Place& p = places_[i];
      if (p.core.load(std::memory_order_relaxed) != core) continue;
      p.core.store(-1, std::memory_order_relaxed);  // until it reports again
      keepOff(p.thread.load(std::memory_order_acquire), core);
    }
  }

  void start() {
    const int wanted = threads() - 1;
    stop_.store(false);
    workers_.reserve(static_cast<std::size_t>(wanted));
    const std::uint64_t seen = epoch_;
    for (int i = 0; i < wanted; ++i) {
      try {
        workers_.emplace_back([this, seen, i] { loop(seen, places_[static_cast<std::size_t>(i)]); });
      } catch (const std::system_error&) {
        break;  // The system grants no more threads; fewer give the same results.
      }
    }
  }

  void join() {
    stop_.store(true, std::memory_order_seq_cst);
    {
      std::lock_guard<std::mutex> hold(sleepLock_);
      sleepSignal_.notify_all();
    }
    for (std::thread& t : workers_) t.join();
    workers_.clear();
    for (Place& p : places_) p.core.store(-1, std::memory_order_relaxed);
  }

  struct Place {
    std::atomic<int> thread{0};
    std::atomic<int> core{-1};
  };

  void loop(std::uint64_t seen, Place& place) {
    insideChunk = true;  // a chunk's own parallelFor runs inline
    place.thread.store(currentThread(), std::memory_order_release);
    for (;;) {
      std::uint64_t s = waitForJob(seen, place);
      if (stop_.load(std::memory_order_acquire)) return;
      for (;;) {
        if (!(s & kOpen)) break;
        if (state_.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel)) {
          work();
          state_.fetch_sub(1, std::memory_order_acq_rel);
          break;
        }
      }
      seen = s & ~(kOpen | kInside);
    }
  }

  static bool isNew(std::uint64_t s, std::uint64_t seen) { return (s & ~(kOpen | kInside)) != seen; }

  // Spins for a while, since kernels follow each other closely, then sleeps.
  std::uint64_t waitForJob(std::uint64_t seen, Place& place) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        const std::uint64_t s = state_.load(std::memory_order_acquire);
        if (isNew(s, seen) || stop_.load(std::memory_order_acquire)) return s;
        cpuRelax();
      }
      report(place);
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> hold(sleepLock_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    std::uint64_t s = 0;
    sleepSignal_.wait(hold, [&] {
      s = state_.load(std::memory_order_seq_cst);
      return isNew(s, seen) || stop_.load(std::memory_order_seq_cst);
    });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    hold.unlock();
    const int runner = runnerCore_.load(std::memory_order_relaxed);
    if (report(place) == runner && runner >= 0) keepOff(place.thread.load(std::memory_order_relaxed), runner);
    return s;
  }

  static int report(Place& place) {
    const int core = currentCore();
    if (place.core.load(std::memory_order_relaxed) != core) place.core.store(core, std::memory_order_relaxed);
    return core;
  }

  std::mutex runner_;  // held by the one stream that runs a parallel job
  std::vector<std::thread> workers_;
  std::array<Place, kMostThreads> places_;
  std::atomic<int> runnerCore_{-1};
  std::atomic<int> threads_{0};
  int users_ = 0;

  std::uint64_t epoch_ = 0;
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<std::int64_t> next_{0};
  std::int64_t chunks_ = 0;
  Pool::Body body_ = nullptr;
  void* context_ = nullptr;

  std::mutex errorLock_;
  bool failed_ = false;
  std::int64_t failedChunk_ = 0;
  std::exception_ptr error_;

  std::mutex sleepLock_;
  std::condition_variable sleepSignal_;
  std::atomic<std::int64_t> sleepers_{0};
  std::atomic<bool> stop_{false};
};

// Never destroyed: a worker may still be running when the process exits.
State& state() {
  static State* const s = new State;
  return *s;
}

}  // namespace

int Pool::threads() { return state().threads(); }
void Pool::setThreads(int n) { state().setThreads(n); }
void Pool::run(std::int64_t chunks, Body body, void* context) { state().run(chunks, body, context); }
void Pool::retain() { state().retain(); }
void Pool::release() { state().release(); }

}  // namespace gyrus
