import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeIdx, openFiles, ownDigest } from '../../src/data/index.js';
import { ConfigError, FormatError, IOError } from '../../src/device/index.js';
import { writeNpy } from '../../src/io/index.js';
import { parseConfig, prepareData, train } from '../../src/train/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-own-'));
afterAll(() => rmSync(dir, { recursive: true }));
const csv = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};

describe('own files', () => {
  it('reads a pair of CSV files with named classes, standardised by the training set', async () => {
    const pair = await openFiles({
      train: csv('a.csv', 'x,y,kind\n0,5,oak\n2,5,elm\n4,5,oak\n'),
      test: csv('b.csv', 'x,y,kind\n2,5,oak\n'),
      label: 'kind',
    });
    expect(pair.train.classNames).toEqual(['elm', 'oak']);
    expect([...pair.test.labels]).toEqual([1]);
    const root = Math.sqrt(1.5);
    [-root, 0, 0, 0, root, 0].forEach((v, i) => expect(pair.train.data[i]).toBeCloseTo(v, 6));
    expect([...pair.test.data]).toEqual([0, 0]);
  });

  it('reads npy files with their labels', async () => {
    const path = join(dir, 'x.npy');
    await writeNpy(path, { dtype: 'f32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
    await writeNpy(join(dir, 'x.labels.npy'), { dtype: 'i32', shape: [2], data: Int32Array.of(1, 0) });
    const { train } = await openFiles({ train: path, test: path, standardize: false });
    expect([[...train.data], [...train.labels], train.classes]).toEqual([[1, 2, 3, 4], [1, 0], 2]);
    await writeNpy(join(dir, 'x.labels.npy'), { dtype: 'f32', shape: [2], data: Float32Array.of(1, 0.5) });
    await expect(openFiles({ train: path, test: path })).rejects.toThrow(/whole numbers >= 0, got 0.5 in row 1/);
    await writeNpy(join(dir, 'x.labels.npy'), { dtype: 'i32', shape: [1], data: Int32Array.of(1) });
    await expect(openFiles({ train: path, test: path })).rejects.toThrow(/expected 2 labels, got shape \[1\]/);
  });

  it('reads IDX files with the names of MNIST or with .labels, gzipped or not', async () => {
    const images = Buffer.concat(encodeIdx([2, 1, 2], Uint8Array.of(1, 2, 3, 4)));
    const labels = Buffer.concat(encodeIdx([2], Uint8Array.of(1, 0)));
    const pairs = [
      ['my-images-idx3-ubyte', 'my-labels-idx1-ubyte', false],
      ['our-images.idx3-ubyte.gz', 'our-labels.idx1-ubyte.gz', true],
      ['x.idx', 'x.labels.idx', false],
      ['y.idx.gz', 'y.labels.idx.gz', true],
    ] as const;
    for (const [x, y, zipped] of pairs) {
      writeFileSync(join(dir, x), zipped ? gzipSync(images) : images);
      await expect(openFiles({ train: join(dir, x), test: join(dir, x) })).rejects.toThrow(`${y} can't be read`);
      writeFileSync(join(dir, y), zipped ? gzipSync(labels) : labels);
      const { test } = await openFiles({ train: join(dir, x), test: join(dir, x) });
      expect([[...test.data], [...test.labels], test.shape]).toEqual([
        [1, 2, 3, 4],
        [1, 0],
        [1, 2, 1],
      ]);
    }
  });

  it("reads CIFAR's binary form, a file or a folder of batches in order", async () => {
    const folder = join(dir, 'batches');
    mkdirSync(folder);
    for (const i of [1, 2, 10]) writeFileSync(join(folder, `data_batch_${i}.bin`), Buffer.alloc(3073, i));
    writeFileSync(join(folder, 'test_batch.bin'), Buffer.alloc(3073, 5));
    const { train, test } = await openFiles({ train: folder, test: join(folder, 'test_batch.bin') });
    expect([[...train.labels], [...test.labels], train.classes]).toEqual([[1, 2, 10], [5], 11]);
    expect([test.classes, test.shape, train.data[2 * 3072]]).toEqual([11, [32, 32, 3], 10]);
  });

  it('refuses rows of another shape', async () => {
    const path = (name: string, shape: number[]): string => {
      writeFileSync(join(dir, `${name}.idx`), Buffer.concat(encodeIdx([1, ...shape], new Uint8Array(6))));
      writeFileSync(join(dir, `${name}.labels.idx`), Buffer.concat(encodeIdx([1], Uint8Array.of(0))));
      return join(dir, `${name}.idx`);
    };
    await expect(openFiles({ train: path('wide', [2, 3]), test: path('tall', [3, 2]) })).rejects.toThrow(
      /tall.idx: expected rows of shape \[2,3,1\] as in .*, got \[3,2,1\]/,
    );
  });

  it('refuses files that do not fit together or are of another kind', async () => {
    const a = csv('c.csv', '1,2,0\n3,4,1\n');
    await expect(openFiles({ train: a, test: csv('d.csv', '1,0\n') })).rejects.toThrow(FormatError);
    await expect(openFiles({ train: a, test: join(dir, 'd.xlsx') })).rejects.toThrow(ConfigError);
    await expect(openFiles({ train: csv('e.csv', '1,oak\n2,elm\n'), test: csv('f.csv', '1,ash\n') })).rejects.toThrow(
      /expected a label of elm, oak in data row 1, got 'ash'/,
    );
  });

  it('trains on them from a configuration', async () => {
    const rows = (n: number): string =>
      Array.from({ length: n }, (_, i) => `${i % 3},${(i * 7) % 5},c${i % 3}`).join('\n');
    const config = {
      dataset: { train: csv('g.csv', rows(90)), test: csv('h.csv', rows(30)), imbalanceFactor: 3 },
      model: { hidden: [6] },
      optimizer: { name: 'adam' as const, lr: 0.05 },
      epochs: 15,
      batchSize: 8,
    };
    expect((await prepareData(parseConfig(config).dataset)).counts).toEqual([30, 17, 10]);
    const result = await train(config);
    expect(result.dataset.classNames).toEqual(['c0', 'c1', 'c2']);
    expect(result.final.meanRecall).toBeGreaterThan(0.9);
    expect(() => parseConfig({ dataset: { train: 'x.csv' } })).toThrow(
      /both train and test, or neither, got only train/,
    );
  });
});

describe('the digest of own data', () => {
  const place = (name: string, files: Record<string, string>): string => {
    const root = join(dir, name);
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), text);
    }
    return root;
  };

  it.each<[string, string, Record<string, string>, string[], string[]]>([
    ['a table', 'x.csv', { 'x.csv': '1,a', 'y.csv': '2,b' }, ['x.csv'], ['y.csv']],
    ['npy with labels', 'x.npy', { 'x.npy': '1', 'x.labels.npy': '2', y: '3' }, ['x.npy', 'x.labels.npy'], ['y']],
    ['IDX with labels', 'x.idx', { 'x.idx': '1', 'x.labels.idx': '2', y: '3' }, ['x.idx', 'x.labels.idx'], ['y']],
    [
      'batches of CIFAR',
      '.',
      { 'data_batch_1.bin': '1', 'data_batch_10.bin': '2', 'test_batch.bin': '3' },
      ['data_batch_1.bin', 'data_batch_10.bin'],
      ['test_batch.bin'],
    ],
    [
      'pictures',
      '.',
      { 'oak/1.png': '1', 'elm/2.png': '2', 'elm/.DS_Store': '3', '.git/x': '4' },
      ['oak/1.png', 'elm/2.png'],
      ['elm/.DS_Store', '.git/x'],
    ],
  ])('covers the files of %s, and no others', (name, path, files, counted, others) => {
    const root = place(`digest of ${name}`, files);
    const before = ownDigest(join(root, path));
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    // The same in another place, whenever it was written.
    expect(ownDigest(join(place(`copy of ${name}`, files), path))).toBe(before);
    for (const file of others) writeFileSync(join(root, file), 'changed');
    expect(ownDigest(join(root, path))).toBe(before);
    for (const file of counted) {
      // Of the same length as it was: sizes alone wouldn't tell.
      writeFileSync(join(root, file), files[file].replace(/./, 'z'));
      expect(ownDigest(join(root, path)), file).not.toBe(before);
      writeFileSync(join(root, file), files[file]);
    }
    expect(ownDigest(join(root, path))).toBe(before);
  });

  it('changes with the class that a picture is in', () => {
    const one = place('one', { 'oak/1.png': '1', 'elm/2.png': '2' });
    const two = place('two', { 'oak/2.png': '2', 'elm/1.png': '1' });
    const three = place('three', { 'oak/1.png': '1', 'elm/2.png': '2', 'elm/3.png': '' });
    expect(new Set([one, two, three].map(ownDigest)).size).toBe(3);
  });

  it('of a file that is not there is an IOError', () => {
    expect(() => ownDigest(join(dir, 'missing.csv'))).toThrow(IOError);
    expect(() => ownDigest(join(dir, 'missing.csv'))).toThrow(/dataset: .*missing.csv can't be read: ENOENT/);
  });
});
