#include "core/stream.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <new>

#include "core/graph.h"
#include "core/loader.h"
#include "core/placement.h"
#include "core/spin.h"

namespace gyrus {
namespace {
constexpr auto kSpin = std::chrono::microseconds(40);
constexpr int kLinger = 64;  // looks at an empty queue before the executor's place is given up
constexpr auto kPatience = std::chrono::milliseconds(1);  // that a producer without room waits for more than one entry
constexpr std::size_t kKeepViews = 16;                    // a slot gives larger argument lists back

// The kernel's message, led by the op's name if it doesn't name it already.
Error named(Op op, const Error& e) {
  const std::string name = nameOf(op), message = e.what();
  if (message.rfind(name, 0) == 0 || message.find(": ") != std::string::npos) return e;
  return Error(e.code(), name + ": " + message);
}
}  // namespace

void EntryExtra::clear() {
  if (views.capacity() > kKeepViews) std::vector<View>().swap(views);
  if (record.capacity() > kKeepViews) std::vector<double>().swap(record);
  staged.reset();
  completion = nullptr;
  program.reset();
  loader.reset();
}

void Entry::clear() {
  // A packed call holds nothing, and a line that isn't written needn't be fetched back by the producer.
  if (kind == Kind::Call && packed) return;
  kind = Kind::None;
  if (extra) extra->clear();
}

EntryExtra& Entry::set(Kind k) {
  if (!extra) extra = std::make_unique<EntryExtra>();
  kind = k;
  return *extra;
}

void Entry::setCall(Op o, Kernel k, int outs, int ins, const View* views, const std::vector<double>& record) {
  const View* const end = views + outs + ins;
  std::size_t need = record.size();
  for (const View* v = views; v < end; ++v) need += 2 + 2 * static_cast<std::size_t>(v->rank);
  packed = need <= kWords;
  if (!packed) {
    EntryExtra& e = set(Kind::Call);
    e.views.assign(views, end);
    e.record = record;
    numbers = static_cast<int>(e.record.size());
  } else {
    std::uint64_t* at = words;
    for (const View* v = views; v < end; ++v) {
      const int rank = v->rank;
      *at++ = reinterpret_cast<std::uintptr_t>(v->data);
      *at++ = static_cast<std::uint64_t>(v->dtype) << 8 | static_cast<std::uint64_t>(rank);
      for (int i = 0; i < rank; ++i) *at++ = static_cast<std::uint64_t>(v->shape[i]);
      for (int i = 0; i < rank; ++i) *at++ = static_cast<std::uint64_t>(v->stride[i]);
    }
    std::memcpy(at, record.data(), record.size() * sizeof(double));
    numbers = static_cast<int>(record.size());
    kind = Kind::Call;
  }
  op = o;
  kernel = k;
  outputs = outs;
  inputs = ins;
}

namespace {
void unpack(const Entry& e, View* views, double* record) {
  const std::uint64_t* at = e.words;
  for (int i = 0; i < e.outputs + e.inputs; ++i) {
    View& v = views[i];
    v.clear();
    v.data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(at[0]));
    v.dtype = static_cast<DType>(at[1] >> 8);
    v.rank = static_cast<int>(at[1] & 0xff);
    at += 2;
    for (int r = 0; r < v.rank; ++r) v.shape[r] = static_cast<std::int64_t>(*at++);
    for (int r = 0; r < v.rank; ++r) v.stride[r] = static_cast<std::int64_t>(*at++);
  }
  std::memcpy(record, at, static_cast<std::size_t>(e.numbers) * sizeof(double));
}
}  // namespace

Stream::Stream(Backend& backend, const Options& options) : backend_(backend), options_(options) {
  ring_.resize(std::bit_ceil(options_.maxCalls));
  mask_ = ring_.size() - 1;
  thread_ = std::thread([this] { loop(); });
}

Stream::~Stream() { stop(); }

void Stream::makeRoom(std::size_t stagedBytes) {
  for (;;) {
    const std::uint64_t head = seenHead_ = head_.load(std::memory_order_acquire);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const bool full = tail - head >= options_.maxCalls;
    const bool heavy =
        stagedBytes > 0 && stagedBytes_.load(std::memory_order_acquire) + stagedBytes > options_.maxBytes;
    if (head == tail || (!full && !heavy)) break;
    // The executor keeps what it has in its caches, so it goes on alone. Where it is quick, room for a number of
    // entries is awaited, so that the two don't meet at every one.
    awaitHead(head + 1, std::min(head + options_.maxCalls / 8 + 1, tail));
  }
}

// Returns once head_ is `wanted`, or when some time has passed and it is at least `least`.
void Stream::awaitHead(std::uint64_t least, std::uint64_t wanted) {
  std::uint64_t last = head_.load(std::memory_order_acquire);
  for (int idle = 0; idle < 100; ++idle) {
    cpuRelax();
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    if (head >= wanted) return;
    if (head != last) idle = 0;
    last = head;
  }
  std::unique_lock<std::mutex> hold(sleepLock_);
  const auto reached = [&](std::uint64_t at) {
    return [this, at] { return head_.load(std::memory_order_seq_cst) >= at; };
  };
  roomAt_.store(wanted, std::memory_order_seq_cst);
  if (!roomSignal_.wait_for(hold, kPatience, reached(wanted))) {
    roomAt_.store(least, std::memory_order_seq_cst);
    roomSignal_.wait(hold, reached(least));
  }
  roomAt_.store(UINT64_MAX, std::memory_order_relaxed);
}

void Stream::push(std::size_t stagedBytes) {
  if (stagedBytes > 0) stagedBytes_.fetch_add(stagedBytes, std::memory_order_relaxed);
  tail_.fetch_add(1, std::memory_order_seq_cst);
  wake();
}

void Stream::wake() {
  if (!sleeping_.load(std::memory_order_seq_cst)) return;
  producerCore_.store(currentCore(), std::memory_order_relaxed);
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
    // The producer runs the queue itself: its pool may need this core.
    if (claimed_.load(std::memory_order_relaxed)) std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < until);
  std::unique_lock<std::mutex> hold(sleepLock_);
  sleeping_.store(true, std::memory_order_seq_cst);
  sleepSignal_.wait(hold, ready);
  sleeping_.store(false, std::memory_order_relaxed);
  hold.unlock();
  // Woken on the producer's core it would stop the producer.
  const int core = currentCore();
  if (core >= 0 && core == producerCore_.load(std::memory_order_relaxed)) keepOff(currentThread(), core);
  return !stop_.load();
}

void Stream::loop() {
  while (waitForWork()) {
    std::lock_guard<std::mutex> hold(executor_);
    std::uint64_t tail = tail_.load(std::memory_order_acquire);  // looked at again only when all up to it have run
    while (!stop_.load(std::memory_order_acquire) && !claimed_.load(std::memory_order_acquire)) {
      const std::uint64_t head = head_.load(std::memory_order_relaxed);
      // A producer that enqueues one small call after the other has the next one ready in no time.
      for (int i = 0; head == tail && i < kLinger && !claimed_.load(std::memory_order_acquire); ++i) {
        cpuRelax();
        tail = tail_.load(std::memory_order_acquire);
      }
      if (head == tail) break;
      runOne();
    }
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

void Stream::finish(void* into, const char* source, std::size_t bytes) {
  drain();
  lockExecutor();
  std::lock_guard<std::mutex> hold(executor_, std::adopt_lock);
  std::optional<Error> error = std::move(error_);
  error_.reset();
  error = backend_.readNow(into, source, bytes, std::move(error));
  if (error) throw *error;
}

void Stream::writeNow(char* target, const void* data, std::size_t bytes) {
  if (backend_.hostMemory()) return backend_.write(target, data, bytes);
  lockExecutor();
  std::lock_guard<std::mutex> hold(executor_, std::adopt_lock);
  backend_.write(target, data, bytes);
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

template <class F>
void Stream::keepFirst(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    if (!error_) error_ = error;
  }
}

void Stream::runOne() {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  Entry& e = ring_[head & mask_];
  run(e);
  if (e.kind == Entry::Kind::Write) stagedBytes_.fetch_sub(e.extra->bytes, std::memory_order_release);
  e.clear();
  head_.store(head + 1, std::memory_order_seq_cst);
  if (head + 1 >= roomAt_.load(std::memory_order_seq_cst)) {
    std::lock_guard<std::mutex> hold(sleepLock_);
    roomSignal_.notify_one();
  }
}

void Stream::run(Entry& e) {
  if (e.kind == Entry::Kind::Call) {
    if (error_) return;
    guarded(e.op, [&] {
      if (e.packed) {
        unpack(e, views_, record_);
        backend_.call(e.op, e.kernel,
                      Args{views_, e.outputs, views_ + e.outputs, e.inputs, record_, e.numbers, nullptr});
      } else {
        const View* const views = e.extra->views.data();
        backend_.call(e.op, e.kernel,
                      Args{views, e.outputs, views + e.outputs, e.inputs, e.extra->record.data(), e.numbers, nullptr});
      }
    });
    return;
  }
  if (e.kind == Entry::Kind::None) return;
  EntryExtra& x = *e.extra;
  switch (e.kind) {
    case Entry::Kind::Write:
      // Host data arrives under a sticky error too.
      keepFirst([&] { backend_.write(x.target, x.staged.get(), x.bytes); });
      return;
    case Entry::Kind::Read:
    case Entry::Kind::Fence: {
      std::optional<Error> error = std::move(error_);
      error_.reset();
      backend_.read(e.kind == Entry::Kind::Read ? x.target : nullptr, x.bytes, std::move(error),
                    std::move(x.completion));
      return;
    }
    case Entry::Kind::Replay: {
      if (error_) return;
      Op op = Op::Fill;
      guarded(op, [&] { backend_.replay(x.program, x.bindings, stop_, op); });
      return;
    }
    case Entry::Kind::HandOver:
      // The same here: the ring of batches has to move on.
      keepFirst([&] { x.loader->handOver(x.epoch, x.targets, backend_); });
      return;
    case Entry::Kind::Call:
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
    if (e.extra && e.extra->completion) e.extra->completion(&dropped, nullptr);
    e.clear();
  }
}

}  // namespace gyrus
