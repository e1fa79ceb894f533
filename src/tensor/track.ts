/**
 * Dependencies of a captured graph that are not tensors: a width, a training mode. Whoever reads such a thing while an op
 * is recorded calls `track`; the capture compares versions before each replay and records again when one has changed.
 */
export interface Versioned {
  readonly version: number;
}

let recording: Map<Versioned, number> | undefined;
let writes: Set<{ version: number }> | undefined;

export function track(dependency: Versioned): void {
  recording?.set(dependency, dependency.version);
}

/** Counts an in-place write into a storage; a capture notes it, since a replay writes there again. */
export function wrote(storage: { version: number }): void {
  storage.version++;
  writes?.add(storage);
}

/** Collects what `fn` tracks, and which storages it writes into. */
export function tracking<T>(into: Map<Versioned, number>, written: Set<{ version: number }>, fn: () => T): T {
  const saved = recording;
  const savedWrites = writes;
  recording = into;
  writes = written;
  try {
    return fn();
  } finally {
    recording = saved;
    writes = savedWrites;
  }
}

export function unchanged(dependencies: ReadonlyMap<Versioned, number>): boolean {
  for (const [dependency, version] of dependencies) if (dependency.version !== version) return false;
  return true;
}
