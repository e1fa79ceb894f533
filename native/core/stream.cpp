#include "core/stream.h"

#include <bit>
#include <chrono>
#include <cstring>
#include <new>

#include "core/graph.h"
#include "core/loader.h"
#include "core/spin.h"

namespace gyrus {
namespace {
constexpr auto kSpin = std::chrono::microseconds(40);
constexpr std::size_t kKeepViews = 16;  // a slot gives larger argument lists back

// The kernel's message, led by the op's name if it doesn't name it already.
Error named(Op op, const Error& e) {
  const std::string name = nameOf(op), message = e.what();
  if (message.rfind(name, 0) == 0 || message.find(": ") != std::string::npos) return e;
  return Error(e.code(), name + ": " + message);
}
}  // namespace

void Entry::clear() {
  kind = Kind::None;
  if (views.capacity() > kKeepViews) std::vector<View>().swap(views);
  if (record.capacity() > kKeepViews) std::vector<double>().swap(record);
  staged.reset();
  completion = nullptr;
  program.reset();
  loader.reset();
}

void runKernel(Kernel kernel, const View* views, int outputs, int inputs, const double* record, int numbers,
               ScratchArena& scratch) {
  struct Scope {
    ScratchArena& arena;
    ~Scope() { arena.reset(); }
  } scope{scratch};
  kernel(Args{views, outputs, views + outputs, inputs, record, numbers, &scratch});
}

Stream::Stream(const Options& options) : options_(options) {
  ring_.resize(std::bit_ceil(options_.maxCalls));
  mask_ = ring_.size() - 1;
  thread_ = std::thread([this] { loop(); });
}

Stream::~Stream() { stop(); }

Entry& Stream::next(std::size_t stagedBytes) {
  // Room is made one entry at a time, so that the producer is held up no longer than it has to be.
  for (;;) {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const bool full = tail - head >= options_.maxCalls;
    const bool heavy =
        stagedBytes > 0 && stagedBytes_.load(std::memory_order_acquire) + stagedBytes > options_.maxBytes;
    if (head == tail || (!full && !heavy)) break;
    drainTo(head + 1);
  }
  stagedBytes_.fetch_add(stagedBytes, std::memory_order_relaxed);
  Entry& e = ring_[tail_.load(std::memory_order_relaxed) & mask_];
  e.bytes = stagedBytes;
  return e;
}

void Stream::push() {
  tail_.fetch_add(1, std::memory_order_seq_cst);
  wake();
}

void Stream::wake() {
  if (!sleeping_.load(std::memory_order_seq_cst)) return;
  std::lock_guard<std::mutex> hold(sleepLock_);
  sleepSignal_.notify_one();
}

bool Stream::waitForWork() {
  const auto ready = [this] {
    return stop_.load(std::memory_order_seq_cst) ||
           (!claimed_.load(std::memory_order_seq_cst) &&
            head_.load(std::memory_order_relaxed) != tail_.load(std::memory_order_seq_cst));
  };
  const auto until = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return !stop_.load();
      cpuRelax();
    }
  } while (std::chrono::steady_clock::now() < until);
  std::unique_lock<std::mutex> hold(sleepLock_);
  sleeping_.store(true, std::memory_order_seq_cst);
  sleepSignal_.wait(hold, ready);
  sleeping_.store(false, std::memory_order_relaxed);
  return !stop_.load();
}

void Stream::loop() {
  while (waitForWork()) {
    std::lock_guard<std::mutex> hold(executor_);
    while (!stop_.load(std::memory_order_acquire) && !claimed_.load(std::memory_order_acquire) &&
           head_.load(std::memory_order_relaxed) != tail_.load(std::memory_order_acquire))
      runOne();
  }
}

void Stream::lockExecutor() {
  Spinner spinner;
  for (int i = 0; i < 2000; ++i) {
    if (executor_.try_lock()) return;
    spinner.pause();
  }
  executor_.lock();
}

void Stream::drainTo(std::uint64_t target) {
  if (head_.load(std::memory_order_acquire) >= target) return;
  claimed_.store(true, std::memory_order_seq_cst);
  lockExecutor();
  while (head_.load(std::memory_order_relaxed) < target) runOne();
  executor_.unlock();
  claimed_.store(false, std::memory_order_seq_cst);
  if (!idle()) wake();
}

std::optional<Error> Stream::takeError() {
  lockExecutor();
  std::lock_guard<std::mutex> hold(executor_, std::adopt_lock);
  std::optional<Error> taken = std::move(error_);
  error_.reset();
  return taken;
}

template <class F>
void Stream::guarded(const Op& op, F&& f) {
  try {
    f();
  } catch (const Error& e) {
    error_ = named(op, e);
  } catch (const std::bad_alloc&) {
    error_ = Error(Code::OutOfMemory, std::string(nameOf(op)) + ": no memory left while it ran");
  } catch (const std::exception& e) {
    error_ = Error(Code::Internal, std::string(nameOf(op)) + ": " + e.what());
  }
}

void Stream::runOne() {
  Entry& e = ring_[head_.load(std::memory_order_relaxed) & mask_];
  run(e);
  if (e.kind == Entry::Kind::Write) stagedBytes_.fetch_sub(e.bytes, std::memory_order_release);
  e.clear();
  head_.fetch_add(1, std::memory_order_seq_cst);
}

void Stream::run(Entry& e) {
  switch (e.kind) {
    case Entry::Kind::Call:
      if (error_) return;
      guarded(e.op, [&] {
        runKernel(e.kernel, e.views.data(), e.outputs, e.inputs, e.record.data(), static_cast<int>(e.record.size()),
                  scratch_);
      });
      return;
    case Entry::Kind::Write:
      std::memcpy(e.target, e.staged.get(), e.bytes);
      return;
    case Entry::Kind::Read:
    case Entry::Kind::Fence: {
      std::unique_ptr<char[]> copy;
      std::optional<Error> error = std::move(error_);
      error_.reset();
      if (!error && e.kind == Entry::Kind::Read) {
        copy.reset(new (std::nothrow) char[e.bytes > 0 ? e.bytes : 1]);
        if (!copy) {
          error.emplace(Code::OutOfMemory, "read: no memory for " + std::to_string(e.bytes) + " bytes");
        } else if (e.bytes > 0) {
          std::memcpy(copy.get(), e.target, e.bytes);
        }
      }
      e.completion(error ? &*error : nullptr, std::move(copy));
      return;
    }
    case Entry::Kind::Replay: {
      if (error_) return;
      Op op = Op::Fill;
      guarded(op, [&] { e.program->run(e.bindings, scratch_, stop_, op); });
      return;
    }
    case Entry::Kind::HandOver:
      // Like a host write it happens under a sticky error too: the ring of batches has to move on.
      try {
        e.loader->handOver(e.epoch, e.target, e.labels);
      } catch (const Error& error) {
        if (!error_) error_ = error;
      }
      return;
    case Entry::Kind::None:
      return;
  }
}

void Stream::stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_seq_cst);
  {
    std::lock_guard<std::mutex> hold(sleepLock_);
    sleepSignal_.notify_all();
  }
  thread_.join();
  const Error dropped(Code::Disposed, "the device was disposed of before the stream got here");
  for (; head_.load() != tail_.load(); head_.fetch_add(1)) {
    Entry& e = ring_[head_.load() & mask_];
    if (e.completion) e.completion(&dropped, nullptr);
    e.clear();
  }
}

}  // namespace gyrus
