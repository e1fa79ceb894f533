import { afterEach, describe, expect, it } from 'vitest';
import { createDataset, DataLoader, type LoaderOptions, normalized } from '../../src/data/index.js';
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

  describe('augmentation', () => {
    // Six pictures [2, 3, 2]; every number tells where it stands.
    const pictures = createDataset({
      name: 'pictures',
      data: Uint8Array.from({ length: 72 }, (_, i) => i + 1),
      labels: [0, 1, 0, 1, 0, 1],
      shape: [2, 3, 2],
      scale: 1,
    });
    const epoch = async (e: number, options: LoaderOptions, from = pictures, skip = 0): Promise<number[]> => {
      using loader = new DataLoader(from, { batchSize: 4, ...options });
      loader.start(e, skip);
      const out: number[] = [];
      for (let batch = loader.next(); batch; batch = loader.next()) {
        out.push(...(await batch.x.data()));
        batch.x.dispose();
        batch.y.dispose();
      }
      return out;
    };

    it('mirrors and shifts pictures, zeros coming in', async () => {
      const plain = await epoch(0, {});
      expect(await epoch(0, { augment: {} })).toEqual(plain);
      const mirrored = plain.map((_, i) => plain[i - (i % 6) + 4 - 2 * Math.floor((i % 6) / 2) + (i % 2)]);
      expect(await epoch(0, { augment: { flip: 1 } })).toEqual(mirrored);
      const shifted = await epoch(0, { augment: { padding: 1 } });
      const shifts = new Set<string>();
      for (let k = 0; k < 6; k++) {
        const fits = [-1, 0, 1]
          .flatMap((down) => [-1, 0, 1].map((right) => [down, right]))
          .filter(([down, right]) =>
            Array.from({ length: 12 }, (_, i) => {
              const [r, s] = [Math.floor(i / 6) + down, (Math.floor(i / 2) % 3) + right];
              return r >= 0 && r < 2 && s >= 0 && s < 3 ? plain[12 * k + 6 * r + 2 * s + (i % 2)] : 0;
            }).every((value, i) => value === shifted[12 * k + i]),
          );
        expect(fits).toHaveLength(1);
        shifts.add(fits.join());
      }
      expect(shifts.size).toBeGreaterThan(1);
    });

    it('draws by seed, epoch and place in it alone', async () => {
      const sampler = instanceSampler(6, 5);
      const augment = { padding: 2, flip: 0.5, seed: 8 };
      const whole = await epoch(1, { augment, sampler });
      expect(await epoch(1, { augment, sampler, batchSize: 1, prefetch: 1 })).toEqual(whole);
      expect(await epoch(1, { augment, sampler, batchSize: 2 }, pictures, 2)).toEqual(whole.slice(4 * 12));
      const same = { epoch: () => sampler.epoch(1) };
      expect(await epoch(1, { augment, sampler: same })).toEqual(whole);
      expect(await epoch(2, { augment, sampler: same })).not.toEqual(whole);
      expect(await epoch(1, { augment: { ...augment, seed: 9 }, sampler: same })).not.toEqual(whole);
    });

    it('comes before scale and shift, which may be of each channel', async () => {
      const [set] = normalized([pictures], pictures);
      const x = await epoch(0, {}, set);
      for (const c of [0, 1]) {
        const channel = x.filter((_, i) => i % 2 === c);
        const mean = channel.reduce((a, b) => a + b) / channel.length;
        expect(mean).toBeCloseTo(0, 6);
        expect(channel.reduce((a, b) => a + (b - mean) ** 2, 0) / channel.length).toBeCloseTo(1, 5);
      }
      // Wherever zeros came in there are the channel's shifts now.
      const raw = await epoch(0, { augment: { padding: 2 } });
      const augmented = await epoch(0, { augment: { padding: 2 } }, set);
      expect(raw).toContain(0);
      const { scale, shift } = set as { scale: readonly number[]; shift: readonly number[] };
      raw.forEach((value, i) => expect(augmented[i]).toBeCloseTo(value * scale[i % 2] + shift[i % 2], 5));
    });

    it('refuses rows that are no pictures and bad settings', () => {
      expect(() => make({ augment: { flip: 0.5 } })).toThrow(/expected rows that are pictures .*got \[2\] of ten/);
      const wrong = [
        { padding: -1 },
        { padding: 0.5 },
        { padding: 1e6 },
        { flip: 2 },
        { flip: NaN },
        { seed: -1 },
        { flop: 1 },
      ];
      for (const augment of wrong) expect(() => new DataLoader(pictures, { augment })).toThrow(ConfigError);
      expect(() => createDataset({ ...pictures, scale: [1, 2, 3] })).toThrow(ConfigError);
      expect(() => createDataset({ ...pictures, shift: [1, NaN] })).toThrow(ConfigError);
    });
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
