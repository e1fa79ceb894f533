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
  /** A value becomes value * scale + shift on its way into a batch. */
  readonly scale: number;
  readonly shift: number;
}

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
  scale?: number;
  /** Default 0. */
  shift?: number;
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
  if (!Number.isFinite(scale) || !Number.isFinite(shift)) {
    throw new ConfigError(`${name}: expected a finite scale and shift, got ${scale} and ${shift}`);
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
