/**
 * capture: records the calls a function enqueues and replays them with one native call. A training step is captured once; a new
 * input shape, a width that changed or a switch between train and eval makes the next call record again, by itself.
 */
import { ConfigError, DisposedError, type Graph } from '../device/index.js';
import { keep, Tensor, tidy, tracking, unchanged, type Versioned } from '../tensor/index.js';

interface Recording<R> {
  graph: Graph;
  result: R;
  dependencies: Map<Versioned, number>;
}

/** What {@link capture} returns: call it like the function. */
export interface Captured<A extends readonly Tensor[], R> {
  (...inputs: A): R;
  /** How often the function was recorded so far. */
  readonly recordings: number;
  /** Forgets all recordings and frees their buffers. */
  dispose(): void;
}

let capturing = false;

function tensorsOf(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (Array.isArray(value)) return value.flatMap(tensorsOf);
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.values(value).flatMap(tensorsOf);
  }
  return [];
}

/** Recordings differ by what the recorded calls have fixed: shape, layout and dtype of each input. */
function keyOf(inputs: readonly Tensor[]): string {
  return inputs
    .map((t) => `${t.dtype}[${t.shape.join()}]${t.strides.join()}+${t.offset}/${t.storage.bytes}${t.requiresGrad ? 'g' : ''}`)
    .join(' ');
}

/**
 * A version of `fn` that runs as a recorded graph. The first call with inputs of some shape runs `fn` and records; later calls
 * replay, with the new inputs in place of the old ones, and don't run any JavaScript of `fn`.
 *
 * The result (tensors, in arrays or plain objects) is the same objects every time; the next call overwrites their elements, so
 * read or copy what you need before. Tensors that `fn` uses without getting them as inputs (parameters) are used where they
 * were when it was recorded. `fn` must be synchronous and must not read values back.
 * @throws ConfigError for nested captures; whatever `fn` throws while it is recorded
 */
export function capture<A extends readonly Tensor[], R>(fn: (...inputs: A) => R): Captured<A, R> {
  const recordings = new Map<string, Recording<R>>();
  let count = 0;
  let disposed = false;

  const forget = (key: string): void => {
    const old = recordings.get(key);
    if (!old) return;
    recordings.delete(key);
    old.graph.dispose();
    for (const tensor of tensorsOf(old.result)) tensor.dispose();
  };

  const record = (key: string, inputs: A): R => {
    if (capturing) throw new ConfigError('capture: expected no capture around this one; captured functions do not nest');
    const device = inputs[0].device;
    device.beginCapture(inputs.map((input) => input.view('capture').handle));
    capturing = true;
    const dependencies = new Map<Versioned, number>();
    let result: R;
    try {
      result = tracking(dependencies, () => tidy(() => fn(...inputs)));
      if (result instanceof Promise) throw new ConfigError('capture: expected a synchronous function, got one that returns a promise');
    } catch (error) {
      device.abortCapture();
      throw error;
    } finally {
      capturing = false;
    }
    const graph = device.endCapture();
    for (const tensor of tensorsOf(result)) keep(tensor);
    recordings.set(key, { graph, result, dependencies });
    count++;
    return result;
  };

  const run = (...inputs: A): R => {
    if (disposed) throw new DisposedError('capture: this captured function was disposed of');
    if (inputs.length === 0) throw new ConfigError('capture: expected at least one input tensor, got none');
    const key = keyOf(inputs);
    const known = recordings.get(key);
    if (known && unchanged(known.dependencies)) {
      known.graph.replay(inputs.map((input) => input.view('capture').handle));
      return known.result;
    }
    // One stale recording means a width or a mode changed: the others hold buffers of the same past.
    for (const [old, { dependencies }] of [...recordings]) if (!unchanged(dependencies)) forget(old);
    return record(key, inputs);
  };

  return Object.defineProperties(run, {
    recordings: { get: () => count },
    dispose: {
      value: () => {
        disposed = true;
        for (const key of [...recordings.keys()]) forget(key);
      },
    },
  }) as Captured<A, R>;
}
