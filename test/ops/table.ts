/**
 * The op table: every op with sample inputs, its reference in double precision, tolerance, dtypes and what can be differentiated.
 * table.test.ts runs it in modes: forward, gradient, second derivative, support matrix.
 */
import * as ops from '../../src/ops/index.js';
import type { DType, Tensor } from '../../src/tensor/index.js';
import * as ref from './reference.js';
import { type Ref } from './reference.js';

/** How the values of an input are drawn. `away`: not near 0, where functions have corners. `distinct`: no ties. */
export type Values = 'any' | 'positive' | 'away' | 'unit' | 'distinct' | 'int' | 'bool' | readonly number[];
/** How an input lies in memory. */
export type Layout = 'plain' | 'transposed' | 'sliced' | 'expanded';

export interface Input {
  shape: readonly number[];
  values?: Values;
  layout?: Layout;
  /** 'float': the dtype under test. */
  dtype?: 'float' | DType;
}

export interface Row {
  name: string;
  /** Each sample is one list of inputs. */
  samples: readonly (readonly Input[])[];
  run(xs: Tensor[]): Tensor | Tensor[];
  reference(xs: Ref[]): Ref | Ref[];
  /** Dtypes that inputs of dtype 'float' may have; all others must throw DTypeError. Default f32 and f64. */
  dtypes?: readonly DType[];
  /** Inputs with a gradient. Default: all 'float' ones. */
  differentiable?: readonly number[] | false;
  /** Relative and absolute tolerance for f32. Default 2e-5. */
  tolerance?: number;
}

export const floats: readonly DType[] = ['f32', 'f64'];
export const numeric: readonly DType[] = ['f32', 'f64', 'i32'];
export const every: readonly DType[] = ['f32', 'f64', 'i32', 'u8', 'bool'];

export const rows: Row[] = [];

export function row(entry: Row): void {
  rows.push(entry);
}

const i32 = (shape: readonly number[], values: readonly number[]): Input => ({ shape, values, dtype: 'i32' });

// ---- unary ----------------------------------------------------------------------------------------------

function shapesOf(values: Values): Input[][] {
  return [
    [{ shape: [3, 5], values }],
    [{ shape: [], values }],
    [{ shape: [0, 4], values }],
    [{ shape: [37], values }],
    [{ shape: [4, 3], values, layout: 'transposed' }],
    [{ shape: [3, 7], values, layout: 'sliced' }],
    [{ shape: [2, 3, 4], values, layout: 'expanded' }],
  ];
}

interface UnaryOptions {
  values?: Values;
  dtypes?: readonly DType[];
  differentiable?: false;
  tolerance?: number;
}

function unary(name: string, run: (x: Tensor) => Tensor, f: (x: number) => number, options: UnaryOptions = {}): void {
  const { values = 'any', ...rest } = options;
  row({ name, samples: shapesOf(values), run: ([x]) => run(x), reference: ([x]) => ref.map(x, f), ...rest });
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const phi = (x: number): number => 0.5 * (1 + ref.erf(x / Math.SQRT2));

unary('neg', ops.neg, (x) => -x, { dtypes: numeric });
unary('abs', ops.abs, Math.abs, { dtypes: numeric, values: 'away' });
unary('sign', ops.sign, Math.sign, { dtypes: numeric, values: 'away' });
unary('exp', ops.exp, Math.exp);
unary('expm1', ops.expm1, Math.expm1);
unary('log', ops.log, Math.log, { values: 'positive' });
unary('log1p', ops.log1p, Math.log1p, { values: 'positive' });
unary('sqrt', ops.sqrt, Math.sqrt, { values: 'positive' });
unary('rsqrt', ops.rsqrt, (x) => 1 / Math.sqrt(x), { values: 'positive' });
unary('square', ops.square, (x) => x * x, { dtypes: numeric });
unary('reciprocal', ops.reciprocal, (x) => 1 / x, { values: 'away' });
unary('sin', ops.sin, Math.sin);
unary('cos', ops.cos, Math.cos);
unary('tanh', ops.tanh, Math.tanh);
unary('sigmoid', ops.sigmoid, sigmoid);
unary('softplus', ops.softplus, (x) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0));
unary('relu', ops.relu, (x) => Math.max(x, 0), { dtypes: numeric, values: 'away' });
unary(
  'leakyRelu',
  (x) => ops.leakyRelu(x, 0.1),
  (x) => (x < 0 ? 0.1 * x : x),
  { values: 'away' },
);
unary(
  'elu',
  (x) => ops.elu(x, 1.3),
  (x) => (x < 0 ? 1.3 * Math.expm1(x) : x),
  { values: 'away' },
);
unary('gelu', ops.gelu, (x) => x * phi(x));
unary('silu', ops.silu, (x) => x * sigmoid(x));
unary('erf', ops.erf, ref.erf);
unary('floor', ops.floor, Math.floor, { differentiable: false });
unary('ceil', ops.ceil, Math.ceil, { differentiable: false });
unary('round', ops.round, ref.roundHalfEven, { differentiable: false });
unary(
  'clamp',
  (x) => ops.clamp(x, -1, 1),
  (x) => Math.min(Math.max(x, -1), 1),
  { dtypes: numeric },
);
unary(
  'add a number',
  (x) => ops.add(x, 2),
  (x) => x + 2,
  { dtypes: numeric },
);
unary(
  'subtract from a number',
  (x) => ops.sub(3, x),
  (x) => 3 - x,
  { dtypes: numeric },
);
unary(
  'subtract a number',
  (x) => ops.sub(x, 3),
  (x) => x - 3,
  { dtypes: numeric },
);
unary(
  'multiply by a number',
  (x) => ops.mul(-3, x),
  (x) => -3 * x,
  { dtypes: numeric },
);
unary(
  'divide by a number',
  (x) => ops.div(x, 3),
  (x) => x / 3,
);
unary(
  'divide by a power of two',
  (x) => ops.div(x, 8),
  (x) => x / 8,
);
unary(
  'divide a number',
  (x) => ops.div(2, x),
  (x) => 2 / x,
  { values: 'away' },
);
unary(
  'powScalar',
  (x) => ops.pow(x, 2.5),
  (x) => x ** 2.5,
  { values: 'positive' },
);
unary(
  'cube',
  (x) => ops.pow(x, 3),
  (x) => x ** 3,
  { values: 'away' },
);
unary(
  'power of a number',
  (x) => ops.pow(1.5, x),
  (x) => 1.5 ** x,
);
unary(
  'maximum with a number',
  (x) => ops.maximum(x, 0.3),
  (x) => Math.max(x, 0.3),
);
unary(
  'minimum with a number',
  (x) => ops.minimum(0.3, x),
  (x) => Math.min(x, 0.3),
);
unary(
  'compare with a number',
  (x) => ops.greater(x, 1),
  (x) => +(x > 1),
  { dtypes: every, differentiable: false },
);
unary('isNaN', ops.isNaN, (x) => +Number.isNaN(x), { differentiable: false });
unary('isFinite', ops.isFinite, (x) => +Number.isFinite(x), { differentiable: false });
unary('isInf', ops.isInf, (x) => +(Math.abs(x) === Infinity), { differentiable: false });
unary('logicalNot', ops.logicalNot, (x) => +!x, { dtypes: ['bool'], differentiable: false });
unary('clone', ops.clone, (x) => x, { dtypes: every });
unary('contiguous', ops.contiguous, (x) => x, { dtypes: every });
unary('identity', ops.identity, (x) => x, { dtypes: every });
unary(
  'cast to f64',
  (x) => ops.cast(x, 'f64'),
  (x) => x,
  { dtypes: every },
);
unary('cast to i32', (x) => ops.cast(x, 'i32'), Math.trunc, { dtypes: every, differentiable: false });
unary(
  'cast to bool',
  (x) => ops.cast(x, 'bool'),
  (x) => +(x !== 0),
  { dtypes: every, differentiable: false },
);
unary(
  'dropout outside training',
  (x) => ops.dropout(x, 0.5, { training: false }),
  (x) => x,
);
unary(
  'gate',
  (x) =>
    ops
      .gate(ops.reshape(x, [-1, 1]), { active: false, labels: undefined, stats: undefined, scale: 1 })
      .reshape(x.shape),
  (x) => x,
);

// ---- binary ---------------------------------------------------------------------------------------------

function pairs(values: Values, dtype: 'float' | DType = 'float'): Input[][] {
  const of = (shape: number[], layout: Layout = 'plain'): Input => ({ shape, values, layout, dtype });
  return [
    [of([3, 5]), of([3, 5])],
    [of([3, 5]), of([5])],
    [of([4, 1]), of([1, 3])],
    [of([2, 3]), of([])],
    [of([]), of([])],
    [of([0, 3]), of([1, 3])],
    [of([4, 3], 'transposed'), of([4, 3], 'sliced')],
    [of([3, 2, 5], 'expanded'), of([2, 5], 'transposed')],
    [of([33]), of([33], 'sliced')],
  ];
}

function binary(
  name: string,
  run: (a: Tensor, b: Tensor) => Tensor,
  f: (a: number, b: number) => number,
  options: UnaryOptions = {},
): void {
  const { values = 'any', ...rest } = options;
  row({ name, samples: pairs(values), run: ([a, b]) => run(a, b), reference: ([a, b]) => ref.zip(f, a, b), ...rest });
}

const compared = { dtypes: every, differentiable: false, values: 'int' } as const;
const boolean = { dtypes: ['bool'], differentiable: false } as const;

binary('add', ops.add, (a, b) => a + b, { dtypes: numeric });
binary('sub', ops.sub, (a, b) => a - b, { dtypes: numeric });
binary('mul', ops.mul, (a, b) => a * b, { dtypes: numeric });
binary('div', ops.div, (a, b) => a / b, { values: 'away' });
binary('pow', ops.pow, (a, b) => a ** b, { values: 'positive', tolerance: 5e-5 });
binary('maximum', ops.maximum, Math.max, { dtypes: numeric });
binary('minimum', ops.minimum, Math.min, { dtypes: numeric });
binary('equal', ops.equal, (a, b) => +(a === b), compared);
binary('notEqual', ops.notEqual, (a, b) => +(a !== b), compared);
binary('less', ops.less, (a, b) => +(a < b), compared);
binary('lessEqual', ops.lessEqual, (a, b) => +(a <= b), compared);
binary('greater', ops.greater, (a, b) => +(a > b), compared);
binary('greaterEqual', ops.greaterEqual, (a, b) => +(a >= b), compared);
binary('logicalAnd', ops.logicalAnd, (a, b) => +(a && b), boolean);
binary('logicalOr', ops.logicalOr, (a, b) => +(a || b), boolean);
binary('logicalXor', ops.logicalXor, (a, b) => +(a !== b), boolean);
binary('reluGrad', ops.reluGrad, (g, y) => (y > 0 ? g : 0), { values: 'away' });
binary('tanhGrad', ops.tanhGrad, (g, y) => g * (1 - y * y), { values: 'unit' });
binary('sigmoidGrad', ops.sigmoidGrad, (g, y) => g * y * (1 - y), { values: 'unit' });
const density = (x: number): number => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
binary('geluGrad', ops.geluGrad, (g, x) => g * (phi(x) + x * density(x)));
binary('siluGrad', ops.siluGrad, (g, x) => g * sigmoid(x) * (1 + x * (1 - sigmoid(x))));

const chosen = (shape: number[], layout: Layout = 'plain'): Input => ({ shape, layout });
const condition = (shape: number[]): Input => ({ shape, values: 'bool', dtype: 'bool' });
row({
  name: 'where',
  samples: [
    [condition([3, 4]), chosen([3, 4]), chosen([3, 4], 'transposed')],
    [condition([3, 1]), chosen([4]), chosen([])],
    [condition([]), chosen([2, 3], 'sliced'), chosen([2, 3])],
    [condition([0]), chosen([0]), chosen([1])],
  ],
  run: ([c, a, b]) => ops.where(c, a, b),
  reference: ([c, a, b]) => ref.zip((x, y, z) => (x ? y : z), c, a, b),
  dtypes: every,
});
row({
  name: 'where with a number',
  samples: [[condition([3, 4]), chosen([3, 4])]],
  run: ([c, a]) => ops.where(c, a, 1),
  reference: ([c, a]) => ref.zip((x, y) => (x ? y : 1), c, a),
  dtypes: every,
});

// ---- reductions -----------------------------------------------------------------------------------------

type Reduced = (x: Tensor, axes?: number | number[], options?: ops.ReduceOptions) => Tensor;

function reduction(
  name: string,
  run: Reduced,
  f: (values: number[]) => number,
  options: UnaryOptions & { least?: number } = {},
): void {
  const { values = 'any', least = 0, ...rest } = options;
  const cases: [string, number[], number[] | undefined, boolean, Layout][] = [
    ['all', [3, 5], undefined, false, 'plain'],
    ['last', [3, 5], [1], false, 'plain'],
    ['first, kept', [4, 3], [0], true, 'plain'],
    ['middle', [2, 3, 4], [1], false, 'plain'],
    ['ends', [2, 5, 3], [0, -1], true, 'plain'],
    ['transposed', [5, 4], [0], false, 'transposed'],
    ['sliced', [4, 9], [1], true, 'sliced'],
    ['expanded', [3, 2, 4], [0, 2], false, 'expanded'],
    ['a scalar', [], undefined, false, 'plain'],
    ['no axis', [2, 3], [], false, 'plain'],
    ['long', [2, 301], [1], false, 'plain'],
    ['nothing', [3, 0], [1], false, 'plain'],
    ['none of nothing', [0, 3], [1], false, 'plain'],
  ];
  for (const [label, shape, axes, keepDims, layout] of cases) {
    // Over a stretched axis all are ties, which finite differences can't tell.
    const extreme = label === 'expanded' && values === 'distinct';
    const over = extreme ? [2] : axes;
    const all = over ?? shape.map((_, i) => i);
    const list = all.map((axis) => (axis + shape.length) % Math.max(1, shape.length));
    const n = list.reduce((total, axis) => total * shape[axis], 1);
    if (n < least) continue;
    if (label === 'long' && name === 'prod') continue;
    row({
      name: `${name} over ${label}`,
      samples: [[{ shape, values, layout }]],
      run: ([x]) => run(x, over, { keepDims }),
      reference: ([x]) => ref.reduce(x, list, keepDims, f),
      tolerance: 5e-5,
      ...rest,
    });
  }
}

const total = (values: number[]): number => values.reduce((sum, v) => sum + v, 0);
reduction('sum', ops.sum, total, { dtypes: numeric });
reduction('mean', ops.mean, (v) => total(v) / v.length);
reduction('max', ops.max, (v) => Math.max(...v), { dtypes: numeric, values: 'distinct', least: 1 });
reduction('min', ops.min, (v) => Math.min(...v), { dtypes: numeric, values: 'distinct', least: 1 });
reduction('prod', ops.prod, (v) => v.reduce((p, x) => p * x, 1), { dtypes: numeric });
reduction('variance', ops.variance, (v) => ref.variance(v, 1), { least: 2 });
reduction(
  'population variance',
  (x, axes, o) => ops.variance(x, axes, { ...o, correction: 0 }),
  (v) => ref.variance(v, 0),
  { least: 1 },
);
reduction('std', ops.std, (v) => Math.sqrt(ref.variance(v, 1)), { least: 2 });
reduction('norm', ops.norm, (v) => Math.sqrt(total(v.map((x) => x * x))), { least: 1, values: 'away' });
reduction('any', ops.any, (v) => +v.some(Boolean), { dtypes: ['bool'], differentiable: false });
reduction('all', ops.all, (v) => +v.every(Boolean), { dtypes: ['bool'], differentiable: false });

row({
  name: 'prod with zeros',
  dtypes: numeric,
  samples: [[{ shape: [2, 4], values: [1, 0, 3, 4, 0, 2, 0, 5] }], [{ shape: [3], values: [2, 0, -1] }]],
  run: ([x]) => ops.prod(x, -1),
  reference: ([x]) => ref.reduce(x, [x.shape.length - 1], false, (v) => v.reduce((p, y) => p * y, 1)),
});

for (const [name, run, best] of [
  ['argmax', ops.argmax, (v: number[]) => v.indexOf(Math.max(...v))],
  ['argmin', ops.argmin, (v: number[]) => v.indexOf(Math.min(...v))],
] as const) {
  const arg = { dtypes: numeric, differentiable: false } as const;
  for (const [shape, axis, layout] of [
    [[3, 7], 1, 'plain'],
    [[4, 3], 0, 'transposed'],
    [[2, 3, 4], -2, 'sliced'],
    [[19], 0, 'plain'],
  ] as const) {
    const at = (axis + shape.length) % shape.length;
    row({
      name: `${name} of [${shape.join()}] along ${axis}`,
      samples: [[{ shape, layout, values: 'int' }]],
      run: ([x]) => run(x, axis),
      reference: ([x]) => ref.reduce(x, [at], false, best),
      ...arg,
    });
  }
  row({
    name,
    samples: [[{ shape: [3, 5] }], [{ shape: [] }]],
    run: ([x]) => run(x),
    reference: ([x]) => ({ shape: [], data: [best([...x.data])] }),
    ...arg,
  });
}

export { i32, sigmoid };
