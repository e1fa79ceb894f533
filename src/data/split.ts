/**
 * A training and a test set out of one, for data that come without: the test set as balanced as the classes allow.
 */
import { longTailSubset, classCounts } from '../longtail/index.js';
import { type Dataset, subset } from './dataset.js';

export interface SplitOptions {
  /** Test rows of every class that has enough. */
  perClass: number;
  /** Of a small class, at most this share of its rows becomes test rows. Default 0.4. */
  share?: number;
  /** Chooses the rows. Default 0. */
  seed?: number;
}

/**
 * Rows, ascending, of a test set: min(perClass, floor(share * its rows)) random ones of each class, and at least one where it
 * has two; the same for the same seed.
 * @throws ConfigError for labels outside the classes
 */
export function balancedRows(
  labels: ArrayLike<number>,
  classes: number,
  { perClass, share = 0.4, seed = 0 }: SplitOptions,
): Int32Array {
  const counts = classCounts(labels, classes).map((n) =>
    Math.min(perClass, Math.max(Math.floor(share * n), n > 1 ? 1 : 0)),
  );
  return longTailSubset(labels, counts, seed);
}

/** A test set of {@link balancedRows}, and the other rows for training; both keep the order of the rows. */
export function balancedSplit(dataset: Dataset, options: SplitOptions): { train: Dataset; test: Dataset } {
  const chosen = balancedRows(dataset.labels, dataset.classes, options);
  const inTest = new Uint8Array(dataset.rows);
  for (const row of chosen) inTest[row] = 1;
  const rest = Int32Array.from({ length: dataset.rows }, (_, row) => row).filter((row) => inTest[row] === 0);
  return { train: subset(dataset, rest), test: subset(dataset, chosen) };
}
