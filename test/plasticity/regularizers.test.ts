/**
 * Regularisers by hand, their gradients by finite differences in f64, trees against the host's, and their place in a training.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { capture, grad } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import { Linear, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { crossEntropy, Generator } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import {
  absoluteCosines,
  diagnose,
  persistence,
  persistencePenalty,
  type RegularizerOptions,
  Regularizers,
  similarityPenalty,
  spanningTree,
  treeParents,
} from '../../src/plasticity/index.js';
import { Philox, tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { makeBatch, makeNet, values } from '../nn/helpers.js';

function drawn(seed: number, shape: [number, number]): Float64Array {
  const random = new Philox(seed, 'values');
  return Float64Array.from({ length: shape[0] * shape[1] }, () => random.normal());
}
const matrix = (data: Float64Array, shape: [number, number]): Tensor => tensor(data, { shape, dtype: 'f64' });
const item = (make: () => Tensor): number => values(tidy(make))[0];

/** Largest difference between the gradient and central differences. */
function gradientError(f: (x: Tensor) => Tensor, data: Float64Array, shape: [number, number]): number {
  const gradient = values(grad(f)(matrix(data, shape)));
  const h = 1e-6;
  const error = data.map((value, i) => {
    const at = (v: number): number =>
      item(() =>
        f(
          matrix(
            Float64Array.from(data, (x, k) => (k === i ? v : x)),
            shape,
          ),
        ),
      );
    return Math.abs((at(value + h) - at(value - h)) / (2 * h) - gradient[i]);
  });
  return Math.max(...error);
}

describe('similarity', () => {
  test('is the mean over pairs of the squared cosine', () => {
    const w = drawn(1, [5, 7]);
    const cosines = absoluteCosines(w, 5);
    let expected = 0;
    for (let i = 0; i < 5; i++) for (let j = 0; j < i; j++) expected += cosines[i * 5 + j] ** 2 / 10;
    expect(item(() => similarityPenalty(matrix(w, [5, 7])))).toBeCloseTo(expected, 6);
    const orthogonal = Float64Array.of(1, 0, 0, 0, 2, 0);
    expect(item(() => similarityPenalty(matrix(orthogonal, [2, 3])))).toBe(0);
    expect(item(() => similarityPenalty(matrix(Float64Array.of(1, 2, -2, -4), [2, 2])))).toBeCloseTo(1, 5);
    expect(item(() => similarityPenalty(matrix(Float64Array.of(1, 2), [1, 2])))).toBe(0);
    // A unit without weights is like nobody, and its gradient is finite.
    const dead = matrix(Float64Array.of(0, 0, 1, 2), [2, 2]);
    expect(item(() => similarityPenalty(dead))).toBe(0);
    expect([...values(grad(similarityPenalty)(dead))].every(Number.isFinite)).toBe(true);
  });

  test('has the gradient of finite differences', () => {
    expect(gradientError(similarityPenalty, drawn(2, [6, 4]), [6, 4])).toBeLessThan(1e-8);
  });
});

describe('persistence', () => {
  test('the tree found by kernels is that of the host, ties included', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 1e6 }),
        fc.boolean(),
        (n, seed, coarse) => {
          const random = new Philox(seed, 'distances');
          const d = new Float64Array(n * n);
          for (let i = 0; i < n; i++)
            for (let j = 0; j < i; j++) {
              const u = (random.u32() % 1000) / 1000;
              d[i * n + j] = d[j * n + i] = coarse ? Math.round(3 * u) / 3 : u;
            }
          const parents = values(treeParents(matrix(d, [n, n])));
          const expected = new Array<number>(n).fill(0);
          for (const [node, parent] of spanningTree(d, n)) expected[node] = parent;
          expect([...parents]).toEqual(expected);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('values are those of the diagnostics', () => {
    for (const units of [2, 3, 9]) {
      const a = drawn(units, [20, units]);
      const byUnit = Float64Array.from(a, (_, i) => a[(i % 20) * units + Math.floor(i / 20)]);
      const distances = absoluteCosines(byUnit, units, { centred: true }).map((c) => 1 - c);
      const { t1, t2 } = persistence(spanningTree(distances, units).map(([, , length]) => length));
      expect(item(() => persistencePenalty('t1', matrix(a, [20, units])))).toBeCloseTo(t1, 5);
      expect(item(() => persistencePenalty('t2', matrix(a, [20, units])))).toBeCloseTo(t2, 5);
    }
    expect(item(() => persistencePenalty('t1', matrix(drawn(1, [4, 1]), [4, 1])))).toBe(0);
  });

  test.each(['t1', 't2'] as const)('%s has the gradient of finite differences', (name) => {
    for (const units of [2, 3, 7])
      expect(gradientError((a) => persistencePenalty(name, a), drawn(11 + units, [9, units]), [9, units])).toBeLessThan(
        1e-7,
      );
  });

  test.each(['t1', 't2'] as const)('%s of silent units is finite and pulls at nobody through them', (name) => {
    const a = drawn(5, [8, 4]).map((value, i) => (i % 4 === 2 ? 0 : value));
    const gradient = values(grad((x) => persistencePenalty(name, x))(matrix(a, [8, 4])));
    expect([...gradient].every(Number.isFinite)).toBe(true);
    for (let m = 0; m < 8; m++) expect(gradient[m * 4 + 2]).toBe(0);
  });
});

describe('in a training', () => {
  /** 60 captured steps; the diagnostics afterwards, and the recordings. */
  async function trained(options: RegularizerOptions[]) {
    const { net, first } = makeNet({ seed: 4 });
    const optimizer = new SGD(net.parameters(), { lr: 0.05 });
    const regularizers = new Regularizers(options, net);
    const batch = makeBatch(64);
    const losses: number[] = [];
    const step = capture((x: Tensor, y: Tensor) => {
      optimizer.zeroGrad();
      const loss = crossEntropy(net.forward(x), y);
      const total = regularizers.add(loss);
      total.backward();
      optimizer.step();
      return [loss.detach(), total.detach()];
    });
    for (let i = 0; i < 60; i++) {
      const [loss, total] = step(batch.x, batch.y);
      if (i === 0) losses.push(values(loss)[0], values(total)[0]);
    }
    const recordings = step.recordings;
    const after = await diagnose(net, batch.x);
    first.grow(2);
    step(batch.x, batch.y);
    expect(step.recordings).toBe(recordings + 1);
    regularizers.dispose();
    return { after, losses, recordings };
  }

  test('each lowers what it is called after, in a step that is captured once', async () => {
    const none = await trained([]);
    expect(none.losses[0]).toBe(none.losses[1]);
    const similarity = await trained([{ name: 'similarity', weight: 5 }]);
    expect(similarity.recordings).toBe(1);
    expect(similarity.after.first.cosine).toBeLessThan(none.after.first.cosine);
    expect(similarity.after.second.cosine).toBeLessThan(none.after.second.cosine);
    const t1 = await trained([{ name: 't1', weight: 0.5, widths: ['second'] }]);
    expect(t1.recordings).toBe(1);
    expect(t1.after.second.t1).toBeLessThan(none.after.second.t1);
    const t2 = await trained([{ name: 't2', weight: 2 }]);
    expect(t2.after.second.t2).toBeLessThan(none.after.second.t2);
    const both = await trained([
      { name: 't1', weight: 0.5 },
      { name: 'similarity', weight: 1 },
    ]);
    expect(both.losses[1]).not.toBe(both.losses[0]);
  });

  test('options that make no sense are refused by name', () => {
    const { net } = makeNet();
    const make = (option: unknown) => () => new Regularizers([option as RegularizerOptions], net);
    expect(make({ name: 't3', weight: 1 })).toThrow(ConfigError);
    expect(make({ name: 't1', weight: 0 })).toThrow(/regularizers\[0\]: weight/);
    expect(make({ name: 't1', weight: 1, widths: ['nobody'] })).toThrow(/no width 'nobody'/);
    const fixed = new Sequential(new Linear(4, 3), new ReLU());
    expect(() => new Regularizers([{ name: 't1', weight: 1 }], fixed)).toThrow(/no width that it could act on/);
    const width = new Width(3, { name: 'h' });
    const own = new Sequential(new Linear(4, width, { generator: new Generator(1) }), new Linear(width, 2));
    new Regularizers([{ name: 't2', weight: 1 }], own).dispose();
  });
});
