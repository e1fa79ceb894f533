/**
 * Dependencies of a captured graph that are not tensors: a width, a training mode. Whoever reads such a thing while an op
 * is recorded calls `track`; the capture compares versions before each replay and records again when one has changed.
 */
export interface Versioned {
  readonly version: number;
}

let recording: Map<Versioned, number> | undefined;

export function track(dependency: Versioned): void {
  recording?.set(dependency, dependency.version);
}

/** Collects what `fn` tracks. */
export function tracking<T>(into: Map<Versioned, number>, fn: () => T): T {
  const saved = recording;
  recording = into;
  try {
    return fn();
  } finally {
    recording = saved;
  }
}

export function unchanged(dependencies: ReadonlyMap<Versioned, number>): boolean {
  for (const [dependency, version] of dependencies) if (dependency.version !== version) return false;
  return true;
}
