/**
 * Parameter and Buffer: what a module owns on the device. Both are carried arrays seen at their active size; a parameter is a
 * leaf of the differentiation graph, a buffer is not.
 */
import { type DType, keep, sameShape, sizeOf, type Shape, Tensor, track, type Versioned } from '../tensor/index.js';
import type { CarriedArray } from './carried.js';

export interface ParameterOptions {
  /** Local name, for messages. Default 'parameter'. */
  name?: string;
  /** Whether optimisers apply weight decay. Default true, as in PyTorch. */
  decay?: boolean;
}

export class Parameter implements Versioned {
  readonly name: string;
  readonly array: CarriedArray;
  /** Changes whenever captured graphs that use this parameter have to be recorded again, beside changes of its widths. */
  version = 0;
  #decay: boolean;
  #value: Tensor | undefined;
  /** The leaf of functions recorded at capacity, which goes on through changes within the capacity. */
  #wide: Tensor | undefined;
  #requiresGrad = true;

  constructor(array: CarriedArray, options: ParameterOptions = {}) {
    this.array = array;
    this.name = options.name ?? 'parameter';
    this.#decay = options.decay ?? true;
    array.onMove.push(() => {
      this.#forget();
      this.#wide?.exchangeGrad(null)?.dispose();
    });
  }

  /**
   * The active block as a leaf that collects gradients: the same object until a width changes. A change drops the gradient that
   * was there, since it belongs to other neurons; optimiser slots are carried. Functions recorded at capacity see a leaf of their own,
   * at the capacity of counted widths, and leave their gradients there.
   */
  get value(): Tensor {
    track(this);
    let counted = false;
    for (const width of this.array.widths) counted = width.follow() || counted;
    if (!counted) return (this.#value ??= this.#leaf());
    const { storage, shape } = this.array.active;
    if (this.#wide && (this.#wide.storage !== storage || !sameShape(this.#wide.shape, shape))) this.#forgetWide();
    return (this.#wide ??= this.#leaf());
  }

  /** The gradient of `value`. */
  get grad(): Tensor | null {
    return (this.array.widths.some(({ counted }) => counted) ? this.#wide : this.#value)?.grad ?? null;
  }
  /** Replaces the gradient and frees the one before. */
  set grad(grad: Tensor | null) {
    const before = this.value.exchangeGrad(grad ? keep(grad) : null);
    if (before !== grad) before?.dispose();
  }

  /** Whether optimisers apply weight decay to it. */
  get decay(): boolean {
    track(this);
    return this.#decay;
  }
  set decay(on: boolean) {
    if (on === this.#decay) return;
    this.#decay = on;
    this.version++;
  }

  /** Whether backward collects a gradient and optimisers move it. Default true. */
  get requiresGrad(): boolean {
    track(this);
    return this.#requiresGrad;
  }
  set requiresGrad(on: boolean) {
    if (on === this.#requiresGrad) return;
    this.#requiresGrad = on;
    this.#forget();
    this.#forgetWide();
    this.version++;
  }

  /** Active extents. */
  get shape(): Shape {
    return this.array.active.shape;
  }
  /** Active elements. */
  get size(): number {
    return sizeOf(this.shape);
  }
  get dtype(): DType {
    return this.array.dtype;
  }

  /** Frees the memory. */
  dispose(): void {
    this.#forget();
    this.#forgetWide();
    this.array.dispose();
  }

  #leaf(): Tensor {
    const { storage, dtype, shape, strides, offset } = this.array.active;
    const leaf = new Tensor(storage, dtype, shape, strides, offset, false);
    leaf.requiresGrad = this.#requiresGrad;
    return leaf;
  }

  #forgetWide(): void {
    this.#wide?.grad?.dispose();
    this.#wide?.dispose();
    this.#wide = undefined;
  }

  #forget(): void {
    this.#value?.grad?.dispose();
    this.#value?.dispose();
    this.#value = undefined;
  }
}

/** State of a module that no gradient reaches: running means and variances. */
export class Buffer {
  readonly name: string;
  readonly array: CarriedArray;

  constructor(array: CarriedArray, options: { name?: string } = {}) {
    this.array = array;
    this.name = options.name ?? 'buffer';
  }

  /** The active block; written in place by the ops that keep it. */
  get value(): Tensor {
    for (const width of this.array.widths) width.follow();
    return this.array.active;
  }
  get shape(): Shape {
    return this.array.active.shape;
  }
  get size(): number {
    return sizeOf(this.shape);
  }

  dispose(): void {
    this.array.dispose();
  }
}
