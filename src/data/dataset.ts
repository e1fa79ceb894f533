/**
 * A labelled set of rows in host memory, and what may be asked of one.
 */
import { ConfigError, FormatError } from '../device/index.js';
import { Philox } from '../tensor/index.js';

/** Rows of equal length with a class each. */
export interface Dataset {
  readonly name: string;
  /** [rows, features], row-major. */
  readonly data: Uint8Array | Float32Array;
  readonly labels: Int32Array;
  readonly rows: number;
  /** Numbers per row. */
  readonly features: number;
  /** Shape of one row, e.g. [28, 28, 1]. */
  readonly shape: readonly number[];
  readonly classes: number;
  readonly classNames?: readonly string[];
  /** A value becomes value * scale + shift on its way into a batch. A number each, or one per channel (last axis of `shape`). */
  readonly scale: PerChannel;
  readonly shift: PerChannel;
}

export type PerChannel = number | readonly number[];

export interface DatasetOptions {
  name: string;
  data: Uint8Array | Float32Array;
  labels: ArrayLike<number>;
  /** Shape of one row. */
  shape: readonly number[];
  /** Default: highest label + 1. */
  classes?: number;
  classNames?: readonly string[];
  /** Default: 1/255 for bytes, 1 for floats. */
  scale?: PerChannel;
  /** Default 0. */
  shift?: PerChannel;
}

/**
 * A dataset from arrays (not copied).
 * @throws FormatError when data, labels and shape disagree or a label is outside 0..classes-1
 */
export function createDataset(options: DatasetOptions): Dataset {
  const { name, data, shape } = options;
  const features = shape.reduce((a, b) => a * b, 1);
  if (!Number.isInteger(features) || features < 1) {
    throw new FormatError(`${name}: expected rows of at least one number, got shape [${shape.join(',')}]`);
  }
  const labels = options.labels instanceof Int32Array ? options.labels : Int32Array.from(options.labels);
  const rows = labels.length;
  if (rows === 0) throw new FormatError(`${name}: expected at least one row, got none`);
  if (data.length !== rows * features) {
    throw new FormatError(
      `${name}: expected ${rows} rows of ${features} numbers (${rows * features}), got ${data.length} numbers`,
    );
  }
  const classes = options.classes ?? labels.reduce((a, b) => Math.max(a, b), 0) + 1;
  for (let i = 0; i < rows; i++) {
    if (labels[i] < 0 || labels[i] >= classes) {
      throw new FormatError(`${name}: expected labels from 0 to ${classes - 1}, got ${labels[i]} in row ${i}`);
    }
  }
  if (options.classNames && options.classNames.length !== classes) {
    throw new FormatError(`${name}: expected ${classes} class names, got ${options.classNames.length}`);
  }
  const scale = options.scale ?? (data instanceof Uint8Array ? 1 / 255 : 1);
  const shift = options.shift ?? 0;
  const channels = shape.at(-1) ?? 1;
  for (const value of [scale, shift]) {
    const each = typeof value === 'number' ? [value] : value;
    if ((typeof value !== 'number' && each.length !== channels) || !each.every(Number.isFinite)) {
      throw new ConfigError(
        `${name}: expected a finite scale and shift, one or ${channels}, got ${String(scale)} and ${String(shift)}`,
      );
    }
  }
  return {
    name,
    data,
    labels,
    rows,
    features,
    shape: [...shape],
    classes,
    classNames: options.classNames,
    scale,
    shift,
  };
}

/** Scale and shift as arrays of one length: 1, or the number of channels. */
export function affineOf({ scale, shift }: Pick<Dataset, 'scale' | 'shift'>): {
  scale: Float32Array;
  shift: Float32Array;
} {
  const length = Math.max(...[scale, shift].map((value) => (typeof value === 'number' ? 1 : value.length)));
  const spread = (value: PerChannel): Float32Array =>
    Float32Array.from({ length }, (_, i) => (typeof value === 'number' ? value : value[i]));
  return { scale: spread(scale), shift: spread(shift) };
}

/** The sets with scales and shifts that give every channel mean 0 and deviation 1 over `by`; a constant channel becomes 0. */
export function normalized(sets: readonly Dataset[], by: Dataset): Dataset[] {
  const { data, rows, features, shape } = by;
  const channels = shape.at(-1) ?? 1;
  const each = (rows * features) / channels;
  const sums = new Float64Array(channels);
  const squares = new Float64Array(channels);
  for (let i = 0; i < data.length; i++) sums[i % channels] += data[i];
  const mean = [...sums.map((sum) => sum / each)];
  for (let i = 0; i < data.length; i++) squares[i % channels] += (data[i] - mean[i % channels]) ** 2;
  const scale = [...squares.map((square) => (square > 0 ? 1 / Math.sqrt(square / each) : 0))];
  const shift = scale.map((factor, c) => -mean[c] * factor);
  return sets.map((set) => ({ ...set, scale, shift }));
}

/** A copy of some rows, in the order given. Throws ConfigError for rows that aren't there. */
export function subset(dataset: Dataset, rows: ArrayLike<number>): Dataset {
  const { features } = dataset;
  const Data = dataset.data.constructor as new (n: number) => Uint8Array | Float32Array;
  const data = new Data(rows.length * features);
  const labels = new Int32Array(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i];
    if (!(row >= 0 && row < dataset.rows)) {
      throw new ConfigError(`subset: expected rows from 0 to ${dataset.rows - 1}, got ${row}`);
    }
    data.set(dataset.data.subarray(row * features, (row + 1) * features), i * features);
    labels[i] = dataset.labels[row];
  }
  return { ...dataset, data, labels, rows: rows.length };
}

/** At most `rows` rows chosen at random, in ascending order: the same for the same seed. */
export function sample(dataset: Dataset, rows: number, seed: number): Dataset {
  if (rows >= dataset.rows) return dataset;
  return subset(dataset, new Philox(seed, 'sample').permutation(dataset.rows).subarray(0, rows).slice().sort());
}

/** Class c becomes order.indexOf(c). Throws ConfigError unless `order` is a permutation of the classes. */
export function relabel(dataset: Dataset, order: readonly number[]): Dataset {
  const to = new Array<number>(dataset.classes).fill(-1);
  order.forEach((c, i) => (to[c] = i));
  if (order.length !== dataset.classes || to.includes(-1)) {
    throw new ConfigError(`relabel: expected a permutation of 0..${dataset.classes - 1}, got [${order.join(', ')}]`);
  }
  const names = dataset.classNames;
  return { ...dataset, labels: dataset.labels.map((c) => to[c]), classNames: names && order.map((c) => names[c]) };
}
