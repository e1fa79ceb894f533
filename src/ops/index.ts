export { type Counted } from './active.js';
export * from './attention.js';
export { batchNorm, type BatchNormOptions } from './batchnorm.js';
export * from './binary.js';
export { sumTo } from './broadcast.js';
export { identity, setEngine, type VectorJacobian } from './composite.js';
export { arange, cast, clone, eye, full, fullLike, linspace, ones, onesLike, zeros, zerosLike } from './create.js';
export { conv2d, type Conv2dOptions, type Pair } from './conv.js';
export * from './define.js';
export * from './groupnorm.js';
export * from './image.js';
export * from './indexing.js';
export * from './inplace.js';
export { concat, pad, stack } from './join.js';
export { gate, type Gate } from './gate.js';
export * from './linear.js';
export * from './loss.js';
export * from './matmul.js';
export * from './methods.js';
export {
  contiguous,
  expand,
  flatten,
  narrow,
  reshape,
  slice,
  split,
  squeeze,
  swapAxes,
  transpose,
  unsqueeze,
} from './movement.js';
export { layerNorm } from './norm.js';
export { type AvgPoolOptions, avgPool2d, globalAvgPool2d, maxPool2d, type PoolOptions } from './pool.js';
export * from './random.js';
export * from './reduce.js';
export * from './softmax.js';
export * from './unary.js';
export * from './where.js';
