/**
 * A user's own data: a training and a test file or folder, made into a pair of sets that agree with each other.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { ConfigError, FormatError, IOError } from '../device/index.js';
import { readCifar } from './cifar.js';
import { readCsv } from './csv.js';
import { createDataset, type Dataset } from './dataset.js';
import { fileDigest, isFolder } from './files.js';
import { readIdxPair } from './idx.js';
import { readImageFolder } from './image.js';
import { readNpy } from './npy.js';
import type { DatasetPair } from './registry.js';

/**
 * What may be opened: .csv and .tsv; .npy with labels in .labels.npy; .idx with labels in .labels.idx, or the names of MNIST's
 * files, x-images-idx3-ubyte with labels in x-labels-idx1-ubyte; each of these also gzipped. CIFAR's binary form: a .bin file, or a
 * folder of which all files data_batch_*.bin are taken. A folder with a folder of pictures, PNG or JPEG, for each class.
 */
export interface OwnFiles {
  train: string;
  test: string;
  /** CSV: name or index of the label's column, negative from the end. Default: the last. */
  label?: string | number;
  /** Give every feature mean 0 and deviation 1 over the training set; bytes are left alone. Default true. */
  standardize?: boolean;
}

function npyLabels(path: string): string {
  return path.replace(/\.npy$/, '.labels.npy');
}

/** x.npy has its labels, one whole number per row, in x.labels.npy. */
async function readNpyPair(path: string): Promise<Dataset> {
  const labelPath = npyLabels(path);
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

/** The file of labels that belongs to an IDX file of images, or undefined for another name. */
function idxLabels(path: string): string | undefined {
  const mnist = /^(.*)images([-.])idx\d-ubyte(\.gz)?$/.exec(path);
  if (mnist) return `${mnist[1]}labels${mnist[2]}idx1-ubyte${mnist[3] ?? ''}`;
  return /\.idx(\.gz)?$/.test(path) ? path.replace(/\.idx(\.gz)?$/, '.labels.idx$1') : undefined;
}

/** CIFAR's batches in a folder, in the order of their numbers. */
function cifarBatches(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => /^data_batch_\d+\.bin$/.test(name));
  return names.sort((a, b) => parseInt(a.slice(11)) - parseInt(b.slice(11))).map((name) => join(dir, name));
}

/** What doesn't begin with a dot, by code units. */
function visibleIn(dir: string): string[] {
  const names = readdirSync(dir).filter((name) => !name.startsWith('.'));
  return names.sort().map((name) => join(dir, name));
}

/** The files that are read for own data at `path`, whether they are there or not. */
function filesAt(path: string): string[] {
  if (isFolder(path)) {
    const batches = cifarBatches(path);
    if (batches.length > 0) return batches;
    return visibleIn(path).flatMap((entry) => (isFolder(entry) ? visibleIn(entry) : [entry]));
  }
  const labels = path.endsWith('.npy') ? npyLabels(path) : idxLabels(path);
  return labels === undefined ? [path] : [path, labels];
}

/**
 * SHA-256, in hexadecimal, over the names within `path` and the bytes of all files that are read for own data there. It stays when the
 * folder or the file goes elsewhere under the same name.
 * @throws IOError when a file can't be read
 */
export function ownDigest(path: string): string {
  const digest = createHash('sha256');
  try {
    for (const file of filesAt(path)) {
      const name = isFolder(path) ? relative(path, file) : basename(file);
      digest.update(JSON.stringify([name.split(sep).join('/'), fileDigest(file)]));
    }
  } catch (error) {
    throw new IOError(`dataset: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  return digest.digest('hex');
}

async function readOwn(
  path: string,
  label: string | number | undefined,
  classNames?: readonly string[],
): Promise<Dataset> {
  if (isFolder(path)) {
    const batches = cifarBatches(path);
    return batches.length === 0 ? readImageFolder(path, classNames) : readCifar(batches, { name: path });
  }
  const labels = idxLabels(path);
  if (labels !== undefined) return readIdxPair(path, labels, { name: path });
  const name = path.replace(/\.gz$/, '');
  if (name.endsWith('.npy')) return readNpyPair(path);
  if (name.endsWith('.csv')) return readCsv(path, { label, classNames });
  if (name.endsWith('.tsv')) return readCsv(path, { label, classNames, separator: '\t' });
  if (name.endsWith('.bin')) return readCifar([path]);
  throw new ConfigError(
    `dataset: expected a file that ends in .csv, .tsv, .npy, .idx, -ubyte or .bin, or a folder, got ${path}`,
  );
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
 * Opens training and test data of the same kind. Named classes are numbered as in the training data.
 * @throws ConfigError for other kinds of file; FormatError for damaged files, or two that don't fit together; IOError
 */
export async function openFiles({ train, test, label, standardize = true }: OwnFiles): Promise<DatasetPair> {
  const first = await readOwn(train, label);
  const second = await readOwn(test, label, first.classNames);
  if (second.shape.join() !== first.shape.join()) {
    throw new FormatError(
      `dataset: ${test}: expected rows of shape [${first.shape.join(',')}] as in ${train}, got [${second.shape.join(',')}]`,
    );
  }
  const classes = Math.max(first.classes, second.classes);
  const pair = [first, second].map((set) => ({ ...set, classes }));
  const [a, b] = standardize && first.data instanceof Float32Array ? standardized(pair, pair[0]) : pair;
  return { name: train, train: a, test: b, source: train };
}
