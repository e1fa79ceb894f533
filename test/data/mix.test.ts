/** Mixing of rows by the loader: what mixup, Remix and CutMix make of rows and labels, and that it follows from seed and place. */
import { describe, expect, it } from 'vitest';
import { createDataset, DataLoader, type Dataset, disposeBatch, type LoaderMix } from '../../src/data/index.js';
import { ConfigError, device } from '../../src/device/index.js';
import { instanceSampler } from '../../src/longtail/index.js';

/** Row r is [r, 1000 r]; 9 of every 10 rows are of class 0, the rest of class 1. */
const rows = 400;
const labelOf = (r: number): number => Number(r % 10 === 9);
const lines = createDataset({
  name: 'lines',
  data: Float32Array.from({ length: 2 * rows }, (_, i) => Math.floor(i / 2) * (i % 2 ? 1000 : 1)),
  labels: Array.from({ length: rows }, (_, r) => labelOf(r)),
  shape: [2],
});
/** Pictures [4, 6, 2]; every number of picture r is r. */
const pictures = createDataset({
  name: 'pictures',
  data: Uint8Array.from({ length: 200 * 48 }, (_, i) => Math.floor(i / 48)),
  labels: Array.from({ length: 200 }, (_, r) => r % 7),
  shape: [4, 6, 2],
  scale: 1,
});

interface Mixed {
  x: number[];
  y: number;
  other: number;
  share: number;
}
async function epoch(
  from: Dataset,
  mix: LoaderMix | undefined,
  e = 0,
  options: object = {},
  skip = 0,
): Promise<Mixed[]> {
  using loader = new DataLoader(from, { batchSize: 40, mix, ...options });
  loader.start(e, skip);
  const out: Mixed[] = [];
  for (let batch = loader.next(); batch; batch = loader.next()) {
    const [x, y] = [await batch.x.data(), await batch.y.data()];
    const other = await batch.mixed?.labels.data();
    const share = await batch.mixed?.share.data();
    const n = x.length / y.length;
    y.forEach((label, i) => {
      out.push({ x: [...x.slice(i * n, (i + 1) * n)], y: label, other: other?.[i] ?? -1, share: share?.[i] ?? -1 });
    });
    disposeBatch(batch);
  }
  return out;
}

describe('mixup', () => {
  it('mixes each row with one of its batch, by a share that its labels have as well', async () => {
    const shares: number[] = [];
    (await epoch(lines, { method: 'mixup' })).forEach(({ x, y, other, share }, i) => {
      expect(x[1] / 1000).toBeCloseTo(x[0], 2);
      expect(share).toBeGreaterThanOrEqual(0.5);
      expect(share).toBeLessThanOrEqual(1);
      // x = s a + (1 - s) b with b (or a) the row itself and the other one of rows 40 k to 40 k + 39.
      const own = [share, 1 - share].map((s) => (s === 1 ? i : (x[0] - s * i) / (1 - s)));
      const batch = 40 * Math.floor(i / 40);
      const fits = own.filter((partner, side) => {
        const p = Math.round(partner);
        const [first, second] = side === 0 ? [i, p] : [p, i];
        return (
          Math.abs(partner - p) < 0.02 &&
          p >= batch &&
          p < batch + 40 &&
          labelOf(first) === y &&
          labelOf(second) === other
        );
      });
      expect(fits.length, `row ${i}`).toBeGreaterThan(0);
      if (share < 1) shares.push(share);
    });
    // Beta(1, 1) is uniform, so the larger share is uniform in 0.5..1.
    expect(shares.length).toBeGreaterThan(350);
    const mean = shares.reduce((a, b) => a + b) / shares.length;
    expect(Math.abs(mean - 0.75)).toBeLessThan(5 * Math.sqrt(0.25 / 12 / shares.length) * Math.SQRT2);
  });

  it('draws shares from Beta(alpha, alpha)', async () => {
    for (const alpha of [0.2, 0.5, 2, 8]) {
      const mixed = (await Promise.all([0, 1, 2, 3, 4].map((e) => epoch(lines, { method: 'mixup', alpha }, e)))).flat();
      const shares = mixed.map(({ share }) => share).filter((share) => share < 1 || alpha < 1);
      // Var of Beta(a, a) is 1 / (4 (2a + 1)); rows that met themselves count as share 1, one in 40.
      const spread = shares.reduce((a, s) => a + (s - 0.5) ** 2, 0) / shares.length;
      const expected = 1 / (4 * (2 * alpha + 1));
      expect(spread / expected, `alpha ${alpha}`).toBeGreaterThan(0.85);
      expect(spread / expected, `alpha ${alpha}`).toBeLessThan(1.25);
    }
  });

  it('takes extreme alphas', async () => {
    for (const { share } of await epoch(lines, { method: 'mixup', alpha: 1e-12 })) expect(share).toBe(1);
    for (const { share } of await epoch(lines, { method: 'mixup', alpha: 1e6 })) {
      expect(share === 1 || share < 0.51).toBe(true);
    }
  });

  it('leaves rows alone with probability 0, after its epochs, and without it', async () => {
    const plain = await epoch(lines, undefined);
    const alone = plain.map((row) => ({ ...row, other: row.y, share: 1 }));
    expect(await epoch(lines, { method: 'mixup', probability: 0 })).toEqual(alone);
    expect(await epoch(lines, { method: 'mixup', epochs: 3 }, 3)).toEqual(alone);
    expect(await epoch(lines, { method: 'mixup', epochs: 3 }, 2)).not.toEqual(alone);
    const half = await epoch(lines, { method: 'mixup', probability: 0.5 });
    const mixed = half.filter(({ share }) => share < 1).length;
    expect(mixed).toBeGreaterThan(150);
    expect(mixed).toBeLessThan(250);
  });

  it('follows from seed, epoch and place alone', async () => {
    const sampler = instanceSampler(rows, 5);
    const mix: LoaderMix = { method: 'mixup', seed: 3 };
    const whole = await epoch(lines, mix, 1, { sampler });
    expect(await epoch(lines, mix, 1, { sampler, prefetch: 1 })).toEqual(whole);
    expect(await epoch(lines, mix, 1, { sampler }, 4)).toEqual(whole.slice(160));
    const same = { sampler: { epoch: () => sampler.epoch(1) } };
    expect(await epoch(lines, mix, 1, same)).toEqual(whole);
    expect(await epoch(lines, mix, 2, same)).not.toEqual(whole);
    expect(await epoch(lines, { ...mix, seed: 4 }, 1, same)).not.toEqual(whole);
  });

  it('takes batches of one row', async () => {
    const one = await epoch(lines, { method: 'mixup' }, 0, { batchSize: 1 });
    expect(one.map(({ x }) => x)).toEqual((await epoch(lines, undefined)).map(({ x }) => x));
  });
});

describe('Remix', () => {
  it('mixes rows as mixup does, and gives the rarer class the label', async () => {
    const [a, b] = [await epoch(lines, { method: 'mixup' }), await epoch(lines, { method: 'remix' })];
    expect(b.map(({ x }) => x)).toEqual(a.map(({ x }) => x));
    let leaning = 0;
    b.forEach(({ y, other, share }, i) => {
      // Class 0 has nine times the rows of class 1. By tau 0.5 the rare label takes all from a share of one half on.
      const own = a[i];
      if (own.y === 1 && own.other === 0) {
        expect([y, share]).toEqual([1, 1]);
        leaning++;
      } else expect([y, other, share]).toEqual([own.y, own.other, own.share]);
    });
    expect(leaning).toBeGreaterThan(10);
  });

  it('leans further with a larger tau, and not below kappa', async () => {
    const mixup = await epoch(lines, { method: 'mixup' });
    expect(await epoch(lines, { method: 'remix', kappa: 9.5 })).toEqual(mixup);
    const all = await epoch(lines, { method: 'remix', tau: 1 });
    all.forEach(({ y, share }, i) => {
      const own = mixup[i];
      if (own.y !== own.other && own.share < 1) expect([y, share]).toEqual([1, 1]);
    });
  });
});

describe('CutMix', () => {
  it('pastes one box of another picture, and shares labels by its area', async () => {
    const sizes = new Set<number>();
    let moved = 0;
    (await epoch(pictures, { method: 'cutmix' })).forEach(({ x, y, other, share }, i) => {
      const values = [...new Set(x)];
      expect(values.length).toBeLessThanOrEqual(2);
      const cut = Array.from({ length: 24 }, (_, p) => p).filter((p) => x[2 * p] !== i);
      expect(cut.every((p) => x[2 * p + 1] === x[2 * p])).toBe(true);
      const area = cut.length / 24;
      const partner = values.find((v) => v !== i);
      expect(share).toBeCloseTo(Math.max(area, 1 - area), 5);
      if (partner !== undefined) {
        const [first, second] = area > 0.5 ? [partner, i] : [i, partner];
        expect([y, other]).toEqual([first % 7, second % 7]);
        expect(Math.floor(partner / 40)).toBe(Math.floor(i / 40));
        // A box: as many pixels as its extents say.
        const [r, c] = [cut.map((p) => Math.floor(p / 6)), cut.map((p) => p % 6)];
        const extent = (v: number[]): number => Math.max(...v) - Math.min(...v) + 1;
        expect(extent(r) * extent(c)).toBe(cut.length);
        moved++;
      }
      sizes.add(cut.length);
    });
    expect(moved).toBeGreaterThan(60);
    expect(sizes.size).toBeGreaterThan(4);
  });

  it('refuses rows that are no pictures', () => {
    expect(() => new DataLoader(lines, { mix: { method: 'cutmix' } })).toThrow(
      /pictures .* for cutmix, got \[2\] of lines/,
    );
  });
});

describe('mix option', () => {
  it.each([
    { method: 'cutout' },
    { method: 'mixup', alpha: 0 },
    { method: 'mixup', alpha: NaN },
    { method: 'mixup', probability: 1.1 },
    { method: 'remix', kappa: 0.5 },
    { method: 'remix', tau: -1 },
    { method: 'mixup', epochs: 0.5 },
    { method: 'mixup', seed: -1 },
    { method: 'mixup', beta: 1 },
  ])('refuses %j', (mix) => {
    expect(() => new DataLoader(lines, { mix: mix as LoaderMix })).toThrow(ConfigError);
  });

  it('goes with augmentation, and frees what it made', async () => {
    const options = { augment: { padding: 1, flip: 0.5, seed: 1 } };
    const augmented = await epoch(pictures, { method: 'mixup', probability: 0 }, 0, options);
    const before = device().memory();
    const mixed = await epoch(pictures, { method: 'mixup' }, 0, options);
    expect(mixed).not.toEqual(augmented);
    expect(device().memory()).toMatchObject({ bytesInUse: before.bytesInUse, buffers: before.buffers });
  });
});
