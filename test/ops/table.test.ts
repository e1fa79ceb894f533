/**
 * The op table in its modes: forward against the reference, gradients and second derivatives against finite differences in double
 * precision, the support matrix, and that no op is missing from it.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { type AddonDevice, device, DTypeError, KINDS, OPS, type OpName } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { type DType, isFloat, tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import * as ref from './reference.js';
import type { Ref } from './reference.js';
import { every, floats, type Input, type Row, rows, type Values } from './table.js';
import './table-conv.js';
import './table-structure.js';
import './table-vision.js';

/** Numbers in 0..1, the same in every run. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function draw(n: number, values: Values, dtype: DType, next: () => number): number[] {
  const one = (i: number): number => {
    if (typeof values !== 'string') return values[i % values.length];
    if (dtype === 'bool' || values === 'bool') return Math.floor(next() * 2);
    if (dtype === 'u8') return Math.floor(next() * 6);
    if (dtype === 'i32' || values === 'int') return Math.floor(next() * 9) - 4;
    const x = next() * 4 - 2;
    if (values === 'positive') return Math.abs(x) + 0.3;
    if (values === 'away') return x + (x < 0 ? -0.2 : 0.2);
    if (values === 'unit') return x * 0.45 + (x < 0 ? -0.03 : 0.03);
    return x;
  };
  if (values === 'distinct') {
    const order = Array.from({ length: n }, (_, i) => ({ i, key: next() })).sort((a, b) => a.key - b.key);
    return order.map(({ i }) => (dtype === 'i32' ? i - (n >> 1) : (i - n / 2) * 0.07 + 0.01));
  }
  return Array.from({ length: n }, (_, i) => one(i));
}

/** Values of an input, as its dtype holds them. */
function hostOf(input: Input, dtype: DType, next: () => number): Ref {
  const { shape, values = 'any', layout = 'plain' } = input;
  let data = draw(ref.count(shape), values, dtype, next);
  if (dtype === 'f32') data = data.map(Math.fround);
  const drawn = { shape, data };
  if (layout !== 'expanded' || shape.length === 0) return drawn;
  return ref.build(shape, ([, ...rest]) => ref.at(drawn, [0, ...rest]));
}

/** A tensor of those values in the layout asked for. */
function place(host: Ref, layout: Input['layout'], dtype: DType): Tensor {
  const { shape, data } = host;
  const plain = (s: readonly number[], d: readonly number[]): Tensor =>
    tensor(Float64Array.from(d), { dtype, shape: s });
  if (layout === 'transposed') {
    const reversed = [...shape].reverse();
    const base = ref.build(reversed, (index) => ref.at(host, [...index].reverse()));
    return ops.transpose(plain(reversed, base.data));
  }
  if (layout === 'sliced') {
    const larger = shape.map((extent) => extent + 2);
    const base = ref.build(larger, (index) => {
      const inner = index.map((i) => i - 1);
      return inner.every((i, axis) => i >= 0 && i < shape[axis]) ? ref.at(host, inner) : 77;
    });
    return ops.slice(
      plain(larger, base.data),
      shape.map(() => 1),
      shape.map((extent) => extent + 1),
    );
  }
  if (layout === 'expanded') {
    const one = [1, ...shape.slice(1)];
    return ops.expand(plain(one, data.slice(0, ref.count(one))), shape);
  }
  return plain(shape, data);
}

const dtypeOf = (input: Input, under: DType): DType =>
  input.dtype === undefined || input.dtype === 'float' ? under : input.dtype;
const underTest = (input: Input): boolean => input.dtype === undefined || input.dtype === 'float';
const listOf = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

function differentiable(entry: Row, sample: readonly Input[]): number[] {
  if (entry.differentiable === false) return [];
  return (entry.differentiable ?? sample.map((_, i) => i)).filter((i) => i < sample.length && underTest(sample[i]));
}

function expectClose(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  relative: number,
  absolute = relative,
): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i]) || got[i] === want[i]) continue;
    const error = Math.abs(got[i] - want[i]);
    if (!(error <= absolute + relative * Math.abs(want[i]))) {
      expect.fail(`${what}: element ${i} of ${want.length}: expected ${want[i]}, got ${got[i]}`);
    }
  }
}

const seenOps = new Set<string>();
const seenNative = new Set<OpName>();
let buffers = 0;

beforeAll(() => {
  const on = device();
  buffers = on.memory().buffers;
  const enqueue = on.enqueue.bind(on);
  on.enqueue = (op, outputs, inputs, record) => {
    seenNative.add(op);
    // Where no gradient is wanted, elementwise ops come here without their `forward`.
    if (op === 'unary' || op === 'binary') seenOps.add(KINDS[op][record[0]]);
    enqueue(op, outputs, inputs, record);
  };
  for (const def of ops.opTable.values()) {
    const forward = def.forward.bind(def);
    Object.assign(def, {
      forward: (...args: Parameters<typeof forward>) => {
        seenOps.add(def.name);
        const flops = def.flops(...args);
        expect(Number.isFinite(flops) && flops >= 0, `flops of ${def.name}: ${flops}`).toBe(true);
        return forward(...args);
      },
    });
  }
});

afterAll(() => expect(device().memory().buffers).toBe(buffers));

describe('forward', () => {
  for (const entry of rows) {
    test(entry.name, () => {
      const next = random(1);
      for (const dtype of entry.dtypes ?? floats) {
        for (const sample of entry.samples) {
          tidy(() => {
            const hosts = sample.map((input) => hostOf(input, dtypeOf(input, dtype), next));
            const got = listOf(
              entry.run(hosts.map((host, i) => place(host, sample[i].layout, dtypeOf(sample[i], dtype)))),
            );
            const want = listOf(entry.reference(hosts));
            expect(got.length).toBe(want.length);
            got.forEach((out, i) => {
              expect(out.shape, `${dtype} shape`).toEqual(want[i].shape);
              const f32 = [dtype, out.dtype].includes('f32');
              const tolerance = f32 ? (entry.tolerance ?? 2e-5) : isFloat(out.dtype) ? 1e-11 : 0;
              expectClose(
                `${dtype} [${sample.map((s) => s.shape.join()).join('] [')}]`,
                out.dataSync(),
                want[i].data,
                tolerance,
              );
            });
          });
        }
      }
    });
  }
});

/** The row as a function of numbers: sum of its outputs weighted by fixed numbers. */
function weighted(outs: Tensor | Tensor[], next: () => number): Tensor {
  const parts = listOf(outs)
    .filter((out) => out.requiresGrad)
    .map((out) => ops.sum(ops.mul(out, tensor(Float64Array.from({ length: out.size }, next), { shape: out.shape }))));
  return parts.reduce((a, b) => ops.add(a, b));
}

function analytic(
  entry: Row,
  sample: readonly Input[],
  hosts: Ref[],
  by: number[],
  second: boolean,
): { value: number; grads: Float64Array[] } {
  return tidy(() => {
    const xs = hosts.map((host, i) => {
      const x = place(host, sample[i].layout, dtypeOf(sample[i], 'f64'));
      if (by.includes(i)) x.requiresGrad = true;
      return x;
    });
    const wanted = by.map((i) => xs[i]);
    const next = random(7);
    let value = weighted(entry.run(xs), next);
    if (second) {
      const firsts = gradients(value, wanted, { createGraph: true });
      const parts = firsts.filter((g): g is Tensor => g !== undefined && g.requiresGrad);
      if (parts.length === 0) return { value: 0, grads: by.map((i) => new Float64Array(ref.count(hosts[i].shape))) };
      value = weighted(parts.length === 1 ? parts[0] : parts, random(8));
    }
    const grads = gradients(value, wanted).map((g, i) =>
      Float64Array.from(g ? g.dataSync() : new Float64Array(wanted[i].size)),
    );
    return { value: value.itemSync(), grads };
  });
}

function checkGradient(entry: Row, second: boolean): void {
  const next = random(3);
  for (const sample of entry.samples) {
    const by = differentiable(entry, sample);
    const size = by.reduce((n, i) => n + ref.count(sample[i].shape), 0);
    if (size === 0) continue;
    const hosts = sample.map((input) => hostOf(input, dtypeOf(input, 'f64'), next));
    const { grads } = analytic(entry, sample, hosts, by, second);
    // A dozen elements of each input are enough for large ones.
    by.forEach((at, k) => {
      const n = hosts[at].data.length;
      const stride = Math.max(1, Math.floor(n / 12));
      for (let e = 0; e < n; e += stride) {
        // Elements that share memory move together; an expanded input is checked by its plain twin.
        const step = 1e-5;
        const moved = (delta: number): number => {
          const changed = hosts.map((host, i) =>
            i === at ? { shape: host.shape, data: host.data.map((v, j) => (j === e ? v + delta : v)) } : host,
          );
          const plain = sample.map((input, i) =>
            i === at && input.layout === 'expanded' ? { ...input, layout: 'plain' as const } : input,
          );
          return analytic(entry, plain, changed, by, second).value;
        };
        const numeric = (moved(step) - moved(-step)) / (2 * step);
        expectClose(
          `input ${at} [${sample[at].shape.join()}] ${sample[at].layout ?? ''}, element ${e}`,
          [grads[k][e]],
          [numeric],
          2e-5,
          2e-6,
        );
      }
    });
  }
}

const withGradient = rows.filter((entry) => (entry.dtypes ?? floats).includes('f64') && entry.differentiable !== false);

describe('gradient', () => {
  for (const entry of withGradient) test(entry.name, () => checkGradient(entry, false));
});

describe('second derivative', () => {
  for (const entry of withGradient) {
    test(entry.name, () =>
      checkGradient({ ...entry, samples: entry.samples.filter((s) => s.every((i) => ref.count(i.shape) < 40)) }, true),
    );
  }
});

describe('support matrix', () => {
  for (const entry of rows) {
    if (!entry.samples[0].some(underTest)) continue;
    const accepted = entry.dtypes ?? floats;
    test(`${entry.name}: ${accepted.join(' ')}`, () => {
      const next = random(5);
      for (const dtype of every) {
        const sample = entry.samples[0];
        tidy(() => {
          const xs = sample.map((input) => {
            const as = dtypeOf(input, dtype);
            return place(hostOf(input, as, next), input.layout, as);
          });
          if (accepted.includes(dtype)) entry.run(xs);
          // Division takes integers by casting them to f32.
          else if (dtype === 'i32' && /^(div|divide)\b/.test(entry.name))
            expect(listOf(entry.run(xs))[0].dtype).toBe('f32');
          else expect(() => entry.run(xs), dtype).toThrow(DTypeError);
        });
      }
    });
  }
});

describe('coverage', () => {
  /** Native ops that src/ops doesn't wrap, and the folders whose tests run them. */
  const elsewhere: Partial<Record<OpName, string>> = {
    sgdStep: 'optim',
    adamStep: 'optim',
    gradNorm: 'optim',
    clipGrads: 'optim',
    unitScore: 'plasticity',
    unitUtility: 'plasticity',
    gatherRows: 'data',
    // Of this folder, but without a reference to compare with: random.test.ts, gate.test.ts
    random: 'ops',
    permutation: 'ops',
    categorical: 'ops',
    gateStats: 'ops',
    arange: 'ops',
  };
  const unseenOps = ['random', 'permutation', 'categorical'];
  // Where rows are left out for want of a kernel (test/cuda/missing.ts), the CPU's run is the one that counts.
  const complete = (device() as AddonDevice).missing.length === 0;

  test.runIf(complete)('every op of the op table has a row', () => {
    expect([...ops.opTable.keys()].filter((name) => !seenOps.has(name) && !unseenOps.includes(name))).toEqual([]);
  });
  test.runIf(complete)('every native op has a row', () => {
    expect(OPS.filter((name) => !seenNative.has(name) && !(name in elsewhere))).toEqual([]);
  });
});
