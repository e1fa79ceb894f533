import { afterEach, describe, expect, it } from 'vitest';
import { createDataset, DataLoader, type LoaderOptions } from '../../src/data/index.js';
import { ConfigError, device, DisposedError } from '../../src/device/index.js';
import { instanceSampler } from '../../src/longtail/index.js';

const set = createDataset({
  name: 'ten',
  data: Uint8Array.from({ length: 20 }, (_, i) => i),
  labels: Array.from({ length: 10 }, (_, i) => i % 3),
  shape: [2],
  scale: 0.5,
  shift: 1,
});
const loaders: DataLoader[] = [];
const make = (options: LoaderOptions = {}): DataLoader => {
  const loader = new DataLoader(set, options);
  loaders.push(loader);
  return loader;
};
afterEach(() => {
  for (const loader of loaders.splice(0)) loader.dispose();
});

async function rowsOf(loader: DataLoader): Promise<number[][]> {
  const batches: number[][] = [];
  for await (const { x, y, rows } of loader) {
    const data = [...(await x.data())];
    const first = data.filter((_, i) => i % 2 === 0).map((v) => (v - 1) / 0.5 / 2);
    expect(data.filter((_, i) => i % 2 === 1)).toEqual(first.map((r) => (2 * r + 1) * 0.5 + 1));
    expect([...(await y.data())]).toEqual(first.map((r) => r % 3));
    expect(x.shape).toEqual([rows, 2]);
    batches.push(first);
  }
  return batches;
}

describe('DataLoader', () => {
  it('gives every row once, scaled and shifted, the last batch smaller', async () => {
    expect(await rowsOf(make({ batchSize: 4 }))).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    expect((await rowsOf(make({ batchSize: 4, dropLast: true }))).length).toBe(2);
  });

  it('follows the sampler, epoch by epoch', async () => {
    const sampler = instanceSampler(10, 5);
    const loader = make({ batchSize: 3, sampler });
    expect((await rowsOf(loader)).flat()).toEqual([...sampler.epoch(0)]);
    expect((await rowsOf(loader)).flat()).toEqual([...sampler.epoch(1)]);
  });

  it('can begin an epoch in its middle', async () => {
    const sampler = instanceSampler(10, 5);
    const loader = make({ batchSize: 3, sampler });
    loader.start(2, 2);
    expect(loader.batches).toBe(4);
    const y = [];
    for (let batch = loader.next(); batch; batch = loader.next()) {
      y.push(...(await batch.y.data()));
      batch.x.dispose();
      batch.y.dispose();
    }
    expect(y).toEqual([...sampler.epoch(2)].slice(6).map((r) => r % 3));
  });

  it('takes floats as well', async () => {
    const floats = createDataset({ name: 'f', data: Float32Array.of(1.5, -2), labels: [0, 1], shape: [1] });
    const loader = new DataLoader(floats, { batchSize: 2 });
    loaders.push(loader);
    for await (const { x } of loader) expect([...(await x.data())]).toEqual([1.5, -2]);
  });

  it('frees what it made', async () => {
    await rowsOf(make({ batchSize: 3 }));
    const before = device().memory().bytesInUse;
    for (let i = 0; i < 3; i++) await rowsOf(make({ batchSize: 3 }));
    expect(device().memory().bytesInUse).toBe(before);
  });

  it('can be left early', async () => {
    const loader = make({ batchSize: 1 });
    for await (const batch of loader) {
      expect(batch.rows).toBe(1);
      break;
    }
    expect((await rowsOf(loader)).length).toBe(10);
  });

  it('refuses bad sizes, rows that are not there, and use after dispose', () => {
    expect(() => make({ batchSize: 0 })).toThrow(ConfigError);
    expect(() => make({ prefetch: 1.5 })).toThrow(/prefetch of at least 1, got 1.5/);
    expect(() => make({ sampler: { epoch: () => Int32Array.of(10) } }).start(0)).toThrow(/10/);
    expect(() => make().next()).toThrow(/expected start\(\) before/);
    const loader = make();
    loader.dispose();
    loader.dispose();
    expect(() => loader.start(0)).toThrow(DisposedError);
  });
});
