/**
 * Elementwise functions of two tensors, broadcasting by numpy's rule through views of stride 0. An operand may be a number: it takes
 * the tensor's dtype, and goes into a unary kernel's parameters where there is one, else into a filled scalar.
 */
import { type BinaryKind, ConfigError, DTypeError, KIND_CODE, type TensorView } from '../device/index.js';
import { broadcastShapes, broadcastStrides, type DType, sameShape, type Shape, type Tensor } from '../tensor/index.js';
import { sumTo } from './broadcast.js';
import { cast, constant, expectValue } from './create.js';
import { defineOp, enqueueLike, enqueueOne, expectTensor, isPlain, type OpDef, type Saves } from './define.js';
import {
  addScalar,
  affine,
  clamp,
  geluCurvature,
  log,
  mulScalar,
  neg,
  powScalar,
  reciprocal,
  siluCurvature,
} from './unary.js';
import { where } from './where.js';

/** A tensor or a number that takes the dtype of the other operand. */
export type Operand = Tensor | number;

const floats: readonly DType[] = ['f32', 'f64'];
const numeric: readonly DType[] = ['f32', 'f64', 'i32'];
const every: readonly DType[] = ['f32', 'f64', 'i32', 'u8', 'bool'];
const bools: readonly DType[] = ['bool'];

const record = [0];
const views: TensorView[] = [];

function viewAs(name: string, x: Tensor, shape: Shape): TensorView {
  const view = x.view(name);
  return sameShape(x.shape, shape) ? view : { ...view, shape, strides: broadcastStrides(x.shape, x.strides, shape) };
}

type BinaryOp = (a: Tensor, b: Tensor) => Tensor;

function define(
  kind: BinaryKind,
  allowed: readonly DType[],
  backward: OpDef<undefined>['backward'],
  saves: { inputs?: Saves<undefined>; outputs?: Saves<undefined> } = {},
  out?: DType,
): BinaryOp {
  const code = KIND_CODE.binary[kind];
  const checkTypes = (a: Tensor, b: Tensor): void => {
    if (a.dtype !== b.dtype)
      throw new DTypeError(`${kind}: expected operands of one dtype, got ${a.dtype} and ${b.dtype}`);
    if (!allowed.includes(a.dtype))
      throw new DTypeError(`${kind}: expected dtype ${allowed.join(' or ')}, got ${a.dtype}`);
  };
  const run = defineOp<undefined>({
    name: kind,
    forward: ([a, b]) => {
      checkTypes(a, b);
      record[0] = code;
      if (sameShape(a.shape, b.shape)) return [enqueueLike('binary', kind, a, b, out ?? a.dtype, record)];
      const shape = broadcastShapes(kind, a.shape, b.shape);
      views[0] = viewAs(kind, a, shape);
      views[1] = viewAs(kind, b, shape);
      return [enqueueOne('binary', a.storage.device, shape, out ?? a.dtype, views, record)];
    },
    backward,
    saves,
    flops: ([a, b]) =>
      out === 'bool' ? 0 : broadcastShapes(kind, a.shape, b.shape).reduce((n, extent) => n * extent, 1),
  });
  return (a, b) => {
    if (!isPlain(a, b) || !sameShape(a.shape, b.shape)) return run([a, b], undefined)[0];
    checkTypes(a, b);
    record[0] = code;
    return enqueueLike('binary', kind, a, b, out ?? a.dtype, record);
  };
}

const compare = (kind: BinaryKind): BinaryOp => define(kind, every, null, {}, 'bool');
const logical = (kind: BinaryKind): BinaryOp => define(kind, bools, null, {}, 'bool');

const FIRST = [0];
const SECOND = [1];
const BOTH = [0, 1];
const NOTHING: readonly number[] = [];

/** Larger or smaller of two; equal ones share the gradient. */
function extreme(kind: 'maximum' | 'minimum'): BinaryOp {
  return define(
    kind,
    numeric,
    ({ inputs: [a, b], needs }, [g]) => {
      if (!g) return [];
      const wins = kind === 'maximum' ? greater : less;
      const tie = mulScalar(g, 0.5);
      const zero = constant(0, g.shape, g);
      const same = equal(a, b);
      const side = (x: Tensor, y: Tensor): Tensor => sumTo(where(same, tie, where(wins(x, y), g, zero)), x.shape);
      return [needs[0] ? side(a, b) : undefined, needs[1] ? side(b, a) : undefined];
    },
    { inputs: BOTH },
  );
}

const ops = {
  add: define('add', numeric, ({ shapes, needs }, [g]) => [
    g && needs[0] ? sumTo(g, shapes[0]) : undefined,
    g && needs[1] ? sumTo(g, shapes[1]) : undefined,
  ]),
  sub: define('sub', numeric, ({ shapes, needs }, [g]) => [
    g && needs[0] ? sumTo(g, shapes[0]) : undefined,
    g && needs[1] ? neg(sumTo(g, shapes[1])) : undefined,
  ]),
  mul: define(
    'mul',
    numeric,
    ({ inputs: [a, b], shapes, needs }, [g]) => [
      g && needs[0] ? sumTo(mul(g, b), shapes[0]) : undefined,
      g && needs[1] ? sumTo(mul(g, a), shapes[1]) : undefined,
    ],
    { inputs: (needs) => (needs[0] ? (needs[1] ? BOTH : SECOND) : FIRST) },
  ),
  // d(a/b)/db = -(a/b)/b
  div: define(
    'div',
    floats,
    ({ inputs: [, b], outputs: [y], shapes, needs }, [g]) => {
      if (!g) return [];
      const da = div(g, b);
      return [needs[0] ? sumTo(da, shapes[0]) : undefined, needs[1] ? neg(sumTo(mul(da, y), shapes[1])) : undefined];
    },
    { inputs: SECOND, outputs: (needs) => (needs[1] ? FIRST : NOTHING) },
  ),
  // d(a^b)/da = b a^(b-1); d(a^b)/db = a^b log a, and 0 where a is 0 and b isn't negative
  pow: define(
    'pow',
    floats,
    ({ inputs: [a, b], outputs: [y], shapes, needs }, [g]) => {
      if (!g) return [];
      let db: Tensor | undefined;
      if (needs[1]) {
        const still = logicalAnd(equal(a, 0), greaterEqual(b, 0));
        const safe = where(equal(a, 0), constant(1, a.shape, a), a);
        db = sumTo(where(still, constant(0, y.shape, y), mul(g, mul(y, log(safe)))), shapes[1]);
      }
      return [needs[0] ? sumTo(mul(g, mul(b, pow(a, addScalar(b, -1)))), shapes[0]) : undefined, db];
    },
    { inputs: BOTH, outputs: (needs) => (needs[1] ? FIRST : NOTHING) },
  ),
  maximum: extreme('maximum'),
  minimum: extreme('minimum'),
  equal: compare('equal'),
  notEqual: compare('notEqual'),
  less: compare('less'),
  lessEqual: compare('lessEqual'),
  greater: compare('greater'),
  greaterEqual: compare('greaterEqual'),
  logicalAnd: logical('logicalAnd'),
  logicalOr: logical('logicalOr'),
  logicalXor: logical('logicalXor'),
  reluGrad: define(
    'reluGrad',
    floats,
    ({ inputs: [, y], shapes, needs }, [h]) => [
      h && needs[0] ? sumTo(reluGrad(h, y), shapes[0]) : undefined,
      undefined,
    ],
    { inputs: SECOND },
  ),
  tanhGrad: define(
    'tanhGrad',
    floats,
    ({ inputs: [g, y], shapes, needs }, [h]) => [
      h && needs[0] ? sumTo(tanhGrad(h, y), shapes[0]) : undefined,
      h && needs[1] ? sumTo(mulScalar(mul(mul(h, g), y), -2), shapes[1]) : undefined,
    ],
    { inputs: BOTH },
  ),
  sigmoidGrad: define(
    'sigmoidGrad',
    floats,
    ({ inputs: [g, y], shapes, needs }, [h]) => [
      h && needs[0] ? sumTo(sigmoidGrad(h, y), shapes[0]) : undefined,
      h && needs[1] ? sumTo(mul(mul(h, g), affine(y, -2, 1)), shapes[1]) : undefined,
    ],
    { inputs: BOTH },
  ),
  geluGrad: define(
    'geluGrad',
    floats,
    ({ inputs: [g, x], shapes, needs }, [h]) => [
      h && needs[0] ? sumTo(geluGrad(h, x), shapes[0]) : undefined,
      h && needs[1] ? sumTo(mul(mul(h, g), geluCurvature(x)), shapes[1]) : undefined,
    ],
    { inputs: BOTH },
  ),
  siluGrad: define(
    'siluGrad',
    floats,
    ({ inputs: [g, x], shapes, needs }, [h]) => [
      h && needs[0] ? sumTo(siluGrad(h, x), shapes[0]) : undefined,
      h && needs[1] ? sumTo(mul(mul(h, g), siluCurvature(x)), shapes[1]) : undefined,
    ],
    { inputs: BOTH },
  ),
};

/** Gradients of activations from those of their results: relu, tanh and sigmoid take the output y, gelu and silu the input x. */
export function reluGrad(g: Tensor, y: Tensor): Tensor {
  return ops.reluGrad(g, y);
}
export function tanhGrad(g: Tensor, y: Tensor): Tensor {
  return ops.tanhGrad(g, y);
}
export function sigmoidGrad(g: Tensor, y: Tensor): Tensor {
  return ops.sigmoidGrad(g, y);
}
export function geluGrad(g: Tensor, x: Tensor): Tensor {
  return ops.geluGrad(g, x);
}
export function siluGrad(g: Tensor, x: Tensor): Tensor {
  return ops.siluGrad(g, x);
}

/** A number as a scalar tensor of another's dtype, filled on the device. */
export function scalarLike(op: string, value: unknown, like: Tensor): Tensor {
  if (typeof value === 'boolean') return scalarLike(op, Number(value), like);
  if (typeof value !== 'number') expectTensor(op, value);
  expectValue(op, value as number, like.dtype);
  return constant(value as number, [], like);
}

/** Runs a binary op on operands of which one may be a number. */
function general(name: string, op: BinaryOp, a: Operand, b: Operand): Tensor {
  if (typeof a === 'object' && typeof b === 'object') return op(a, b);
  if (typeof a === 'object') {
    expectTensor(name, a);
    return op(a, scalarLike(name, b, a));
  }
  if (typeof b !== 'object')
    throw new ConfigError(`${name}: expected at least one tensor, got ${typeof a} and ${typeof b}`);
  expectTensor(name, b);
  return op(scalarLike(name, a, b), b);
}

/** Whether x is a tensor that a number can be merged into by a unary kernel (integers can't: that saturates); checks both. */
function mergeable(op: string, x: Operand, value: Operand, allowed = numeric): boolean {
  if (typeof value !== 'number' || typeof x !== 'object') return false;
  expectTensor(op, x);
  x.view(op);
  if (!allowed.includes(x.dtype)) throw new DTypeError(`${op}: expected dtype ${allowed.join(' or ')}, got ${x.dtype}`);
  expectValue(op, value, x.dtype);
  return x.dtype !== 'i32' || op === 'maximum' || op === 'minimum';
}

/** a + b. Dtypes: f32, f64, i32 (wraps). */
export function add(a: Operand, b: Operand): Tensor {
  if (typeof a === 'object' && typeof b === 'object') return ops.add(a, b);
  if (mergeable('add', a, b)) return addScalar(a as Tensor, b as number);
  if (mergeable('add', b, a)) return addScalar(b as Tensor, a as number);
  return general('add', ops.add, a, b);
}
/** a - b. */
export function sub(a: Operand, b: Operand): Tensor {
  if (typeof a === 'object' && typeof b === 'object') return ops.sub(a, b);
  if (mergeable('sub', a, b)) return addScalar(a as Tensor, -(b as number));
  if (mergeable('sub', b, a)) return affine(b as Tensor, -1, a as number);
  return general('sub', ops.sub, a, b);
}
/** a * b. */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof a === 'object' && typeof b === 'object') return ops.mul(a, b);
  if (mergeable('mul', a, b)) return mulScalar(a as Tensor, b as number);
  if (mergeable('mul', b, a)) return mulScalar(b as Tensor, a as number);
  return general('mul', ops.mul, a, b);
}

function floated(x: Operand): Operand {
  return typeof x === 'object' && x?.dtype === 'i32' ? cast(x, 'f32') : x;
}

/** a / b; i32 operands are cast to f32 first. */
export function div(a: Operand, b: Operand): Tensor {
  const x = floated(a);
  const y = floated(b);
  if (y === 1 && typeof x === 'object') return addScalar(x, 0);
  // A power of two has an exact reciprocal, so that multiplying gives the very quotient.
  if (typeof y === 'number' && Number.isInteger(Math.log2(Math.abs(y))) && Math.abs(Math.log2(Math.abs(y))) < 120) {
    if (mergeable('div', x, y, floats)) return mulScalar(x as Tensor, 1 / y);
  }
  if (x === 1 && typeof y === 'object') return reciprocal(y);
  return general('div', ops.div, x, y);
}
/** a to the power of b. Dtypes: f32, f64. */
export function pow(a: Operand, b: Operand): Tensor {
  if (mergeable('pow', a, b, floats)) return powScalar(a as Tensor, b as number);
  return general('pow', ops.pow, a, b);
}
/** The larger of two; NaN is handed on; equal ones share the gradient. */
export function maximum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && b === b && mergeable('maximum', a, b)) return clamp(a as Tensor, b, Infinity);
  if (typeof a === 'number' && a === a && mergeable('maximum', b, a)) return clamp(b as Tensor, a, Infinity);
  return general('maximum', ops.maximum, a, b);
}
/** The smaller of two, as {@link maximum}. */
export function minimum(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && b === b && mergeable('minimum', a, b)) return clamp(a as Tensor, -Infinity, b);
  if (typeof a === 'number' && a === a && mergeable('minimum', b, a)) return clamp(b as Tensor, -Infinity, a);
  return general('minimum', ops.minimum, a, b);
}

/** a == b, as bool. Any dtype. */
export function equal(a: Operand, b: Operand): Tensor {
  return general('equal', ops.equal, a, b);
}
export function notEqual(a: Operand, b: Operand): Tensor {
  return general('notEqual', ops.notEqual, a, b);
}
export function less(a: Operand, b: Operand): Tensor {
  return general('less', ops.less, a, b);
}
export function lessEqual(a: Operand, b: Operand): Tensor {
  return general('lessEqual', ops.lessEqual, a, b);
}
export function greater(a: Operand, b: Operand): Tensor {
  return general('greater', ops.greater, a, b);
}
export function greaterEqual(a: Operand, b: Operand): Tensor {
  return general('greaterEqual', ops.greaterEqual, a, b);
}
/** a && b on bool tensors. */
export function logicalAnd(a: Tensor, b: Tensor): Tensor {
  return general('logicalAnd', ops.logicalAnd, a, b);
}
export function logicalOr(a: Tensor, b: Tensor): Tensor {
  return general('logicalOr', ops.logicalOr, a, b);
}
export function logicalXor(a: Tensor, b: Tensor): Tensor {
  return general('logicalXor', ops.logicalXor, a, b);
}
