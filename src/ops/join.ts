/**
 * Tensors put together: pad, concat, stack. A fresh tensor whose parts are filled by strided copies.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import {
  checkShape,
  describe,
  empty,
  MAX_RANK,
  normalizeAxis,
  type Shape,
  type Tensor,
  isList,
} from '../tensor/index.js';
import { expectValue, full } from './create.js';
import { defineOp, enqueue, expectTensor } from './define.js';
import { narrow, slice, unsqueeze, viewOf } from './movement.js';

/** Copies x into the part of `out` that begins at `starts`. */
function copyInto(out: Tensor, starts: readonly number[], x: Tensor): void {
  if (x.size === 0) return;
  let offset = out.offset;
  for (let i = 0; i < starts.length; i++) offset += starts[i] * out.strides[i];
  const part = viewOf(out, x.shape, out.strides, offset);
  enqueue('copy', x.device, [], [x], [], [part]);
  part.dispose();
}

interface PadParams {
  starts: readonly number[];
  shape: Shape;
  value: number;
}

const padOp = defineOp<PadParams>({
  name: 'pad',
  forward: ([x], { starts, shape, value }) => {
    const out = full(shape, value, { dtype: x.dtype, device: x.device });
    copyInto(out, starts, x);
    return [out];
  },
  backward: ({ params, shapes }, [g]) => [
    g &&
      slice(
        g,
        params.starts,
        params.starts.map((start, i) => start + shapes[0][i]),
      ),
  ],
  flops: () => 0,
});

/** x at `starts` within a tensor of `shape`, the rest `value`. */
export function padStarts(x: Tensor, starts: readonly number[], shape: Shape, value = 0): Tensor {
  return padOp([x], { starts, shape, value })[0];
}

/**
 * x with `value` around it: [before, after] per axis.
 * @throws ShapeError unless there is one pair of whole numbers >= 0 per axis
 */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  expectTensor('pad', x);
  expectValue('pad', value, x.dtype);
  const fits = isList(widths) && widths.length === x.rank;
  if (
    !fits ||
    widths.some((pair) => !isList(pair) || pair.length !== 2 || pair.some((n) => !Number.isInteger(n) || n < 0))
  ) {
    throw new ShapeError(`pad: expected ${x.rank} pairs of whole numbers >= 0, got ${describe(widths as never)}`);
  }
  const shape = x.shape.map((extent, i) => extent + widths[i][0] + widths[i][1]);
  checkShape('pad', shape);
  return padStarts(
    x,
    widths.map(([before]) => before),
    shape,
    value,
  );
}

const concatOp = defineOp<number>({
  name: 'concat',
  forward: (xs, axis) => {
    const [first] = xs;
    const extent = xs.reduce((total, x) => total + x.shape[axis], 0);
    const shape = first.shape.map((n, i) => (i === axis ? extent : n));
    checkShape('concat', shape);
    const out = empty(shape, { dtype: first.dtype, device: first.device });
    const starts = shape.map(() => 0);
    for (const x of xs) {
      copyInto(out, starts, x);
      starts[axis] += x.shape[axis];
    }
    return [out];
  },
  backward: ({ params: axis, shapes, needs }, [g]) => {
    let start = 0;
    return shapes.map((shape, i) => {
      const from = start;
      start += shape[axis];
      return g && needs[i] ? narrow(g, axis, from, shape[axis]) : undefined;
    });
  },
  flops: () => 0,
});

/** Tensors behind each other along an axis. Throws ShapeError when they differ elsewhere, DTypeError when their dtypes do. */
export function concat(xs: readonly Tensor[], axis = 0): Tensor {
  if (!isList(xs) || xs.length === 0) throw new ConfigError('concat: expected a list of at least one tensor');
  for (const x of xs) expectTensor('concat', x);
  const [first] = xs as Tensor[];
  const at = normalizeAxis('concat', axis, first.rank);
  for (const x of xs as Tensor[]) {
    if (x.rank !== first.rank || x.shape.some((extent, i) => i !== at && extent !== first.shape[i])) {
      throw new ShapeError(
        `concat: shapes differ beside axis ${axis}: ${describe(first.shape)} and ${describe(x.shape)}`,
      );
    }
    if (x.dtype !== first.dtype) throw new DTypeError(`concat: expected one dtype, got ${first.dtype} and ${x.dtype}`);
  }
  return concatOp(xs, at)[0];
}

/** Tensors of one shape along a new axis. */
export function stack(xs: readonly Tensor[], axis = 0): Tensor {
  if (!isList(xs) || xs.length === 0) throw new ConfigError('stack: expected a list of at least one tensor');
  for (const x of xs as Tensor[]) {
    expectTensor('stack', x);
    if (describe(x.shape) !== describe(xs[0].shape)) {
      throw new ShapeError(`stack: expected one shape, got ${describe(xs[0].shape)} and ${describe(x.shape)}`);
    }
  }
  const rank = xs[0].rank;
  if (rank === MAX_RANK)
    throw new ShapeError(`stack: expected fewer than ${MAX_RANK} axes, got ${describe(xs[0].shape)}`);
  const at = normalizeAxis('stack', axis, rank + 1);
  return concat(
    (xs as Tensor[]).map((x) => unsqueeze(x, at)),
    at,
  );
}
