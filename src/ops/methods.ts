/**
 * Ops as methods of Tensor, by declaration merging: x.add(y) is add(x, y). `contiguous` is a property of tensors, so the op of that
 * name is the method `asContiguous`.
 */
import { type DType, type Shape, Tensor, type TensorOptions } from '../tensor/index.js';
import * as binaryOps from './binary.js';
import * as convOps from './conv.js';
import * as createOps from './create.js';
import * as indexingOps from './indexing.js';
import * as inplaceOps from './inplace.js';
import * as joinOps from './join.js';
import * as linearOps from './linear.js';
import * as lossOps from './loss.js';
import * as matmulOps from './matmul.js';
import * as movementOps from './movement.js';
import { batchNorm } from './batchnorm.js';
import * as normOps from './norm.js';
import * as poolOps from './pool.js';
import * as randomOps from './random.js';
import * as reduceOps from './reduce.js';
import * as softmaxOps from './softmax.js';
import * as unaryOps from './unary.js';
import * as whereOps from './where.js';
import type { Operand } from './binary.js';
import type { Conv2dOptions } from './conv.js';
import type { LinearOptions } from './linear.js';
import type { CrossEntropyOptions } from './loss.js';
import type { BatchNormOptions } from './batchnorm.js';
import type { AvgPoolOptions, PoolOptions } from './pool.js';
import type { Generator } from './random.js';
import type { ReduceOptions } from './reduce.js';

type Axes = number | readonly number[];
type VarianceOptions = ReduceOptions & { correction?: number };

declare module '../tensor/tensor.js' {
  interface Tensor {
    neg(): Tensor;
    abs(): Tensor;
    sign(): Tensor;
    exp(): Tensor;
    expm1(): Tensor;
    log(): Tensor;
    log1p(): Tensor;
    sqrt(): Tensor;
    rsqrt(): Tensor;
    square(): Tensor;
    reciprocal(): Tensor;
    sin(): Tensor;
    cos(): Tensor;
    tanh(): Tensor;
    sigmoid(): Tensor;
    softplus(): Tensor;
    relu(): Tensor;
    gelu(): Tensor;
    silu(): Tensor;
    erf(): Tensor;
    floor(): Tensor;
    ceil(): Tensor;
    round(): Tensor;
    isNaN(): Tensor;
    isFinite(): Tensor;
    isInf(): Tensor;
    logicalNot(): Tensor;
    clone(): Tensor;
    add(other: Operand): Tensor;
    sub(other: Operand): Tensor;
    mul(other: Operand): Tensor;
    div(other: Operand): Tensor;
    pow(other: Operand): Tensor;
    maximum(other: Operand): Tensor;
    minimum(other: Operand): Tensor;
    equal(other: Operand): Tensor;
    notEqual(other: Operand): Tensor;
    less(other: Operand): Tensor;
    lessEqual(other: Operand): Tensor;
    greater(other: Operand): Tensor;
    greaterEqual(other: Operand): Tensor;
    logicalAnd(other: Tensor): Tensor;
    logicalOr(other: Tensor): Tensor;
    logicalXor(other: Tensor): Tensor;
    matmul(other: Tensor): Tensor;
    conv2d(w: Tensor, bias?: Tensor | null, options?: Conv2dOptions): Tensor;
    maxPool2d(kernel: number | readonly [number, number], options?: PoolOptions): Tensor;
    avgPool2d(kernel: number | readonly [number, number], options?: AvgPoolOptions): Tensor;
    globalAvgPool2d(): Tensor;
    sum(axes?: Axes, options?: ReduceOptions): Tensor;
    mean(axes?: Axes, options?: ReduceOptions): Tensor;
    max(axes?: Axes, options?: ReduceOptions): Tensor;
    min(axes?: Axes, options?: ReduceOptions): Tensor;
    prod(axes?: Axes, options?: ReduceOptions): Tensor;
    norm(axes?: Axes, options?: ReduceOptions): Tensor;
    any(axes?: Axes, options?: ReduceOptions): Tensor;
    all(axes?: Axes, options?: ReduceOptions): Tensor;
    variance(axes?: Axes, options?: VarianceOptions): Tensor;
    std(axes?: Axes, options?: VarianceOptions): Tensor;
    leakyRelu(slope?: number): Tensor;
    elu(alpha?: number): Tensor;
    clamp(lo: number, hi: number): Tensor;
    argmax(axis?: number): Tensor;
    argmin(axis?: number): Tensor;
    reshape(shape: Shape): Tensor;
    flatten(startAxis?: number): Tensor;
    transpose(axes?: readonly number[]): Tensor;
    swapAxes(a: number, b: number): Tensor;
    squeeze(axis?: number): Tensor;
    unsqueeze(axis: number): Tensor;
    expand(shape: Shape): Tensor;
    slice(starts: readonly number[], ends?: readonly number[]): Tensor;
    narrow(axis: number, start: number, length: number): Tensor;
    pad(widths: readonly (readonly [number, number])[], value?: number): Tensor;
    split(parts: number | readonly number[], axis?: number): Tensor[];
    gather(axis: number, index: Tensor): Tensor;
    scatterAdd(axis: number, index: Tensor, source: Tensor): Tensor;
    indexSelect(index: Tensor, axis?: number, options?: { fill?: number }): Tensor;
    indexAdd(index: Tensor, source: Tensor, axis?: number): Tensor;
    oneHot(depth: number, options?: { on?: number; off?: number; dtype?: DType }): Tensor;
    cast(dtype: DType): Tensor;
    assign(source: Tensor): Tensor;
    fill(value: number): Tensor;
    linear(w: Tensor, bias?: Tensor | null, options?: LinearOptions): Tensor;
    softmax(axis?: number): Tensor;
    logSoftmax(axis?: number): Tensor;
    crossEntropy(labels: Tensor, options?: CrossEntropyOptions): Tensor;
    layerNorm(gamma?: Tensor | null, beta?: Tensor | null, eps?: number): Tensor;
    batchNorm(gamma: Tensor, beta: Tensor, runningMean: Tensor, runningVar: Tensor, options: BatchNormOptions): Tensor;
    categorical(samples: number, options?: { generator?: Generator }): Tensor;
    dropout(p: number, options?: { training?: boolean; generator?: Generator }): Tensor;
    zerosLike(options?: TensorOptions): Tensor;
    onesLike(options?: TensorOptions): Tensor;
    fullLike(value: number | boolean, options?: TensorOptions): Tensor;
    where(a: Operand, b: Operand): Tensor;
    asContiguous(): Tensor;
  }
}

/** The function of each method: its first argument is the tensor. */
const methods = {
  add: binaryOps.add,
  sub: binaryOps.sub,
  mul: binaryOps.mul,
  div: binaryOps.div,
  pow: binaryOps.pow,
  maximum: binaryOps.maximum,
  minimum: binaryOps.minimum,
  equal: binaryOps.equal,
  notEqual: binaryOps.notEqual,
  less: binaryOps.less,
  lessEqual: binaryOps.lessEqual,
  greater: binaryOps.greater,
  greaterEqual: binaryOps.greaterEqual,
  logicalAnd: binaryOps.logicalAnd,
  logicalOr: binaryOps.logicalOr,
  logicalXor: binaryOps.logicalXor,
  clone: createOps.clone,
  cast: createOps.cast,
  zerosLike: createOps.zerosLike,
  onesLike: createOps.onesLike,
  fullLike: createOps.fullLike,
  gather: indexingOps.gather,
  scatterAdd: indexingOps.scatterAdd,
  indexSelect: indexingOps.indexSelect,
  indexAdd: indexingOps.indexAdd,
  oneHot: indexingOps.oneHot,
  assign: inplaceOps.assign,
  fill: inplaceOps.fill,
  pad: joinOps.pad,
  linear: linearOps.linear,
  crossEntropy: lossOps.crossEntropy,
  matmul: matmulOps.matmul,
  conv2d: convOps.conv2d,
  maxPool2d: poolOps.maxPool2d,
  avgPool2d: poolOps.avgPool2d,
  globalAvgPool2d: poolOps.globalAvgPool2d,
  expand: movementOps.expand,
  flatten: movementOps.flatten,
  narrow: movementOps.narrow,
  reshape: movementOps.reshape,
  slice: movementOps.slice,
  split: movementOps.split,
  squeeze: movementOps.squeeze,
  swapAxes: movementOps.swapAxes,
  transpose: movementOps.transpose,
  unsqueeze: movementOps.unsqueeze,
  asContiguous: movementOps.contiguous,
  layerNorm: normOps.layerNorm,
  batchNorm,
  categorical: randomOps.categorical,
  dropout: randomOps.dropout,
  sum: reduceOps.sum,
  mean: reduceOps.mean,
  max: reduceOps.max,
  min: reduceOps.min,
  prod: reduceOps.prod,
  norm: reduceOps.norm,
  any: reduceOps.any,
  all: reduceOps.all,
  variance: reduceOps.variance,
  std: reduceOps.std,
  argmax: reduceOps.argmax,
  argmin: reduceOps.argmin,
  softmax: softmaxOps.softmax,
  logSoftmax: softmaxOps.logSoftmax,
  neg: unaryOps.neg,
  abs: unaryOps.abs,
  sign: unaryOps.sign,
  exp: unaryOps.exp,
  expm1: unaryOps.expm1,
  log: unaryOps.log,
  log1p: unaryOps.log1p,
  sqrt: unaryOps.sqrt,
  rsqrt: unaryOps.rsqrt,
  square: unaryOps.square,
  reciprocal: unaryOps.reciprocal,
  sin: unaryOps.sin,
  cos: unaryOps.cos,
  tanh: unaryOps.tanh,
  sigmoid: unaryOps.sigmoid,
  softplus: unaryOps.softplus,
  relu: unaryOps.relu,
  gelu: unaryOps.gelu,
  silu: unaryOps.silu,
  erf: unaryOps.erf,
  floor: unaryOps.floor,
  ceil: unaryOps.ceil,
  round: unaryOps.round,
  isNaN: unaryOps.isNaN,
  isFinite: unaryOps.isFinite,
  isInf: unaryOps.isInf,
  logicalNot: unaryOps.logicalNot,
  leakyRelu: unaryOps.leakyRelu,
  elu: unaryOps.elu,
  clamp: unaryOps.clamp,
  where: whereOps.where,
};

for (const [name, op] of Object.entries(methods)) {
  const run = op as (x: Tensor, ...rest: unknown[]) => unknown;
  // Elementwise ops are the hot path: no array of arguments for them.
  const method =
    name in unaryOps || name in binaryOps
      ? function (this: Tensor, a?: unknown, b?: unknown): unknown {
          return run(this, a, b);
        }
      : function (this: Tensor, ...rest: unknown[]): unknown {
          return run(this, ...rest);
        };
  Object.defineProperty(Tensor.prototype, name, {
    value: method,
    writable: true,
    configurable: true,
    enumerable: false,
  });
}
