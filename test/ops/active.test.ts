/**
 * Counts of active neurons: linear, conv2d, batchNorm, layerNorm and dropout give what they give on tensors of the active size, and zeros beyond, in
 * values, gradients and second derivatives. What lies beyond the count is NaN, so that reading it would show.
 */
import { describe, expect, test } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { ConfigError, DTypeError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { distance } from '../nn/helpers.js';

let seed = 0;
const random = (...shape: number[]): Tensor =>
  ops.cast(ops.normal(shape, { generator: new ops.Generator(++seed) }), 'f64');
const count = (n: number) => ({ count: tensor(Int32Array.of(n)) });

/** A leaf of NaN, or another number, but for the leading block. */
function spoilt(block: Tensor, shape: readonly number[], rest = NaN): Tensor {
  let full = block;
  shape.forEach((extent, axis) => {
    const more = full.shape.map((n, i) => (i === axis ? extent - n : n));
    full = ops.concat([full, ops.full(more, rest, { dtype: 'f64' })], axis);
  });
  const leaf = full.detach();
  leaf.requiresGrad = true;
  return leaf;
}

/** Whether t is the block, and 0 beyond. */
function expectBlock(t: Tensor | undefined, block: Tensor | undefined): void {
  const padded = spoilt((block as Tensor).detach(), (t as Tensor).shape, 0);
  expect(distance([...(t as Tensor).dataSync()], [...padded.dataSync()])).toBeLessThan(1e-12);
}

/** Compares f on spoilt tensors, with counts, and on their blocks: value, gradients, and gradients of those along random directions. */
function compare(
  f: (...inputs: Tensor[]) => Tensor,
  plain: (...inputs: Tensor[]) => Tensor,
  blocks: Tensor[],
  shapes: number[][],
  options: { twice?: boolean; rest?: number } = {},
): void {
  const { twice = true, rest = NaN } = options;
  const leaves = blocks.map((block, i) => spoilt(block, shapes[i], rest));
  for (const block of blocks) block.requiresGrad = true;
  const [y, z] = [f(...leaves), plain(...blocks)];
  expectBlock(y, z);
  const along = random(...z.shape);
  const of = gradients(y, leaves, { createGraph: true, gradient: spoilt(along, y.shape, rest) }) as Tensor[];
  const expected = gradients(z, blocks, { createGraph: true, gradient: along }) as Tensor[];
  of.forEach((g, i) => expectBlock(g, expected[i]));
  if (!twice) return;
  const sides = expected.map((g) => random(...g.shape));
  const sum = (grads: Tensor[], weights: Tensor[]): Tensor =>
    grads.map((g, i) => ops.sum(ops.mul(g, weights[i]))).reduce((a, b) => ops.add(a, b));
  const wide = sides.map((side, i) => spoilt(side, shapes[i], 0).detach());
  const second = gradients(sum(of, wide), leaves);
  const wanted = gradients(sum(expected, sides), blocks);
  second.forEach((g, i) => {
    expect(g === undefined).toBe(wanted[i] === undefined);
    if (g) expectBlock(g, wanted[i]);
  });
}

const kept = (...tensors: Tensor[]): Tensor[] => tensors.map((t) => t.detach());

describe.each([
  [3, 4],
  [1, 1],
  [7, 6],
])('%i of 7 outputs, %i of 6 inputs', (n, k) => {
  test.each(['none', 'relu', 'tanh', 'gelu'] as const)('linear, %s, with a residual', (activation) => {
    tidy(() => {
      const blocks = kept(random(5, k), random(n, k), random(n), random(5, n));
      const shapes = [[5, 6], [7, 6], [7], [5, 7]];
      compare(
        (x, w, b, residual) => ops.linear(x, w, b, { activation, residual, outputs: count(n), inputs: count(k) }),
        (x, w, b, residual) => ops.linear(x, w, b, { activation, residual }),
        blocks,
        shapes,
        { twice: activation === 'none' },
      );
    });
  });
  test('conv2d, with a residual', () => {
    tidy(() => {
      const blocks = kept(random(2, 5, 4, k), random(n, 3, 3, k), random(n), random(2, 5, 4, n));
      const shapes = [[2, 5, 4, 6], [7, 3, 3, 6], [7], [2, 5, 4, 7]];
      compare(
        (x, w, b, residual) => ops.conv2d(x, w, b, { padding: 1, residual, outputs: count(n), inputs: count(k) }),
        (x, w, b, residual) => ops.conv2d(x, w, b, { padding: 1, residual }),
        blocks,
        shapes,
      );
    });
  });
  test('layerNorm', () => {
    tidy(() => {
      compare(
        (x, gamma, beta) => ops.layerNorm(x, gamma, beta, 1e-2, count(n).count),
        (x, gamma, beta) => ops.layerNorm(x, gamma, beta, 1e-2),
        kept(random(9, n), random(n), random(n)),
        [[9, 7], [7], [7]],
        { twice: n > 1 },
      );
      compare(
        (x) => ops.layerNorm(x, null, null, 1e-2, count(n).count),
        (x) => ops.layerNorm(x, null, null, 1e-2),
        kept(random(9, n)),
        [[9, 7]],
        { twice: n > 1 },
      );
    });
  });
  test('dropout draws for the active neurons, as without the others', () => {
    tidy(() => {
      const [a, b] = [1, 1].map((start) => new ops.Generator(start));
      const block = random(9, n);
      const wide = spoilt(block, [9, 7], 3);
      for (let i = 0; i < 3; i++) {
        const y = ops.dropout(wide, 0.4, { generator: a, ...count(n) });
        expectBlock(y, ops.dropout(block, 0.4, { generator: b }));
      }
      expect(a.stateSync()).toEqual(b.stateSync());
      a.dispose();
      b.dispose();
    });
  });
  test.each([true, false])('batchNorm, training: %s', (training) => {
    tidy(() => {
      const blocks = kept(random(9, n), random(n), random(n), random(9, n));
      const [mean, variance] = [random(n), ops.exp(random(n))];
      const shapes = [[9, 7], [7], [7], [9, 7]];
      const [wideMean, wideVariance] = [mean, variance].map((t) => spoilt(t, [7], 2).detach());
      compare(
        (x, gamma, beta, residual) =>
          ops.batchNorm(x, gamma, beta, wideMean, wideVariance, { training, residual, ...count(n) }),
        (x, gamma, beta, residual) => ops.batchNorm(x, gamma, beta, mean, variance, { training, residual }),
        blocks,
        shapes,
        // Its gradients in evaluation are those of other ops, which read everything; with g = 0 beyond, they are 0 there.
        { twice: false, rest: training ? NaN : 2 },
      );
    });
  });
});

test('counts of other kinds are refused', () => {
  tidy(() => {
    const [x, w, image, kernel] = [random(2, 4), random(3, 4), random(1, 3, 3, 4), random(4, 1, 1, 2)];
    const wrong =
      (given: Tensor): (() => unknown) =>
      () =>
        ops.linear(x, w, null, { outputs: { count: given } });
    expect(wrong(tensor(Int32Array.of(1, 2)))).toThrow(ShapeError);
    expect(wrong(tensor([1]))).toThrow(DTypeError);
    expect(() => ops.linear(x, w, null, { inputs: { count: 3 as unknown as Tensor } })).toThrow(ConfigError);
    expect(() => ops.conv2d(image, kernel, null, { groups: 2, outputs: count(1) })).toThrow(ConfigError);
    expect(() => ops.layerNorm(x, null, null, 1e-5, tensor([1]))).toThrow(DTypeError);
    for (const junk of [0, false, '']) {
      expect(() => ops.layerNorm(x, null, null, 1e-5, junk as unknown as Tensor)).toThrow(ConfigError);
      expect(() => ops.dropout(x, 0.5, { count: junk as unknown as Tensor })).toThrow(ConfigError);
    }
    const leaf = ops.normal([3, 4], { requiresGrad: true });
    const [whole, none] = [undefined, null].map((none) => {
      const [gradient] = gradients(ops.sum(ops.exp(ops.layerNorm(leaf, null, null, 1e-5, none))), [leaf]);
      return [...gradient!.dataSync()];
    });
    expect(none).toEqual(whole);
    expect(() => ops.dropout(x, 0.5, { count: tensor(Int32Array.of(1, 2)) })).toThrow(ShapeError);
    expect(() => ops.dropout(tensor(1), 0.5, count(1))).toThrow(ShapeError);
  });
});
