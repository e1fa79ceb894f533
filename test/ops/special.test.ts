/**
 * NaN, infinities, signed zeros and integer edges: what every op must do with them, on every instruction set.
 */
import { describe, expect, test } from 'vitest';
import '../../src/autograd/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { erf, roundHalfEven } from './reference.js';

const special = [NaN, Infinity, -Infinity, 0, -0, 1e-30, -1e-30, 0.5, -0.5, 1, -1, 2.5, -2.5, 88, -88, 3e38, -3e38];
// More than any vector is wide, so that both the vector loop and its tail see every value.
const long = [...special, ...special, ...special, ...special];

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const unary: [string, (x: Tensor) => Tensor, (x: number) => number][] = [
  ['neg', ops.neg, (x) => -x],
  ['abs', ops.abs, Math.abs],
  ['sign', ops.sign, Math.sign],
  ['exp', ops.exp, Math.exp],
  ['expm1', ops.expm1, Math.expm1],
  ['log', ops.log, Math.log],
  ['log1p', ops.log1p, Math.log1p],
  ['sqrt', ops.sqrt, Math.sqrt],
  ['rsqrt', ops.rsqrt, (x) => 1 / Math.sqrt(x)],
  ['square', ops.square, (x) => x * x],
  ['reciprocal', ops.reciprocal, (x) => 1 / x],
  ['tanh', ops.tanh, Math.tanh],
  ['sigmoid', ops.sigmoid, sigmoid],
  ['softplus', ops.softplus, (x) => Math.log1p(Math.exp(-Math.abs(x))) + (x < 0 ? 0 : x)],
  ['relu', ops.relu, (x) => (x < 0 ? 0 : x)],
  ['leakyRelu', (x) => ops.leakyRelu(x, 0.1), (x) => (x < 0 ? 0.1 * x : x)],
  ['elu', (x) => ops.elu(x), (x) => (x < 0 ? Math.expm1(x) : x)],
  ['erf', ops.erf, erf],
  ['floor', ops.floor, Math.floor],
  ['ceil', ops.ceil, Math.ceil],
  ['round', ops.round, roundHalfEven],
  ['clamp', (x) => ops.clamp(x, -1, 1), (x) => (x < -1 ? -1 : x > 1 ? 1 : x)],
  ['isNaN', ops.isNaN, (x) => +Number.isNaN(x)],
  ['isFinite', ops.isFinite, (x) => +Number.isFinite(x)],
  ['isInf', ops.isInf, (x) => +(Math.abs(x) === Infinity)],
  ['maximum', (x) => ops.maximum(x, 0.25), (x) => Math.max(x, 0.25)],
  ['minimum', (x) => ops.minimum(x, 0.25), (x) => Math.min(x, 0.25)],
  ['cast to i32', (x) => ops.cast(x, 'i32'), (x) => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x))) || 0],
  ['cast to bool', (x) => ops.cast(x, 'bool'), (x) => +(x !== 0)],
];

function close(got: number, want: number, tolerance: number): boolean {
  if (Number.isNaN(want)) return Number.isNaN(got);
  if (got === want) return true;
  return Math.abs(got - want) <= tolerance * Math.abs(want) + 1e-37;
}

describe.each(['f32', 'f64'] as const)('%s', (dtype) => {
  const tolerance = dtype === 'f32' ? 4e-6 : 1e-13;
  const held = dtype === 'f32' ? long.map(Math.fround) : long;
  const as = (x: number): number => (dtype === 'f32' ? Math.fround(x) : x);

  test.each(unary)('%s', (_, run, f) => {
    tidy(() => {
      const got = run(tensor(held, { dtype })).dataSync();
      held.forEach((x, i) => {
        const want = f(x);
        const rounded = got instanceof Float32Array ? Math.fround(want) : as(want);
        expect(
          close(got[i], rounded, tolerance) || close(got[i], want, tolerance),
          `f(${x}) = ${want}, got ${got[i]}`,
        ).toBe(true);
      });
    });
  });

  test('binary', () => {
    tidy(() => {
      const a = held.flatMap((x) => held.slice(0, special.length).map(() => x));
      const b = held.flatMap(() => held.slice(0, special.length));
      const [x, y] = [tensor(a, { dtype }), tensor(b, { dtype })];
      const cases: [string, Tensor, (p: number, q: number) => number][] = [
        ['add', ops.add(x, y), (p, q) => p + q],
        ['sub', ops.sub(x, y), (p, q) => p - q],
        ['mul', ops.mul(x, y), (p, q) => p * q],
        ['div', ops.div(x, y), (p, q) => p / q],
        ['maximum', ops.maximum(x, y), Math.max],
        ['minimum', ops.minimum(x, y), Math.min],
        ['equal', ops.equal(x, y), (p, q) => +(p === q)],
        ['notEqual', ops.notEqual(x, y), (p, q) => +(p !== q)],
        ['less', ops.less(x, y), (p, q) => +(p < q)],
        ['lessEqual', ops.lessEqual(x, y), (p, q) => +(p <= q)],
        ['greater', ops.greater(x, y), (p, q) => +(p > q)],
        ['greaterEqual', ops.greaterEqual(x, y), (p, q) => +(p >= q)],
        ['where', ops.where(ops.isFinite(x), x, y), (p, q) => (Number.isFinite(p) ? p : q)],
      ];
      for (const [name, out, f] of cases) {
        const got = out.dataSync();
        a.forEach((p, i) => {
          const want = as(f(p, b[i]));
          if (!close(got[i], want, tolerance)) expect.fail(`${name}(${p}, ${b[i]}) = ${want}, got ${got[i]}`);
        });
      }
    });
  });

  test('reductions hand NaN on and keep infinities', () => {
    tidy(() => {
      const rows = [
        [1, NaN, 3],
        [1, Infinity, 3],
        [-Infinity, Infinity, 0],
      ].map((r) => Array.from({ length: 40 }, (_, i) => (i === 17 ? r[0] : i === 31 ? r[1] : i === 38 ? r[2] : 0)));
      const x = tensor(rows, { dtype });
      expect([...ops.max(x, 1).dataSync()]).toEqual([NaN, Infinity, Infinity]);
      expect([...ops.min(x, 1).dataSync()]).toEqual([NaN, 0, -Infinity]);
      expect([...ops.sum(x, 1).dataSync()]).toEqual([NaN, Infinity, NaN]);
      expect([...ops.argmax(x, 1).dataSync()]).toEqual([31, 31, 31]);
      expect([...ops.argmin(x, 1).dataSync()]).toEqual([31, 0, 17]);
      expect([...ops.mean(ops.zeros([2, 0], { dtype }), 1).dataSync()]).toEqual([NaN, NaN]);
    });
  });

  test('softmax and cross-entropy of extreme logits', () => {
    tidy(() => {
      const x = tensor(
        [
          [1e4, 0, -1e4],
          [-1e30, -1e30, -1e30],
          [-Infinity, 0, 0],
        ],
        { dtype },
      );
      const y = [...ops.softmax(x).dataSync()];
      [1, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0.5, 0.5].forEach((want, i) => expect(y[i]).toBeCloseTo(want, 6));
      const labels = tensor(Int32Array.of(1, 0, 2));
      const losses = ops.crossEntropy(x, labels, { reduction: 'none' }).dataSync();
      [1e4, Math.log(3), Math.log(2)].forEach((want, i) => expect(losses[i] / want).toBeCloseTo(1, 6));
    });
  });
});

test('integers wrap and saturate', () => {
  tidy(() => {
    const top = 2 ** 31 - 1;
    const x = tensor(Int32Array.of(top, -(2 ** 31), 5));
    expect([...ops.add(x, 1).dataSync()]).toEqual([-(2 ** 31), -(2 ** 31) + 1, 6]);
    expect([...ops.mul(x, x).dataSync()]).toEqual([1, 0, 25]);
    expect([...ops.clamp(x, -Infinity, 2.5).dataSync()]).toEqual([2, -(2 ** 31), 2]);
    expect([...ops.div(tensor(Int32Array.of(1, 0)), tensor(Int32Array.of(0, 0))).dataSync()]).toEqual([Infinity, NaN]);
    expect(ops.div(x, 2).dtype).toBe('f32');
  });
});
