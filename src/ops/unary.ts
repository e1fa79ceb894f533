/**
 * Elementwise functions of one tensor. Gradients are written with the output where that suffices, so that the input can be freed.
 */
import { ConfigError, KIND_CODE, type UnaryKind } from '../device/index.js';
import { type DType, expectDType, type Tensor } from '../tensor/index.js';
import { div, equal, geluGrad, greater, mul, reluGrad, sigmoidGrad, siluGrad, sub, tanhGrad } from './binary.js';
import { constant, expectValue } from './create.js';
import { defineOp, enqueueLike, expectNumber, expectTensor, isPlain } from './define.js';
import { where } from './where.js';

interface UnaryNumbers {
  alpha: number;
  beta: number;
}
const NO_NUMBERS: UnaryNumbers = { alpha: 0, beta: 0 };

const floats: readonly DType[] = ['f32', 'f64'];
const numeric: readonly DType[] = ['f32', 'f64', 'i32'];
const bools: readonly DType[] = ['bool'];
const record = [0, 0, 0];

/** Gradient rule: from the gradient, x (if saved), y (if saved) and the numbers. */
type Rule = (g: Tensor, x: Tensor, y: Tensor, numbers: UnaryNumbers) => Tensor | undefined;

type UnaryOp = (x: Tensor, numbers: UnaryNumbers) => Tensor;

function define(
  kind: UnaryKind,
  allowed: readonly DType[],
  saves: 'x' | 'y' | 'xy' | '',
  rule: Rule | null,
  out?: DType,
  cost = 1,
): UnaryOp {
  const code = KIND_CODE.unary[kind];
  const forward = (x: Tensor, { alpha, beta }: UnaryNumbers): Tensor => {
    expectDType(kind, x.dtype, allowed);
    record[0] = code;
    record[1] = alpha;
    record[2] = beta;
    return enqueueLike('unary', kind, x, undefined, out ?? x.dtype, record);
  };
  const run = defineOp<UnaryNumbers>({
    name: kind,
    forward: ([x], numbers) => [forward(x, numbers)],
    backward: rule && (({ inputs, outputs, params }, [g]) => [g && rule(g, inputs[0], outputs[0], params)]),
    saves: { inputs: saves.includes('x') ? [0] : [], outputs: saves.includes('y') ? [0] : [] },
    flops: ([x]) => cost * x.size,
  });
  return (x, numbers) => (isPlain(x, x) ? forward(x, numbers) : run([x], numbers)[0]);
}

const flat: Rule = () => undefined;

const ops = {
  neg: define('neg', numeric, '', (g) => neg(g)),
  abs: define('abs', numeric, 'x', (g, x) => mul(g, sign(x))),
  sign: define('sign', numeric, '', flat),
  exp: define('exp', floats, 'y', (g, _, y) => mul(g, y)),
  expm1: define('expm1', floats, 'y', (g, _, y) => mul(g, addScalar(y, 1))),
  log: define('log', floats, 'x', (g, x) => div(g, x)),
  log1p: define('log1p', floats, 'x', (g, x) => div(g, addScalar(x, 1))),
  sqrt: define('sqrt', floats, 'y', (g, _, y) => mulScalar(div(g, y), 0.5)),
  rsqrt: define('rsqrt', floats, 'y', (g, _, y) => mulScalar(mul(g, mul(y, square(y))), -0.5)),
  square: define('square', numeric, 'x', (g, x) => mulScalar(mul(g, x), 2)),
  reciprocal: define('reciprocal', floats, 'y', (g, _, y) => neg(mul(g, square(y)))),
  sin: define('sin', floats, 'x', (g, x) => mul(g, cos(x))),
  cos: define('cos', floats, 'x', (g, x) => neg(mul(g, sin(x)))),
  tanh: define('tanh', floats, 'y', (g, _, y) => tanhGrad(g, y)),
  sigmoid: define('sigmoid', floats, 'y', (g, _, y) => sigmoidGrad(g, y)),
  softplus: define('softplus', floats, 'x', (g, x) => mul(g, sigmoid(x))),
  relu: define('relu', numeric, 'y', (g, _, y) => reluGrad(g, y)),
  // y has the sign of x, since the slope isn't negative.
  leakyRelu: define('leakyRelu', floats, 'y', (g, _, y, { alpha }) => where(greater(y, 0), g, mulScalar(g, alpha))),
  // alpha * exp(x) = y + alpha where x < 0
  elu: define('elu', floats, 'y', (g, _, y, { alpha }) => where(greater(y, 0), g, mul(g, addScalar(y, alpha)))),
  gelu: define('gelu', floats, 'x', (g, x) => geluGrad(g, x), undefined, 8),
  silu: define('silu', floats, 'x', (g, x) => siluGrad(g, x), undefined, 4),
  erf: define('erf', floats, 'x', (g, x) => mul(g, mulScalar(exp(neg(square(x))), 2 / Math.sqrt(Math.PI)))),
  floor: define('floor', floats, '', flat),
  ceil: define('ceil', floats, '', flat),
  round: define('round', floats, '', flat),
  // The gradient passes where clamping changes nothing, the bounds included.
  clamp: define('clamp', numeric, 'xy', (g, x, y) => where(equal(x, y), g, constant(0, g.shape, g))),
  affine: define('affine', numeric, '', (g, _, __, { alpha }) => mulScalar(g, alpha), undefined, 2),
  powScalar: define('powScalar', floats, 'x', (g, x, _, { alpha }) => {
    if (alpha === 0) return undefined;
    return mul(g, mulScalar(powScalar(x, alpha - 1), alpha));
  }),
  isNaN: define('isNaN', floats, '', null, 'bool', 0),
  isFinite: define('isFinite', floats, '', null, 'bool', 0),
  isInf: define('isInf', floats, '', null, 'bool', 0),
  logicalNot: define('logicalNot', bools, '', null, 'bool', 0),
};

/** alpha * x + beta */
export function affine(x: Tensor, alpha: number, beta: number): Tensor {
  return ops.affine(x, { alpha, beta });
}
export function addScalar(x: Tensor, value: number): Tensor {
  return ops.affine(x, { alpha: 1, beta: value });
}
export function mulScalar(x: Tensor, value: number): Tensor {
  return ops.affine(x, { alpha: value, beta: 0 });
}
/** x to the power of a number. Dtypes: f32, f64. */
export function powScalar(x: Tensor, exponent: number): Tensor {
  return ops.powScalar(x, { alpha: exponent, beta: 0 });
}

/** -x. Dtypes: f32, f64, i32. */
export function neg(x: Tensor): Tensor {
  return ops.neg(x, NO_NUMBERS);
}
/** |x|; its gradient at 0 is 0. Dtypes: f32, f64, i32. */
export function abs(x: Tensor): Tensor {
  return ops.abs(x, NO_NUMBERS);
}
/** -1, 0 or 1; NaN stays NaN. Dtypes: f32, f64, i32. */
export function sign(x: Tensor): Tensor {
  return ops.sign(x, NO_NUMBERS);
}
/** e^x. Dtypes: f32, f64. */
export function exp(x: Tensor): Tensor {
  return ops.exp(x, NO_NUMBERS);
}
/** e^x - 1, exact near 0. */
export function expm1(x: Tensor): Tensor {
  return ops.expm1(x, NO_NUMBERS);
}
/** Natural logarithm: -Infinity at 0, NaN below. */
export function log(x: Tensor): Tensor {
  return ops.log(x, NO_NUMBERS);
}
/** log(1 + x), exact near 0. */
export function log1p(x: Tensor): Tensor {
  return ops.log1p(x, NO_NUMBERS);
}
/** Square root; NaN below 0. */
export function sqrt(x: Tensor): Tensor {
  return ops.sqrt(x, NO_NUMBERS);
}
/** 1 / sqrt(x). */
export function rsqrt(x: Tensor): Tensor {
  return ops.rsqrt(x, NO_NUMBERS);
}
/** x * x. Dtypes: f32, f64, i32. */
export function square(x: Tensor): Tensor {
  return ops.square(x, NO_NUMBERS);
}
/** 1 / x. */
export function reciprocal(x: Tensor): Tensor {
  return ops.reciprocal(x, NO_NUMBERS);
}
export function sin(x: Tensor): Tensor {
  return ops.sin(x, NO_NUMBERS);
}
export function cos(x: Tensor): Tensor {
  return ops.cos(x, NO_NUMBERS);
}
export function tanh(x: Tensor): Tensor {
  return ops.tanh(x, NO_NUMBERS);
}
/** 1 / (1 + e^-x). */
export function sigmoid(x: Tensor): Tensor {
  return ops.sigmoid(x, NO_NUMBERS);
}
/** log(1 + e^x). */
export function softplus(x: Tensor): Tensor {
  return ops.softplus(x, NO_NUMBERS);
}
/** max(x, 0); NaN passes; the gradient at 0 is 0. Dtypes: f32, f64, i32. */
export function relu(x: Tensor): Tensor {
  return ops.relu(x, NO_NUMBERS);
}
/** x where x > 0, else slope * x. Throws ConfigError for a negative slope. */
export function leakyRelu(x: Tensor, slope = 0.01): Tensor {
  if (!(slope >= 0)) throw new ConfigError(`leakyRelu: expected a slope >= 0, got ${slope}`);
  return ops.leakyRelu(x, { alpha: slope, beta: 0 });
}
/** x where x > 0, else alpha * (e^x - 1). Throws ConfigError unless alpha > 0. */
export function elu(x: Tensor, alpha = 1): Tensor {
  if (!(alpha > 0)) throw new ConfigError(`elu: expected alpha > 0, got ${alpha}`);
  return ops.elu(x, { alpha, beta: 0 });
}
/** x * Phi(x), with the normal distribution's Phi (by erf, not by tanh). */
export function gelu(x: Tensor): Tensor {
  return ops.gelu(x, NO_NUMBERS);
}
/** x * sigmoid(x). */
export function silu(x: Tensor): Tensor {
  return ops.silu(x, NO_NUMBERS);
}
/** The error function. */
export function erf(x: Tensor): Tensor {
  return ops.erf(x, NO_NUMBERS);
}
export function floor(x: Tensor): Tensor {
  return ops.floor(x, NO_NUMBERS);
}
export function ceil(x: Tensor): Tensor {
  return ops.ceil(x, NO_NUMBERS);
}
/** To the nearest whole number, halves to the even one. */
export function round(x: Tensor): Tensor {
  return ops.round(x, NO_NUMBERS);
}

const I32_MIN = -(2 ** 31);
const I32_MAX = 2 ** 31 - 1;

/** x limited to lo..hi (either may be infinite); NaN passes. Throws ConfigError when lo > hi or a bound is NaN. */
export function clamp(x: Tensor, lo: number, hi: number): Tensor {
  expectTensor('clamp', x);
  expectNumber('clamp', 'lo', lo);
  expectNumber('clamp', 'hi', hi);
  if (!(lo <= hi)) throw new ConfigError(`clamp: expected lo <= hi, got ${lo} and ${hi}`);
  let alpha = lo;
  let beta = hi;
  if (x.dtype === 'i32') {
    alpha = Math.min(Math.max(Math.ceil(lo), I32_MIN), I32_MAX);
    beta = Math.max(Math.min(Math.floor(hi), I32_MAX), I32_MIN);
    expectValue('clamp', alpha, 'i32');
  }
  return ops.clamp(x, { alpha, beta });
}

/** Where x is NaN: bool. */
export function isNaN(x: Tensor): Tensor {
  return ops.isNaN(x, NO_NUMBERS);
}
/** Where x is neither NaN nor infinite: bool. */
export function isFinite(x: Tensor): Tensor {
  return ops.isFinite(x, NO_NUMBERS);
}
/** Where x is infinite: bool. */
export function isInf(x: Tensor): Tensor {
  return ops.isInf(x, NO_NUMBERS);
}
/** Where a bool tensor is false. */
export function logicalNot(x: Tensor): Tensor {
  return ops.logicalNot(x, NO_NUMBERS);
}

/** Second derivative parts of gelu: phi(x) * (2 - x^2). */
export function geluCurvature(x: Tensor): Tensor {
  const density = mulScalar(exp(mulScalar(square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return mul(density, affine(square(x), -1, 2));
}

/** Second derivative of silu: s (1 - s) (2 + x (1 - 2 s)), s = sigmoid(x). */
export function siluCurvature(x: Tensor): Tensor {
  const s = sigmoid(x);
  const slope = sub(s, square(s));
  return mul(slope, addScalar(mul(x, affine(s, -2, 1)), 2));
}
