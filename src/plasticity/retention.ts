/**
 * What the frequent classes have learned is retained in two ways: units that a head class needs are not removed (`retain`), and their own
 * weights stand still while newborn units learn (`shelter`).
 */
import { CarriedArray, type Width } from '../nn/index.js';
import type { Optimizer } from '../optim/index.js';
import { assign } from '../ops/index.js';
import { noGrad, type Tensor, tensor, tidy } from '../tensor/index.js';
import type { GateStats } from './collector.js';
import { lowest } from './scores.js';
import { loadArrays, storedArrays } from './stored.js';

/** The most frequent classes: as many as given, or a third, rounded. */
export function headClasses(counts: readonly number[], many: number | null): number[] {
  const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
  return order.slice(0, many ?? Math.max(1, Math.round(counts.length / 3)));
}

/** Slots in the top share of any of the classes, by mean |a dL/da| over the class. */
export function neededUnits({ perClass }: GateStats, classes: readonly number[], share: number): Set<number> {
  const needed = new Set<number>();
  for (const c of classes) {
    const row = perClass[c];
    const top = lowest(
      row.map((value) => -value),
      Math.ceil(share * row.length - 1e-9),
    );
    for (const slot of top) needed.add(slot);
  }
  return needed;
}

/** Learning-rate factors of sheltered units, as carried arrays: they follow the units, and the newborn are not sheltered. */
export class Shelter {
  readonly #optimizer: Optimizer;
  readonly #factors = new Map<Width, CarriedArray>();

  constructor(optimizer: Optimizer) {
    this.#optimizer = optimizer;
  }

  get widths(): readonly Width[] {
    return [...this.#factors.keys()];
  }

  /** From now on the optimiser multiplies what it changes of these units' own parameters by `factor`. */
  cover(width: Width, slots: ReadonlySet<number>, factor: number): void {
    const values = Float32Array.from({ length: width.size }, (_, slot) => (slots.has(slot) ? factor : 1));
    const array = this.#make(width);
    noGrad(() => tidy(() => assign(array.active, tensor(values, { device: array.full.device }))));
  }

  /** Ends all shelter. */
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
    return factors ? storedArrays({ shelter: factors }) : new Map<string, Tensor>();
  }

  /** Takes over a state of the width's size. Throws ShapeError for another. */
  load(width: Width, state: ReadonlyMap<string, Tensor>): void {
    if (state.has('shelter')) loadArrays(`Shelter '${width.name}'`, { shelter: this.#make(width) }, state);
  }

  #make(width: Width): CarriedArray {
    let factors = this.#factors.get(width);
    if (!factors) {
      const { device } = width.producers[0].weight.array.full;
      factors = new CarriedArray([width], { fill: 1, role: 'slot', device });
      this.#factors.set(width, factors);
      this.#optimizer.scaleRates(width, factors);
    }
    return factors;
  }
}
