/**
 * Random tensors: range, moments, seeds and states, and what is refused.
 */
import { describe, expect, test } from 'vitest';
import '../../src/autograd/index.js';
import { ConfigError, DisposedError, DTypeError, GyrusError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const values = (x: Tensor): number[] => [...x.dataSync()];
const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
const spread = (list: number[]): number => {
  const centre = mean(list);
  return Math.sqrt(mean(list.map((x) => (x - centre) ** 2)));
};

describe.each(['f32', 'f64'] as const)('%s', (dtype) => {
  test('uniform, normal and bernoulli have their moments', () => {
    tidy(() => {
      const generator = new ops.Generator(11);
      const u = values(ops.uniform([20_000], { low: -1, high: 3, generator, dtype }));
      expect(Math.min(...u)).toBeGreaterThanOrEqual(-1);
      expect(Math.max(...u)).toBeLessThan(3);
      expect(mean(u)).toBeCloseTo(1, 1);
      expect(spread(u)).toBeCloseTo(4 / Math.sqrt(12), 1);
      const n = values(ops.normal([100, 200], { mean: 2, std: 0.5, generator, dtype }));
      expect(mean(n)).toBeCloseTo(2, 1);
      expect(spread(n)).toBeCloseTo(0.5, 1);
      const b = values(ops.bernoulli([20_000], 0.3, { generator, dtype }));
      expect(b.every((x) => x === 0 || x === 1)).toBe(true);
      expect(mean(b)).toBeCloseTo(0.3, 1);
      generator.dispose();
    });
  });

  test('dropout keeps the mean and scales the gradient by the same mask', () => {
    tidy(() => {
      const generator = new ops.Generator(3);
      const x = ops.ones([10_000], { dtype, requiresGrad: true });
      const y = ops.dropout(x, 0.25, { generator });
      const out = values(y);
      expect(out.every((v) => v === 0 || Math.abs(v - 4 / 3) < 1e-6)).toBe(true);
      expect(mean(out)).toBeCloseTo(1, 1);
      ops.sum(y).backward();
      expect(values(x.grad as Tensor)).toEqual(out);
      x.grad?.dispose();
      expect(values(ops.dropout(x, 1, { generator })).every((v) => v === 0)).toBe(true);
      generator.dispose();
    });
  });
});

test('a seed gives the same numbers; a state goes on from where it was', () => {
  tidy(() => {
    const a = new ops.Generator(2 ** 40 + 7);
    const b = new ops.Generator(2 ** 40 + 7);
    const first = values(ops.normal([33], { generator: a }));
    expect(values(ops.normal([33], { generator: b }))).toEqual(first);
    const state = a.stateSync();
    const next = values(ops.uniform([5], { generator: a }));
    expect(next).not.toEqual(values(ops.uniform([5], { generator: a })));
    b.setState(state);
    expect(b.seed).toBe(2 ** 40 + 7);
    expect(values(ops.uniform([5], { generator: b }))).toEqual(next);
    ops.manualSeed(4);
    const c = values(ops.uniform([7]));
    ops.manualSeed(4);
    expect(values(ops.uniform([7]))).toEqual(c);
    a.dispose();
    b.dispose();
    expect(() => ops.uniform([1], { generator: a })).toThrow(DisposedError);
  });
});

test('permutation and categorical', () => {
  tidy(() => {
    const generator = new ops.Generator(1);
    const p = values(ops.permutation(1000, { generator }));
    expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(p).not.toEqual([...p].sort((a, b) => a - b));
    const c = ops.categorical(
      tensor([
        [0, 1, 3],
        [1, 0, 0],
      ]),
      4000,
      { generator },
    );
    expect(c.shape).toEqual([2, 4000]);
    const drawn = values(c);
    expect(mean(drawn.slice(0, 4000))).toBeCloseTo(1.75, 1);
    expect(drawn.slice(4000).every((k) => k === 0)).toBe(true);
    expect(ops.categorical(tensor([1, 1]), 3, { generator }).shape).toEqual([3]);
    generator.dispose();
  });
});

test('wrong arguments', () => {
  tidy(() => {
    const generator = new ops.Generator(1);
    expect(() => new ops.Generator(-1)).toThrow(ConfigError);
    expect(() => new ops.Generator(0.5)).toThrow(ConfigError);
    expect(() => generator.setState([1, 2])).toThrow(ConfigError);
    expect(() => ops.uniform([2], { low: 1, high: 0 })).toThrow(ConfigError);
    expect(() => ops.uniform([2], { dtype: 'i32' })).toThrow(DTypeError);
    expect(() => ops.uniform([-2])).toThrow(ShapeError);
    expect(() => ops.normal([2], { std: NaN })).toThrow(ConfigError);
    expect(() => ops.bernoulli([2], 1.5)).toThrow(ConfigError);
    expect(() => ops.dropout(tensor([1]), -0.1)).toThrow(ConfigError);
    expect(() => ops.permutation(1.5)).toThrow(ShapeError);
    expect(() => ops.categorical(tensor([]), 1)).toThrow(ShapeError);
    const bad = ops.categorical(tensor([0, 0]), 1, { generator });
    expect(() => bad.dataSync()).toThrow(GyrusError);
    generator.dispose();
  });
});
