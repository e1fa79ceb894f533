/**
 * Whether operations are recorded for differentiation. One flag per environment; JavaScript runs one function at a time.
 */
import { ConfigError } from '../device/index.js';

let enabled = true;

export function gradEnabled(): boolean {
  return enabled;
}

/** Switches recording and returns how it was. For code that restores it in a `finally` and can't afford a closure. */
export function setGradMode(on: boolean): boolean {
  const before = enabled;
  enabled = on;
  return before;
}

/** Runs `fn` with recording switched on or off. Synchronous functions only: throws ConfigError when a promise comes back. */
export function withGradMode<T>(on: boolean, fn: () => T): T {
  const saved = enabled;
  enabled = on;
  try {
    const result = fn();
    if (result instanceof Promise) {
      throw new ConfigError('noGrad: expected a synchronous function, got one that returns a promise');
    }
    return result;
  } finally {
    enabled = saved;
  }
}

/** Runs `fn` without recording: no graph is built, nothing is saved. */
export function noGrad<T>(fn: () => T): T {
  return enabled ? withGradMode(false, fn) : fn();
}
