/**
 * The initialisations that need linear algebra: orthogonal ones are orthogonal, gradmax has the largest gradient.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backward } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import { CosineLinear } from '../../src/models/index.js';
import { BatchNorm, Conv2d, gradmaxDirections, Linear, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { crossEntropy, Generator, normal } from '../../src/ops/index.js';
import { tidy } from '../../src/tensor/index.js';
import { eigen, gram } from '../../src/nn/directions.js';
import { distance, makeBatch, makeNet, type Net, values } from './helpers.js';

const batch = makeBatch(32);

function pass({ net }: Net): void {
  net.zeroGrad();
  tidy(() => backward(crossEntropy(net.forward(batch.x), batch.y)));
}

const rows = (flat: number[], n: number): number[][] =>
  Array.from({ length: n }, (_, i) => flat.slice((i * flat.length) / n, ((i + 1) * flat.length) / n));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
const length = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

describe('eigen', () => {
  test('rebuilds the matrix, orthonormal and in order, for any rank', () => {
    const matrices = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.integer());
    fc.assert(
      fc.property(matrices, ([n, columns, seed]) => {
        const flat = tidy(() => values(normal([n, columns], { generator: new Generator(Math.abs(seed)) })));
        const matrix = gram(rows(flat, n).map((row) => Float64Array.from(row)));
        const { values: lambda, vectors } = eigen(matrix);
        const rank = Math.min(n, columns);
        expect([...lambda].every((x, i) => i === 0 || x <= lambda[i - 1])).toBe(true);
        expect([...lambda].slice(rank).every((x) => x < 1e-9 * lambda[0])).toBe(true);
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) {
            const sum = vectors.reduce((s, v, k) => s + lambda[k] * v[i] * v[j], 0);
            expect(Math.abs(sum - matrix[i][j])).toBeLessThan(1e-9 * lambda[0]);
          }
        }
        for (let i = 0; i < rank; i++) {
          for (let j = 0; j <= i; j++) expect(dot(vectors[i], vectors[j])).toBeCloseTo(i === j ? 1 : 0, 6);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('of nothing is nothing', () => {
    expect(eigen([new Float64Array(2), new Float64Array(2)])).toEqual({
      values: new Float64Array(2),
      vectors: [new Float64Array(2), new Float64Array(2)],
    });
  });
});

describe('orthogonal', () => {
  test('new rows are orthogonal to the old ones and to each other, as long as those drawn', () => {
    const width = new Width(5, { name: 'w' });
    const make = () => new Linear(20, width, { generator: new Generator(2) });
    const layer = make();
    const before = rows(values(layer.weight.value), 5);
    width.grow(7, { init: 'orthogonal', generator: new Generator(4) });
    const after = rows(values(layer.weight.value), 12);
    expect(after.slice(0, 5)).toEqual(before);
    for (let i = 5; i < 12; i++) {
      for (let j = 0; j < i; j++) expect(Math.abs(dot(after[i], after[j]))).toBeLessThan(1e-6);
    }
    const other = new Width(5, { name: 'w' });
    const plain = new Linear(20, other, { generator: new Generator(2) });
    other.grow(7, { init: 'zero-out', generator: new Generator(4) });
    rows(values(plain.weight.value), 12).forEach((row, i) => expect(length(after[i])).toBeCloseTo(length(row), 5));
  });

  test('falls back to the plain draw where no direction is left', () => {
    const draws = (['orthogonal', 'zero-out'] as const).map((init) => {
      const width = new Width(4, { name: 'w' });
      const layer = new Linear(6, width, { generator: new Generator(2) });
      width.grow(5, { init, generator: new Generator(4) });
      return rows(values(layer.weight.value), 9);
    });
    // 6 inputs, 4 old rows: two of the newborn have a direction of their own.
    expect(draws[0].slice(6)).toEqual(draws[1].slice(6));
    for (const i of [4, 5]) expect(draws[0][i]).not.toEqual(draws[1][i]);
    expect(Math.abs(dot(draws[0][5], draws[0][0]))).toBeLessThan(1e-6);
  });

  test('of convolution kernels: as flat vectors', () => {
    const channels = new Width(3, { name: 'c' });
    const conv = new Conv2d(2, channels, 3, { generator: new Generator(1) });
    channels.grow(4, { init: 'orthogonal', generator: new Generator(2) });
    const kernels = rows(values(conv.weight.value), 7);
    for (let i = 3; i < 7; i++) {
      for (let j = 0; j < i; j++) expect(Math.abs(dot(kernels[i], kernels[j]))).toBeLessThan(1e-6);
    }
  });
});

describe('gradmax', () => {
  /** Norm of the gradient of the newborn's incoming weights with these directions. */
  function gradientNorm(which: 'first' | 'second', directions: (made: Net) => ArrayLike<number>[]): number {
    const made = makeNet();
    const width = made[which];
    const before = width.size;
    const u = directions(made);
    const y = values(made.net.forward(batch.x));
    width.grow(2 * u.length, { init: 'gradmax', directions: u, generator: new Generator(1) });
    expect(distance(values(made.net.forward(batch.x)), y)).toBeLessThan(2e-6);
    pass(made);
    const { weight } = width.producers[0];
    const born = rows(values(weight.grad!), width.size).slice(before);
    return length(born.flat());
  }
  /** n orthonormal directions. */
  const random = (seed: number, n: number, outputs: number): ArrayLike<number>[] => {
    const drawn = rows(values(normal([outputs, outputs], { generator: new Generator(seed) })), outputs);
    return eigen(gram(drawn.map((row) => Float64Array.from(row)))).vectors.slice(0, n);
  };

  test.each([
    ['first', 7],
    ['second', 4],
  ] as const)('the gradient of %s is larger than with random directions, as many and as long', (which, outputs) => {
    for (const n of [1, 2, 3]) {
      const best = gradientNorm(which, (made) => gradmaxDirections(made[which], n, () => pass(made)));
      expect(best).toBeGreaterThan(0);
      for (let seed = 0; seed < 8; seed++) {
        expect(gradientNorm(which, () => random(seed, n, outputs))).toBeLessThan(best);
      }
    }
  });

  test('directions are orthonormal, no more than M has, and twins start in opposite directions', () => {
    const made = makeNet();
    const directions = gradmaxDirections(made.second, 9, () => pass(made));
    // Gradients of logits sum to 0: rank 3 of 4 classes.
    expect(directions.length).toBe(3);
    directions.forEach((u, i) =>
      directions.slice(0, i + 1).forEach((v, j) => expect(dot(u, v)).toBeCloseTo(i === j ? 1 : 0, 6)),
    );
    const columns = (flat: number[]) => (j: number) => rows(flat, 4).map((row) => row[j]);
    const old = columns(values(made.second.consumers[0].weight.value));
    const mean = [0, 1, 2, 3, 4, 5, 6].reduce((s, j) => s + length(old(j)) / 7, 0);
    made.second.grow(9, { init: 'gradmax', directions, generator: new Generator(1) });
    const column = columns(values(made.second.consumers[0].weight.value));
    for (let k = 0; k < 3; k++) {
      expect(length(column(7 + 2 * k))).toBeCloseTo(mean, 5);
      expect(column(8 + 2 * k)).toEqual(column(7 + 2 * k).map((x) => -x));
    }
    // No direction is left for the last three: zero-out.
    const incoming = rows(values(made.second.producers[0].weight.value), 16);
    for (let j = 13; j < 16; j++) {
      expect(column(j)).toEqual([0, 0, 0, 0]);
      expect(incoming[j].every((x) => x !== 0)).toBe(true);
    }
    for (let j = 7; j < 13; j++) expect(incoming[j].every((x) => x === 0)).toBe(true);
    pass(made);
    const grad = rows(values(made.second.producers[0].weight.grad!), 16);
    for (const j of [7, 9, 11]) {
      expect(length(grad[j])).toBeGreaterThan(0);
      expect(
        distance(
          grad[j + 1],
          grad[j].map((x) => -x),
        ),
      ).toBeLessThan(1e-6);
    }
  });

  test('the pass leaves the layers as they were', () => {
    const made = makeNet();
    const before = values(made.net.forward(batch.x));
    const { device } = batch.x;
    device.sync();
    gradmaxDirections(made.first, 2, () => pass(made));
    made.net.zeroGrad();
    device.sync();
    const { buffers } = device.memory();
    for (let i = 0; i < 5; i++) gradmaxDirections(made.first, 2, () => pass(made));
    made.net.zeroGrad();
    device.sync();
    expect(device.memory().buffers).toBe(buffers);
    expect(values(made.net.forward(batch.x))).toEqual(before);
    expect(Object.keys(made.net.layers[0])).not.toContain('forward');
  });

  test('refuses what its rule does not hold for', () => {
    const normed = makeNet({ norm: true });
    const unbiased = makeNet({ bias: false });
    const channels = new Width(3, { name: 'c' });
    const conv = new Sequential(new Conv2d(2, channels, 3), new ReLU(), new Conv2d(channels, 2, 3));
    const features = new Width(3, { name: 'f' });
    const cosine = new Sequential(new Linear(6, features), new ReLU(), new CosineLinear(features, 4));
    const alone = new Width(3, { name: 'alone' });
    const head = new Sequential(new Linear(6, alone), new BatchNorm(alone));
    const idle = makeNet();
    const bad: [() => unknown, RegExp][] = [
      [() => gradmaxDirections(normed.first, 1, () => pass(normed)), /'first': expected no batch norm/],
      [() => gradmaxDirections(unbiased.first, 1, () => pass(unbiased)), /expected a bias/],
      [() => gradmaxDirections(channels, 1, () => conv), /'c': expected linear layers around the width/],
      [() => gradmaxDirections(features, 1, () => cosine), /expected a linear reader, got a cosine classifier/],
      [() => gradmaxDirections(alone, 1, () => head), /one that reads them, got 1 and 0/],
      [() => gradmaxDirections(idle.first, 1, () => undefined), /once in the pass, with a gradient, got 0 and 0 uses/],
    ];
    for (const [run, message] of bad) {
      expect(run).toThrow(ConfigError);
      expect(run).toThrow(message);
    }
  });
});
