/**
 * Views: reshape, transpose, slice, expand and what is made of them. They copy nothing; only reshape of a layout that can't be
 * seen in the new shape does.
 */
import { ConfigError, ShapeError } from '../device/index.js';
import {
  broadcastStrides,
  checkShape,
  describe,
  MAX_RANK,
  normalizeAxis,
  sameShape,
  type Shape,
  sizeOf,
  stridesOf,
  Tensor,
  isList,
} from '../tensor/index.js';
import { sumTo } from './broadcast.js';
import { clone } from './create.js';
import { defineOp, expectTensor } from './define.js';
import { padStarts } from './join.js';

/** Strides of the same elements seen in another shape of equal size, or undefined when only a copy has it. */
export function viewStrides(shape: Shape, strides: readonly number[], to: Shape): number[] | undefined {
  if (sizeOf(to) === 0 || shape.length === 0) return stridesOf(to);
  const out = new Array<number>(to.length);
  let at = to.length - 1;
  let step = strides[shape.length - 1];
  let block = 1;
  // Blocks of axes that lie behind each other in memory, from the innermost outwards; new axes have to tile each of them.
  for (let i = shape.length - 1; i >= 0; i--) {
    block *= shape[i];
    if (i > 0 && (shape[i - 1] === 1 || strides[i - 1] === block * step)) continue;
    let covered = 1;
    while (at >= 0 && (covered < block || to[at] === 1)) {
      out[at] = covered * step;
      covered *= to[at--];
    }
    if (covered !== block) return undefined;
    if (i > 0) step = strides[i - 1];
    block = 1;
  }
  return at < 0 ? out : undefined;
}

/** A tensor of another layout on the same elements, outside the graph. */
export function viewOf(x: Tensor, shape: Shape, strides: readonly number[], offset = x.offset): Tensor {
  return new Tensor(x.storage, x.dtype, shape, strides, offset);
}

const reshapeOp = defineOp<Shape>({
  name: 'reshape',
  forward: ([x], shape) => {
    const strides = viewStrides(x.shape, x.strides, shape);
    if (strides) return [viewOf(x, shape, strides)];
    const copy = clone(x);
    const out = viewOf(copy, shape, stridesOf(shape));
    copy.dispose();
    return [out];
  },
  backward: ({ shapes }, [g]) => [g && reshape(g, shapes[0])],
  flops: () => 0,
});

/**
 * The same elements in another shape; one extent may be -1. A view where the layout allows it.
 * @throws ShapeError when the sizes differ
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  expectTensor('reshape', x);
  if (!isList(shape)) throw new ShapeError(`reshape: expected a shape (an array of numbers), got ${String(shape)}`);
  const free = shape.indexOf(-1);
  const to = [...shape] as number[];
  if (free >= 0) {
    to[free] = 1;
    const rest = sizeOf(to);
    to[free] = rest === 0 ? 0 : x.size / rest;
    if (!Number.isInteger(to[free])) {
      throw new ShapeError(
        `reshape: expected ${describe(shape)} to fit the ${x.size} elements of ${describe(x.shape)}`,
      );
    }
  }
  checkShape('reshape', to);
  if (sizeOf(to) !== x.size) {
    throw new ShapeError(
      `reshape: expected a shape of ${x.size} elements as ${describe(x.shape)} has, got ${describe(shape)}`,
    );
  }
  return reshapeOp([x], to)[0];
}

/** All axes from `startAxis` on become one. */
export function flatten(x: Tensor, startAxis = 0): Tensor {
  expectTensor('flatten', x);
  if (x.rank === 0) return reshape(x, [1]);
  const start = normalizeAxis('flatten', startAxis, x.rank);
  return reshape(x, [...x.shape.slice(0, start), sizeOf(x.shape.slice(start))]);
}

/** A contiguous tensor of the same elements: a view where it is contiguous already, else a copy. */
export function contiguous(x: Tensor): Tensor {
  expectTensor('contiguous', x);
  return x.contiguous ? reshape(x, x.shape) : clone(x);
}

const transposeOp = defineOp<readonly number[]>({
  name: 'transpose',
  forward: ([x], axes) => [
    viewOf(
      x,
      axes.map((a) => x.shape[a]),
      axes.map((a) => x.strides[a]),
    ),
  ],
  backward: ({ params }, [g]) => {
    const inverse = new Array<number>(params.length);
    params.forEach((axis, i) => (inverse[axis] = i));
    return [g && transpose(g, inverse)];
  },
  flops: () => 0,
});

/** Axes in another order; default reversed. A view. */
export function transpose(x: Tensor, axes?: readonly number[]): Tensor {
  expectTensor('transpose', x);
  if (axes !== undefined && !isList(axes)) throw new ShapeError('transpose: expected a list of axes');
  const order = axes
    ? [...axes].map((a) => normalizeAxis('transpose', a, x.rank))
    : x.shape.map((_, i) => x.rank - 1 - i);
  if (order.length !== x.rank || new Set(order).size !== x.rank) {
    throw new ShapeError(`transpose: expected each of the ${x.rank} axes once, got ${describe(axes ?? [])}`);
  }
  return transposeOp([x], order)[0];
}

/** Two axes swapped. A view. */
export function swapAxes(x: Tensor, a: number, b: number): Tensor {
  expectTensor('swapAxes', x);
  const order = x.shape.map((_, i) => i);
  const i = normalizeAxis('swapAxes', a, x.rank);
  const j = normalizeAxis('swapAxes', b, x.rank);
  order[i] = j;
  order[j] = i;
  return transposeOp([x], order)[0];
}

/** Without axes of extent 1: the given one, or all. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  expectTensor('squeeze', x);
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((extent) => extent !== 1),
    );
  const at = normalizeAxis('squeeze', axis, x.rank);
  if (x.shape[at] !== 1)
    throw new ShapeError(`squeeze: expected extent 1 at axis ${axis}, got shape ${describe(x.shape)}`);
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  );
}

/** With a new axis of extent 1 before `axis` (-1: at the end). */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  expectTensor('unsqueeze', x);
  const at = normalizeAxis('unsqueeze', axis, x.rank + 1);
  if (x.rank === MAX_RANK)
    throw new ShapeError(`unsqueeze: expected fewer than ${MAX_RANK} axes, got ${describe(x.shape)}`);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

const expandOp = defineOp<Shape>({
  name: 'expand',
  forward: ([x], shape) => [viewOf(x, shape, broadcastStrides(x.shape, x.strides, shape))],
  backward: ({ shapes }, [g]) => [g && sumTo(g, shapes[0])],
  flops: () => 0,
});

/** Stretched to a shape by numpy's rule, without a copy. Throws ShapeError. */
export function expand(x: Tensor, shape: Shape): Tensor {
  expectTensor('expand', x);
  checkShape('expand', shape);
  const lead = shape.length - x.rank;
  if (lead < 0 || x.shape.some((extent, i) => extent !== 1 && extent !== shape[i + lead])) {
    throw new ShapeError(
      `expand: expected a shape that ${describe(x.shape)} can be stretched to, got ${describe(shape)}`,
    );
  }
  return expandOp([x], [...shape])[0];
}

interface SliceParams {
  starts: readonly number[];
  shape: Shape;
}

const sliceOp = defineOp<SliceParams>({
  name: 'slice',
  forward: ([x], { starts, shape }) => {
    let offset = x.offset;
    if (sizeOf(shape) > 0) for (let i = 0; i < starts.length; i++) offset += starts[i] * x.strides[i];
    return [viewOf(x, shape, x.strides, offset)];
  },
  backward: ({ params, shapes }, [g]) => [g && padStarts(g, params.starts, shapes[0])],
  flops: () => 0,
});

/** The elements starts[i] <= index < ends[i] of each axis; negative numbers count from the end. Missing ends: to the end. A view. */
export function slice(x: Tensor, starts: readonly number[], ends?: readonly number[]): Tensor {
  expectTensor('slice', x);
  if (!isList(starts) || (ends !== undefined && !isList(ends))) {
    throw new ConfigError('slice: expected arrays of starts and ends');
  }
  if (starts.length > x.rank || (ends?.length ?? 0) > x.rank) {
    throw new ShapeError(
      `slice: expected at most ${x.rank} starts and ends, got ${starts.length} and ${ends?.length ?? 0}`,
    );
  }
  const from = x.shape.map((extent, i) => place(starts[i] ?? 0, extent));
  const shape = x.shape.map((extent, i) => place(ends?.[i] ?? extent, extent) - from[i]);
  if (
    shape.some(
      (extent, i) => !(extent >= 0 && from[i] >= 0 && from[i] + extent <= x.shape[i] && Number.isInteger(extent)),
    )
  ) {
    const range = `[${starts.join(',')}]..[${(ends ?? x.shape).join(',')}]`;
    throw new ShapeError(`slice: expected bounds within shape ${describe(x.shape)}, got ${range}`);
  }
  return sliceOp([x], { starts: from, shape })[0];
}

function place(at: number, extent: number): number {
  return at < 0 ? at + extent : at;
}

/** `length` elements from `start` on along one axis. A view. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  expectTensor('narrow', x);
  const at = normalizeAxis('narrow', axis, x.rank);
  if (
    !Number.isInteger(start) ||
    !Number.isInteger(length) ||
    start < 0 ||
    length < 0 ||
    start + length > x.shape[at]
  ) {
    throw new ShapeError(`narrow: expected a range within 0..${x.shape[at]}, got ${start}..${start + length}`);
  }
  const starts = x.shape.map((_, i) => (i === at ? start : 0));
  return sliceOp([x], { starts, shape: x.shape.map((extent, i) => (i === at ? length : extent)) })[0];
}

/** Parts along an axis: of equal extent, or of the given extents. Views. Throws ShapeError when they don't fill the axis. */
export function split(x: Tensor, parts: number | readonly number[], axis = 0): Tensor[] {
  expectTensor('split', x);
  const at = normalizeAxis('split', axis, x.rank);
  const extent = x.shape[at];
  const sizes = typeof parts === 'number' ? new Array<number>(validCount(parts, extent)).fill(extent / parts) : parts;
  if (
    !isList(sizes) ||
    sizes.reduce((sum, n) => sum + n, 0) !== extent ||
    sizes.some((n) => !Number.isInteger(n) || n < 0)
  ) {
    throw new ShapeError(`split: expected parts that fill the ${extent} of axis ${axis}, got ${String(parts)}`);
  }
  let start = 0;
  return sizes.map((size) => {
    const part = narrow(x, at, start, size);
    start += size;
    return part;
  });
}

function validCount(parts: number, extent: number): number {
  if (!Number.isInteger(parts) || parts < 1 || extent % parts !== 0) {
    throw new ShapeError(`split: expected a number of parts that divides ${extent}, got ${parts}`);
  }
  return parts;
}

/** x when it has the shape already (no new tensor), else x stretched to it. For operands of kernels. */
export function stretched(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : viewOf(x, shape, broadcastStrides(x.shape, x.strides, shape));
}
