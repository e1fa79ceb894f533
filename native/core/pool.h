// The process-wide thread pool. A job is `chunks` pieces of work handed out by one atomic counter; how the work is cut
// into chunks never depends on the number of threads, so results don't either.
#pragma once
#include <cstdint>
#include <type_traits>

namespace gyrus {

class Pool {
 public:
  using Body = void (*)(void* context, std::int64_t chunk);

  // Threads that take part in a job, the caller included (>= 1). GYRUS_THREADS or the number of cores at start.
  static int threads();
  static void setThreads(int n);

  // Runs body for every chunk and returns when all are done. The caller works too. An exception thrown by a chunk is
  // rethrown here. When another stream holds the pool, or inside a chunk, it runs all chunks on the caller.
  static void run(std::int64_t chunks, Body body, void* context);

  // Counted use by environments: the workers are joined when the last one has gone.
  static void retain();
  static void release();
};

template <class F>
inline void parallelFor(std::int64_t chunks, F&& f) {
  if (chunks <= 0) return;
  if (chunks == 1) {
    f(std::int64_t{0});
    return;
  }
  using Fn = typename std::remove_reference<F>::type;
  Pool::run(
      chunks, [](void* c, std::int64_t i) { (*static_cast<Fn*>(c))(i); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace gyrus
