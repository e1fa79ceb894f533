/**
 * Long-tailed class profiles and the fixed subsets that give a balanced training set such a profile. Class 0 is the most frequent.
 */
import { ConfigError } from '../device/index.js';
import { Philox } from '../tensor/index.js';

export type Profile = 'exponential' | 'step';

function check(op: string, max: number, classes: number, imbalanceFactor: number): void {
  if (!Number.isInteger(max) || max < 1) {
    throw new ConfigError(`${op}: expected a largest class of at least 1 sample, got ${max}`);
  }
  if (!Number.isInteger(classes) || classes < 2)
    throw new ConfigError(`${op}: expected at least 2 classes, got ${classes}`);
  if (!(imbalanceFactor >= 1) || !Number.isFinite(imbalanceFactor)) {
    throw new ConfigError(`${op}: expected an imbalance factor of at least 1, got ${imbalanceFactor}`);
  }
}

/** Whole samples of an exact count; the rounding of pow must not lose one. */
function whole(count: number): number {
  return Math.max(1, Math.floor(count * (1 + 1e-12)));
}

/**
 * Samples per class n_i = floor(max * mu^(i / (C - 1))), mu = 1 / imbalanceFactor (Cui et al. 2019); at least 1.
 * @throws ConfigError for a factor below 1, fewer than 2 classes or a largest class below 1
 */
export function exponentialCounts(max: number, classes: number, imbalanceFactor: number): number[] {
  check('exponentialCounts', max, classes, imbalanceFactor);
  return Array.from({ length: classes }, (_, i) => whole(max * imbalanceFactor ** (-i / (classes - 1))));
}

/**
 * Samples per class of the step profile (Buda et al. 2018): the first classes have `max`, the others max / imbalanceFactor.
 * @param minority share of the classes that are rare; default 0.5
 * @throws ConfigError as {@link exponentialCounts}, and for a share outside 0..1
 */
export function stepCounts(max: number, classes: number, imbalanceFactor: number, minority = 0.5): number[] {
  check('stepCounts', max, classes, imbalanceFactor);
  if (!(minority >= 0 && minority <= 1)) {
    throw new ConfigError(`stepCounts: expected a share of rare classes from 0 to 1, got ${minority}`);
  }
  const frequent = classes - Math.round(classes * minority);
  return Array.from({ length: classes }, (_, i) => (i < frequent ? max : whole(max / imbalanceFactor)));
}

/** How many of each label there are. Throws ConfigError for a label outside 0..classes-1. */
export function classCounts(labels: ArrayLike<number>, classes: number): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    if (!(Number.isInteger(label) && label >= 0 && label < classes)) {
      throw new ConfigError(`classCounts: expected labels from 0 to ${classes - 1}, got ${label} in row ${i}`);
    }
    counts[label]++;
  }
  return counts;
}

/**
 * Rows, in ascending order, of a random subset with `counts[c]` samples of class c. The subset depends on labels, counts and seed
 * alone; a smaller count takes part of the rows that a larger one takes.
 * @throws ConfigError when a class has fewer rows than asked for, or a label is outside the counts
 */
export function longTailSubset(labels: ArrayLike<number>, counts: readonly number[], seed: number): Int32Array {
  const rows = rowsByClass(labels, counts.length);
  const chosen: number[] = [];
  counts.forEach((count, c) => {
    if (!Number.isInteger(count) || count < 0 || count > rows[c].length) {
      throw new ConfigError(`longTailSubset: expected at most ${rows[c].length} samples of class ${c}, got ${count}`);
    }
    const order = new Philox(seed, `subset/${c}`).shuffle(rows[c]);
    for (let i = 0; i < count; i++) chosen.push(order[i]);
  });
  return Int32Array.from(chosen).sort();
}

/** Row numbers of each class, ascending. Throws ConfigError for a label outside 0..classes-1. */
export function rowsByClass(labels: ArrayLike<number>, classes: number): Int32Array[] {
  const rows = classCounts(labels, classes).map((n) => new Int32Array(n));
  const at = new Array<number>(classes).fill(0);
  for (let i = 0; i < labels.length; i++) rows[labels[i]][at[labels[i]]++] = i;
  return rows;
}
