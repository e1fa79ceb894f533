/**
 * Batch normalisation over all axes but the last, fused with the residual sum and the ReLU that follow it.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, sameShape, type Tensor } from '../tensor/index.js';
import { expectCount, maskBeyond } from './active.js';
import { add, mul, reluGrad, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { reshape } from './movement.js';
import { expectChannels, normGradient, rowsOf } from './norm.js';
import { addScalar, relu, rsqrt } from './unary.js';

/** What follows the normalisation: + residual, then max(0, y). */
interface Tail {
  relu: boolean;
  residual: boolean;
  /** Whether the last input is a count of the active channels. */
  counted: boolean;
}
interface GradParams extends Tail {
  eps: number;
}

/** Inputs g, x, mean, rstd, gamma (, y: of the ReLU); outputs dx, dgamma, dbeta (, g where y > 0: the residual's). */
const batchNormGrad = defineOp<GradParams>({
  name: 'batchNormGrad',
  forward: (inputs, { relu, residual, counted }) => {
    const [g, x, , , gamma] = inputs;
    const matrix = { shape: x.shape, dtype: g.dtype };
    const column = { shape: gamma.shape, dtype: g.dtype };
    const fresh = residual ? [matrix, column, column, matrix] : [matrix, column, column];
    return enqueue('batchNormGrad', g.device, fresh, inputs, [Number(relu), Number(residual), Number(counted)]);
  },
  backward: compositeRule(([g, x, , , gamma, y], { eps, relu, residual }) => {
    const through = relu ? reluGrad(g, y) : g;
    const grads = normGradient(0, eps, through, x, gamma);
    return residual ? [...grads, through] : grads;
  }),
  saves: { inputs: (_, { relu }) => (relu ? [0, 1, 4, 5] : [0, 1, 4]) },
  flops: ([, x]) => 8 * x.size,
});

interface TrainingParams extends GradParams {
  runningMean: Tensor;
  runningVar: Tensor;
  momentum: number;
}

/** Inputs x, gamma, beta (, residual); outputs y, mean, rstd; the running statistics are written in place. */
const batchNormOp = defineOp<TrainingParams>({
  name: 'batchNorm',
  forward: (inputs, { runningMean, runningVar, momentum, eps, relu, residual, counted }) => {
    const [x] = inputs;
    const column = { shape: [x.shape[1]], dtype: x.dtype };
    const fresh = [{ shape: x.shape, dtype: x.dtype }, column, column];
    const record = [eps, momentum, Number(relu), Number(residual), Number(counted)];
    return enqueue('batchNorm', x.device, fresh, inputs, record, [runningMean, runningVar]);
  },
  backward: ({ inputs: all, outputs: [y, centre, rstd], params: { eps, relu, residual, counted }, needs }, [g]) => {
    if (!g) return [];
    const [x, gamma] = all;
    const wanted = residual && needs[3];
    const inputs = relu ? [g, x, centre, rstd, gamma, y] : [g, x, centre, rstd, gamma];
    if (counted) inputs.push(all[3 + Number(residual)]);
    const masks = relu || counted;
    const [dx, dgamma, dbeta, masked] = batchNormGrad(inputs, { eps, relu, residual: wanted && masks, counted });
    return [dx, dgamma, dbeta, wanted && !masks ? g : masked];
  },
  saves: {
    inputs: (_, { residual, counted }) => (counted ? [0, 1, 3 + Number(residual)] : [0, 1]),
    outputs: (_, { relu }) => (relu ? [0, 1, 2] : [1, 2]),
  },
  flops: ([x], { relu, residual }) => (7 + Number(relu) + Number(residual)) * x.size,
});

/** Inputs x, gamma, beta, mean, var (, residual). */
const batchNormEval = defineOp<GradParams>({
  name: 'batchNormEval',
  forward: (inputs, { eps, relu, residual, counted }) => {
    const [x] = inputs;
    const fresh = [{ shape: x.shape, dtype: x.dtype }];
    return enqueue('batchNormEval', x.device, fresh, inputs, [eps, Number(relu), Number(residual), Number(counted)]);
  },
  backward: compositeRule((inputs, params) => {
    const [x, gamma, beta, mean, variance, residual] = inputs;
    const scale = mul(gamma, rsqrt(addScalar(variance, params.eps)));
    let y = add(mul(sub(x, mean), scale), beta);
    if (params.residual) y = add(y, residual);
    if (params.counted) y = maskBeyond(y, inputs[inputs.length - 1]);
    return [params.relu ? relu(y) : y];
  }),
  saves: { inputs: 'all' },
  flops: ([x], { relu, residual }) => (3 + Number(relu) + Number(residual)) * x.size,
});

/** Options of {@link batchNorm}. */
export interface BatchNormOptions {
  /** Normalise by the batch and update the running statistics (true), or normalise by the running statistics. */
  training: boolean;
  /** Share of the batch in the running statistics. Default 0.1. */
  momentum?: number;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** max(0, y) after the normalisation and the residual. Default false. */
  relu?: boolean;
  /** Added to the normalised values before the ReLU, of x's shape and dtype. Default none. */
  residual?: Tensor | null;
  /**
   * How many channels are active, the first ones: i32 [1], read when the kernel runs. The others are not read, come out as 0 and have
   * gradients of 0; their running statistics stay. Default: all.
   */
  count?: Tensor | undefined;
}

/**
 * Each channel (last axis) to mean 0 and variance 1 over all others, then times gamma [C] plus beta [C], plus `residual`, then the
 * ReLU, as the options say: one pass over memory for what follows the statistics. In training the running statistics [C] move
 * towards the batch's, in place; the variance kept is the unbiased one. (Ioffe & Szegedy 2015, arXiv 1502.03167)
 * @throws ShapeError (a batch of one row in training), DTypeError, ConfigError
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  runningMean: Tensor,
  runningVar: Tensor,
  options: BatchNormOptions,
): Tensor {
  const rows = rowsOf('batchNorm', x);
  const channels = x.shape[x.rank - 1];
  expectOptions('batchNorm', options);
  const { training, momentum = 0.1, eps = 1e-5, relu = false, residual, count } = options;
  if (!(momentum >= 0 && momentum <= 1)) throw new ConfigError(`batchNorm: expected momentum in 0..1, got ${momentum}`);
  if (!(eps >= 0)) throw new ConfigError(`batchNorm: expected eps >= 0, got ${eps}`);
  if (typeof relu !== 'boolean') throw new ConfigError(`batchNorm: expected relu to be a boolean, got ${typeof relu}`);
  expectChannels('batchNorm', 'gamma', gamma, x, channels);
  expectChannels('batchNorm', 'beta', beta, x, channels);
  expectChannels('batchNorm', 'runningMean', runningMean, x, channels);
  expectChannels('batchNorm', 'runningVar', runningVar, x, channels);
  if (residual) expectResidual(residual, x);
  const flatten = (t: Tensor): Tensor => (t.rank === 2 ? t : reshape(t, [rows, channels]));
  const side = residual ? [flatten(residual)] : [];
  const tail = { eps, relu, residual: side.length > 0, counted: count !== undefined };
  if (count !== undefined) side.push(expectCount('batchNorm', 'the count', count));
  if (!training) {
    const [y] = batchNormEval([flatten(x), gamma, beta, runningMean, runningVar, ...side], tail);
    return x.rank === 2 ? y : reshape(y, x.shape);
  }
  if (rows < 2)
    throw new ShapeError(`batchNorm: expected at least two rows in training, got shape ${describe(x.shape)}`);
  const params = { ...tail, runningMean, runningVar, momentum };
  const [y, centre, rstd] = batchNormOp([flatten(x), gamma, beta, ...side], params);
  centre.dispose();
  rstd.dispose();
  return x.rank === 2 ? y : reshape(y, x.shape);
}

function expectResidual(residual: Tensor, x: Tensor): void {
  expectTensor('batchNorm', residual);
  if (residual.dtype !== x.dtype)
    throw new DTypeError(`batchNorm: expected residual of dtype ${x.dtype}, got ${residual.dtype}`);
  if (!sameShape(residual.shape, x.shape))
    throw new ShapeError(`batchNorm: expected residual of shape ${describe(x.shape)}, got ${describe(residual.shape)}`);
}
