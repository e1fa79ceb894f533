/**
 * Reading and adding by index. Indices are i32; one out of range is found by the kernel and thrown where a value is next read.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import {
  checkShape,
  describe,
  type DType,
  expectDType,
  MAX_RANK,
  normalizeAxis,
  type Tensor,
} from '../tensor/index.js';
import { clone, expectOptionDType, expectValue, full } from './create.js';
import { defineOp, enqueue, enqueueOne, expectOptions, expectTensor } from './define.js';

const numeric: readonly DType[] = ['f32', 'f64', 'i32'];
const indexType: readonly DType[] = ['i32'];

/** Checks that index and x agree in shape except along the axis. */
function expectAlong(op: string, x: Tensor, index: Tensor, axis: number): void {
  expectDType(op, index.dtype, indexType);
  if (index.rank !== x.rank || index.shape.some((extent, i) => i !== axis && extent !== x.shape[i])) {
    throw new ShapeError(
      `${op}: expected an index that agrees with ${describe(x.shape)} except along axis ${axis}, got ${describe(index.shape)}`,
    );
  }
}

function expectVector(op: string, index: Tensor): void {
  expectDType(op, index.dtype, indexType);
  if (index.rank !== 1)
    throw new ShapeError(`${op}: expected an index of one axis, got shape ${describe(index.shape)}`);
}

function expectSame(op: string, x: Tensor, source: Tensor, shape: readonly number[]): void {
  if (source.dtype !== x.dtype)
    throw new DTypeError(`${op}: expected a source of dtype ${x.dtype}, got ${source.dtype}`);
  if (describe(source.shape) !== describe(shape)) {
    throw new ShapeError(`${op}: expected a source of shape ${describe(shape)}, got ${describe(source.shape)}`);
  }
}

const gatherOp = defineOp<number>({
  name: 'gather',
  forward: ([x, index], axis) => {
    expectAlong('gather', x, index, axis);
    return [enqueueOne('gather', x.device, index.shape, x.dtype, [x.view('gather'), index.view('gather')], [axis])];
  },
  backward: ({ inputs: [, index], shapes, params: axis }, [g]) => [
    g && scatterAdd(full(shapes[0], 0, { dtype: g.dtype, device: g.device }), axis, index, g),
  ],
  saves: { inputs: [1] },
  flops: () => 0,
});

/** y[i..k..] = x[i..index[i..k..]..] along the axis; the result has the index's shape. */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  expectTensor('gather', x);
  return gatherOp([x, index], normalizeAxis('gather', axis, x.rank))[0];
}

const scatterAddOp = defineOp<number>({
  name: 'scatterAdd',
  forward: ([x, index, source], axis) => {
    expectDType('scatterAdd', x.dtype, numeric);
    expectAlong('scatterAdd', x, index, axis);
    expectSame('scatterAdd', x, source, index.shape);
    const out = clone(x);
    enqueue('scatterAdd', x.device, [], [index, source], [axis], [out]);
    return [out];
  },
  backward: ({ inputs: [, index], needs, params: axis }, [g]) => [
    g && needs[0] ? g : undefined,
    undefined,
    g && needs[2] ? gather(g, axis, index) : undefined,
  ],
  saves: { inputs: [1] },
  flops: ([, , source]) => source.size,
});

/** A copy of x with y[..index..] += source along the axis, in the order of the index. Dtypes: f32, f64, i32. */
export function scatterAdd(x: Tensor, axis: number, index: Tensor, source: Tensor): Tensor {
  expectTensor('scatterAdd', x);
  return scatterAddOp([x, index, source], normalizeAxis('scatterAdd', axis, x.rank))[0];
}

const indexSelectOp = defineOp<{ axis: number; fill: number }>({
  name: 'indexSelect',
  forward: ([x, index], { axis, fill }) => {
    expectVector('indexSelect', index);
    const shape = x.shape.map((extent, i) => (i === axis ? index.shape[0] : extent));
    const views = [x.view('indexSelect'), index.view('indexSelect')];
    return [enqueueOne('indexSelect', x.device, shape, x.dtype, views, [axis, fill])];
  },
  backward: ({ inputs: [, index], shapes, params: { axis } }, [g]) => [
    g && indexAdd(full(shapes[0], 0, { dtype: g.dtype, device: g.device }), index, g, axis),
  ],
  saves: { inputs: [1] },
  flops: () => 0,
});

/** Slices of x along the axis, in the order of the index [k]; -1 gives slices of `fill` (default 0). */
export function indexSelect(x: Tensor, index: Tensor, axis = 0, options: { fill?: number } = {}): Tensor {
  expectOptions('indexSelect', options);
  expectTensor('indexSelect', x);
  const fill = options.fill ?? 0;
  expectValue('indexSelect', fill, x.dtype);
  return indexSelectOp([x, index], { axis: normalizeAxis('indexSelect', axis, x.rank), fill })[0];
}

const indexAddOp = defineOp<number>({
  name: 'indexAdd',
  forward: ([x, index, source], axis) => {
    expectDType('indexAdd', x.dtype, numeric);
    expectVector('indexAdd', index);
    expectSame(
      'indexAdd',
      x,
      source,
      x.shape.map((extent, i) => (i === axis ? index.shape[0] : extent)),
    );
    const out = clone(x);
    enqueue('indexAdd', x.device, [], [index, source], [axis], [out]);
    return [out];
  },
  backward: ({ inputs: [, index], needs, params: axis }, [g]) => [
    g && needs[0] ? g : undefined,
    undefined,
    g && needs[2] ? indexSelect(g, index, axis) : undefined,
  ],
  saves: { inputs: [1] },
  flops: ([, , source]) => source.size,
});

/** A copy of x with the slices of `source` added at the places of the index [k] along the axis; -1 is skipped. */
export function indexAdd(x: Tensor, index: Tensor, source: Tensor, axis = 0): Tensor {
  expectTensor('indexAdd', x);
  return indexAddOp([x, index, source], normalizeAxis('indexAdd', axis, x.rank))[0];
}

const oneHotOp = defineOp<{ depth: number; on: number; off: number; dtype: DType }>({
  name: 'oneHot',
  forward: ([index], { depth, on, off, dtype }) => {
    expectDType('oneHot', index.dtype, indexType);
    const shape = [...index.shape, depth];
    checkShape('oneHot', shape);
    return [enqueueOne('oneHot', index.device, shape, dtype, [index.view('oneHot')], [on, off])];
  },
  backward: null,
  flops: () => 0,
});

/** `on` where the index points along a new last axis of extent `depth`, else `off`. Default dtype f32, 1 and 0. */
export function oneHot(
  index: Tensor,
  depth: number,
  options: { on?: number; off?: number; dtype?: DType } = {},
): Tensor {
  expectOptions('oneHot', options);
  expectTensor('oneHot', index);
  const { on = 1, off = 0, dtype = 'f32' } = options;
  if (!Number.isInteger(depth) || depth < 0) throw new ConfigError(`oneHot: expected a whole depth >= 0, got ${depth}`);
  if (index.rank === MAX_RANK)
    throw new ShapeError(`oneHot: expected fewer than ${MAX_RANK} axes, got ${describe(index.shape)}`);
  expectOptionDType('oneHot', dtype);
  expectValue('oneHot', on, dtype);
  expectValue('oneHot', off, dtype);
  return oneHotOp([index], { depth, on, off, dtype })[0];
}
