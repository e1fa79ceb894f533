/**
 * A user's own data: a training and a test file, CSV or npy, made into a pair of sets that agree with each other.
 */
import { ConfigError, FormatError } from '../device/index.js';
import { readCsv } from './csv.js';
import { createDataset, type Dataset } from './dataset.js';
import { readNpy } from './npy.js';
import type { DatasetPair } from './registry.js';

export interface OwnFiles {
  train: string;
  test: string;
  /** CSV: name or index of the label's column, negative from the end. Default: the last. */
  label?: string | number;
  /** Give every feature mean 0 and deviation 1 over the training set; bytes of npy files are left alone. Default true. */
  standardize?: boolean;
}

/** x.npy has its labels, one whole number per row, in x.labels.npy. */
async function readNpyPair(path: string): Promise<Dataset> {
  const labelPath = path.replace(/\.npy$/, '.labels.npy');
  const [x, y] = await Promise.all([readNpy(path), readNpy(labelPath)]);
  if (x.shape.length < 2)
    throw new FormatError(`npy: ${path}: expected rows of features, got shape [${x.shape.join(',')}]`);
  if (y.shape.length !== 1 || y.shape[0] !== x.shape[0]) {
    throw new FormatError(`npy: ${labelPath}: expected ${x.shape[0]} labels, got shape [${y.shape.join(',')}]`);
  }
  const labels = Int32Array.from(y.data as ArrayLike<number | bigint> as ArrayLike<number>, Number);
  const wrong = labels.findIndex((label, i) => label < 0 || label !== Number(y.data[i]));
  if (wrong >= 0) {
    throw new FormatError(
      `npy: ${labelPath}: expected labels that are whole numbers >= 0, got ${y.data[wrong]} in row ${wrong}`,
    );
  }
  const data = x.data instanceof Uint8Array ? x.data : Float32Array.from(x.data as Float32Array, Number);
  return createDataset({ name: path, data, labels, shape: x.shape.slice(1) });
}

async function readOwn(
  path: string,
  label: string | number | undefined,
  classNames?: readonly string[],
): Promise<Dataset> {
  const name = path.replace(/\.gz$/, '');
  if (name.endsWith('.npy')) return readNpyPair(path);
  if (name.endsWith('.csv')) return readCsv(path, { label, classNames });
  if (name.endsWith('.tsv')) return readCsv(path, { label, classNames, separator: '\t' });
  throw new ConfigError(`dataset: expected a file that ends in .csv, .tsv or .npy, got ${path}`);
}

/** Mean 0 and deviation 1 per feature, by the numbers of `by`; a feature that never changes becomes 0. */
export function standardized(sets: readonly Dataset[], by: Dataset): Dataset[] {
  const { data, features, rows } = by;
  const mean = new Float64Array(features);
  const square = new Float64Array(features);
  for (let i = 0; i < data.length; i++) mean[i % features] += data[i] / rows;
  for (let i = 0; i < data.length; i++) square[i % features] += (data[i] - mean[i % features]) ** 2 / rows;
  const factor = square.map((variance) => (variance > 0 ? 1 / Math.sqrt(variance) : 0));
  return sets.map((set) => ({
    ...set,
    data: Float32Array.from(set.data, (value, i) => (value - mean[i % features]) * factor[i % features]),
    scale: 1,
    shift: 0,
  }));
}

/**
 * Opens a training and a test file of the same columns. Named classes are numbered as in the training file.
 * @throws ConfigError for other kinds of file; FormatError for damaged files, or two that don't fit together; IOError
 */
export async function openFiles({ train, test, label, standardize = true }: OwnFiles): Promise<DatasetPair> {
  const first = await readOwn(train, label);
  const second = await readOwn(test, label, first.classNames);
  if (second.features !== first.features) {
    throw new FormatError(
      `dataset: ${test}: expected ${first.features} features as in ${train}, got ${second.features}`,
    );
  }
  const classes = Math.max(first.classes, second.classes);
  const pair = [first, second].map((set) => ({ ...set, classes }));
  const [a, b] = standardize && first.data instanceof Float32Array ? standardized(pair, pair[0]) : pair;
  return { name: train, train: a, test: b, source: train };
}
