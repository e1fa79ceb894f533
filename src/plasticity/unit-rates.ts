/**
 * UnitRates: while widths are grown, single units learn at a rate of their own: slower where a head class needs them (shelter), faster where
 * they are newborn.
 */
import { CarriedArray, type Width } from '../nn/index.js';
import type { Optimizer } from '../optim/index.js';
import { assign } from '../ops/index.js';
import { noGrad, type Tensor, tensor, tidy } from '../tensor/index.js';
import { loadArrays, storedArrays } from './stored.js';

/** Learning-rate factors of the units of widths, for a while, as carried arrays: they follow the units; those born meanwhile have 1. */
export class UnitRates {
  readonly #optimizer: Optimizer;
  readonly #factors = new Map<Width, CarriedArray>();

  constructor(optimizer: Optimizer) {
    this.#optimizer = optimizer;
  }

  get widths(): readonly Width[] {
    return [...this.#factors.keys()];
  }

  /** From now on the optimiser multiplies what it changes of a unit's own parameters by its factor; one per slot. */
  set(width: Width, factors: readonly number[]): void {
    const values = Float32Array.from(factors);
    const array = this.#make(width);
    noGrad(() => tidy(() => assign(array.active, tensor(values, { device: array.full.device }))));
  }

  /** All learn at the common rate again. */
  lift(): void {
    for (const [width, factors] of this.#factors) {
      this.#optimizer.scaleRates(width, undefined);
      factors.dispose();
    }
    this.#factors.clear();
  }

  /** The factors of a width, for a checkpoint, as views that show later changes. */
  state(width: Width): Map<string, Tensor> {
    const factors = this.#factors.get(width);
    return factors ? storedArrays({ rates: factors }) : new Map<string, Tensor>();
  }

  /** Takes over a state of the width's size. Throws ShapeError for another. */
  load(width: Width, state: ReadonlyMap<string, Tensor>): void {
    if (state.has('rates')) loadArrays(`UnitRates '${width.name}'`, { rates: this.#make(width) }, state);
  }

  #make(width: Width): CarriedArray {
    let factors = this.#factors.get(width);
    if (!factors) {
      const { device } = width.producers[0].weight.array.full;
      factors = new CarriedArray([width], { fill: 1, role: 'slot', device, counted: true });
      this.#factors.set(width, factors);
      this.#optimizer.scaleRates(width, factors);
    }
    return factors;
  }
}
