/**
 * Initialisers: tensors of random numbers for weights of shape [out, ..., in]. fan-in is the product of all axes but the first,
 * fan-out that of all but the last.
 */
import { ConfigError, type Device } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { Generator } from '../ops/index.js';
import { type DType, hostArray, type Shape, sizeOf, type Tensor, tensor } from '../tensor/index.js';

export interface InitOptions {
  /** Source of random numbers. Default: the default generator. */
  generator?: Generator;
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
}
export interface GainOptions extends InitOptions {
  /** Factor for the activation that follows: sqrt(2) for ReLU. */
  gain?: number;
}

function fans(shape: Shape): { fanIn: number; fanOut: number } {
  return { fanIn: Math.max(1, sizeOf(shape.slice(1))), fanOut: Math.max(1, sizeOf(shape.slice(0, -1))) };
}

/** U(-b, b), b = gain sqrt(3 / fan-in); gain sqrt(2). Source: He et al. 2015. */
export function kaimingUniform(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain = Math.SQRT2, ...rest } = options;
  const bound = gain * Math.sqrt(3 / fans(shape).fanIn);
  return ops.uniform([...shape], { ...rest, low: -bound, high: bound });
}

/** N(0, gain^2 / fan-in); gain sqrt(2). Source: He et al. 2015. */
export function kaimingNormal(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain = Math.SQRT2, ...rest } = options;
  return ops.normal([...shape], { ...rest, mean: 0, std: gain / Math.sqrt(fans(shape).fanIn) });
}

/** U(-b, b), b = gain sqrt(6 / (fan-in + fan-out)); gain 1. Source: Glorot and Bengio 2010. */
export function xavierUniform(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain = 1, ...rest } = options;
  const { fanIn, fanOut } = fans(shape);
  const bound = gain * Math.sqrt(6 / (fanIn + fanOut));
  return ops.uniform([...shape], { ...rest, low: -bound, high: bound });
}

/** N(0, 2 gain^2 / (fan-in + fan-out)); gain 1. Source: Glorot and Bengio 2010. */
export function xavierNormal(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain = 1, ...rest } = options;
  const { fanIn, fanOut } = fans(shape);
  return ops.normal([...shape], { ...rest, mean: 0, std: gain * Math.sqrt(2 / (fanIn + fanOut)) });
}

/** U(low, high); default U(-1, 1). */
export function uniform(shape: Shape, options: InitOptions & { low?: number; high?: number } = {}): Tensor {
  return ops.uniform([...shape], { low: -1, high: 1, ...options });
}

/** N(mean, std^2); default N(0, 1). */
export function normal(shape: Shape, options: InitOptions & { mean?: number; std?: number } = {}): Tensor {
  return ops.normal([...shape], { mean: 0, std: 1, ...options });
}

export function zeros(shape: Shape, options: InitOptions = {}): Tensor {
  return ops.zeros([...shape], { dtype: options.dtype, device: options.device });
}

export function ones(shape: Shape, options: InitOptions = {}): Tensor {
  return ops.ones([...shape], { dtype: options.dtype, device: options.device });
}

/**
 * Rows (or columns, whichever are fewer) orthonormal, times gain; the weight is seen as [out, rest]. Waits for the random numbers:
 * Gram-Schmidt (twice, for accuracy) runs on the host in f64. Source: Saxe et al. 2014.
 */
export function orthogonal(shape: Shape, options: GainOptions = {}): Tensor {
  const { gain = 1, dtype = 'f32', device, generator } = options;
  const rows = shape[0] ?? 1;
  const cols = Math.max(1, sizeOf(shape.slice(1)));
  const [count, length] = rows <= cols ? [rows, cols] : [cols, rows];
  const drawn = ops.normal([count, length], { mean: 0, std: 1, generator, dtype: 'f32', device });
  const q = Float64Array.from(drawn.dataSync());
  drawn.dispose();
  for (let i = 0; i < count; i++) {
    const row = q.subarray(i * length, (i + 1) * length);
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) {
        const other = q.subarray(j * length, (j + 1) * length);
        let dot = 0;
        for (let k = 0; k < length; k++) dot += row[k] * other[k];
        for (let k = 0; k < length; k++) row[k] -= dot * other[k];
      }
    }
    const norm = Math.hypot(...row);
    for (let k = 0; k < length; k++) row[k] /= norm;
  }
  const out = hostArray(dtype === 'f64' ? 'f64' : 'f32', rows * cols);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[i * cols + j] = gain * (rows <= cols ? q[i * length + j] : q[j * length + i]);
  }
  return tensor(out, { shape: [...shape], dtype, device });
}

/** U(+-1 / sqrt(fan-in)): what PyTorch's nn.Linear starts with. */
export function fanInUniform(shape: Shape, options: InitOptions = {}): Tensor {
  return kaimingUniform(shape, { ...options, gain: 1 / Math.sqrt(3) });
}

export type Initializer = (shape: Shape, options: InitOptions) => Tensor;
const NAMED = {
  'kaiming-uniform': kaimingUniform,
  'kaiming-normal': kaimingNormal,
  'xavier-uniform': xavierUniform,
  'xavier-normal': xavierNormal,
  'fan-in-uniform': fanInUniform,
  orthogonal,
  uniform,
  normal,
  zeros,
  ones,
} as const;
export type InitName = keyof typeof NAMED;
export const INIT_NAMES = Object.keys(NAMED) as readonly InitName[];

/** The initialiser of that name, or the function itself. Throws ConfigError for an unknown name. */
export function initializer(init: InitName | Initializer): Initializer {
  if (typeof init === 'function') return init;
  if (!Object.hasOwn(NAMED, init)) {
    throw new ConfigError(`init: expected one of ${INIT_NAMES.join(', ')}, got '${String(init)}'`);
  }
  return NAMED[init];
}
