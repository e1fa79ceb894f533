/**
 * Diagnostics by hand on constructed layers; spanning trees and spectra against brute force; a model left as it was.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ShapeError } from '../../src/device/index.js';
import { BatchNorm, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import {
  absoluteCosines,
  diagnose,
  diagnoseLayer,
  effectiveRank,
  persistence,
  spanningTree,
  symmetricEigenvalues,
} from '../../src/plasticity/index.js';
import { Philox, tensor, tidy } from '../../src/tensor/index.js';
import { bits, makeBatch, makeNet, stepOf, values } from '../nn/helpers.js';

describe('spanningTree', () => {
  /** Least total length over all trees: by Pruefer sequences. */
  function bruteForce(d: number[], n: number): number {
    if (n === 1) return 0;
    if (n === 2) return d[1];
    let least = Infinity;
    for (let code = 0; code < n ** (n - 2); code++) {
      const sequence = Array.from({ length: n - 2 }, (_, i) => Math.floor(code / n ** i) % n);
      const degree = new Array<number>(n).fill(1);
      for (const node of sequence) degree[node]++;
      let total = 0;
      for (const node of sequence) {
        const leaf = degree.indexOf(1);
        total += d[leaf * n + node];
        degree[leaf]--;
        degree[node]--;
      }
      const [a, b] = degree.flatMap((value, node) => (value === 1 ? [node] : []));
      least = Math.min(least, total + d[a * n + b]);
    }
    return least;
  }

  test('has the least total length of all trees and reaches every node', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 1e6 }), fc.boolean(), (n, seed, coarse) => {
        const random = new Philox(seed, 'distances');
        const d = new Array<number>(n * n).fill(0);
        for (let i = 0; i < n; i++)
          for (let j = 0; j < i; j++) {
            const u = (random.u32() % 1000) / 1000;
            d[i * n + j] = d[j * n + i] = coarse ? Math.round(3 * u) / 3 : u;
          }
        const edges = spanningTree(d, n);
        expect(edges).toHaveLength(n - 1);
        const reached = new Set([0]);
        for (const [node, parent, length] of edges) {
          expect(reached.has(parent)).toBe(true);
          expect(reached.has(node)).toBe(false);
          reached.add(node);
          expect(length).toBe(d[node * n + parent]);
        }
        expect(edges.reduce((sum, [, , length]) => sum + length, 0)).toBeCloseTo(bruteForce(d, n), 10);
      }),
      { numRuns: 60 },
    );
  });

  test('T1 and T2 are what they are called', () => {
    expect(persistence([0.2, 0.4, 0.9])).toEqual({
      t1: -1.5,
      t2: expect.closeTo(0.5 * Math.sqrt((0.09 + 0.01 + 0.16) / 3) - 0.25, 12) as number,
    });
    expect(persistence([])).toEqual({ t1: 0, t2: 0 });
  });
});

describe('spectra', () => {
  test('eigenvalues of matrices made from known ones', () => {
    const generator = new Philox(3, 'spectrum');
    for (const known of [[5], [2, 2], [0, 1, 1, 4], [-3, -1e-3, 0, 2, 7, 100], [1, 1, 1, 1, 1]]) {
      const n = known.length;
      // A rotation as a product of reflections.
      let a = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? known[Math.floor(i / n)] : 0));
      for (let round = 0; round < 3; round++) {
        const v = Array.from({ length: n }, () => generator.normal());
        const square = v.reduce((sum, x) => sum + x * x, 0);
        const h = (i: number, j: number): number => (i === j ? 1 : 0) - (2 * v[i] * v[j]) / square;
        const left = a.map((_, at) =>
          v.reduce((sum, _x, k) => sum + h(Math.floor(at / n), k) * a[k * n + (at % n)], 0),
        );
        a = left.map((_, at) => v.reduce((sum, _x, k) => sum + left[Math.floor(at / n) * n + k] * h(k, at % n), 0));
      }
      const found = symmetricEigenvalues(a, n);
      [...known]
        .sort((x, y) => x - y)
        .forEach((value, k) => expect(Math.abs(found[k] - value)).toBeLessThan(1e-12 * Math.max(1, ...known)));
    }
    expect(() => symmetricEigenvalues([1, 2, 3], 2)).toThrow(ShapeError);
  });

  test('effective rank counts the directions', () => {
    expect(effectiveRank([1, 0, 0, 0, 1, 0, 0, 0, 1], 3, 3)).toBeCloseTo(3, 10);
    expect(effectiveRank([1, 2, 2, 4, 3, 6], 3, 2)).toBeCloseTo(1, 5);
    expect(effectiveRank(new Float64Array(6), 3, 2)).toBe(0);
    // Singular values 3 and 1: entropy of .75, .25.
    const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
    expect(effectiveRank([3, 0, 0, 1, 0, 0], 3, 2)).toBeCloseTo(Math.exp(entropy), 10);
    expect(() => effectiveRank([1, 2, 3], 2, 2)).toThrow(ShapeError);
  });
});

describe('diagnoseLayer', () => {
  test('finds clones, dead and dormant units, and orthogonal weights', () => {
    // Units 0 and 1 are clones up to sign and offset, 2 goes its own way, 3 is dead, 4 hardly moves.
    const a = [1, 2, 4, 7, 3, 5];
    const c = [1, -1, 1, -1, 1, -1];
    const rows = a.map((x, m) => [x, 9 - 2 * x, c[m] + 1, 0, 0.01 * (m % 3)]);
    const d = diagnoseLayer(
      {
        units: 5,
        weights: [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0],
        activations: rows.flat(),
        activity: [0, 1, 2, 3, 4].map((j) => rows.reduce((sum, row) => sum + Math.abs(row[j]), 0) / rows.length),
      },
      0.025,
    );
    expect(d.units).toBe(5);
    expect(d.clones).toBeCloseTo(2 / 5, 12);
    expect(d.dead).toBeCloseTo(1 / 5, 12);
    // 3 is at 0, 4 at .01 of a mean of about 1.7.
    expect(d.dormant).toBeCloseTo(2 / 5, 12);
    // Of ten pairs, only (0,4) and (1,4) aren't orthogonal, at 45 degrees; 3 has no weights.
    expect(d.cosine).toBeCloseTo((2 * Math.SQRT1_2) / 10, 12);
    expect(d.correlation).toBeGreaterThan(0.1);
    // The clones are one edge of length 0, the dead unit one of length 1; the other two lie between.
    expect(d.t1).toBeGreaterThan(-3);
    expect(d.t1).toBeLessThan(-1);
  });

  test('a constant unit correlates with nothing, however large', () => {
    const corr = absoluteCosines([1, 2, 3, 1e4, 1e4, 1e4], 2, { centred: true });
    expect([...corr]).toEqual([1, 0, 0, 1]);
    expect([...absoluteCosines([3, 4, -6, -8], 2)]).toEqual([1, 1, 1, 1]);
  });
});

describe('diagnose', () => {
  test('reads activations after the activation function, of every width, and leaves the model as it was', async () => {
    const { net, first, second } = makeNet({ norm: true });
    const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
    const { x, y } = makeBatch(24);
    const step = capture(stepOf(net, optimizer));
    step(x, y);
    const before = bits(net, optimizer);
    const result = await diagnose(net, x);
    expect(Object.keys(result)).toEqual(['first', 'second']);
    expect(result.first.units).toBe(first.size);
    expect(result.second.units).toBe(second.size);
    expect(bits(net, optimizer)).toEqual(before);
    expect(net.training).toBe(true);
    // By hand: the same layer from what its modules compute.
    net.eval();
    const hidden = tidy(() => {
      const [linear, norm, relu] = net.layers;
      return [...values(relu.forward(norm.forward(linear.forward(x))))];
    });
    net.train();
    const activity = Array.from({ length: 8 }, (_, j) => hidden.reduce((s, a, i) => (i % 8 === j ? s + a : s), 0) / 24);
    const weights = values(net.stateDict().get('0.weight')!);
    const expected = diagnoseLayer({ units: 8, weights, activations: hidden, activity }, 0.025);
    for (const key of Object.keys(expected) as (keyof typeof expected)[])
      expect(result.first[key]).toBeCloseTo(expected[key], 5);
  });

  test('of images: means over positions, dead by all of them', async () => {
    const channels = new Width(5, { name: 'channels' });
    const generator = new Generator(2);
    const conv = new Conv2d(3, channels, 3, { padding: 1, generator });
    const net = new Sequential(
      conv,
      new BatchNorm(channels),
      new ReLU(),
      new Conv2d(channels, 2, 4, { generator }),
      new Flatten(),
      new Dropout(0.5),
    );
    const x = normal([7, 4, 4, 3], { generator: new Generator(4) });
    const gamma = net.stateDict().get('1.gamma') ?? net.stateDict().get('1.weight');
    expect(gamma).toBeDefined();
    const result = await diagnose(net, x);
    expect(result.channels.units).toBe(5);
    expect(result.channels.effectiveRank).toBeGreaterThan(1);
    expect(result.channels.effectiveRank).toBeLessThanOrEqual(5);
    expect(result.channels.dead).toBe(0);
  });

  test('a model without such widths has none', async () => {
    const net = new Sequential(new Linear(6, 3), new ReLU(), new Linear(3, 2));
    expect(await diagnose(net, tensor(new Float32Array(12), { shape: [2, 6] }))).toEqual({});
  });
});
