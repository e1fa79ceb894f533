/**
 * CarriedArray: an array of which some axes run over the neurons of a Width. It is allocated at the capacity of its widths and
 * used at their active size: `active` is the leading block, a strided view on `full`. When a width grows, loses or reorders
 * neurons, every array it carries is rearranged by the same few lines here: weights, biases, norm statistics, optimiser slots,
 * step counters and running scores alike.
 */
import { ConfigError, type Device, ShapeError } from '../device/index.js';
import { assign, concat, fill, indexSelect, mul, narrow } from '../ops/index.js';
import {
  atCapacity,
  describe,
  type DType,
  empty,
  keep,
  sameShape,
  stridesOf,
  Tensor,
  tensor,
} from '../tensor/index.js';
import { type Newborn, spread } from './growth.js';
import { Width } from './width.js';

/** The neurons of a width, or a fixed extent. */
export type Axis = Width | number;

/**
 * What an axis means to the neurons on it: `incoming` their own weights (producer), `outgoing` the weights by which others
 * read them (consumer), `bias`, `norm` (per-neuron scale, shift, mean, variance), `slot` (optimiser state, counters), `stat`
 * (running scores). Decides how the newborn are initialised.
 */
export type Role = 'incoming' | 'outgoing' | 'bias' | 'norm' | 'slot' | 'stat';

export interface CarriedArrayOptions {
  /** Value of the newborn where nothing else is asked for, and of the whole array when `initial` is missing. Default 0. */
  fill?: number;
  /** One for all axes, or one per axis. Default 'stat'. */
  role?: Role | readonly Role[];
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
  /** First contents, of the active shape; copied. */
  initial?: Tensor;
  /**
   * Neighbouring elements that one unit of the axis owns; one number for all axes, or one per axis. An attention head of 32 channels
   * owns 32 columns of the layer that reads it. Default 1.
   */
  span?: number | readonly number[];
  /**
   * Whether whoever uses it can do with the array at capacity and a count of active neurons that kernels read (see Width.counted); it
   * then holds its fill beyond the active block. Default false.
   */
  counted?: boolean;
}

/** A rearranged array that is ready to be put in place: nothing can fail any more. */
export interface Rearranged {
  commit(): void;
}

export class CarriedArray {
  readonly axes: readonly Axis[];
  readonly roles: readonly Role[];
  readonly fill: number;
  /** Elements per unit, per axis. */
  readonly spans: readonly number[];
  /** Whether it may be used at the capacity of its widths. */
  readonly counted: boolean;
  /** Called after the active view was replaced. */
  readonly onMove: (() => void)[] = [];
  #full: Tensor;
  #active: Tensor;
  /** What `active` is at the capacity of counted widths. */
  #wide: Tensor | undefined;
  #disposed = false;

  /** @throws ShapeError when `initial` has another shape than the active block; ConfigError for a bad axis */
  constructor(axes: readonly Axis[], options: CarriedArrayOptions = {}) {
    this.axes = [...axes];
    for (const axis of axes) {
      if (!(axis instanceof Width) && (!Number.isInteger(axis) || axis < 0)) {
        throw new ConfigError(
          `CarriedArray: expected axes that are a Width or a whole number >= 0, got ${String(axis)}`,
        );
      }
    }
    const role = options.role ?? 'stat';
    this.roles = typeof role === 'string' ? axes.map(() => role) : [...role];
    this.fill = options.fill ?? 0;
    const span = options.span ?? 1;
    this.spans = typeof span === 'number' ? axes.map(() => span) : [...span];
    if (this.spans.length !== axes.length || this.spans.some((n) => !Number.isInteger(n) || n < 1)) {
      throw new ConfigError(
        `CarriedArray: expected spans that are whole numbers >= 1, one per axis, got [${this.spans.map(String).join(',')}]`,
      );
    }
    this.counted = options.counted === true;
    const { initial } = options;
    if (initial && !sameShape(initial.shape, this.shape)) {
      throw new ShapeError(
        `CarriedArray: expected contents of shape ${describe(this.shape)}, got ${describe(initial.shape)}`,
      );
    }
    const capacity = axes.map((axis, i) => this.spans[i] * (axis instanceof Width ? axis.capacity : axis));
    const device = options.device ?? initial?.device;
    this.#full = keep(empty(capacity, { dtype: options.dtype ?? initial?.dtype, device }));
    fill(this.#full, this.fill);
    this.#active = this.#view();
    if (initial) assign(this.#active, initial);
    for (const width of this.widths) width.carry(this);
  }

  /** The array at capacity, contiguous. */
  get full(): Tensor {
    return this.#full;
  }
  /**
   * The leading block of active neurons; replaced when a width changes. Outside the graph, not to be disposed of. While a function is
   * recorded at capacity it is as large as the capacity of those widths that are counted.
   */
  get active(): Tensor {
    if (!atCapacity() || !this.counted) return this.#active;
    const { shape } = this;
    if (sameShape(shape, this.#active.shape)) return this.#active;
    if (!this.#wide || !sameShape(shape, this.#wide.shape)) {
      this.#wide?.dispose();
      this.#wide = this.#view();
    }
    return this.#wide;
  }
  /** Active extents. */
  get shape(): number[] {
    return this.axes.map((axis, i) => this.spans[i] * (axis instanceof Width ? axis.size : axis));
  }
  get dtype(): DType {
    return this.#full.dtype;
  }
  /** The distinct widths among the axes. */
  get widths(): Width[] {
    return [...new Set(this.axes.filter((axis) => axis instanceof Width))];
  }

  /** A further array of the same axes, filled; for optimiser slots. */
  like(value = 0): CarriedArray {
    const { spans: span, dtype, counted } = this;
    return new CarriedArray(this.axes, { fill: value, role: 'slot', dtype, device: this.#full.device, span, counted });
  }

  /** A 1-D f32 array along one axis, filled; for step counters and scores. */
  along(axis: number, value = 0, role: Role = 'slot'): CarriedArray {
    const { counted } = this;
    const span = this.spans[axis];
    return new CarriedArray([this.axes[axis]], { fill: value, role, device: this.#full.device, span, counted });
  }

  /** Stops being carried and frees the memory. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const width of this.widths) width.drop(this);
    this.#wide?.dispose();
    this.#active.dispose();
    this.#full.dispose();
  }

  /**
   * For Width: the array with new neurons on the axes of `width`, as a temporary. `order[i]` is the old slot of the neuron that
   * comes to slot i, -1 for a newborn. Enqueues reads only; `commit` puts it in place.
   */
  rearranged(width: Width, order: Int32Array, capacity: number, newborn: Newborn | undefined): Rearranged {
    const { device } = this.#full;
    let current = this.#active;
    this.axes.forEach((at, axis) => {
      if (at !== width) return;
      if (this.roles[axis] === 'outgoing' && newborn?.keepOutgoing) return;
      const born = newborn?.slices(this, axis, current);
      const from = current.shape[axis];
      let next = 0;
      const elements = spread(order, this.spans[axis]);
      const index = born ? elements.map((old) => (old < 0 ? from + next++ : old)) : elements;
      const source = born ? concat([current, born], axis) : current;
      current = indexSelect(source, tensor(index, { device }), axis, { fill: this.fill });
      const factors = newborn?.factors(this, axis);
      if (factors) current = mul(current, factors);
    });
    const extents = this.#full.shape.map((extent, i) =>
      this.axes[i] === width ? Math.max(extent, this.spans[i] * capacity) : extent,
    );
    const full = sameShape(extents, this.#full.shape) ? undefined : empty(extents, { dtype: this.dtype, device });
    return {
      commit: () => {
        if (full) {
          fill(full, this.fill);
          this.#full.dispose();
          this.#full = keep(full);
          this.#wide?.dispose();
          this.#wide = undefined;
        }
        const old = this.#active;
        this.#active = this.#view();
        if (this.counted && !full) this.#clear(old.shape);
        if (current !== old && current.size > 0) assign(this.#active, current);
        old.dispose();
        for (const listener of this.onMove) listener();
      },
    };
  }

  /** Fills what was active in an array of this shape and is no more. */
  #clear(before: readonly number[]): void {
    this.shape.forEach((extent, axis) => {
      if (extent < before[axis]) fill(narrow(this.#full, axis, extent, before[axis] - extent), this.fill);
    });
  }

  #view(): Tensor {
    const { storage, dtype, shape } = this.#full;
    return new Tensor(storage, dtype, this.shape, stridesOf(shape), 0, false);
  }
}
