// Which core a thread runs on. Threads of one job that end up on the same core wait for each other while another core
// idles, and schedulers that pack threads on few cores (virtual machines, to save power) wake a thread exactly where
// the waker runs. Linux only; elsewhere the calls do nothing and the system's own placement stands.
#pragma once

namespace gyrus {

// This thread's core, or -1 where the system doesn't tell.
int currentCore();

// The system's number of this thread, for keepOff; 0 where there is none.
int currentThread();

// Lets a thread run on every core that the process may use, but not on this one. Without effect where no other is left.
void keepOff(int thread, int core);

}  // namespace gyrus
