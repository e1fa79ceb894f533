/**
 * capture: records the calls a function enqueues and replays them with one native call. A training step is captured once; a new
 * input shape, a width that changed or a switch between train and eval makes the next call record again, by itself. Recordings for
 * states that come back (see Versioned) are kept beside each other.
 */
import { ConfigError, DisposedError, expectKeys, type Graph, shown } from '../device/index.js';
import { expectTensor } from '../ops/index.js';
import {
  type DType,
  gradEnabled,
  inScope,
  keep,
  outdated,
  sameShape,
  type Shape,
  Tensor,
  tidy,
  type Tracked,
  tracking,
  unchanged,
} from '../tensor/index.js';

interface Recording<R> {
  layouts: readonly Layout[];
  grad: boolean;
  graph: Graph;
  result: R;
  dependencies: Tracked['dependencies'];
  /** Storages that a replay writes into: their versions are raised each time. */
  written: Tracked['written'];
  grads: readonly LeafGrad[];
  /** Tensors of the result that the function made; they go with the recording. */
  owned: Tensor[];
}

/** What the function did to the gradient of a leaf. */
interface LeafGrad {
  readonly leaf: Tensor;
  /** What the recorded calls took it to be; undefined where they didn't look. */
  readonly found: Tensor | null | undefined;
  /** What was there when the function ended, held for as long as it may be put back. */
  readonly left: Tensor | null;
}

function gradsOf(leaves: Tracked['leaves']): LeafGrad[] {
  const grads: LeafGrad[] = [];
  for (const [leaf, found] of leaves) {
    if (!leaf.disposed) grads.push({ leaf, found, left: leaf.grad && keep(leaf.grad.detach()) });
  }
  return grads;
}

/** Whether every leaf has the gradient that the recorded calls start from. */
function sameGrads(grads: readonly LeafGrad[]): boolean {
  for (const { leaf, found } of grads) if (found !== undefined && leaf.grad !== found) return false;
  return true;
}

/** Leaves the gradients as the function would have. */
function leaveGrads(grads: readonly LeafGrad[]): void {
  for (const { leaf, left } of grads) {
    const { grad } = leaf;
    if (leaf.disposed || (grad?.storage === left?.storage && !grad?.disposed)) continue;
    leaf.grad = left && keep(left.detach());
    grad?.dispose();
  }
}

/** Options of {@link capture}. */
export interface CaptureOptions {
  /**
   * Record with layers at the capacity of their widths: kernels then read on the device how many neurons are active and leave the others
   * out, and the recording goes on to be replayed when a width grows or shrinks within its capacity. Default false.
   */
  atCapacity?: boolean;
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
  const layout = inputs
    .map(
      (t) =>
        `${t.dtype}[${t.shape.join()}]${t.strides.join()}+${t.offset}/${t.storage.bytes}${t.requiresGrad ? 'g' : ''}`,
    )
    .join(' ');
  return gradEnabled() ? layout : `${layout} noGrad`;
}

/** What {@link keyOf} looks at, of one input. */
interface Layout {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
  readonly bytes: number;
  readonly requiresGrad: boolean;
}

const layoutOf = ({ dtype, shape, strides, offset, storage: { bytes }, requiresGrad }: Tensor): Layout => {
  return { dtype, shape, strides, offset, bytes, requiresGrad };
};

/** Whether the inputs have these layouts: what a replay asks first, since a key as text costs more than the replay. */
function fits(layouts: readonly Layout[], grad: boolean, inputs: readonly Tensor[]): boolean {
  if (layouts.length !== inputs.length || grad !== gradEnabled()) return false;
  for (let i = 0; i < layouts.length; i++) {
    const layout = layouts[i];
    const input = inputs[i];
    if (
      layout.dtype !== input.dtype ||
      layout.offset !== input.offset ||
      layout.bytes !== input.storage.bytes ||
      layout.requiresGrad !== input.requiresGrad ||
      !sameShape(layout.shape, input.shape) ||
      !sameShape(layout.strides, input.strides)
    )
      return false;
  }
  return true;
}

/**
 * A version of `fn` that runs as a recorded graph. The first call with inputs of some shape runs `fn` and records; later calls
 * replay, with the new inputs in place of the old ones, and don't run any JavaScript of `fn`.
 *
 * The result (tensors, in arrays or plain objects) is the same objects every time that a recording is replayed; the next call
 * overwrites their elements or leaves them behind, so read or copy what you need before. Tensors that `fn` uses without getting them as inputs (parameters) are used where they
 * were when it was recorded. After a replay the leaves have the gradients that `fn` would have left, in the recording's buffers. It is
 * recorded again where it meets other gradients than before, which happens at each call when it adds to gradients from outside:
 * a training step is quickest with zeroGrad, backward and the optimiser's step inside. `fn` must be synchronous and must not read
 * values back.
 *
 * With `atCapacity` a recording survives growing, pruning, resetting and reordering of widths within their capacity. While `fn` is
 * recorded, `Width.size` and activations are at capacity: what Linear, Conv2d, BatchNorm and LayerNorm produce is 0 for neurons that are
 * not active, so sums over neurons are right and means over them are not. Gradients of parameters stay with the recording,
 * `Parameter.grad` outside of `fn` doesn't show them. A Dropout that knows its width draws what it draws at the active size, another one
 * other numbers. What is no layer of these, elementwise work, pooling and attention between its projections, costs what it does at
 * capacity. A width with silenced or observed neurons, group norm, a cosine classifier or arrays of its own that are not `counted`, or
 * whose size is needed (see Width.needSize), is taken at its size, as without the option: a change of it makes the next call record again.
 * @throws ConfigError for nested captures, and for two inputs on one buffer at a recording; whatever `fn` throws while it is
 * recorded
 */
export function capture<A extends readonly Tensor[], R>(
  fn: (...inputs: A) => R,
  options: CaptureOptions = {},
): Captured<A, R> {
  if (typeof fn !== 'function') throw new ConfigError(`capture: expected a function, got ${shown(fn)}`);
  expectKeys('capture', options, ['atCapacity']);
  const { atCapacity = false } = options;
  if (typeof atCapacity !== 'boolean')
    throw new ConfigError(`capture: expected atCapacity to be a boolean, got ${shown(atCapacity)}`);
  /** By inputs; several where states that come and go differ. */
  const recordings = new Map<string, readonly Recording<R>[]>();
  let latest: Recording<R> | undefined;
  const handles: number[] = [];
  let count = 0;
  let disposed = false;

  /** Forgets the recordings of which this is so. */
  const forget = (isOver: (recording: Recording<R>) => boolean): void => {
    for (const [key, all] of [...recordings]) {
      const kept = all.filter((recording) => !isOver(recording));
      if (kept.length > 0) recordings.set(key, kept);
      else recordings.delete(key);
      for (const old of all) {
        if (kept.includes(old)) continue;
        if (latest === old) latest = undefined;
        old.graph.dispose();
        for (const tensor of old.owned) tensor.dispose();
        for (const { left } of old.grads) left?.dispose();
      }
    }
  };

  const record = (key: string, inputs: A): R => {
    const device = inputs[0].device;
    device.beginCapture(inputs.map((input) => input.view('capture').handle));
    capturing = true;
    const tracked: Tracked = { dependencies: new Map(), written: new Set(), leaves: new Map() };
    const { dependencies, written, leaves } = tracked;
    let graph: Graph | undefined;
    let owned: Tensor[] = [];
    let grads: LeafGrad[] = [];
    try {
      const result = tidy(() => {
        const made = tracking(
          tracked,
          () =>
            tidy(() => {
              const value = fn(...inputs);
              if (!(value instanceof Promise)) return value;
              // What it rejects with is not the caller's to catch any more.
              value.catch(() => undefined);
              throw new ConfigError('capture: expected a synchronous function, got one that returns a promise');
            }),
          atCapacity,
        );
        graph = device.endCapture();
        // What keep() finds in this scope was made by fn; an input or a parameter among the results was not.
        owned = tensorsOf(made).filter((tensor) => inScope(tensor));
        for (const tensor of owned) {
          keep(tensor);
          written.add(tensor.storage);
        }
        grads = gradsOf(leaves);
        return made;
      });
      latest = {
        layouts: inputs.map(layoutOf),
        grad: gradEnabled(),
        graph: graph as Graph,
        result,
        dependencies,
        written,
        grads,
        owned,
      };
      recordings.set(key, [...(recordings.get(key) ?? []), latest]);
      count++;
      return result;
    } catch (error) {
      if (!graph) device.abortCapture();
      throw error;
    } finally {
      capturing = false;
    }
  };

  const run = (...inputs: A): R => {
    if (disposed) throw new DisposedError('capture: this captured function was disposed of');
    if (inputs.length === 0) throw new ConfigError('capture: expected at least one input tensor, got none');
    if (capturing)
      throw new ConfigError('capture: expected no capture around this one; captured functions do not nest');
    for (let i = 0; i < inputs.length; i++) expectTensor('capture', inputs[i]);
    const valid = ({ dependencies, grads }: Recording<R>): boolean => unchanged(dependencies) && sameGrads(grads);
    const again = latest !== undefined && fits(latest.layouts, latest.grad, inputs) && valid(latest);
    const known = again ? latest : recordings.get(keyOf(inputs))?.find(valid);
    if (known) {
      handles.length = inputs.length;
      for (let i = 0; i < inputs.length; i++) handles[i] = inputs[i].view('capture').handle;
      known.graph.replay(handles);
      for (const storage of known.written) storage.version++;
      leaveGrads(known.grads);
      latest = known;
      return known.result;
    }
    const key = keyOf(inputs);
    // One stale recording means a width or a mode changed: the others hold buffers of the same past. One that met other gradients
    // makes room for the new one.
    const replaced = recordings.get(key)?.filter(({ dependencies }) => unchanged(dependencies)) ?? [];
    forget((recording) => outdated(recording.dependencies) || replaced.includes(recording));
    return record(key, inputs);
  };

  return Object.defineProperties(run, {
    recordings: { get: () => count },
    dispose: {
      value: () => {
        disposed = true;
        forget(() => true);
      },
    },
  }) as Captured<A, R>;
}
