/**
 * What the table can't hold of attention, group norm and pictures: typed errors, randomness, views that are read in place, nothing
 * that depends on the number of threads.
 */
import { expect, test } from 'vitest';
import '../../src/autograd/index.js';
import { ConfigError, DTypeError, setThreads, ShapeError, threads } from '../../src/device/index.js';
import { capture } from '../../src/autograd/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const z = (...shape: number[]): Tensor => ops.zeros(shape);

const cases: [string, () => unknown, new (message: string) => Error, RegExp | string][] = [
  ['attention rank', () => ops.attention(z(2, 3), z(2, 3), z(2, 3)), ShapeError, /attention: expected q \[B,Q,H,D\]/],
  [
    'attention heads',
    () => ops.attention(z(1, 2, 3, 4), z(1, 2, 2, 4), z(1, 2, 2, 4)),
    ShapeError,
    'attention: expected q [B,Q,H,D], k and v [B,K,H,D] with D >= 1, got [1,2,3,4], [1,2,2,4], [1,2,2,4]',
  ],
  ['attention keys', () => ops.attention(z(1, 2, 3, 4), z(1, 5, 3, 4), z(1, 6, 3, 4)), ShapeError, /got/],
  ['attention dim', () => ops.attention(z(1, 2, 3, 0), z(1, 2, 3, 0), z(1, 2, 3, 0)), ShapeError, /D >= 1/],
  [
    'attention dtype',
    () => ops.attention(z(1, 2, 3, 4), ops.zeros([1, 2, 3, 4], { dtype: 'f64' }), z(1, 2, 3, 4)),
    DTypeError,
    'attention: expected k of dtype f32, got f64',
  ],
  [
    'attention scale',
    () => ops.attention(z(1, 1, 1, 1), z(1, 1, 1, 1), z(1, 1, 1, 1), { scale: NaN }),
    ConfigError,
    'attention: expected a finite scale, got NaN',
  ],
  ['selfAttention', () => ops.selfAttention(z(1, 2, 3, 4, 5)), ShapeError, /selfAttention: expected qkv \[B,T,H,3,D\]/],
  ['groupNorm groups', () => ops.groupNorm(z(2, 3, 8), 3), ConfigError, /divides 8 channels, got 3/],
  ['groupNorm rank', () => ops.groupNorm(z(8), 2), ShapeError, /expected x \[B,...,C\]/],
  [
    'groupNorm gamma',
    () => ops.groupNorm(z(2, 3, 8), 2, z(7)),
    ShapeError,
    'groupNorm: expected gamma of shape [8], got [7]',
  ],
  ['resize rank', () => ops.resizeBilinear(z(2, 3, 8), [2, 2]), ShapeError, /expected x \[B,H,W,C\]/],
  ['resize size', () => ops.resizeBilinear(z(1, 2, 3, 8), [2, 0]), ConfigError, /whole numbers >= 1, got \[2,0\]/],
  ['augment dtype', () => ops.augment(ops.zeros([1, 2, 3, 1], { dtype: 'i32' })), DTypeError, /u8 or f32/],
  ['augment padding', () => ops.augment(z(1, 2, 3, 1), { padding: -1 }), ConfigError, /padding .* got -1/],
  ['augment flip', () => ops.augment(z(1, 2, 3, 1), { flip: 2 }), ConfigError, /flip in 0..1, got 2/],
  ['augment std', () => ops.augment(z(1, 2, 3, 1), { std: 0 }), ConfigError, /finite std other than 0, got 0/],
  ['augment mean', () => ops.augment(z(1, 2, 3, 1), { mean: z(2) }), ShapeError, /mean of shape \[1\], got \[2\]/],
  ['dropPath', () => ops.dropPath(z(2, 2), 1.5), ConfigError, 'dropPath: expected p in 0..1, got 1.5'],
];

test.each(cases)('%s', (_, run, type, message) => {
  expect(() => tidy(run as () => Tensor)).toThrow(type);
  expect(() => tidy(run as () => Tensor)).toThrow(message);
});

test('selfAttention is attention of its parts, with the same gradient', () => {
  tidy(() => {
    const qkv = ops.normal([2, 9, 3, 3, 4], { generator: new ops.Generator(3) });
    const twin = qkv.clone();
    qkv.requiresGrad = true;
    twin.requiresGrad = true;
    const weights = ops.normal([2, 9, 3, 4], { generator: new ops.Generator(4) });
    const y = ops.selfAttention(qkv, { causal: true });
    const [q, k, v] = ops.split(twin, 3, 3).map((part) => ops.squeeze(part, 3));
    const other = ops.attention(q, k, v, { causal: true });
    expect([...y.dataSync()]).toEqual([...other.dataSync()]);
    ops.sum(ops.mul(y, weights)).backward();
    ops.sum(ops.mul(other, weights)).backward();
    expect([...qkv.grad!.dataSync()]).toEqual([...twin.grad!.dataSync()]);
    qkv.grad!.dispose();
    twin.grad!.dispose();
  });
});

test('attention without keys is 0', () => {
  tidy(() => {
    expect([...ops.attention(z(1, 2, 1, 2), z(1, 0, 1, 2), z(1, 0, 1, 2)).dataSync()]).toEqual([0, 0, 0, 0]);
  });
});

test('the same bits for any number of threads', () => {
  const before = threads();
  try {
    const run = (n: number): number[][] => {
      setThreads(n);
      return tidy(() => {
        const generator = new ops.Generator(5);
        const qkv = ops.normal([2, 130, 2, 3, 16], { generator });
        qkv.requiresGrad = true;
        const y = ops.selfAttention(qkv);
        ops.sum(ops.mul(y, y)).backward();
        const x = ops.normal([3, 8, 8, 6], { generator });
        const out = [y, qkv.grad!, ops.augment(x, { padding: 2, flip: 0.5, generator }), ops.groupNorm(x, 2)];
        const values = out.map((t) => [...t.dataSync()]);
        qkv.grad!.dispose();
        generator.dispose();
        return values;
      });
    };
    expect(run(2)).toEqual(run(1));
  } finally {
    setThreads(before);
  }
});

test('augment shifts and mirrors each sample by itself, normalises, and draws anew at each replay', () => {
  const generator = new ops.Generator(9);
  const pixels = Uint8Array.from({ length: 64 * 5 * 5 * 2 }, (_, i) => 1 + (i % 50));
  const x = tensor(pixels, { shape: [64, 5, 5, 2], dtype: 'u8' });
  const mean = tensor(Float32Array.of(0.5, 2));
  const std = tensor(Float32Array.of(2, 4));
  const step = capture((input: Tensor) => ops.augment(input, { padding: 1, flip: 0.5, mean, std, generator }));
  const [a, b] = [[...step(x).dataSync()], [...step(x).dataSync()]];
  expect(a).not.toEqual(b);
  const seen = new Set<string>();
  for (let n = 0; n < 64; n++) {
    const at = (i: number, j: number, c: number): number => a[((n * 5 + i) * 5 + j) * 2 + c] * [2, 4][c] + [0.5, 2][c];
    const source = (i: number, j: number, c: number): number =>
      i < 0 || i > 4 || j < 0 || j > 4 ? 0 : pixels[((n * 5 + i) * 5 + j) * 2 + c];
    const fits = [-1, 0, 1].flatMap((down) =>
      [-1, 0, 1].flatMap((right) =>
        [false, true]
          .filter((mirrored) => {
            for (let i = 0; i < 5; i++)
              for (let j = 0; j < 5; j++)
                for (let c = 0; c < 2; c++)
                  if (Math.abs(at(i, j, c) - source(i + down, (mirrored ? 4 - j : j) + right, c)) > 1e-4) return false;
            return true;
          })
          .map((mirrored) => `${down} ${right} ${mirrored}`),
      ),
    );
    expect(fits).toHaveLength(1);
    seen.add(fits[0]);
  }
  expect(seen.size).toBeGreaterThan(12);
  step.dispose();
  for (const t of [x, mean, std]) t.dispose();
  generator.dispose();
});

test('dropPath drops whole samples and keeps the mean', () => {
  tidy(() => {
    const generator = new ops.Generator(2);
    const x = ops.ones([400, 2, 3]);
    const y = ops.dropPath(x, 0.25, { generator }).dataSync();
    let dropped = 0;
    for (let n = 0; n < 400; n++) {
      const sample = [...y.subarray(n * 6, n * 6 + 6)];
      expect(new Set(sample).size).toBe(1);
      expect([0, Math.fround(1 / 0.75)]).toContain(sample[0]);
      dropped += Number(sample[0] === 0);
    }
    expect(dropped).toBeGreaterThan(60);
    expect(dropped).toBeLessThan(140);
    expect([...ops.dropPath(x, 0.25, { training: false }).dataSync()]).toEqual([...x.dataSync()]);
    generator.dispose();
  });
});
