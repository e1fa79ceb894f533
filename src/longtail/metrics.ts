/**
 * What a classifier on long-tailed data is judged by: recalls per class and per group of classes, confusion, calibration.
 * Predictions come from the device; the counting happens here, on a few thousand numbers.
 */
import { ConfigError } from '../device/index.js';

/** Classes by frequency; indices into the counts. */
export interface ClassGroups {
  head: number[];
  mid: number[];
  tail: number[];
}

/**
 * Head, middle and tail by training samples per class. Ten classes: the 3 most frequent, 4, the 3 rarest. Otherwise head has more
 * than 100 samples, tail fewer than 20; where that leaves a group empty, the groups are thirds by rank.
 */
export function classGroups(counts: readonly number[]): ClassGroups {
  const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
  const cut = (head: number, tail: number): ClassGroups => ({
    head: order.slice(0, head),
    mid: order.slice(head, order.length - tail),
    tail: order.slice(order.length - tail),
  });
  if (counts.length === 10) return cut(3, 3);
  const head = counts.filter((n) => n > 100).length;
  const tail = counts.filter((n) => n < 20).length;
  if (head > 0 && tail > 0 && head + tail < counts.length) return cut(head, tail);
  const third = Math.max(1, Math.round(0.3 * counts.length));
  return cut(third, Math.min(third, counts.length - third));
}

/** counts[label][prediction], filled sample by sample. */
export class ConfusionMatrix {
  readonly classes: number;
  readonly #counts: Float64Array;

  constructor(classes: number) {
    if (!Number.isInteger(classes) || classes < 2)
      throw new ConfigError(`ConfusionMatrix: expected at least 2 classes, got ${classes}`);
    this.classes = classes;
    this.#counts = new Float64Array(classes * classes);
  }

  /** Adds samples. Throws ConfigError for a label or prediction outside 0..classes-1, or lists of unequal length. */
  add(labels: ArrayLike<number>, predictions: ArrayLike<number>): void {
    if (labels.length !== predictions.length) {
      throw new ConfigError(
        `ConfusionMatrix.add: expected as many predictions as labels (${labels.length}), got ${predictions.length}`,
      );
    }
    const check = (what: string, value: number): void => {
      if (!(Number.isInteger(value) && value >= 0 && value < this.classes)) {
        throw new ConfigError(`ConfusionMatrix.add: expected a ${what} from 0 to ${this.classes - 1}, got ${value}`);
      }
    };
    for (let i = 0; i < labels.length; i++) {
      check('label', labels[i]);
      check('prediction', predictions[i]);
    }
    for (let i = 0; i < labels.length; i++) {
      this.#counts[labels[i] * this.classes + predictions[i]]++;
    }
  }

  at(label: number, prediction: number): number {
    return this.#counts[label * this.classes + prediction];
  }

  get total(): number {
    return this.#counts.reduce((a, b) => a + b, 0);
  }

  toArray(): number[][] {
    const n = this.classes;
    return Array.from({ length: n }, (_, c) => [...this.#counts.subarray(c * n, (c + 1) * n)]);
  }

  /** Share of each class's samples that were recognised; 0 for a class without samples. */
  recalls(): number[] {
    return this.toArray().map((row, c) => {
      const sum = row.reduce((a, b) => a + b, 0);
      return sum === 0 ? 0 : row[c] / sum;
    });
  }

  /** Share of all samples that were recognised; 0 when there are none. */
  top1(): number {
    let hits = 0;
    for (let c = 0; c < this.classes; c++) hits += this.at(c, c);
    return this.total === 0 ? 0 : hits / this.total;
  }
}

/**
 * Expected calibration error: mean over equal bins of confidence of |accuracy - confidence|, weighted by bin size (Guo et al. 2017).
 * @param confidences highest probability of each sample
 * @param correct whether it was right (0 or 1)
 * @param bins default 15
 * @throws ConfigError for lists of unequal length, fewer than one bin, or a confidence outside 0..1 (a diverged model gives NaN)
 */
export function expectedCalibrationError(
  confidences: ArrayLike<number>,
  correct: ArrayLike<number | boolean>,
  bins = 15,
): number {
  if (confidences.length !== correct.length || !(Number.isInteger(bins) && bins >= 1)) {
    throw new ConfigError(
      `expectedCalibrationError: expected as many outcomes as confidences (${confidences.length}) and at least one bin, ` +
        `got ${correct.length} and ${bins}`,
    );
  }
  const confidence = new Float64Array(bins);
  const hits = new Float64Array(bins);
  for (let i = 0; i < confidences.length; i++) {
    if (!(confidences[i] >= 0 && confidences[i] <= 1 + 1e-6)) {
      throw new ConfigError(
        `expectedCalibrationError: expected confidences from 0 to 1, got ${confidences[i]} at ${i}`,
      );
    }
    // Bins are (low, high], so that a confidence of exactly 1 falls into the last.
    const bin = Math.min(bins - 1, Math.max(0, Math.ceil(confidences[i] * bins) - 1));
    confidence[bin] += confidences[i];
    hits[bin] += Number(correct[i]);
  }
  let error = 0;
  for (let b = 0; b < bins; b++) error += Math.abs(hits[b] - confidence[b]);
  return confidences.length === 0 ? 0 : error / confidences.length;
}

export function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;
}

/** What {@link classificationMetrics} returns; fractions 0..1. */
export interface ClassificationMetrics {
  top1: number;
  meanRecall: number;
  perClass: number[];
  head: number;
  mid: number;
  tail: number;
  /** Expected calibration error over 15 bins; 0 without confidences. */
  ece: number;
  /** confusion[label][prediction] */
  confusion: number[][];
}

/**
 * Metrics of predictions on a test set.
 * @param counts training samples per class; they define head, mid and tail
 * @param confidences highest probability of each sample, for the calibration error
 */
export function classificationMetrics(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  counts: readonly number[],
  confidences?: ArrayLike<number>,
): ClassificationMetrics {
  const matrix = new ConfusionMatrix(counts.length);
  matrix.add(labels, predictions);
  const perClass = matrix.recalls();
  const groups = classGroups(counts);
  const of = (classes: number[]): number => meanOf(classes.map((c) => perClass[c]));
  const correct = Array.from(labels, (label, i) => (label === predictions[i] ? 1 : 0));
  return {
    top1: matrix.top1(),
    meanRecall: meanOf(perClass),
    perClass,
    head: of(groups.head),
    mid: of(groups.mid),
    tail: of(groups.tail),
    ece: confidences ? expectedCalibrationError(confidences, correct) : 0,
    confusion: matrix.toArray(),
  };
}
