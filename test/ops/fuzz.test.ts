/**
 * Random ops with random, often wrong, arguments: either a tensor of the shape that was promised, with its elements readable, or a
 * GyrusError. Never a crash, never another kind of exception, never a leak.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import '../../src/autograd/index.js';
import { device, GyrusError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { type DType, DTYPES, tensor, Tensor, tidy } from '../../src/tensor/index.js';

interface Spec {
  shape: number[];
  dtype: DType;
  layout: 'plain' | 'transposed' | 'expanded' | 'sliced';
  grad: boolean;
  disposed: boolean;
}

const spec: fc.Arbitrary<Spec> = fc.record({
  shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
  dtype: fc.oneof(
    { weight: 6, arbitrary: fc.constant<DType>('f32') },
    { weight: 3, arbitrary: fc.constantFrom(...DTYPES) },
  ),
  layout: fc.constantFrom('plain', 'transposed', 'expanded', 'sliced'),
  grad: fc.boolean(),
  disposed: fc.integer({ min: 0, max: 30 }).map((n) => n === 0),
});

function make({ shape, dtype, layout, grad, disposed }: Spec): Tensor {
  const size = shape.reduce((n, extent) => n * extent, 1);
  let out = tensor(
    Float64Array.from({ length: size }, (_, i) => (dtype === 'bool' ? i % 2 : i % 5)),
    { shape, dtype },
  );
  if (layout === 'transposed') out = ops.transpose(out);
  if (layout === 'expanded' && shape.length < 4) out = ops.expand(out, [2, ...shape]);
  if (layout === 'sliced')
    out = ops.slice(
      out,
      shape.map((extent) => Math.min(1, extent)),
    );
  if (grad && (dtype === 'f32' || dtype === 'f64')) out.requiresGrad = true;
  if (disposed) out.dispose();
  return out;
}

const number = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: -3, max: 5 }) },
  fc.constantFrom(NaN, Infinity, -Infinity, 0.5, -1.5, 2 ** 31, -(2 ** 40), 1e300),
);
const numbers = fc.array(number, { maxLength: 4 });
const junk = fc.constantFrom<unknown>(undefined, null, 'x', {}, [], true, () => 1);

/** One argument: mostly what the op may take, sometimes anything. */
const argument: fc.Arbitrary<{ tensor?: Spec; value?: unknown; list?: Spec[] }> = fc.oneof(
  { weight: 6, arbitrary: spec.map((s) => ({ tensor: s })) },
  { weight: 4, arbitrary: number.map((value) => ({ value: value })) },
  { weight: 3, arbitrary: numbers.map((value) => ({ value: value })) },
  { weight: 1, arbitrary: fc.array(spec, { maxLength: 3 }).map((list) => ({ list })) },
  {
    weight: 1,
    arbitrary: fc.array(fc.array(number, { maxLength: 3 }), { maxLength: 3 }).map((value) => ({ value: value })),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom<unknown>('f32', 'i32', 'bool', { keepDims: true }, { training: true })
      .map((value) => ({ value })),
  },
  { weight: 1, arbitrary: junk.map((value) => ({ value })) },
);

/** What src/ops exports, but for what isn't an op. */
const table: Record<string, (...args: never[]) => unknown> = {};
for (const [name, op] of Object.entries(ops)) {
  const internal = [
    'defineOp',
    'enqueue',
    'enqueueOne',
    'enqueueLike',
    'isPlain',
    'enqueueUnary',
    'expectTensor',
    'expectNumber',
    'expectOptions',
    'setEngine',
    'Generator',
  ];
  const notTensors = ['sumTo', 'scalarLike', 'defaultGenerator', 'manualSeed'];
  if (typeof op === 'function' && !internal.includes(name) && !notTensors.includes(name)) table[name] = op as never;
}

function results(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  return Array.isArray(value) ? value.flatMap(results) : [];
}

function attempt(name: string, args: { tensor?: Spec; value?: unknown; list?: Spec[] }[]): void {
  try {
    tidy(() => {
      const made = args.map((arg) => (arg.tensor ? make(arg.tensor) : arg.list ? arg.list.map(make) : arg.value));
      const outs = results(table[name](...(made as never[])));
      if (name !== 'split') expect(outs.length).toBeGreaterThan(0);
      for (const out of outs) {
        const data = out.dataSync();
        expect(data.length).toBe(out.shape.reduce((n, extent) => n * extent, 1));
        if (out.requiresGrad && !out.isLeaf && !(name === 'split')) ops.sum(out).backward();
      }
      for (const x of made) if (x instanceof Tensor) x.grad?.dispose();
    });
  } catch (error) {
    if (!(error instanceof GyrusError)) throw error;
    expect(error.message).toMatch(/: /);
  }
  // A sticky error of a kernel belongs to this call, not to the next one.
  try {
    device().sync();
  } catch (error) {
    if (!(error instanceof GyrusError)) throw error;
  }
}

/** By how an op is called, so that most calls get past the first check. */
const firstIsTensor = fc
  .tuple(
    spec.map((s) => ({ tensor: s })),
    fc.array(argument, { maxLength: 4 }),
  )
  .map(([x, rest]) => [x, ...rest]);

test('any op with any arguments', () => {
  const before = device().memory().buffers;
  // The default generator is made once and stays.
  ops.defaultGenerator();
  const extra = device().memory().buffers - before;
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(table)),
      fc.oneof({ weight: 5, arbitrary: firstIsTensor }, fc.array(argument, { maxLength: 5 })),
      attempt,
    ),
    { numRuns: 4000, seed: Number(process.env.GYRUS_FUZZ_SEED ?? 1) },
  );
  expect(device().memory().buffers).toBeLessThanOrEqual(before + extra);
});

test('elementwise ops with tensors only: the shape follows the rule of broadcasting', () => {
  fc.assert(
    fc.property(fc.constantFrom('add', 'mul', 'maximum', 'less', 'div'), spec, spec, (name, a, b) => {
      tidy(() => {
        const [x, y] = [make({ ...a, disposed: false }), make({ ...b, dtype: a.dtype, disposed: false })];
        const rank = Math.max(x.rank, y.rank);
        const extents = Array.from({ length: rank }, (_, i) => [
          x.shape[x.rank - rank + i] ?? 1,
          y.shape[y.rank - rank + i] ?? 1,
        ]);
        const fits = extents.every(([p, q]) => p === q || p === 1 || q === 1);
        try {
          const out = (ops as unknown as Record<string, typeof ops.add>)[name](x, y);
          expect(fits).toBe(true);
          expect(out.shape).toEqual(extents.map(([p, q]) => (p === 1 ? q : p)));
        } catch (error) {
          if (!(error instanceof GyrusError)) throw error;
          expect(!fits || error.code === 'DTYPE', error.message).toBe(true);
        }
      });
    }),
    { numRuns: 1000, seed: 2 },
  );
});
