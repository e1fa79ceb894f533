/**
 * The pool of threads that all kernels of a process share.
 */
import { addon } from './addon.js';
import { typed } from './errors.js';

/** Threads of the pool. */
export function threads(): number {
  return addon().threads();
}

/** Sets the number of threads; results don't depend on it. Throws ConfigError for what is no whole number >= 1. */
export function setThreads(n: number): void {
  try {
    addon().setThreads(n);
  } catch (error) {
    throw typed(error);
  }
}
