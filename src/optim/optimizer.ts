/**
 * What optimisers share. A step over all parameters is one native call; learning rate and gradient scale lie on the device, so that a
 * captured step follows a schedule. State belongs to neurons: slots and step counters are carried arrays, so they move with
 * their parameters when a width changes, and the newborn start at step 0 with empty slots.
 */
import { ConfigError, type Device, expectKeys, type OpName, ShapeError, shown } from '../device/index.js';
import { CarriedArray, Parameter, Width } from '../nn/index.js';
import { add, assign, cast, clone, enqueue, equal, expand, mul, reshape, sub, where } from '../ops/index.js';
import { describe, empty, keep, noGrad, sameShape, Tensor, tidy } from '../tensor/index.js';

/** A step count: `view` runs along an axis of a parameter, one number per neuron or one for all (stride 0). */
interface Counter {
  readonly view: Tensor;
  dispose(): void;
}

class SharedCounter implements Counter {
  readonly count: CarriedArray;
  readonly #extent: () => number;
  #view: Tensor;

  constructor(device: Device, extent: () => number) {
    this.count = new CarriedArray([1], { role: 'slot', device });
    this.#extent = extent;
    this.#view = this.#make();
  }

  get view(): Tensor {
    if (this.#view.shape[0] !== this.#extent()) {
      this.#view.dispose();
      this.#view = this.#make();
    }
    return this.#view;
  }

  dispose(): void {
    this.#view.dispose();
    this.count.dispose();
  }

  #make(): Tensor {
    return new Tensor(this.count.full.storage, 'f32', [this.#extent()], [0], 0, false);
  }
}

/** One parameter with all that the optimiser keeps for it. */
interface Entry {
  readonly parameter: Parameter;
  readonly slots: readonly CarriedArray[];
  readonly rows: Counter;
  readonly cols: Counter;
  /** Everything that a checkpoint keeps, by name. */
  readonly state: ReadonlyMap<string, CarriedArray>;
  dispose(): void;
}

/**
 * Adds the counts of active neurons to the inputs of a step; returns which input counts the rows and the columns of each parameter, 0
 * for none, or nothing where no width is counted.
 */
function countActive(entries: readonly Entry[], device: Device, inputs: Tensor[]): number[] {
  const places = new Map<Tensor, number>();
  const numbers = entries.flatMap(({ parameter: { array } }) => {
    const { axes, spans } = array;
    const last = axes.length - 1;
    return [last > 0 ? 0 : undefined, last].map((at) => {
      const axis = at === undefined ? undefined : axes[at];
      const width = axis instanceof Width && array.counted ? axis : undefined;
      const count = width?.countOn(device, spans[at as number])?.count;
      if (!count) return 0;
      const place = places.get(count) ?? inputs.push(count) - 1;
      places.set(count, place);
      return place;
    });
  });
  return places.size > 0 ? numbers : [];
}

export interface OptimizerOptions {
  /** Learning rate, >= 0. */
  lr: number;
  /** Weight decay of parameters with `decay` set. Default 0 (AdamW: 0.01). */
  weightDecay?: number;
  /** No weight decay on a neuron whose parameters were moved at most this many times. Default 0. */
  youngSteps?: number;
}

/** Settings and state that are no tensors. */
export interface OptimizerMeta {
  readonly name: string;
  readonly lr: number;
  readonly gradScale: number;
  readonly parameters: number;
}
export type OptimizerState = Map<string, Tensor> & { meta: OptimizerMeta };

/** Throws ConfigError unless value is a number in [low, high) or, for an infinite high, [low, inf). */
export function checkNumber(what: string, value: unknown, low: number, high = Infinity): number {
  if (typeof value !== 'number' || !(value >= low && value < high)) {
    const range = high === Infinity ? `>= ${low}` : `in [${low}, ${high})`;
    throw new ConfigError(`${what}: expected a number ${range}, got ${shown(value)}`);
  }
  return value;
}

const SHARED_OPTIONS = ['lr', 'weightDecay', 'youngSteps'];

/** Throws ConfigError unless `options` is an object of the shared options and these. */
export function checkOptions(name: string, options: unknown, own: readonly string[]): void {
  expectKeys(name, options, [...SHARED_OPTIONS, ...own]);
}

export abstract class Optimizer {
  readonly name: string;
  readonly params: readonly Parameter[];
  readonly weightDecay: number;
  readonly youngSteps: number;
  readonly #op: OpName;
  readonly #slotNames: readonly string[];
  readonly #entries: readonly Entry[];
  readonly #hypers: ReadonlyMap<Device, Tensor>;
  readonly #rates = new Map<Width, CarriedArray>();
  #lr: number;
  #gradScale = 1;
  #disposed = false;

  protected constructor(
    name: string,
    op: OpName,
    params: Iterable<Parameter>,
    slotNames: readonly string[],
    options: OptimizerOptions,
  ) {
    this.name = name;
    if (typeof (params as Partial<Iterable<Parameter>> | null | undefined)?.[Symbol.iterator] !== 'function') {
      throw new ConfigError(`${name}: expected a list of parameters, e.g. net.parameters(), got ${shown(params)}`);
    }
    this.params = [...params];
    const other: unknown = this.params.find((parameter) => !(parameter instanceof Parameter));
    if (other !== undefined) throw new ConfigError(`${name}: expected Parameters of modules, got ${shown(other)}`);
    if (this.params.length === 0) throw new ConfigError(`${name}: expected at least one parameter, got none`);
    if (new Set(this.params).size !== this.params.length)
      throw new ConfigError(`${name}: expected distinct parameters`);
    this.#lr = checkNumber(`${name}: lr`, options.lr, 0);
    this.weightDecay = checkNumber(`${name}: weightDecay`, options.weightDecay ?? 0, 0);
    this.youngSteps = checkNumber(`${name}: youngSteps`, options.youngSteps ?? 0, 0);
    this.#op = op;
    this.#slotNames = slotNames;
    this.#entries = this.params.map((parameter) => this.#entry(parameter));
    const hypers = new Map<Device, Tensor>();
    for (const { array } of this.params) {
      const { device } = array.full;
      if (!hypers.has(device)) hypers.set(device, keep(empty([2], { dtype: 'f64', device })));
    }
    this.#hypers = hypers;
    this.#writeHyper();
  }

  /** Learning rate. Setting it enqueues one small write; captured steps use the new value from then on. */
  get lr(): number {
    return this.#lr;
  }
  set lr(lr: number) {
    checkNumber(`${this.name}: lr`, lr, 0);
    if (lr === this.#lr) return;
    this.#lr = lr;
    this.#writeHyper();
  }

  /** Factor on all gradients, undone scaling of the loss for instance. Default 1. */
  get gradScale(): number {
    return this.#gradScale;
  }
  set gradScale(scale: number) {
    if (!Number.isFinite(scale))
      throw new ConfigError(`${this.name}: gradScale: expected a finite number, got ${String(scale)}`);
    if (scale === this.#gradScale) return;
    this.#gradScale = scale;
    this.#writeHyper();
  }

  /**
   * Factors on the learning rate of single neurons, or none any more: whatever a step changes of a neuron's own parameters (incoming weights,
   * bias, norm), by gradient, momentum or weight decay, is multiplied by its factor. At 0 they keep every bit, at 1 they move as ever; slots
   * and step counts go on in any case. No part of the state dict.
   * @param factors one per neuron: an array carried by the width
   * @throws ConfigError for an array of other axes
   */
  scaleRates(width: Width, factors: CarriedArray | undefined): void {
    if (factors && (factors.axes.length !== 1 || factors.axes[0] !== width || factors.spans[0] !== 1)) {
      throw new ConfigError(`${this.name}: scaleRates: expected one factor per neuron of width '${width.name}'`);
    }
    if (factors) this.#rates.set(width, factors);
    else this.#rates.delete(width);
    width.touch();
  }

  /** Numbers in front of the weight decays in the native record. */
  protected abstract record(count: number): number[];

  /** Moves every parameter that has a gradient: one native call (one per device and dtype, should there be several). */
  step(): void {
    this.#check('step');
    const groups = new Map<string, Entry[]>();
    for (const entry of this.#entries) {
      const { parameter } = entry;
      const { grad } = parameter;
      if (!grad || !parameter.requiresGrad) continue;
      if (!sameShape(grad.shape, parameter.shape)) {
        throw new ShapeError(
          `${this.name}: '${parameter.name}': expected a gradient of shape ${describe(parameter.shape)}, got ${describe(grad.shape)}`,
        );
      }
      const key = `${parameter.array.full.device.name} ${parameter.dtype}`;
      groups.set(key, [...(groups.get(key) ?? []), entry]);
    }
    const finish = this.#holdBack([...groups.values()].flat());
    for (const entries of groups.values()) {
      const { device } = entries[0].parameter.array.full;
      const outputs = entries.flatMap(({ parameter, slots, rows, cols }) => [
        parameter.value,
        ...slots.map(({ active }) => active),
        rows.view,
        cols.view,
      ]);
      const inputs = [this.#hypers.get(device) as Tensor, ...entries.map(({ parameter }) => parameter.grad as Tensor)];
      const decays = entries.map(({ parameter }) => (parameter.decay ? this.weightDecay : 0));
      const record = [...this.record(entries.length), ...decays, ...countActive(entries, device, inputs)];
      noGrad(() => enqueue(this.#op, device, [], inputs, record, outputs));
    }
    finish?.();
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.params) parameter.grad = null;
  }

  /**
   * Scales all gradients down so that their joint L2 norm is at most maxNorm: two native calls.
   * @returns the norm before, [1]; 0 when there is no gradient
   */
  clipGradNorm(maxNorm: number): Tensor {
    this.#check('clipGradNorm');
    if (!(maxNorm > 0)) throw new ConfigError(`clipGradNorm: expected a norm > 0, got ${String(maxNorm)}`);
    const having = this.#entries.filter(({ parameter }) => parameter.grad !== null);
    const grads = having.map(({ parameter }) => parameter.grad as Tensor);
    const { dtype, device } = grads[0] ?? this.params[0].array.full;
    if (grads.some((grad) => grad.dtype !== dtype || grad.device !== device)) {
      throw new ConfigError('clipGradNorm: expected gradients of one dtype on one device');
    }
    return noGrad(() => {
      const inputs = [...grads];
      const counts = countActive(having, device, inputs);
      const [norm] = enqueue('gradNorm', device, [{ shape: [1], dtype }], inputs, counts);
      if (grads.length > 0) enqueue('clipGrads', device, [], [norm], [maxNorm], grads);
      return norm;
    });
  }

  /** Slots and step counters by name ('momentum.0', 'rowSteps.0', ...), as views that show later changes; settings in `meta`. */
  stateDict(): OptimizerState {
    const state = new Map<string, Tensor>();
    this.#entries.forEach((entry, i) => {
      for (const [name, array] of entry.state) state.set(`${name}.${i}`, array.active.detach());
    });
    return Object.assign(state, {
      meta: { name: this.name, lr: this.#lr, gradScale: this.#gradScale, parameters: this.params.length },
    });
  }

  /**
   * Copies a state in. Widths must have their sizes already.
   * @throws ConfigError for the state of another kind of optimiser or other names; ShapeError naming the slot whose shape differs
   */
  loadStateDict(state: ReadonlyMap<string, Tensor> & { readonly meta: OptimizerMeta }): void {
    this.#check('loadStateDict');
    if (!((state as unknown) instanceof Map) || (state.meta as OptimizerMeta | undefined) === undefined) {
      throw new ConfigError(
        `${this.name}: loadStateDict: expected a Map of tensors with meta, as stateDict() gives, got ${shown(state)}`,
      );
    }
    const { meta } = state;
    if (meta.name !== this.name || meta.parameters !== this.params.length) {
      throw new ConfigError(
        `${this.name}: loadStateDict: expected the state of ${this.name} over ${this.params.length} parameters, ` +
          `got ${meta.name} over ${meta.parameters}`,
      );
    }
    const arrays = new Map<string, CarriedArray>();
    this.#entries.forEach((entry, i) => {
      for (const [name, array] of entry.state) arrays.set(`${name}.${i}`, array);
    });
    const missing = [...arrays.keys()].filter((name) => !state.has(name));
    const unknown = [...state.keys()].filter((name) => !arrays.has(name));
    if (missing.length > 0 || unknown.length > 0) {
      throw new ConfigError(
        `${this.name}: loadStateDict: missing: ${missing.join(', ') || 'none'}; unknown: ${unknown.join(', ') || 'none'}`,
      );
    }
    for (const [name, array] of arrays) {
      const given = state.get(name) as Tensor;
      if (!sameShape(given.shape, array.shape) || given.dtype !== array.dtype) {
        throw new ShapeError(
          `${this.name}: loadStateDict: '${name}': expected ${array.dtype} ${describe(array.shape)}, ` +
            `got ${given.dtype} ${describe(given.shape)}`,
        );
      }
    }
    noGrad(() => {
      for (const [name, array] of arrays) assign(array.active, state.get(name) as Tensor);
    });
    this.#lr = checkNumber(`${this.name}: lr`, meta.lr, 0);
    this.#gradScale = meta.gradScale;
    this.#writeHyper();
  }

  /** Frees slots and counters; they no longer follow the widths. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const entry of this.#entries) entry.dispose();
    for (const hyper of this.#hypers.values()) hyper.dispose();
  }

  /** Remembers the parameters of neurons with a learning-rate factor; the returned function takes back what the step did too much. */
  #holdBack(entries: readonly Entry[]): (() => void) | undefined {
    const held = entries.flatMap(({ parameter }) => {
      const [axis] = parameter.array.axes;
      const factors = axis instanceof Width ? this.#rates.get(axis) : undefined;
      return factors ? [{ parameter, factors, before: noGrad(() => clone(parameter.value)) }] : [];
    });
    if (held.length === 0) return undefined;
    return () => {
      noGrad(() =>
        tidy(() => {
          for (const { parameter, factors, before } of held) {
            const { shape, array, value } = parameter;
            const [units, span] = [factors.active.shape[0], array.spans[0]];
            const each = expand(reshape(cast(factors.active, array.dtype), [units, 1]), [units, span]);
            const factor = reshape(
              each,
              shape.map((n, i) => (i === 0 ? n : 1)),
            );
            const part = add(before, mul(factor, sub(value, before)));
            assign(value, where(equal(factor, 1), value, part));
            before.dispose();
          }
        }),
      );
    };
  }

  #check(op: string): void {
    if (this.#disposed) throw new ConfigError(`${this.name}: ${op}: the optimiser was disposed of`);
  }

  #writeHyper(): void {
    const values = new Float64Array([this.#lr, this.#gradScale]);
    for (const [device, hyper] of this.#hypers) device.write(hyper.storage.handle, 0, values);
  }

  #entry(parameter: Parameter): Entry {
    const { array } = parameter;
    const { device } = array.full;
    const rank = array.axes.length;
    const state = new Map<string, CarriedArray>();
    const slots = this.#slotNames.map((name) => {
      const slot = array.like(0);
      state.set(name, slot);
      return slot;
    });
    const counter = (name: string, axis: number | undefined): Counter => {
      if (axis !== undefined && array.axes[axis] instanceof Width) {
        const count = array.along(axis);
        state.set(name, count);
        return {
          get view() {
            return count.active;
          },
          dispose: () => count.dispose(),
        };
      }
      const shared = new SharedCounter(device, () => (axis === undefined ? 1 : parameter.shape[axis]));
      state.set(name, shared.count);
      return shared;
    };
    // A vector has columns only; its row counter is a single number.
    const rows = counter('rowSteps', rank > 1 ? 0 : undefined);
    const cols = counter('colSteps', rank > 0 ? rank - 1 : undefined);
    return {
      parameter,
      slots,
      rows,
      cols,
      state,
      dispose: () => {
        for (const slot of slots) slot.dispose();
        rows.dispose();
        cols.dispose();
      },
    };
  }
}
