/**
 * Tensors from host data.
 */
import { type Device, device as deviceNamed, DTypeError, ShapeError, shown } from '../device/index.js';
import { type AnyHostArray, BYTES, type DType, DTYPES, expectDType, hostArray, isFloat } from './dtype.js';
import { checkShape, describe, type Shape, sizeOf } from './shape.js';
import { Storage } from './storage.js';
import { Tensor } from './tensor.js';

export interface TensorOptions {
  /** Default: f32 for numbers, bool for booleans, the array's own type for typed arrays. */
  dtype?: DType;
  /** A Device or name. Default: the default device. */
  device?: Device | string;
  /** Collect gradients in `grad`. Default false. */
  requiresGrad?: boolean;
}

/** Numbers or booleans, nested to any depth. */
export type Nested = number | boolean | readonly Nested[];

export function resolveDevice(device: Device | string | undefined): Device {
  return device === undefined || typeof device === 'string' ? deviceNamed(device) : device;
}

/** A tensor with undefined contents. */
export function empty(shape: Shape, options: TensorOptions = {}): Tensor {
  checkShape('empty', shape);
  const dtype = options.dtype ?? 'f32';
  expectDType('empty', dtype, DTYPES);
  const on = resolveDevice(options.device);
  const bytes = sizeOf(shape) * BYTES[dtype];
  const out = new Tensor(new Storage(on, on.allocate(bytes), bytes), dtype, [...shape]);
  if (options.requiresGrad) out.requiresGrad = true;
  return out;
}

function dtypeOf(data: NodeJS.TypedArray): DType {
  if (data instanceof Float32Array) return 'f32';
  if (data instanceof Float64Array) return 'f64';
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array) return 'u8';
  throw new DTypeError(
    `tensor: expected a Float32Array, Float64Array, Int32Array or Uint8Array, got ${data.constructor.name}`,
  );
}

function shapeOf(data: Nested): number[] {
  const shape: number[] = [];
  for (let level: Nested = data; Array.isArray(level); level = level[0] as Nested) {
    shape.push(level.length);
    if (level.length === 0) break;
  }
  return shape;
}

function flatten(data: Nested, shape: Shape, depth: number, into: AnyHostArray, from: number): number {
  if (depth === shape.length) {
    if (typeof data !== 'number' && typeof data !== 'boolean') {
      const what = Array.isArray(data) ? 'a deeper array' : shown(data);
      throw new ShapeError(`tensor: expected numbers nested as ${describe(shape)}, got ${what} at element ${from}`);
    }
    into[from] = Number(data);
    return from + 1;
  }
  if (!Array.isArray(data) || data.length !== shape[depth]) {
    const what = shown(data);
    throw new ShapeError(`tensor: expected arrays of ${shape[depth]} at depth ${depth}, got ${what}`);
  }
  for (const item of data) from = flatten(item as Nested, shape, depth + 1, into, from);
  return from;
}

/**
 * A tensor from a number, nested arrays or a typed array (copied).
 * @param data numbers or booleans nested evenly, or a Float32Array, Float64Array, Int32Array or Uint8Array
 * @param shape for typed arrays and flat lists: the shape; default [data.length]
 * @throws ShapeError when the arrays are ragged or don't fill the shape; DTypeError for other element types and unknown dtypes
 */
export function tensor(data: Nested | NodeJS.TypedArray, options: TensorOptions & { shape?: Shape } = {}): Tensor {
  let host: AnyHostArray;
  let shape: Shape;
  let dtype: DType;
  if (options.dtype !== undefined) expectDType('tensor', options.dtype, DTYPES);
  if (ArrayBuffer.isView(data)) {
    const typed = data;
    const from = dtypeOf(typed);
    dtype = options.dtype ?? from;
    shape = options.shape ?? [typed.length];
    const same = dtype === from || (dtype === 'bool' && from === 'u8');
    host = same && dtype !== 'bool' ? (typed as AnyHostArray) : hostArray(dtype, typed.length);
    if (host !== typed)
      for (let i = 0; i < typed.length; i++) host[i] = dtype === 'bool' ? +(typed[i] !== 0) : Number(typed[i]);
  } else {
    const nested = shapeOf(data);
    let first: Nested | undefined = data;
    while (Array.isArray(first)) first = first[0] as Nested | undefined;
    dtype = options.dtype ?? (typeof first === 'boolean' ? 'bool' : 'f32');
    checkShape('tensor', nested);
    host = hostArray(dtype, sizeOf(nested));
    flatten(data, nested, 0, host, 0);
    shape = options.shape ?? nested;
  }
  checkShape('tensor', shape);
  if (sizeOf(shape) !== host.length) {
    throw new ShapeError(`tensor: expected ${sizeOf(shape)} elements for shape ${describe(shape)}, got ${host.length}`);
  }
  if (options.requiresGrad && !isFloat(dtype)) {
    throw new DTypeError(`tensor: expected dtype f32 or f64 with requiresGrad, got ${dtype}`);
  }
  const out = empty(shape, { ...options, dtype });
  if (host.length > 0) out.device.write(out.storage.handle, 0, host);
  return out;
}
