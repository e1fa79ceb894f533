/**
 * How the newborn of a cycle are shared out among the widths. All choices bring as many in sum as 'proportional'.
 *
 *   proportional    the rate times the base size of each width
 *   even            the same number for all
 *   gradient        base size times mean |dL/dW| of the incoming weights on a class-balanced sample: where the loss pulls hardest
 *   effective-rank  base size times the effective rank of the incoming weights by the number of units: where directions are used up
 */
import type { Width } from '../nn/index.js';
import { concat, reshape, transpose } from '../ops/index.js';
import { noGrad, tidy } from '../tensor/index.js';
import { meanIncomingGradients } from './scores.js';
import { effectiveRank } from './spectrum.js';

export const allocations = ['proportional', 'even', 'gradient', 'effective-rank'] as const;
export type Allocation = (typeof allocations)[number];

/**
 * Whole numbers that sum to `total`, in proportion to the weights: each its share rounded down, what is left to the largest remainders, the
 * earlier first. Equal shares where no weight is above 0.
 */
export function shareOut(total: number, weights: ArrayLike<number>): number[] {
  const usable = Array.from(weights, (w) => (w > 0 && Number.isFinite(w) ? w : 0));
  const all = usable.reduce((sum, w) => sum + w, 0);
  const shares = usable.map((w) => (all > 0 ? (total * w) / all : total / usable.length));
  // Rounding of the division must not cost a unit.
  const out = shares.map((share) => Math.floor(share + 1e-9));
  const order = shares.map((_, i) => i).sort((i, j) => shares[j] - out[j] - (shares[i] - out[i]) || i - j);
  const left = total - out.reduce((sum, n) => sum + n, 0);
  for (const i of order.slice(0, Math.max(0, left))) out[i]++;
  return out;
}

/** Effective rank of the incoming weights of a width, a unit's weights as a row, over the number of units. Reads the device. */
export function usedDirections(width: Width): number {
  const units = width.size;
  const rows = noGrad(() =>
    tidy(() => {
      const parts = width.producers.map(({ weight }) => reshape(weight.array.active, [units, -1]));
      // Units as columns: the smaller of the two Gram matrices, for all but the widest layers.
      return transpose(parts.length === 1 ? parts[0] : concat(parts, 1)).dataSync();
    }),
  );
  return effectiveRank(rows, rows.length / units, units) / units;
}

async function meanGradient(width: Width): Promise<number> {
  const means = meanIncomingGradients(width);
  const values = await means.data();
  means.dispose();
  return Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
}

/**
 * Newborn of each width.
 * @param proportional newborn of each width in proportion to its base size
 * @throws ConfigError for 'gradient' when the weights have no gradients
 */
export async function allocate(
  allocation: Allocation,
  widths: readonly { readonly width: Width; readonly base: number }[],
  proportional: readonly number[],
): Promise<number[]> {
  if (allocation === 'proportional') return [...proportional];
  const total = proportional.reduce((sum, n) => sum + n, 0);
  const weights: number[] = [];
  for (const { width, base } of widths) {
    if (allocation === 'even') weights.push(1);
    else weights.push(base * (allocation === 'gradient' ? await meanGradient(width) : usedDirections(width)));
  }
  return shareOut(total, weights);
}
