#include "cuda/emulation/block.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "cuda/emulation/fiber.h"

thread_local constinit uint3 threadIdx{}, blockIdx{};
thread_local constinit dim3 blockDim{}, gridDim{};

namespace gyrus::cuda::emulation {
namespace {

// Thrown in threads that wait when another has failed, so that their stacks unwind.
struct Aborted {};

// A multiplicative hash of a counter (SplitMix64).
std::uint64_t mixed(std::uint64_t& state) {
  std::uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

Order orderOfEnvironment() {
  const char* text = std::getenv("GYRUS_EMULATION_ORDER");
  if (!text || !*text || std::strcmp(text, "forward") == 0) return {};
  if (std::strcmp(text, "reverse") == 0) return {Order::Reverse, 0};
  char* end = nullptr;
  const std::uint64_t seed = std::strtoull(text, &end, 10);
  if (*end != '\0')
    throw Error(Code::Config,
                "GYRUS_EMULATION_ORDER: expected forward, reverse or a seed, got '" + std::string(text) + "'");
  return {Order::Shuffled, seed};
}

std::mutex orderMutex;
Order& orderNow() {
  static Order now = orderOfEnvironment();
  return now;
}

std::string describe(const dim3& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}
std::string describe(const std::source_location& s) {
  const char* slash = std::strrchr(s.file_name(), '/');
  return std::string(slash ? slash + 1 : s.file_name()) + ":" + std::to_string(s.line());
}

struct Meet {
  Meeting kind;
  unsigned mask;
  const void* value;
  void* result;
  std::size_t bytes;
  int source;
};

enum class State { Fresh, Ready, Barrier, Warp, Returned };

struct Thread {
  State state;
  uint3 index;
  Fiber* fiber;  // where it waits
  std::source_location site;
  const Meet* meet;
};

struct Shared {
  const void* site;
  void* data;
  std::size_t bytes;
  std::uint64_t block;  // the last block that used it
};

// One launch on this OS thread.
class Grid {
 public:
  Grid(const Signature& kernel, const void* function, void* const* arguments, dim3 grid, dim3 block,
       std::size_t dynamicBytes)
      : kernel_(kernel), function_(function), arguments_(arguments), size_(block.x * block.y * block.z) {
    gridDim = grid;
    blockDim = block;
    threads_.resize(size_);
    order_.resize(size_);
    waiting_.resize((size_ + 31) / 32);
    const Order asked = order();
    kind_ = asked.kind;
    random_ = asked.seed;
    std::iota(order_.begin(), order_.end(), 0u);
    if (kind_ == Order::Reverse)
      for (unsigned i = 0; i < size_; ++i) order_[i] = size_ - 1 - i;
    dynamic_ = {nullptr, nullptr, dynamicBytes, 0};
    if (dynamicBytes > 0) dynamic_.data = ::operator new (dynamicBytes, std::align_val_t{128});
  }
  ~Grid() {
    for (const Shared& s : shared_) ::operator delete (s.data, std::align_val_t{128});
    if (dynamic_.data) ::operator delete (dynamic_.data, std::align_val_t{128});
  }

  void run() {
    const std::uint64_t n = std::uint64_t{gridDim.x} * gridDim.y * gridDim.z;
    // Blocks, shuffled: a step that has no divisor in common with their number visits them all.
    std::uint64_t at = 0, step = 1;
    if (kind_ == Order::Shuffled && n > 1) {
      at = mixed(random_) % n;
      do step = 1 + mixed(random_) % (n - 1);
      while (std::gcd(step, n) != 1);
    }
    for (std::uint64_t i = 0; i < n; ++i, at = (at + step) % n) {
      const std::uint64_t b = kind_ == Order::Reverse ? n - 1 - at : at;
      blockIdx = {static_cast<unsigned>(b % gridDim.x), static_cast<unsigned>(b / gridDim.x % gridDim.y),
                  static_cast<unsigned>(b / gridDim.x / gridDim.y)};
      runBlock();
    }
  }

  // On a fiber: threads that have not begun, one after the other, until one of them has to wait.
  void work() {
    for (;;) {
      call();
      ++returned_;
      running_->state = State::Returned;
      if (error_.empty() && position_ + 1 < size_ && threads_[order_[position_ + 1]].state == State::Fresh) {
        enter(threads_[order_[++position_]]);
        continue;
      }
      Fiber* fiber = fiber_;
      idle_.push_back(fiber);
      fiber->suspend();
      return;  // perhaps into another grid
    }
  }

  int barrier(std::source_location site, Vote vote, int predicate) {
    running_->site = site;
    votes_ += predicate != 0;
    ++arrived_;
    const unsigned phase = phase_;
    wait(State::Barrier);
    const int counted = counted_[phase % 2];
    return vote == Vote::Count ? counted : vote == Vote::And ? counted == static_cast<int>(size_) : counted > 0;
  }

  void meet(const Meet& m) {
    const unsigned me = number(), warp = me / 32, bit = 1u << (me % 32);
    if (!(m.mask & bit)) fail("lane " + std::to_string(me % 32) + " isn't in the mask it waits for");
    const unsigned there = warp == size_ / 32 ? (1u << (size_ % 32)) - 1 : ~0u;
    const unsigned mask = m.mask & there;
    if (m.kind == Meeting::Shuffle && !(mask >> (m.source & 31) & 1))
      fail("a shuffle reads lane " + std::to_string(m.source) + ", which isn't in its mask");
    running_->meet = &m;
    waiting_[warp] |= bit;
    if ((waiting_[warp] & mask) != mask) return wait(State::Warp);
    complete(warp * 32, mask, m);
    waiting_[warp] &= ~mask;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1) threads_[warp * 32 + l].state = State::Ready;
  }

  unsigned number() const { return static_cast<unsigned>(running_ - threads_.data()); }
  unsigned liveLanes() const {
    const unsigned first = number() / 32 * 32;
    unsigned mask = 0;
    for (unsigned l = 0; l < 32 && first + l < size_; ++l)
      if (threads_[first + l].state != State::Returned) mask |= 1u << l;
    return mask;
  }

  void* shared(const void* site, std::size_t bytes, std::size_t alignment) {
    for (Shared& s : shared_)
      if (s.site == site) return fresh(s);
    if (alignment > 128) fail("shared memory is aligned to 128 bytes at most");
    sharedBytes_ += bytes;
    if (sharedBytes_ > kStaticShared)
      fail("static shared memory of " + std::to_string(sharedBytes_) + " bytes, the most is " +
           std::to_string(kStaticShared));
    if (sharedBytes_ + dynamic_.bytes > optInShared())
      fail("shared memory of " + std::to_string(sharedBytes_ + dynamic_.bytes) + " bytes, the most is " +
           std::to_string(optInShared()));
    shared_.push_back({site, ::operator new (bytes, std::align_val_t{128}), bytes, 0});
    return fresh(shared_.back());
  }
  void* dynamic() {
    if (!dynamic_.data) fail("uses dynamic shared memory, but was launched without");
    return fresh(dynamic_);
  }

  bool isShared(const void* data, std::size_t bytes) const {
    const auto within = [&](const Shared& s) {
      const auto at = reinterpret_cast<std::uintptr_t>(data), begin = reinterpret_cast<std::uintptr_t>(s.data);
      return s.block == blocks_ && at >= begin && at + bytes <= begin + s.bytes;
    };
    return within(dynamic_) || std::any_of(shared_.begin(), shared_.end(), within);
  }

  static thread_local Grid* current;

 private:
  void* fresh(Shared& s) {
    if (s.block != blocks_) {
      poison(s.data, s.bytes);
      s.block = blocks_;
    }
    return s.data;
  }

  void enter(Thread& t) {
    running_ = &t;
    threadIdx = t.index;
  }

  void call() {
    try {
      kernel_.call(function_, arguments_);
    } catch (const Aborted&) {
    } catch (const std::exception& e) {
      if (error_.empty()) error_ = at(e.what());
    } catch (...) {
      if (error_.empty()) error_ = at("threw");
    }
  }

  std::string at(const std::string& what) const {
    return kernel_.name + ": block " + describe(dim3(blockIdx)) + ", thread " + describe(dim3(running_->index)) + ": " +
           what;
  }

  void wait(State state) {
    if (size_ == 1 && state == State::Barrier) {  // nobody to wait for
      arrived_ = 0;
      release();
      return;
    }
    running_->state = state;
    running_->fiber = fiber_;
    fiber_->suspend();
    if (!error_.empty()) throw Aborted{};
  }

  void resume(Thread& t) {
    if (t.state == State::Fresh) {
      if (idle_.empty()) {
        pool_.push_back(std::make_unique<Fiber>([] {
          for (;;) current->work();
        }));
        idle_.push_back(pool_.back().get());
      }
      fiber_ = idle_.back();
      idle_.pop_back();
    } else {
      fiber_ = t.fiber;
    }
    enter(t);
    fiber_->resume();
  }

  void release() {
    counted_[phase_++ % 2] = votes_;
    votes_ = 0;
  }

  void runBlock() {
    ++blocks_;
    returned_ = arrived_ = 0;
    votes_ = 0;
    uint3 index{};
    for (Thread& t : threads_) {
      t.state = State::Fresh;
      t.index = index;
      if (++index.x == blockDim.x) {
        index.x = 0;
        if (++index.y == blockDim.y) index.y = 0, ++index.z;
      }
    }
    for (unsigned& w : waiting_) w = 0;
    while (returned_ < size_) {
      if (kind_ == Order::Shuffled)
        for (unsigned i = size_ - 1; i > 0; --i) std::swap(order_[i], order_[mixed(random_) % (i + 1)]);
      bool moved = false;
      for (position_ = 0; position_ < size_ && error_.empty(); ++position_) {
        Thread& t = threads_[order_[position_]];
        if (t.state != State::Fresh && t.state != State::Ready) continue;
        moved = true;
        resume(t);
      }
      if (error_.empty() && arrived_ == size_) {
        openBarrier();
        moved = true;
      }
      if (error_.empty() && !moved) error_ = stuck();
      if (!error_.empty()) abort();
    }
  }

  void openBarrier() {
    const Thread& first = threads_[0];
    for (Thread& t : threads_) {
      if (t.site.line() != first.site.line() || t.site.file_name() != first.site.file_name()) {
        running_ = &t;
        error_ =
            at("divergent barrier: waits at " + describe(t.site) + ", thread (0, 0, 0) at " + describe(first.site));
        return;
      }
      t.state = State::Ready;
    }
    arrived_ = 0;
    release();
  }

  // All lanes of the mask have come.
  void complete(unsigned first, unsigned mask, const Meet& m) {
    unsigned ballot = 0;
    for (unsigned l = 0; l < 32; ++l) {
      if (!(mask >> l & 1)) continue;
      const Meet& other = *threads_[first + l].meet;
      if (other.kind != m.kind || other.mask != m.mask || other.bytes != m.bytes)
        fail("divergent warp: lane " + std::to_string(l) + " waits in another operation or with another mask");
      if (m.kind == Meeting::Ballot && *static_cast<const int*>(other.value) != 0) ballot |= 1u << l;
    }
    if (m.kind == Meeting::Sync) return;
    for (unsigned l = 0; l < 32; ++l) {
      if (!(mask >> l & 1)) continue;
      const Meet& own = *threads_[first + l].meet;
      if (m.kind == Meeting::Ballot)
        std::memcpy(own.result, &ballot, sizeof(ballot));
      else
        std::memcpy(own.result, threads_[first + static_cast<unsigned>(own.source & 31)].meet->value, own.bytes);
    }
  }

  // No thread can go on.
  std::string stuck() const {
    const std::string where = kernel_.name + ": block " + describe(dim3(blockIdx)) + ": ";
    const std::string of = std::to_string(arrived_) + " of " + std::to_string(size_) + " threads";
    unsigned inWarps = 0;
    const Thread *barrier = nullptr, *warp = nullptr;
    for (const Thread& t : threads_) {
      if (t.state == State::Barrier && !barrier) barrier = &t;
      if (t.state == State::Warp) ++inWarps, warp = warp ? warp : &t;
    }
    std::string what;
    if (barrier) what = "the barrier at " + describe(barrier->site) + " is reached by " + of;
    if (warp) {
      char mask[16];
      std::snprintf(mask, sizeof(mask), "0x%08X", warp->meet->mask);
      what += (barrier ? ", and " : "") + std::to_string(inWarps) + " threads wait for lanes of their warp (thread " +
              describe(dim3(warp->index)) + " for " + mask + ")";
    }
    return where + what + (returned_ > 0 ? "; " + std::to_string(returned_) + " have returned" : "");
  }

  // Lets the waiting threads unwind, then throws.
  void abort() {
    for (Thread& t : threads_)
      if (t.state == State::Barrier || t.state == State::Warp || (t.state == State::Ready && t.fiber)) {
        enter(t);
        fiber_ = t.fiber;
        fiber_->resume();
      }
    throw Error(Code::Device, error_);
  }

  const Signature& kernel_;
  const void* function_;
  void* const* arguments_;
  const unsigned size_;
  Order::Kind kind_;
  std::uint64_t random_;
  std::vector<Thread> threads_;
  std::vector<unsigned> order_;
  std::vector<unsigned> waiting_;  // per warp: the lanes in a meeting
  std::vector<Shared> shared_;
  Shared dynamic_;
  std::size_t sharedBytes_ = 0;
  std::uint64_t blocks_ = 0;
  unsigned position_ = 0, returned_ = 0, arrived_ = 0, phase_ = 0;
  int votes_ = 0, counted_[2] = {};
  Thread* running_ = nullptr;
  Fiber* fiber_ = nullptr;
  std::string error_;

  static thread_local std::vector<std::unique_ptr<Fiber>> pool_;
  static thread_local std::vector<Fiber*> idle_;
};

thread_local Grid* Grid::current = nullptr;
thread_local std::vector<std::unique_ptr<Fiber>> Grid::pool_;
thread_local std::vector<Fiber*> Grid::idle_;

Grid& running(const char* what) {
  if (!Grid::current) throw Error(Code::Internal, std::string("emulation: ") + what + " outside of a kernel");
  return *Grid::current;
}

}  // namespace

Order order() {
  const std::lock_guard lock(orderMutex);
  return orderNow();
}
void setOrder(Order order) {
  const std::lock_guard lock(orderMutex);
  orderNow() = order;
}

void poison(void* data, std::size_t bytes) {
  auto* at = static_cast<char*>(data);
  for (; bytes >= sizeof(kPoison); bytes -= sizeof(kPoison), at += sizeof(kPoison))
    std::memcpy(at, &kPoison, sizeof(kPoison));
  if (bytes > 0) std::memcpy(at, &kPoison, bytes);
}

void runGrid(const Signature& kernel, const void* function, void* const* arguments, dim3 grid, dim3 block,
             std::size_t dynamicBytes) {
  if (Grid::current) throw Error(Code::Internal, "emulation: a kernel was launched by a kernel");
  Grid launched(kernel, function, arguments, grid, block, dynamicBytes);
  struct Scope {
    ~Scope() { Grid::current = nullptr; }
  } scope;
  Grid::current = &launched;
  launched.run();
}

int barrier(std::source_location site, Vote vote, int predicate) {
  return running("__syncthreads").barrier(site, vote, predicate);
}
void meet(Meeting kind, unsigned mask, const void* value, void* result, std::size_t bytes, int source) {
  const Meet m{kind, mask, value, result, bytes, source};
  running("a warp operation").meet(m);
}
unsigned lane() { return running("lane").number() % 32; }
unsigned liveLanes() { return running("__activemask").liveLanes(); }
void fail(const std::string& what) { throw Error(Code::Device, what); }
void* sharedObject(const void* site, std::size_t bytes, std::size_t alignment) {
  return running("shared memory").shared(site, bytes, alignment);
}
void* dynamicShared() { return running("shared memory").dynamic(); }
bool isShared(const void* data, std::size_t bytes) { return running("shared memory").isShared(data, bytes); }

}  // namespace gyrus::cuda::emulation
