/**
 * Tensors made on the device: constants, ranges, copies. Nothing is uploaded from the host, so all of these may be recorded
 * by a capture.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import {
  checkShape,
  DTYPE_CODE,
  type DType,
  DTYPES,
  isFloat,
  resolveDevice,
  type Shape,
  Tensor,
  type TensorOptions,
} from '../tensor/index.js';
import { defineOp, enqueue, enqueueOne, enqueueUnary, expectNumber, expectOptions, expectTensor } from './define.js';

const NO_INPUTS: readonly never[] = [];
const NO_RECORD: readonly never[] = [];

/** Throws DTypeError unless the value can be an element of the dtype. */
export function expectValue(op: string, value: number, dtype: DType): void {
  expectNumber(op, 'the value', value);
  if (!isFloat(dtype) && !Number.isInteger(value)) {
    throw new DTypeError(`${op}: expected a whole number for dtype ${dtype}, got ${value}`);
  }
  if (dtype === 'i32' && (value | 0) !== value)
    throw new DTypeError(`${op}: expected a number of 32 bits for dtype i32, got ${value}`);
  if (dtype === 'u8' && (value < 0 || value > 255))
    throw new DTypeError(`${op}: expected 0..255 for dtype u8, got ${value}`);
}

export function expectOptionDType(op: string, dtype: DType, allowed: readonly DType[] = DTYPES): void {
  if (!(dtype in DTYPE_CODE))
    throw new ConfigError(`${op}: expected dtype ${allowed.join(', ')}, got ${String(dtype)}`);
  if (!allowed.includes(dtype)) throw new DTypeError(`${op}: expected dtype ${allowed.join(' or ')}, got ${dtype}`);
}

function finish(out: Tensor, options: TensorOptions): Tensor {
  if (options.requiresGrad) out.requiresGrad = true;
  return out;
}

/**
 * A tensor filled with one value.
 * @throws ShapeError, DTypeError (a fraction for an integer dtype)
 */
export function full(shape: Shape, value: number | boolean, options: TensorOptions = {}): Tensor {
  expectOptions('full', options);
  checkShape('full', shape);
  const dtype = options.dtype ?? (typeof value === 'boolean' ? 'bool' : 'f32');
  expectOptionDType('full', dtype);
  const number = typeof value === 'boolean' ? Number(value) : value;
  expectValue('full', number, dtype);
  const device = resolveDevice(options.device);
  return finish(enqueueOne('fill', device, [...shape], dtype, NO_INPUTS, [number]), options);
}

/** A tensor of zeros. Default dtype f32. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  expectOptions('zeros', options);
  return full(shape, 0, options);
}

/** A tensor of ones. Default dtype f32. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  expectOptions('ones', options);
  return full(shape, 1, options);
}

/** A tensor of one value with the shape, dtype and device of another. */
export function fullLike(x: Tensor, value: number | boolean, options: TensorOptions = {}): Tensor {
  expectOptions('fullLike', options);
  expectTensor('fullLike', x);
  x.view('fullLike');
  return full(x.shape, value, { dtype: x.dtype, device: x.device, ...options });
}

export function zerosLike(x: Tensor, options: TensorOptions = {}): Tensor {
  expectOptions('zerosLike', options);
  return fullLike(x, 0, options);
}

export function onesLike(x: Tensor, options: TensorOptions = {}): Tensor {
  expectOptions('onesLike', options);
  return fullLike(x, 1, options);
}

const rangeTypes: readonly DType[] = ['f32', 'f64', 'i32'];

/**
 * Numbers from start (inclusive) to end (exclusive). arange(n) counts from 0. Default dtype f32.
 * @throws ConfigError when the step is 0 or a bound is not finite
 */
export function arange(start: number, end?: number, step = 1, options: TensorOptions = {}): Tensor {
  expectOptions('arange', options);
  const from = end === undefined ? 0 : start;
  const to = end === undefined ? start : end;
  if (!Number.isFinite(from) || !Number.isFinite(to) || !Number.isFinite(step) || step === 0) {
    throw new ConfigError(`arange: expected finite bounds and a step other than 0, got ${from}, ${to}, ${step}`);
  }
  const dtype = options.dtype ?? 'f32';
  expectOptionDType('arange', dtype, rangeTypes);
  if (dtype === 'i32') {
    expectValue('arange', from, dtype);
    expectValue('arange', step, dtype);
  }
  const shape = [Math.max(0, Math.ceil((to - from) / step))];
  checkShape('arange', shape);
  return finish(enqueueOne('arange', resolveDevice(options.device), shape, dtype, NO_INPUTS, [from, step]), options);
}

/** `count` numbers evenly spaced from start to stop, both included. */
export function linspace(start: number, stop: number, count: number, options: TensorOptions = {}): Tensor {
  expectOptions('linspace', options);
  if (!Number.isFinite(start) || !Number.isFinite(stop)) {
    throw new ConfigError(`linspace: expected finite bounds, got ${start}, ${stop}`);
  }
  const shape = [count];
  checkShape('linspace', shape);
  const dtype = options.dtype ?? 'f32';
  expectOptionDType('linspace', dtype, ['f32', 'f64']);
  const step = count > 1 ? (stop - start) / (count - 1) : 0;
  return finish(enqueueOne('arange', resolveDevice(options.device), shape, dtype, NO_INPUTS, [start, step]), options);
}

/** The identity matrix [rows, columns]; columns defaults to rows. */
export function eye(rows: number, columns = rows, options: TensorOptions = {}): Tensor {
  expectOptions('eye', options);
  const out = full([rows, columns], 0, { ...options, dtype: options.dtype ?? 'f32' });
  const n = Math.min(rows, columns);
  const diagonal = new Tensor(out.storage, out.dtype, [n], [columns + 1]);
  if (n > 0) enqueue('fill', out.device, NO_INPUTS, NO_INPUTS, [1], [diagonal]);
  diagonal.dispose();
  return out;
}

const cloneOp = defineOp<undefined>({
  name: 'clone',
  forward: ([x]) => [enqueueUnary('copy', x, x.dtype, NO_RECORD)],
  backward: (_, [g]) => [g],
  flops: () => 0,
});

/** A contiguous copy; gradients flow through. */
export function clone(x: Tensor): Tensor {
  return cloneOp([x], undefined)[0];
}

const castOp = defineOp<DType>({
  name: 'cast',
  forward: ([x], dtype) => [enqueueUnary('copy', x, dtype, NO_RECORD)],
  backward: ({ dtypes }, [g]) => [g && isFloat(dtypes[0]) ? cast(g, dtypes[0]) : undefined],
  flops: () => 0,
});

/** A copy of another element type. Float to integer truncates and saturates, NaN becomes 0; to bool: x != 0. */
export function cast(x: Tensor, dtype: DType): Tensor {
  expectTensor('cast', x);
  expectOptionDType('cast', dtype);
  return x.dtype === dtype ? clone(x) : castOp([x], dtype)[0];
}

/** A view for a scalar constant, stretched to a shape by strides of 0. Throws ShapeError as checkShape does. */
export function constant(value: number, shape: Shape, like: Tensor): Tensor {
  const one = enqueueOne('fill', like.device, [], like.dtype, NO_INPUTS, [value]);
  const out = new Tensor(one.storage, like.dtype, shape, new Array<number>(shape.length).fill(0));
  one.dispose();
  return out;
}

/** Throws ShapeError unless both have the same shape. */
export function expectShape(op: string, what: string, got: Shape, expected: Shape): void {
  if (got.length !== expected.length || got.some((extent, i) => extent !== expected[i])) {
    throw new ShapeError(`${op}: expected ${what} of shape [${expected.join(',')}], got [${got.join(',')}]`);
  }
}
