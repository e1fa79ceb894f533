/**
 * Reductions over axes. The kernel reduces trailing axes of any strided view, so other axes are brought there by a permuted view.
 */
import { DTypeError, KIND_CODE, type ReduceKind, ShapeError } from '../device/index.js';
import {
  describe,
  type DType,
  expectDType,
  MAX_RANK,
  normalizeAxes,
  normalizeAxis,
  type Shape,
  type Tensor,
} from '../tensor/index.js';
import { constant } from './create.js';
import { defineOp, enqueueOne, expectNumber, expectOptions, expectTensor } from './define.js';
import { concat } from './join.js';
import { expand, narrow, reshape, transpose, unsqueeze } from './movement.js';
import { div, equal, mul, sub } from './binary.js';
import { cast, fullLike } from './create.js';
import { mulScalar, sqrt, square } from './unary.js';
import { where } from './where.js';

export interface ReduceOptions {
  /** Leave the reduced axes with extent 1. Default false. */
  keepDims?: boolean;
}

interface ReduceParams {
  axes: readonly number[];
  keepDims: boolean;
  correction: number;
}

type Axes = number | readonly number[];

/** The shape with the axes at extent 1. */
function keptShape(shape: Shape, axes: readonly number[]): number[] {
  return shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
}

/** How many elements make one of the result. */
function countOf(shape: Shape, axes: readonly number[]): number {
  let n = 1;
  for (const axis of axes) n *= shape[axis];
  return n;
}

function run(kind: ReduceKind, x: Tensor, dtype: DType, { axes, keepDims, correction }: ReduceParams): Tensor {
  const kept: number[] = [];
  const shape: number[] = [];
  const strides: number[] = [];
  const put = (i: number): void => {
    shape.push(x.shape[i]);
    strides.push(x.strides[i]);
  };
  for (let i = 0; i < x.rank; i++) {
    if (axes.includes(i)) continue;
    kept.push(x.shape[i]);
    put(i);
  }
  for (const axis of axes) put(axis);
  let reduced = axes.length;
  if (reduced === 0) {
    if (x.rank === MAX_RANK) throw new ShapeError(`${kind}: expected at least one axis for rank ${MAX_RANK}, got none`);
    shape.push(1);
    strides.push(1);
    reduced = 1;
  }
  const view = { ...x.view(kind), shape, strides };
  const as = keepDims ? keptShape(x.shape, axes) : undefined;
  return enqueueOne('reduce', x.device, kept, dtype, [view], [KIND_CODE.reduce[kind], reduced, correction], as);
}

/** A gradient of the result's shape, stretched back over the reduced axes. */
function spread(g: Tensor, shape: Shape, axes: readonly number[]): Tensor {
  return expand(reshape(g, keptShape(shape, axes)), shape);
}

const numeric: readonly DType[] = ['f32', 'f64', 'i32'];
const floats: readonly DType[] = ['f32', 'f64'];

const sumOp = defineOp<ReduceParams>({
  name: 'sum',
  forward: ([x], params) => [run('sum', x, x.dtype, params)],
  backward: ({ shapes, params }, [g]) => [g && spread(g, shapes[0], params.axes)],
  flops: ([x]) => x.size,
});

const meanOp = defineOp<ReduceParams>({
  name: 'mean',
  forward: ([x], params) => [run('mean', x, x.dtype, params)],
  backward: ({ shapes, params }, [g]) => [
    g && spread(mulScalar(g, 1 / countOf(shapes[0], params.axes)), shapes[0], params.axes),
  ],
  flops: ([x]) => x.size,
});

function defineExtreme(kind: 'max' | 'min'): ReturnType<typeof defineOp<ReduceParams>> {
  return defineOp<ReduceParams>({
    name: kind,
    forward: ([x], params) => {
      if (countOf(x.shape, params.axes) === 0) {
        throw new ShapeError(`${kind}: expected at least one element to reduce, got shape ${describe(x.shape)}`);
      }
      return [run(kind, x, x.dtype, params)];
    },
    // Ties share the gradient evenly, so that it is the same for every order of the elements.
    backward: ({ inputs: [x], outputs: [y], params }, [g]) => {
      if (!g) return [undefined];
      const hits = cast(equal(x, spread(y, x.shape, params.axes)), x.dtype);
      const share = div(reshape(g, keptShape(x.shape, params.axes)), sum(hits, params.axes, { keepDims: true }));
      return [mul(hits, share)];
    },
    saves: { inputs: [0], outputs: [0] },
    flops: ([x]) => x.size,
  });
}
const maxOp = defineExtreme('max');
const minOp = defineExtreme('min');

/** Products of the elements before each along the last axis (or behind each), by doubling: exact where elements are 0. */
function exclusiveProduct(x: Tensor, backwards: boolean): Tensor {
  const last = x.rank - 1;
  const n = x.shape[last];
  const shift = (t: Tensor, by: number): Tensor => {
    const rest = narrow(t, last, backwards ? by : 0, n - by);
    const one = fullLike(narrow(t, last, 0, by), 1);
    return backwards ? concat([rest, one], last) : concat([one, rest], last);
  };
  let out = shift(x, 1);
  for (let by = 1; by < n; by *= 2) out = mul(out, shift(out, by));
  return out;
}

const prodOp = defineOp<ReduceParams>({
  name: 'prod',
  forward: ([x], params) => [run('prod', x, x.dtype, params)],
  // dy/dx_i is the product of all others; y / x_i would fail at zeros.
  backward: ({ inputs: [x], params: { axes } }, [g]) => {
    if (!g || x.size === 0) return [undefined];
    const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
    const order = [...kept, ...axes];
    const moved = transpose(x, order);
    const rows = reshape(moved, [-1, countOf(x.shape, axes)]);
    const others = mul(exclusiveProduct(rows, false), exclusiveProduct(rows, true));
    const inverse = order.map((_, i) => order.indexOf(i));
    return [mul(transpose(reshape(others, moved.shape), inverse), spread(g, x.shape, axes))];
  },
  saves: { inputs: [0] },
  flops: ([x]) => x.size,
});

const varianceOp = defineOp<ReduceParams>({
  name: 'variance',
  forward: ([x], params) => [run('variance', x, x.dtype, params)],
  backward: ({ inputs: [x], params: { axes, correction } }, [g]) => {
    if (!g) return [undefined];
    const scaled = mulScalar(g, 2 / (countOf(x.shape, axes) - correction));
    return [mul(sub(x, mean(x, axes, { keepDims: true })), spread(scaled, x.shape, axes))];
  },
  saves: { inputs: [0] },
  flops: ([x]) => 4 * x.size,
});

const normOp = defineOp<ReduceParams>({
  name: 'norm',
  forward: ([x], params) => {
    const squares = square(x);
    const total = run('sum', squares, x.dtype, params);
    const out = sqrt(total);
    squares.dispose();
    total.dispose();
    return [out];
  },
  // The norm has a corner at 0; its gradient there is taken as 0.
  backward: ({ inputs: [x], outputs: [y], params: { axes } }, [g]) => {
    if (!g) return [undefined];
    const scaled = where(equal(y, 0), constant(0, y.shape, y), div(g, y));
    return [mul(x, spread(scaled, x.shape, axes))];
  },
  saves: { inputs: [0], outputs: [0] },
  flops: ([x]) => 2 * x.size,
});

const anyOp = defineOp<ReduceParams>({
  name: 'any',
  forward: ([x], params) => [run('any', x, 'bool', params)],
  backward: null,
  flops: () => 0,
});
const allOp = defineOp<ReduceParams>({
  name: 'all',
  forward: ([x], params) => [run('all', x, 'bool', params)],
  backward: null,
  flops: () => 0,
});

function params(
  op: string,
  x: Tensor,
  axes: Axes | undefined,
  options: ReduceOptions,
  allowed: readonly DType[],
  correction = 0,
): ReduceParams {
  expectTensor(op, x);
  expectDType(op, x.dtype, allowed);
  return { axes: normalizeAxes(op, axes, x.rank), keepDims: options.keepDims ?? false, correction };
}

/** Sum over axes; default all. Dtypes: f32, f64, i32. The sum of nothing is 0. */
export function sum(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('sum', options);
  return sumOp([x], params('sum', x, axes, options, numeric))[0];
}

/** Mean over axes; default all. Dtypes: f32, f64. The mean of nothing is NaN. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('mean', options);
  return meanOp([x], params('mean', x, axes, options, floats))[0];
}

/** Largest element over axes; NaN is handed on; equal ones share the gradient. Throws ShapeError when there is nothing to reduce. */
export function max(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('max', options);
  return maxOp([x], params('max', x, axes, options, numeric))[0];
}

/** Smallest element over axes, as {@link max}. */
export function min(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('min', options);
  return minOp([x], params('min', x, axes, options, numeric))[0];
}

/** Product over axes; default all. The product of nothing is 1. */
export function prod(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('prod', options);
  return prodOp([x], params('prod', x, axes, options, numeric))[0];
}

/** Variance over axes, divided by n - correction (default 1, unbiased). */
export function variance(x: Tensor, axes?: Axes, options: ReduceOptions & { correction?: number } = {}): Tensor {
  expectOptions('variance', options);
  const correction = options.correction ?? 1;
  expectNumber('variance', 'correction', correction);
  return varianceOp([x], params('variance', x, axes, options, floats, correction))[0];
}

/** Standard deviation: the root of {@link variance}. */
export function std(x: Tensor, axes?: Axes, options: ReduceOptions & { correction?: number } = {}): Tensor {
  expectOptions('std', options);
  return sqrt(variance(x, axes, options));
}

/** Euclidean norm over axes; default all. Its gradient at 0 is 0. */
export function norm(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('norm', options);
  return normOp([x], params('norm', x, axes, options, floats))[0];
}

/** Whether any element over the axes is true. Dtype bool. */
export function any(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('any', options);
  return anyOp([x], params('any', x, axes, options, ['bool']))[0];
}

/** Whether all elements over the axes are true. Dtype bool. */
export function all(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  expectOptions('all', options);
  return allOp([x], params('all', x, axes, options, ['bool']))[0];
}

function defineArg(kind: 'argmax' | 'argmin'): (x: Tensor, axis?: number) => Tensor {
  const op = defineOp<number>({
    name: kind,
    forward: ([x], axis) => {
      const shape = x.shape.filter((_, i) => i !== axis);
      const strides = x.strides.filter((_, i) => i !== axis);
      const view = { ...x.view(kind), shape: [...shape, x.shape[axis]], strides: [...strides, x.strides[axis]] };
      return [enqueueOne('argReduce', x.device, shape, 'i32', [view], [KIND_CODE.arg[kind]])];
    },
    backward: null,
    flops: ([x]) => x.size,
  });
  return (x, axis) => {
    expectTensor(kind, x);
    if (!numeric.includes(x.dtype))
      throw new DTypeError(`${kind}: expected dtype ${numeric.join(' or ')}, got ${x.dtype}`);
    const from = axis === undefined ? reshape(x, [-1]) : x.rank === 0 ? unsqueeze(x, 0) : x;
    const at = normalizeAxis(kind, axis ?? 0, from.rank);
    if (from.shape[at] === 0)
      throw new ShapeError(`${kind}: expected at least one element to reduce, got shape ${describe(x.shape)}`);
    return op([from], at)[0];
  };
}

/** Place of the largest element along an axis, or in the flattened tensor: i32. The first of equals; NaN counts as largest. */
export const argmax = defineArg('argmax');
/** Place of the smallest element, as {@link argmax}. */
export const argmin = defineArg('argmin');
