/**
 * Pooling over images [N, H, W, C]: the largest or the mean of each window, per channel.
 */
import { KIND_CODE, type PoolKind, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, type Shape, type Tensor } from '../tensor/index.js';
import { type Pair, pairOf, slide } from './conv.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { reshape } from './movement.js';

interface PoolParams {
  kind: PoolKind;
  kernel: readonly [number, number];
  stride: readonly [number, number];
  pad: readonly [number, number];
  /** Height and width of the output. */
  size: readonly [number, number];
  countPad: boolean;
}

const floats: readonly DType[] = ['f32', 'f64'];

function recordOf({ kind, kernel, stride, pad, countPad }: PoolParams, pick: boolean): number[] {
  return [KIND_CODE.pool[kind], ...kernel, ...stride, ...pad, Number(countPad), Number(pick)];
}

type Run<P> = (inputs: readonly Tensor[], params: P) => Tensor[];

function pooled(inputs: readonly Tensor[], params: PoolParams, pick: boolean): Tensor[] {
  const [x] = inputs;
  const shape = [x.shape[0], ...params.size, x.shape[3]];
  return enqueue('pool2d', x.device, [{ shape, dtype: x.dtype }], inputs, recordOf(params, pick));
}
function flopsOf(x: Shape, { kernel, size }: PoolParams): number {
  return x[0] * size[0] * size[1] * x[3] * kernel[0] * kernel[1];
}

const poolOp: Run<PoolParams> = defineOp<PoolParams>({
  name: 'pool2d',
  forward: (inputs, params) => pooled(inputs, params, false),
  backward: ({ inputs: [x], shapes, params }, [g]) => {
    if (!g) return [];
    return gradOp(params.kind === 'max' ? [g, x] : [g], { ...params, source: shapes[0] });
  },
  saves: { inputs: (_, { kind }) => (kind === 'max' ? [0] : []) },
  flops: ([x], params) => flopsOf(x.shape, params),
});

/** Inputs x, values: the values where the largest of x are. */
const pickOp: Run<PoolParams> = defineOp<PoolParams>({
  name: 'poolPick',
  forward: (inputs, params) => pooled(inputs, params, true),
  backward: ({ inputs: [x], shapes, needs, params }, [g]) => [
    undefined,
    g && needs[1] ? gradOp([g, x], { ...params, source: shapes[0] })[0] : undefined,
  ],
  saves: { inputs: [0] },
  flops: ([x], params) => flopsOf(x.shape, params),
});

/** Inputs g, and x where the largest count. Linear in g; where the largest are doesn't change with x but at ties. */
const gradOp: Run<PoolParams & { source: Shape }> = defineOp<PoolParams & { source: Shape }>({
  name: 'pool2dGrad',
  forward: (inputs, params) => {
    const [g] = inputs;
    return enqueue('pool2dGrad', g.device, [{ shape: params.source, dtype: g.dtype }], inputs, recordOf(params, false));
  },
  backward: ({ inputs: [, x], needs, params }, [h]) => {
    if (!h || !needs[0]) return [];
    return params.kind === 'max' ? [pickOp([x, h], params)[0]] : [poolOp([h], params)[0]];
  },
  saves: { inputs: (_, { kind }) => (kind === 'max' ? [1] : []) },
  flops: (_, params) => flopsOf(params.source, params),
});

/** Options of {@link maxPool2d}. */
export interface PoolOptions {
  /** Steps of the window. Default: the kernel, so that windows don't overlap. */
  stride?: Pair;
  /** Positions around the image that belong to no element. Default 0. */
  padding?: Pair;
}
/** Options of {@link avgPool2d}. */
export interface AvgPoolOptions extends PoolOptions {
  /** Whether padding counts as zeros in the mean. Default true, as in PyTorch. */
  countPad?: boolean;
}

function pool(op: string, kind: PoolKind, x: Tensor, kernel: Pair, options: AvgPoolOptions): Tensor {
  expectOptions(op, options);
  expectTensor(op, x);
  expectDType(op, x.dtype, floats);
  if (x.rank !== 4) throw new ShapeError(`${op}: expected x [N,H,W,C], got ${describe(x.shape)}`);
  const both = pairOf(op, 'a kernel', kernel, 1);
  const { stride = both, padding = 0, countPad = true } = options;
  const { pad, size, stride: steps } = slide(op, x.shape, both, { stride, padding });
  return poolOp([x], { kind, kernel: both, stride: steps, pad, size, countPad })[0];
}

/**
 * The largest of each window: x [N, H, W, C] -> [N, OH, OW, C]. The gradient goes to the first of equals. Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for options that make no sense
 */
export function maxPool2d(x: Tensor, kernel: Pair, options: PoolOptions = {}): Tensor {
  return pool('maxPool2d', 'max', x, kernel, options);
}

/**
 * The mean of each window: x [N, H, W, C] -> [N, OH, OW, C]. Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for options that make no sense
 */
export function avgPool2d(x: Tensor, kernel: Pair, options: AvgPoolOptions = {}): Tensor {
  return pool('avgPool2d', 'avg', x, kernel, options);
}

/** The mean of each image's channels: x [N, H, W, C] -> [N, C]. Throws ShapeError for an image without pixels, DTypeError. */
export function globalAvgPool2d(x: Tensor): Tensor {
  expectTensor('globalAvgPool2d', x);
  if (x.rank !== 4 || x.shape[1] * x.shape[2] === 0) {
    throw new ShapeError(`globalAvgPool2d: expected x [N,H,W,C] with at least one pixel, got ${describe(x.shape)}`);
  }
  return reshape(pool('globalAvgPool2d', 'avg', x, [x.shape[1], x.shape[2]], {}), [x.shape[0], x.shape[3]]);
}
