/**
 * Width: the neurons of a layer as an object, shared by the layer that produces them, the norms that carry them and the layers
 * that consume them. Growing, pruning, resetting and reordering change all of these at once, optimiser state included. Every
 * neuron has an id that stays with it and a step at which it was born.
 */
import { type ActivationKind, ConfigError, type Device, expectKeys, ShapeError, shown } from '../device/index.js';
import type { Counted, Gate } from '../ops/index.js';
import { atCapacity, keep, noGrad, tensor, type Tensor, tidy, track, type Versioned } from '../tensor/index.js';
import type { CarriedArray } from './carried.js';
import { newborn, NEWBORN_OPTIONS, type Newborn, type NewbornOptions } from './growth.js';
import type { Parameter } from './parameter.js';

/** A neuron: its stable id, the step at which it was born and how many steps it has lived. */
export interface Unit {
  readonly id: number;
  readonly birth: number;
  readonly age: number;
}

/** A layer that computes the neurons: rows of `weight` belong to them. */
export interface Producer {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
}
/** A layer that reads the neurons: the last axis of `weight` runs over them. `output` is what its own rows belong to. */
export interface Consumer {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  readonly output: Width | number;
  /** Fused behind it. */
  readonly activation: ActivationKind;
}

export interface WidthOptions {
  /** Neurons for which memory is set aside. Growing past it moves the arrays. Default: the size. */
  capacity?: number;
  /** For messages, logs and checkpoints. Default 'width'. */
  name?: string;
}

export interface WidthChange {
  readonly kind: 'grow' | 'prune' | 'reset' | 'permute' | 'load';
  readonly width: Width;
  /** Ids of the neurons born, removed or reset. */
  readonly ids: readonly number[];
}

/** What a checkpoint keeps of a width. */
export interface WidthState {
  name: string;
  size: number;
  capacity: number;
  now: number;
  nextId: number;
  ids: number[];
  births: number[];
}

export interface ResetOptions extends NewbornOptions {
  /** Keep the outgoing weights (the function then changes), as ReGraMa does. Default false: they become 0, as ReDo does. */
  keepOutgoing?: boolean;
}

/** Neurons of one width. Far above what fits a weight matrix; without it a slip of the pen fills the heap with ids. */
const MOST = 2 ** 22;

function wholeNumber(what: string, value: unknown, least: number, most = Infinity): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    const range = value !== Infinity && (value as number) > most ? `<= ${most}` : `>= ${least}`;
    throw new ConfigError(`${what}: expected a whole number ${range}, got ${shown(value)}`);
  }
  return value;
}

/** 0..n-1 */
function identity(n: number): Int32Array {
  return Int32Array.from({ length: n }, (_, i) => i);
}

export class Width implements Versioned {
  readonly name: string;
  readonly producers: Producer[] = [];
  readonly consumers: Consumer[] = [];
  /** Modules that mix neurons with each other (layer norm): growing then changes the function, so the cycle leaves the width alone. */
  readonly mixers: object[] = [];
  /**
   * Cosine classifiers that read these neurons: growing with outgoing weights of 0 then scales all logits of a sample by one factor and
   * keeps their order; pairs and splits change the logits.
   */
  readonly scalers: object[] = [];
  /** Batch norms over these neurons: their running means. */
  readonly means: CarriedArray[] = [];
  /** True when a UnitGate module reports these neurons to `gate`; otherwise the consumer does. */
  gated = false;
  #gate: Gate | undefined;
  #observers = new Set<(activations: Tensor) => void>();
  /** How many need it at its size. */
  #sized = 0;
  #heard: Tensor | undefined;
  #size: number;
  #capacity: number;
  #version = 0;
  /** Changes with everything about the width but its size: what a function recorded at capacity depends on. */
  readonly #layout = { version: 0 };
  /** By device and span, where kernels read it: the elements of the active neurons, size times span, i32 [1]. */
  readonly #counts = new Map<Device, Map<number, Tensor>>();
  #now = 0;
  #nextId: number;
  #ids: number[];
  #births: number[];
  #arrays = new Set<CarriedArray>();
  #listeners = new Set<(change: WidthChange) => void>();

  /** @throws ConfigError for a size below 1 or above 2^22, a capacity below the size, an unknown option */
  constructor(size: number, options: WidthOptions = {}) {
    expectKeys('Width', options, ['capacity', 'name']);
    this.name = options.name ?? 'width';
    this.#size = wholeNumber(`Width '${this.name}': size`, size, 1, MOST);
    this.#capacity = wholeNumber(`Width '${this.name}': capacity`, options.capacity ?? size, size, MOST);
    this.#ids = Array.from({ length: size }, (_, i) => i);
    this.#births = this.#ids.map(() => 0);
    this.#nextId = size;
  }

  /** Active neurons; while a function is recorded at capacity (see capture), and the width is `counted`, its capacity. */
  get size(): number {
    return this.follow() ? this.#capacity : this.#size;
  }
  get capacity(): number {
    return this.#capacity;
  }
  /** Changes whenever captured graphs that use this width have to be recorded again. */
  get version(): number {
    return this.#version;
  }
  /**
   * Whether layers run at the capacity of the width just now and their kernels read its size on the device: in a function recorded at
   * capacity, unless neurons are silenced or observed, or something needs the width at its size.
   */
  get counted(): boolean {
    if (!atCapacity() || this.#heard || this.#observers.size > 0 || this.#sized > 0) return false;
    if (this.scalers.length > 0 || this.#arrays.size === 0) return false;
    for (const array of this.#arrays) if (!array.counted) return false;
    return true;
  }

  /** Makes a function that is being recorded depend on the width, on its size only where it is not counted. Returns whether it is. */
  follow(): boolean {
    const { counted } = this;
    track(counted ? this.#layout : this);
    return counted;
  }

  /**
   * For layers: the size as kernels on this device read it, where it is counted.
   * @param span elements of a neuron on the axis that the kernel counts, as in one of the arrays. Default 1.
   */
  countOn(device: Device, span = 1): Counted | undefined {
    const count = this.follow() ? this.#counts.get(device)?.get(span) : undefined;
    return count && { count };
  }

  /** Steps counted by tick(). */
  get now(): number {
    return this.#now;
  }
  /** The active neurons, in slot order. */
  get units(): readonly Unit[] {
    return this.#ids.map((id, slot) => ({ id, birth: this.#births[slot], age: this.#now - this.#births[slot] }));
  }
  /** Everything that belongs to these neurons. */
  get arrays(): readonly CarriedArray[] {
    return [...this.#arrays];
  }
  /** Receives activations and gradients of the neurons during backward, for scores. Read through `track`. */
  get gate(): Gate | undefined {
    this.follow();
    return this.#gate;
  }
  set gate(gate: Gate | undefined) {
    this.#gate = gate;
    this.touch();
  }

  /**
   * Calls `observer` with the activations [..., neurons] of every forward pass, on their way into the layer that reads them (or through
   * a UnitGate); not while neurons are silenced. Inside a captured step, what it enqueues is recorded with the step.
   * @returns a function that ends this
   */
  observe(observer: (activations: Tensor) => void): () => void {
    this.#observers.add(observer);
    this.touch();
    return () => {
      if (this.#observers.delete(observer)) this.touch();
    };
  }

  /**
   * For whoever computes with activations or weights of the neurons outside of layers: functions recorded at capacity, too, take the
   * width at its size from now on.
   * @returns a function that ends this
   */
  needSize(): () => void {
    let needed = true;
    this.#sized++;
    this.touch();
    return () => {
      if (!needed) return;
      needed = false;
      this.#sized--;
      this.touch();
    };
  }

  /** For layers: hands activations [..., neurons] to the observers. Read through `track`. */
  show(activations: Tensor): void {
    this.follow();
    for (const observer of this.#observers) observer(activations);
  }

  /**
   * Silences neurons without moving anything, for ablations and for research on masking: dense and convolution layers then leave them
   * out, at no cost, and what flows between layers has the other neurons only. An empty list ends it, as does any change of the width.
   * Norms need all neurons and refuse, and no scores are gathered meanwhile.
   * @param slots of the neurons to silence
   * @throws ConfigError for slots that are not distinct or not in 0..size-1, and when none would be left
   */
  silence(slots: ArrayLike<number>): void {
    const silent = new Set(this.#slots('silence', slots));
    if (silent.size === this.#size) {
      throw new ConfigError(`silence '${this.name}': expected at least one neuron to be left, got all ${this.#size}`);
    }
    this.#speak();
    if (silent.size > 0) {
      const heard = identity(this.#size).filter((slot) => !silent.has(slot));
      this.#heard = keep(tensor(heard));
    }
    this.touch();
  }

  /** Slots of the neurons that are not silenced, i32, ascending; undefined when all are active. Read through `track`. */
  get heard(): Tensor | undefined {
    this.follow();
    return this.#heard;
  }

  #speak(): void {
    this.#heard?.dispose();
    this.#heard = undefined;
  }

  /** Counts training steps; ages follow. PlasticityCycle calls it once a step. */
  tick(steps = 1): void {
    this.#now += wholeNumber(`Width '${this.name}': tick`, steps, 0);
  }

  /** Makes captured graphs that use this width record again. */
  touch(): void {
    this.#version++;
    this.#layout.version++;
  }

  /** For CarriedArray: from now on the array follows this width. */
  carry(array: CarriedArray): void {
    this.#arrays.add(array);
    const { device } = array.full;
    if (!array.counted) return;
    const counts = this.#counts.get(device) ?? new Map<number, Tensor>();
    this.#counts.set(device, counts);
    const spans = array.spans.filter((_, axis) => array.axes[axis] === this);
    // Of one element as well: scores are by neuron.
    for (const span of [1, ...spans])
      if (!counts.has(span)) counts.set(span, keep(tensor([this.#size * span], { dtype: 'i32', device })));
  }
  drop(array: CarriedArray): void {
    this.#arrays.delete(array);
    if (this.#arrays.size > 0) return;
    for (const counts of this.#counts.values()) for (const count of counts.values()) count.dispose();
    this.#counts.clear();
  }

  /** For layers that are disposed of: this width no longer belongs to them. */
  forget(member: object): void {
    for (const list of [this.producers, this.consumers, this.mixers, this.scalers, this.means] as object[][]) {
      for (let at = list.indexOf(member); at >= 0; at = list.indexOf(member)) list.splice(at, 1);
    }
    this.touch();
  }

  /** Calls `listener` after each change. Returns a function that ends this. */
  onChange(listener: (change: WidthChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Adds n neurons behind the others. The network computes what it did (see NewbornOptions); optimiser slots and step counts of
   * the newborn start at 0, everybody else's stay bit for bit. Gradients of the parameters concerned are dropped.
   * Growing past the capacity moves the arrays to half as much again.
   * @returns the ids of the newborn
   * @throws ConfigError for n that is no whole number >= 1, more than 2^22 neurons in all, or options that make no sense
   */
  grow(n: number, options: NewbornOptions = {}): number[] {
    const op = `grow '${this.name}'`;
    wholeNumber(op, n, 1, MOST - this.#size);
    expectKeys(op, options, NEWBORN_OPTIONS);
    const order = new Int32Array(this.#size + n).fill(-1);
    order.set(identity(this.#size));
    const ids = Array.from({ length: n }, (_, i) => this.#nextId + i);
    this.#rearrange(order, () => newborn(op, n, this.#size, options), ids);
    this.#nextId += n;
    this.#tell('grow', ids);
    return ids;
  }

  /**
   * Removes the neurons in these slots; the others move together, in their order, bit for bit, and keep their ids.
   * @returns the ids of the removed, in the order of `slots`
   * @throws ConfigError for slots that are no whole numbers, out of range or named twice, or when no neuron would be left
   */
  prune(slots: ArrayLike<number>): number[] {
    const gone = this.#slots('prune', slots);
    if (gone.length === 0) return [];
    if (gone.length >= this.#size) {
      throw new ConfigError(
        `prune '${this.name}': expected at least one neuron to be left, got all ${this.#size} slots`,
      );
    }
    const ids = gone.map((slot) => this.#ids[slot]);
    const set = new Set(gone);
    this.#rearrange(identity(this.#size).filter((slot) => !set.has(slot)));
    this.#tell('prune', ids);
    return ids;
  }

  /**
   * Starts the neurons in these slots afresh, in place: incoming weights drawn, outgoing weights 0 (or kept), bias 0, norms, slots
   * and step counts as of a newborn. They keep their ids; their age is 0 again.
   * Source: Sokar et al., "The dormant neuron phenomenon" (ReDo), arXiv 2302.12902.
   * @returns their ids
   * @throws ConfigError as prune does, and for another init than zero-out and paired
   */
  reset(slots: ArrayLike<number>, options: ResetOptions = {}): number[] {
    const op = `reset '${this.name}'`;
    expectKeys(op, options, [...NEWBORN_OPTIONS, 'keepOutgoing']);
    const reborn = this.#slots('reset', slots);
    if (options.init !== undefined && !['zero-out', 'paired'].includes(options.init)) {
      throw new ConfigError(`${op}: expected init zero-out or paired, got '${String(options.init)}'`);
    }
    if (options.keepOutgoing && options.init === 'paired') {
      throw new ConfigError(`${op}: expected init zero-out with keepOutgoing, got 'paired'`);
    }
    if (reborn.length === 0) return [];
    const ids = reborn.map((slot) => this.#ids[slot]);
    const order = identity(this.#size);
    for (const slot of reborn) order[slot] = -1;
    const inOrder = [...reborn].sort((a, b) => a - b).map((slot) => this.#ids[slot]);
    this.#rearrange(order, () => newborn(op, reborn.length, this.#size, options, options.keepOutgoing), inOrder);
    this.#tell('reset', ids);
    return ids;
  }

  /**
   * Reorders the neurons: `order[i]` is the slot of the neuron that comes to slot i. The function stays as it is.
   * @throws ConfigError unless `order` names every slot once
   */
  permute(order: ArrayLike<number>): void {
    const slots = this.#slots('permute', order);
    if (slots.length !== this.#size) {
      throw new ConfigError(
        `permute '${this.name}': expected every one of ${this.#size} slots once, got ${slots.length}`,
      );
    }
    this.#rearrange(Int32Array.from(slots));
    this.#tell('permute', []);
  }

  /** What a checkpoint needs beside the arrays' elements. */
  state(): WidthState {
    return {
      name: this.name,
      size: this.#size,
      capacity: this.#capacity,
      now: this.#now,
      nextId: this.#nextId,
      ids: [...this.#ids],
      births: [...this.#births],
    };
  }

  /** Takes over size, ids and ages; load the arrays' elements afterwards. Throws ConfigError for a state that fits no width. */
  load(state: WidthState): void {
    const what = `Width '${this.name}': load`;
    const { ids, births } = state;
    wholeNumber(what, state.size, 1, MOST);
    wholeNumber(`${what}: capacity`, state.capacity, state.size, MOST);
    wholeNumber(`${what}: now`, state.now, 0);
    wholeNumber(`${what}: nextId`, state.nextId, state.size);
    const whole = (list: unknown): list is number[] =>
      Array.isArray(list) && list.length === state.size && list.every((id) => Number.isInteger(id) && id >= 0);
    if (!whole(ids) || !whole(births) || new Set(ids).size !== state.size || Math.max(...ids) >= state.nextId) {
      throw new ConfigError(`${what}: expected ${state.size} distinct ids below ${state.nextId} and as many births`);
    }
    const order = new Int32Array(state.size).fill(-1);
    order.set(identity(Math.min(state.size, this.#size)));
    this.#rearrange(order, undefined, [...ids].slice(this.#size), Math.max(state.size, state.capacity));
    this.#ids = [...ids];
    this.#births = [...births];
    this.#now = state.now;
    this.#nextId = state.nextId;
    this.#tell('load', ids);
  }

  /** The one change there is: neuron `order[i]` comes to slot i, -1 is a newborn. All arrays are made first, then put in place. */
  #rearrange(order: Int32Array, start?: () => Newborn, bornIds: readonly number[] = [], atLeast = 0): void {
    if (atCapacity())
      throw new ConfigError(
        `Width '${this.name}': expected no change of it in a function that is recorded at capacity`,
      );
    const enough =
      order.length <= this.#capacity ? this.#capacity : Math.max(order.length, Math.ceil(this.#capacity * 1.5));
    const capacity = Math.max(enough, atLeast);
    noGrad(() =>
      tidy(() => {
        const born = start?.();
        const ready = [...this.#arrays].map((array) => array.rearranged(this, order, capacity, born));
        const moved = capacity !== this.#capacity || this.#heard !== undefined;
        this.#size = order.length;
        this.#capacity = capacity;
        for (const [device, counts] of this.#counts)
          for (const [span, { storage }] of counts) device.write(storage.handle, 0, Int32Array.of(order.length * span));
        let next = 0;
        const slots = Array.from(order, (old) =>
          old < 0 ? { id: bornIds[next++], birth: this.#now } : { id: this.#ids[old], birth: this.#births[old] },
        );
        this.#ids = slots.map(({ id }) => id);
        this.#births = slots.map(({ birth }) => birth);
        this.#speak();
        this.#version++;
        if (moved) this.touch();
        for (const array of ready) array.commit();
      }),
    );
  }

  #slots(op: string, slots: ArrayLike<number>): number[] {
    if (!Array.isArray(slots) && !ArrayBuffer.isView(slots)) {
      throw new ConfigError(`${op} '${this.name}': expected a list of slots, got ${shown(slots)}`);
    }
    const list: number[] = Array.from(slots as ArrayLike<number>);
    for (const slot of list) {
      if (!Number.isInteger(slot) || slot < 0 || slot >= this.#size) {
        throw new ConfigError(`${op} '${this.name}': expected slots in 0..${this.#size - 1}, got ${String(slot)}`);
      }
    }
    if (new Set(list).size !== list.length) {
      throw new ConfigError(`${op} '${this.name}': expected distinct slots, got [${list.join(',')}]`);
    }
    return list;
  }

  #tell(kind: WidthChange['kind'], ids: readonly number[]): void {
    for (const listener of this.#listeners) listener({ kind, width: this, ids });
  }
}

/** The active size of an axis. */
export function extentOf(axis: Width | number): number {
  if (axis instanceof Width) return axis.size;
  if (!Number.isInteger(axis) || axis < 1)
    throw new ShapeError(`layer: expected a Width or a whole number >= 1, got ${shown(axis)}`);
  return axis;
}

/** What a layer tells its kernels about the neurons of an axis: their count where they are counted, else as heardOf. */
export function neuronsOf(
  layer: string,
  axis: Width | number,
  span: number | null,
  device: Device,
): Tensor | Counted | undefined {
  return (axis instanceof Width ? axis.countOn(device, span ?? 1) : undefined) ?? heardOf(layer, axis, span);
}

/**
 * The list of the neurons of an axis that are not silenced; undefined for all.
 * @param span columns of a unit; null where the layer has no way to leave neurons out
 * @throws ConfigError for silenced neurons that the layer can't leave out
 */
export function heardOf(layer: string, axis: Width | number, span: number | null): Tensor | undefined {
  const heard = axis instanceof Width ? axis.heard : undefined;
  if (!heard || span === 1) return heard;
  const where = span === null ? 'no silenced neurons in a norm' : `silenced units to have one column, got ${span}`;
  throw new ConfigError(`${layer} '${(axis as Width).name}': expected ${where}`);
}
