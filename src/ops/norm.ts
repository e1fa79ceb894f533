/**
 * Layer normalisation: over the channels of each row; and what the norms share.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, sizeOf, type Tensor } from '../tensor/index.js';
import { expectCount, maskBeyond } from './active.js';
import { div, mul, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { cast, full } from './create.js';
import { defineOp, enqueue, expectTensor } from './define.js';
import { reshape } from './movement.js';
import { mean, sum } from './reduce.js';
import { addScalar, rsqrt, square } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

/**
 * The gradient of a normalisation over `axis` written out: x^ = (x - mean) rstd, dx = rstd (d - mean(d) - x^ mean(d x^)), d = g gamma.
 */
export function normGradient(axis: number, eps: number, g: Tensor, x: Tensor, gamma: Tensor | undefined): Tensor[] {
  const keep = { keepDims: true };
  const centred = sub(x, mean(x, axis, keep));
  const rstd = rsqrt(addScalar(mean(square(centred), axis, keep), eps));
  const unit = mul(centred, rstd);
  const d = gamma ? mul(g, gamma) : g;
  const dx = mul(rstd, sub(sub(d, mean(d, axis, keep)), mul(unit, mean(mul(d, unit), axis, keep))));
  return gamma ? [dx, sum(mul(g, unit), 0), sum(g, 0)] : [dx];
}

interface LayerNormParams {
  eps: number;
  affine: boolean;
  /** Whether the last input counts the active channels. */
  counted: boolean;
}

/** The same over the first channels of each row, as many as `count` says. */
function countedGradient(eps: number, g: Tensor, x: Tensor, gamma: Tensor | undefined, count: Tensor): Tensor[] {
  const active = (t: Tensor): Tensor => maskBeyond(t, count);
  const n = cast(count, x.dtype);
  const average = (t: Tensor): Tensor => div(sum(t, -1, { keepDims: true }), n);
  const own = active(x);
  const centred = active(sub(own, average(own)));
  const rstd = rsqrt(addScalar(average(square(centred)), eps));
  const unit = mul(centred, rstd);
  const rows = active(g);
  const d = gamma ? mul(rows, active(gamma)) : rows;
  const dx = active(mul(rstd, sub(sub(d, average(d)), mul(unit, average(mul(d, unit))))));
  return gamma ? [dx, sum(mul(rows, unit), 0), sum(rows, 0)] : [dx];
}

/** Inputs g, x, mean, rstd (, gamma) (, count). */
const layerNormGrad = defineOp<LayerNormParams>({
  name: 'layerNormGrad',
  forward: (inputs, { affine }) => {
    const [g, x] = inputs;
    const gamma = affine ? inputs[4] : undefined;
    const fresh = [{ shape: x.shape, dtype: g.dtype }];
    if (gamma) fresh.push({ shape: gamma.shape, dtype: g.dtype }, { shape: gamma.shape, dtype: g.dtype });
    return enqueue('layerNormGrad', g.device, fresh, inputs, [Number(affine)]);
  },
  backward: compositeRule((inputs, { eps, affine, counted }) => {
    const [g, x] = inputs;
    const gamma = affine ? inputs[4] : undefined;
    return counted ? countedGradient(eps, g, x, gamma, inputs[4 + Number(affine)]) : normGradient(-1, eps, g, x, gamma);
  }),
  saves: { inputs: (_, { affine, counted }) => [0, 1, 4, 5].slice(0, 2 + Number(affine) + Number(counted)) },
  flops: ([, x]) => 8 * x.size,
});

/** Inputs x (, gamma, beta) (, count); outputs y, mean, rstd. */
const layerNormOp = defineOp<LayerNormParams>({
  name: 'layerNorm',
  forward: (inputs, { eps, affine }) => {
    const [x] = inputs;
    const row = { shape: [x.shape[0]], dtype: x.dtype };
    const fresh = [{ shape: x.shape, dtype: x.dtype }, row, row];
    return enqueue('layerNorm', x.device, fresh, inputs, [Number(affine), eps]);
  },
  backward: ({ inputs, outputs: [, centre, rstd], params }, [g]) => {
    if (!g) return [];
    const all = [g, inputs[0], centre, rstd];
    if (params.affine) all.push(inputs[1]);
    if (params.counted) all.push(inputs[params.affine ? 3 : 1]);
    return layerNormGrad(all, params);
  },
  saves: {
    inputs: (_, { affine, counted }) => [0, ...(affine ? [1] : []), ...(counted ? [affine ? 3 : 1] : [])],
    outputs: [1, 2],
  },
  flops: ([x]) => 7 * x.size,
});

/** Throws unless t is a line of one number per channel, of the dtype of `like`. */
export function expectChannels(op: string, what: string, t: Tensor, like: Tensor, channels: number): void {
  expectTensor(op, t);
  if (t.dtype !== like.dtype) throw new DTypeError(`${op}: expected ${what} of dtype ${like.dtype}, got ${t.dtype}`);
  if (t.rank !== 1 || t.shape[0] !== channels) {
    throw new ShapeError(`${op}: expected ${what} of shape [${channels}], got ${describe(t.shape)}`);
  }
}

/** Rows of x [..., C], after its check. */
export function rowsOf(op: string, x: Tensor): number {
  expectTensor(op, x);
  expectDType(op, x.dtype, floats);
  if (x.rank === 0) throw new ShapeError(`${op}: expected at least one axis, got ${describe(x.shape)}`);
  return sizeOf(x.shape.slice(0, -1));
}

/**
 * Each row of the last axis to mean 0 and variance 1, then times gamma [C] plus beta [C]. (Ba et al. 2016, arXiv 1607.06450)
 * @param count of the channels that are active, i32 [1], read when the kernel runs: statistics are over the first ones, the others are
 * not read and come out as 0. Default: all are
 * @throws ShapeError, DTypeError
 */
export function layerNorm(
  x: Tensor,
  gamma?: Tensor | null,
  beta?: Tensor | null,
  eps = 1e-5,
  count?: Tensor | null,
): Tensor {
  const rows = rowsOf('layerNorm', x);
  const channels = x.shape[x.rank - 1];
  if (!(eps >= 0)) throw new ConfigError(`layerNorm: expected eps >= 0, got ${eps}`);
  const inputs = [x.rank === 2 ? x : reshape(x, [rows, channels])];
  if (gamma || beta) {
    const scale = gamma ?? full([channels], 1, { dtype: x.dtype, device: x.device });
    const shift = beta ?? full([channels], 0, { dtype: x.dtype, device: x.device });
    expectChannels('layerNorm', 'gamma', scale, x, channels);
    expectChannels('layerNorm', 'beta', shift, x, channels);
    inputs.push(scale, shift);
  }
  const params = { eps, affine: inputs.length > 1, counted: count !== undefined && count !== null };
  if (count !== undefined && count !== null) inputs.push(expectCount('layerNorm', 'the count', count));
  const [y, centre, rstd] = layerNormOp(inputs, params);
  centre.dispose();
  rstd.dispose();
  return x.rank === 2 ? y : reshape(y, x.shape);
}
