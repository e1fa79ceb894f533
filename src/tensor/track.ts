/**
 * Dependencies of a captured graph that are not tensors: a width, a training mode. Whoever reads such a thing while an op
 * is recorded calls `track`; the capture compares versions before each replay and records again when one has changed.
 */
import type { Tensor } from './tensor.js';

export interface Versioned {
  readonly version: number;
  /** Whether a version stands for a state that may come back, such as on and off: recordings of the others are then kept. Default false. */
  readonly recurring?: boolean;
}

/** What is collected while a function is recorded. */
export interface Tracked {
  dependencies: Map<Versioned, number>;
  /** Storages written in place. */
  written: Set<{ version: number }>;
  /** Leaves whose gradient was read, with what was found, or set without having been read (undefined). */
  leaves: Map<Tensor, Tensor | null | undefined>;
}

let recording: Map<Versioned, number> | undefined;
let wide = false;
let writes: Set<{ version: number }> | undefined;
let leaves: Map<Tensor, Tensor | null | undefined> | undefined;

export function track(dependency: Versioned): void {
  recording?.set(dependency, dependency.version);
}

/** Counts an in-place write into a storage; a capture notes it, since a replay writes there again. */
export function wrote(storage: { version: number }): void {
  storage.version++;
  writes?.add(storage);
}

/** Called by a leaf when its gradient is read or set; a capture notes the first of these. */
export function touchedGrad(leaf: Tensor, found: Tensor | null | undefined): void {
  if (leaves !== undefined && !leaves.has(leaf)) leaves.set(leaf, found);
}

/** Whether a function is being recorded with its layers at the capacity of their widths (see capture). */
export function atCapacity(): boolean {
  return wide;
}

/**
 * Collects what `fn` tracks, which storages it writes into and which gradients it meets.
 * @param capacity record with layers at the capacity of their widths
 */
export function tracking<T>(into: Tracked, fn: () => T, capacity = false): T {
  const saved = { recording, writes, leaves, wide };
  wide = capacity;
  recording = into.dependencies;
  writes = into.written;
  leaves = into.leaves;
  try {
    return fn();
  } finally {
    ({ recording, writes, leaves, wide } = saved);
  }
}

/** Whether something has changed that will not be again what it was. */
export function outdated(dependencies: ReadonlyMap<Versioned, number>): boolean {
  for (const [dependency, version] of dependencies)
    if (dependency.version !== version && dependency.recurring !== true) return true;
  return false;
}

export function unchanged(dependencies: ReadonlyMap<Versioned, number>): boolean {
  for (const [dependency, version] of dependencies) if (dependency.version !== version) return false;
  return true;
}
