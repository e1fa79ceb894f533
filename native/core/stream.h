// The in-order queue of one device: a ring of entries that one producer fills and one executor runs, either the
// stream's own thread or the producer itself (drain). A kernel's error sticks until it is taken.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/backend.h"
#include "kernels/contract.h"

namespace gyrus {

class Loader;

// What an entry needs beside the fields of a short call; a slot of the ring keeps it for the next time.
struct EntryExtra {
  // Call whose arguments don't fit the entry
  std::vector<View> views;
  std::vector<double> record;
  // Write (staged -> target), Read (target -> a copy)
  char* target = nullptr;
  std::size_t bytes = 0;
  std::unique_ptr<char[]> staged;
  Completion completion;
  // Replay
  std::shared_ptr<Program> program;
  std::vector<char*> bindings;
  // HandOver
  std::shared_ptr<Loader> loader;
  char* targets[4] = {};
  std::uint64_t epoch = 0;

  void clear();
};

// A short call is packed into few cache lines, since they travel from the producer's core to the executor's.
struct alignas(64) Entry {
  enum class Kind : std::uint8_t { None, Call, Write, Read, Fence, Replay, HandOver };
  static constexpr int kWords = 26;

  Kind kind = Kind::None;
  bool packed = false;  // a call whose arguments lie in `words`
  Op op = Op::Fill;
  int outputs = 0, inputs = 0, numbers = 0;
  Kernel kernel = nullptr;
  std::unique_ptr<EntryExtra> extra;
  std::uint64_t words[kWords];  // per view: data, dtype and rank, shape, strides; then the record

  void setCall(Op op, Kernel kernel, int outputs, int inputs, const View* views, const std::vector<double>& record);
  // The other kinds.
  EntryExtra& set(Kind kind);
  void clear();
};

class Stream {
 public:
  struct Options {
    std::size_t maxCalls = 4096;
    std::size_t maxBytes = std::size_t{256} << 20;  // of staged host data
  };

  Stream(Backend& backend, const Options& options);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  // The entry to fill next; waits for room, also for that many bytes of host data. push() hands it over.
  Entry& next(std::size_t stagedBytes = 0) {
    if (stagedBytes > 0 || tail_.load(std::memory_order_relaxed) - seenHead_ >= options_.maxCalls)
      makeRoom(stagedBytes);
    return ring_[tail_.load(std::memory_order_relaxed) & mask_];
  }
  void push(std::size_t stagedBytes = 0);

  // Runs everything queued, on the calling thread.
  void drain() { drainTo(tail_.load(std::memory_order_relaxed)); }
  // Nothing is queued or running.
  bool idle() const { return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_relaxed); }
  std::size_t queued() const {
    return static_cast<std::size_t>(tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_acquire));
  }
  std::size_t maxBytes() const { return options_.maxBytes; }
  // Runs everything queued and waits for it, then copies from there if `bytes` > 0. Throws the sticky error, which is
  // cleared by being taken.
  void finish(void* into = nullptr, const char* source = nullptr, std::size_t bytes = 0);
  // Copies host data on the calling thread. Only when idle.
  void writeNow(char* target, const void* data, std::size_t bytes);

  // Lets the running kernel finish, drops the rest (completions get Error(Disposed)) and joins the thread.
  void stop();

 private:
  void makeRoom(std::size_t stagedBytes);
  void awaitHead(std::uint64_t least, std::uint64_t wanted);
  void loop();
  bool waitForWork();
  void wake();
  void drainTo(std::uint64_t target);
  void lockExecutor();
  void runOne();
  void run(Entry& e);
  template <class F>
  void guarded(const Op& op, F&& f);  // op may change while f runs
  template <class F>
  void keepFirst(F&& f);

  Backend& backend_;
  Options options_;
  std::vector<Entry> ring_;
  std::uint64_t mask_;
  std::uint64_t seenHead_ = 0;  // the producer's last look at head_, so that it needn't fetch that cache line each time
  alignas(64) std::atomic<std::uint64_t> head_{0};  // entries that have run
  alignas(64) std::atomic<std::uint64_t> tail_{0};  // entries pushed
  std::atomic<std::size_t> stagedBytes_{0};

  // Seldom written, often read by both.
  alignas(64) std::atomic<bool> claimed_{false};  // the producer wants to be the executor
  std::atomic<bool> stop_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<int> producerCore_{-1};              // of the one who ended the sleep
  std::atomic<std::uint64_t> roomAt_{UINT64_MAX};  // the head that a producer without room waits for

  alignas(64) std::mutex executor_;  // who holds it runs entries
  View views_[Entry::kWords / 2];    // of the packed call that runs
  double record_[Entry::kWords];     // the same call's
  std::optional<Error> error_;       // under executor_

  std::mutex sleepLock_;
  std::condition_variable sleepSignal_;
  std::condition_variable roomSignal_;
  std::thread thread_;
};

}  // namespace gyrus
