/**
 * Variance transfer: outgoing weights as large as those of a layer that was made at its present width. What reads n neurons whose
 * outgoing weights have a fixed variance has a variance proportional to n, so where a width goes from n to m units, these weights are
 * multiplied by sqrt(n / m). Source: Yuan et al. 2023, arXiv 2306.12700, its rule for hidden layers; its learning rates per generation of
 * neurons are not part of this.
 */
import { assign, mul } from '../ops/index.js';
import { noGrad, tidy } from '../tensor/index.js';
import type { Width } from './width.js';

/** sqrt(n / m) for a width that goes from n to m units. */
export function varianceFactor(n: number, m: number): number {
  return Math.sqrt(n / m);
}

/**
 * After a width has lost units: multiplies the outgoing weights by {@link varianceFactor}, as growth with init 'variance-transfer' did
 * when the units came. Changes the function. Optimiser slots stay as they are.
 * @param before units before the change
 */
export function transferVariance(width: Width, before: number): void {
  const factor = varianceFactor(before, width.size);
  noGrad(() =>
    tidy(() => {
      for (const array of width.arrays) {
        if (array.axes.some((axis, i) => axis === width && array.roles[i] === 'outgoing')) {
          assign(array.active, mul(array.active, factor));
        }
      }
    }),
  );
}
