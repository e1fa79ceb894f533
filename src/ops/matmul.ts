/**
 * Matrix products, batched, of any strides: a transpose is a view and costs nothing.
 */
import { DTypeError, ShapeError } from '../device/index.js';
import {
  broadcastShapes,
  describe,
  type DType,
  expectDType,
  type Shape,
  sizeOf,
  type Tensor,
} from '../tensor/index.js';
import { sumTo } from './broadcast.js';
import { defineOp, enqueueOne, expectTensor } from './define.js';
import { reshape, stretched, swapAxes, unsqueeze, viewStrides } from './movement.js';

const floats: readonly DType[] = ['f32', 'f64'];

function batchShape(a: Shape, b: Shape): number[] {
  return broadcastShapes('matmul', a.slice(0, -2), b.slice(0, -2));
}

/** Multiply-adds of [..., M, K] x [..., K, N]. */
function productsOf(a: Shape, b: Shape): number {
  return sizeOf(batchShape(a, b)) * a[a.length - 2] * a[a.length - 1] * b[b.length - 1];
}

/** Of matrices or stacks of them, at least 2-D. */
const matmulOp = defineOp<undefined>({
  name: 'matmul',
  forward: ([a, b]) => {
    const batch = batchShape(a.shape, b.shape);
    const m = a.shape[a.rank - 2];
    const n = b.shape[b.rank - 1];
    const left = stretched(a, [...batch, m, a.shape[a.rank - 1]]);
    const right = stretched(b, [...batch, b.shape[b.rank - 2], n]);
    const out = enqueueOne(
      'matmul',
      a.device,
      [...batch, m, n],
      a.dtype,
      [left.view('matmul'), right.view('matmul')],
      [],
    );
    if (left !== a) left.dispose();
    if (right !== b) right.dispose();
    return [out];
  },
  backward: ({ inputs: [a, b], shapes, needs }, [g]) => [
    g && needs[0] ? sumTo(matmul(g, swapAxes(b, -1, -2)), shapes[0]) : undefined,
    g && needs[1] ? sumTo(matmul(swapAxes(a, -1, -2), g), shapes[1]) : undefined,
  ],
  saves: { inputs: (needs) => (needs[0] ? (needs[1] ? [0, 1] : [1]) : [0]) },
  products: ([a, b]) => productsOf(a.shape, b.shape),
  flops: ([a, b]) => 2 * productsOf(a.shape, b.shape),
});

/**
 * Matrix product [..., M, K] x [..., K, N] -> [..., M, N]; the axes before the last two broadcast. An operand of one axis is a row on
 * the left or a column on the right, and its axis is absent from the result. Dtypes: f32, f64.
 * @throws ShapeError when the inner dimensions differ; DTypeError
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  expectTensor('matmul', a);
  expectTensor('matmul', b);
  expectDType('matmul', a.dtype, floats);
  if (a.dtype !== b.dtype)
    throw new DTypeError(`matmul: expected operands of one dtype, got ${a.dtype} and ${b.dtype}`);
  if (a.rank === 0 || b.rank === 0) {
    throw new ShapeError(`matmul: expected at least one axis, got ${describe(a.shape)} x ${describe(b.shape)}`);
  }
  if (a.shape[a.rank - 1] !== b.shape[b.rank === 1 ? 0 : b.rank - 2]) {
    throw new ShapeError(`matmul: inner dimensions differ: ${describe(a.shape)} x ${describe(b.shape)}`);
  }
  if (a.rank === 1) {
    const out = matmul(unsqueeze(a, 0), b);
    return reshape(out, b.rank === 1 ? [] : [...b.shape.slice(0, -2), b.shape[b.rank - 1]]);
  }
  if (b.rank === 1) return reshape(matmul(a, unsqueeze(b, 1)), a.shape.slice(0, -1));
  // One large product instead of many small ones, where the stack lies behind each other in memory.
  const k = a.shape[a.rank - 1];
  if (b.rank === 2 && a.rank > 2 && a.size > 0 && viewStrides(a.shape, a.strides, [a.size / k, k])) {
    return reshape(matmulOp([reshape(a, [-1, k]), b], undefined)[0], [...a.shape.slice(0, -1), b.shape[1]]);
  }
  return matmulOp([a, b], undefined)[0];
}
