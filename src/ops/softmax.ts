/**
 * Softmax and its logarithm over one axis.
 */
import { type DType, describe, expectDType, normalizeAxis, type Tensor } from '../tensor/index.js';
import { ShapeError } from '../device/index.js';
import { mul, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { defineOp, enqueueUnary, enqueueOne, expectTensor } from './define.js';
import { swapAxes } from './movement.js';
import { sum } from './reduce.js';
import { exp } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

function define(log: boolean): (x: Tensor, axis: number) => Tensor {
  const name = log ? 'logSoftmax' : 'softmax';
  const record = [Number(log)];

  // softmax: y (g - sum g y); logSoftmax: g - e^y sum g
  const gradient = defineOp<undefined>({
    name: `${name}Grad`,
    forward: ([g, y]) => [
      enqueueOne('softmaxGrad', g.device, g.shape, g.dtype, [g.view('softmaxGrad'), y.view('softmaxGrad')], record),
    ],
    backward: compositeRule(([g, y]) => {
      if (log) return [sub(g, mul(exp(y), sum(g, -1, { keepDims: true })))];
      return [mul(y, sub(g, sum(mul(g, y), -1, { keepDims: true })))];
    }),
    saves: { inputs: 'all' },
    flops: ([g]) => 4 * g.size,
  });

  const op = defineOp<undefined>({
    name,
    forward: ([x]) => [enqueueUnary('softmax', x, x.dtype, record)],
    backward: ({ outputs: [y] }, [g]) => [g && gradient([g, y], undefined)[0]],
    saves: { outputs: [0] },
    flops: ([x]) => 5 * x.size,
  });

  return (x, axis) => {
    expectTensor(name, x);
    expectDType(name, x.dtype, floats);
    if (x.rank === 0) throw new ShapeError(`${name}: expected at least one axis, got ${describe(x.shape)}`);
    const at = normalizeAxis(name, axis, x.rank);
    if (at === x.rank - 1) return op([x], undefined)[0];
    return swapAxes(op([swapAxes(x, at, -1)], undefined)[0], at, -1);
  };
}

const softmaxOf = define(false);
const logSoftmaxOf = define(true);

/** e^x / sum e^x along an axis, safe for large x. Dtypes: f32, f64. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return softmaxOf(x, axis);
}

/** The logarithm of softmax. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return logSoftmaxOf(x, axis);
}
