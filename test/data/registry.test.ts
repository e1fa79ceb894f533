import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createDataset,
  dataFolder,
  type DatasetInfo,
  listDatasets,
  openDataset,
  relabel,
  sample,
  subset,
} from '../../src/data/index.js';
import { ConfigError, FormatError, IOError } from '../../src/device/index.js';

let dir: string;
const saved = { GYRUS_DATA: process.env.GYRUS_DATA, XDG_CACHE_HOME: process.env.XDG_CACHE_HOME };
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'gyrus-sets-'));
});
afterEach(() => {
  for (const [name, value] of Object.entries(saved)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(dir, { recursive: true });
});

function write(folder: string, part: 'train' | 't10k', rows: number): void {
  const images = Buffer.alloc(16 + rows * 4, 9);
  images.writeUInt32BE(0x00000803, 0);
  [rows, 2, 2].forEach((n, i) => images.writeUInt32BE(n, 4 + 4 * i));
  const labels = Buffer.alloc(8 + rows);
  labels.writeUInt32BE(0x00000801, 0);
  labels.writeUInt32BE(rows, 4);
  for (let i = 0; i < rows; i++) labels[8 + i] = i % 10;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${part}-images-idx3-ubyte`), images);
  writeFileSync(join(folder, `${part}-labels-idx1-ubyte`), labels);
}

describe('openDataset', () => {
  it('reads a folder given by GYRUS_DATA, with or without a folder per set', async () => {
    write(join(dir, 'mnist'), 'train', 20);
    write(join(dir, 'mnist'), 't10k', 10);
    process.env.GYRUS_DATA = dir;
    const set = await openDataset('mnist');
    expect([set.name, set.train.rows, set.test.rows, set.train.features, set.source]).toEqual([
      'mnist',
      20,
      10,
      4,
      join(dir, 'mnist'),
    ]);
    expect(set.train.classNames).toHaveLength(10);
    expect(listDatasets().find(({ name }) => name === 'mnist')).toMatchObject({
      found: true,
      source: join(dir, 'mnist'),
    });
    process.env.GYRUS_DATA = join(dir, 'mnist');
    expect((await openDataset('fashion-mnist')).train.rows).toBe(20);
  });

  it('takes no IDX files of a folder that is no set of its own for pictures that MNIST is not like', async () => {
    write(join(dir, 'mnist'), 'train', 20);
    write(join(dir, 'mnist'), 't10k', 10);
    process.env.GYRUS_DATA = join(dir, 'mnist');
    const found = listDatasets().filter((info) => info.found && info.source === join(dir, 'mnist'));
    expect(found.map(({ name }) => name)).toEqual(['fashion-mnist', 'mnist']);
    await expect(openDataset('cifar-10')).rejects.toThrow(IOError);
  });

  it('says that the names of the classes are missing', async () => {
    write(join(dir, 'emoji'), 'train', 20);
    write(join(dir, 'emoji'), 't10k', 10);
    const read = openDataset('emoji', { dir: join(dir, 'emoji') });
    await expect(read).rejects.toThrow(IOError);
    await expect(read).rejects.toThrow(/classes\.json can't be read/);
  });

  it('looks for every set in the folder of fetched sets first', () => {
    process.env.GYRUS_DATA = dir;
    const { name, found, source, command } = listDatasets().find((info) => info.name === 'cifar-10') as DatasetInfo;
    expect([name, found, source, command]).toEqual([
      'cifar-10',
      false,
      join(dir, 'cifar-10'),
      'npx gyrus data fetch cifar-10',
    ]);
    delete process.env.GYRUS_DATA;
    process.env.XDG_CACHE_HOME = dir;
    expect(dataFolder()).toBe(join(dir, 'gyrus'));
    write(join(dir, 'gyrus', 'mnist'), 'train', 20);
    write(join(dir, 'gyrus', 'mnist'), 't10k', 10);
    expect(listDatasets().find((info) => info.name === 'mnist')?.source).toBe(join(dir, 'gyrus', 'mnist'));
  });

  it('names the command that brings a missing set', async () => {
    const missing = openDataset('fashion-mnist', { dir });
    await expect(missing).rejects.toThrow(IOError);
    await expect(missing).rejects.toThrow(/apt-get install dataset-fashion-mnist/);
    await expect(openDataset('auto', { dir })).rejects.toThrow(/npx gyrus data fetch mnist/);
  });

  it('refuses unknown names', async () => {
    await expect(openDataset('imagenet')).rejects.toThrow(ConfigError);
    await expect(openDataset('imagenet')).rejects.toThrow(
      /one of auto, fashion-mnist, mnist, cifar-10, .*, got 'imagenet'/,
    );
  });
});

describe('the real sets', () => {
  const found = new Map(listDatasets().map((info) => [info.name, info.found]));
  const mean = (data: ArrayLike<number>): number => {
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += data[i];
    return sum / data.length / 255;
  };

  it.runIf(found.get('mnist')).each([['mnist', 0.1307]])('%s is whole', async (name, expected) => {
    const { train, test } = await openDataset(name);
    expect([train.rows, test.rows, train.features, train.classes]).toEqual([60000, 10000, 784, 10]);
    expect(mean(train.data)).toBeCloseTo(expected, 4);
  });

  it.runIf(found.get('fashion-mnist'))('fashion-mnist is whole, and is what auto opens', async () => {
    const { name, train, test } = await openDataset();
    expect([name, train.rows, test.rows, train.shape]).toEqual(['fashion-mnist', 60000, 10000, [28, 28, 1]]);
    expect(mean(train.data)).toBeCloseTo(0.286, 4);
    expect(train.labels.reduce((n, c) => n + Number(c === 9), 0)).toBe(6000);
  });
});

describe('datasets', () => {
  const make = () =>
    createDataset({
      name: 'd',
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
      labels: [0, 1, 1],
      shape: [2],
      classNames: ['a', 'b'],
    });

  it('checks labels, sizes and names', () => {
    const options = { name: 'd', data: new Float32Array(4), labels: [0, 1], shape: [2] };
    expect(createDataset(options)).toMatchObject({ rows: 2, features: 2, classes: 2, scale: 1, shift: 0 });
    expect(() => createDataset({ ...options, labels: [0, 5], classes: 3 })).toThrow(
      /labels from 0 to 2, got 5 in row 1/,
    );
    expect(() => createDataset({ ...options, labels: [0, -1] })).toThrow(FormatError);
    expect(() => createDataset({ ...options, labels: [0, 1, 0] })).toThrow(/3 rows of 2 numbers \(6\), got 4/);
    expect(() => createDataset({ ...options, classNames: ['a'] })).toThrow(/2 class names, got 1/);
    expect(() => createDataset({ ...options, scale: NaN })).toThrow(ConfigError);
  });

  it('takes subsets and samples', () => {
    const part = subset(make(), [2, 0]);
    expect([[...part.data], [...part.labels]]).toEqual([
      [5, 6, 1, 2],
      [1, 0],
    ]);
    expect(() => subset(make(), [3])).toThrow(/rows from 0 to 2, got 3/);
    expect(sample(make(), 2, 1)).toEqual(sample(make(), 2, 1));
    expect(sample(make(), 5, 1).rows).toBe(3);
  });

  it('renumbers classes with their names', () => {
    const other = relabel(make(), [1, 0]);
    expect([[...other.labels], other.classNames]).toEqual([
      [1, 0, 0],
      ['b', 'a'],
    ]);
    expect(() => relabel(make(), [0, 0])).toThrow(/a permutation of 0..1/);
  });
});
