#include "core/placement.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gyrus {

#if defined(__linux__)
int currentCore() { return sched_getcpu(); }

int currentThread() { return static_cast<int>(syscall(SYS_gettid)); }

void keepOff(int thread, int core) {
  cpu_set_t allowed;  // the main thread's: that one is never moved, and follows what the user asks of the process
  if (thread <= 0 || core < 0 || core >= CPU_SETSIZE) return;
  if (sched_getaffinity(getpid(), sizeof allowed, &allowed) != 0) return;
  CPU_CLR(static_cast<unsigned>(core), &allowed);
  if (CPU_COUNT(&allowed) > 0) sched_setaffinity(thread, sizeof allowed, &allowed);
}
#else
int currentCore() { return -1; }
int currentThread() { return 0; }
void keepOff(int, int) {}
#endif

}  // namespace gyrus
