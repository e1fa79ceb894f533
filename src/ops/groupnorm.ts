/**
 * Group normalisation over channels-last tensors [B, ..., C].
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, sizeOf, type Tensor } from '../tensor/index.js';
import { mul, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { full } from './create.js';
import { defineOp, enqueue, expectTensor } from './define.js';
import { reshape } from './movement.js';
import { mean, sum } from './reduce.js';
import { addScalar, rsqrt, square } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

interface Params {
  groups: number;
  eps: number;
}

/** The gradient written out: x^ = (x - mean) rstd, dx = rstd (d - mean(d) - x^ mean(d x^)), d = g gamma, means per sample and group. */
function written(g: Tensor, x: Tensor, gamma: Tensor | undefined, { groups, eps }: Params): Tensor[] {
  const grouped = (t: Tensor): Tensor => reshape(t, [x.shape[0], x.shape[1], groups, -1]);
  const average = (t: Tensor): Tensor => mean(t, [1, 3], { keepDims: true });
  const parts = grouped(x);
  const centred = sub(parts, average(parts));
  const rstd = rsqrt(addScalar(average(square(centred)), eps));
  const unit = mul(centred, rstd);
  const d = grouped(gamma ? mul(g, gamma) : g);
  const dx = reshape(mul(rstd, sub(sub(d, average(d)), mul(unit, average(mul(d, unit))))), x.shape);
  return gamma ? [dx, sum(mul(g, reshape(unit, x.shape)), [0, 1]), sum(g, [0, 1])] : [dx];
}

/** Inputs g, x, mean, rstd (, gamma). */
const groupNormGradOp = defineOp<Params>({
  name: 'groupNormGrad',
  forward: (inputs, { groups }) => {
    const [g, x, , , gamma] = inputs;
    const fresh = [{ shape: x.shape, dtype: g.dtype }];
    if (gamma) fresh.push({ shape: gamma.shape, dtype: g.dtype }, { shape: gamma.shape, dtype: g.dtype });
    return enqueue('groupNormGrad', g.device, fresh, inputs, [Number(gamma !== undefined), groups]);
  },
  backward: compositeRule(([g, x, , , gamma], params) => written(g, x, gamma, params)),
  saves: { inputs: [0, 1, 4] },
  flops: ([, x]) => 8 * x.size,
});

/** Inputs x [B, S, C] (, gamma, beta); outputs y, mean, rstd [B, G]. */
const groupNormOp = defineOp<Params>({
  name: 'groupNorm',
  forward: (inputs, { groups, eps }) => {
    const [x] = inputs;
    const group = { shape: [x.shape[0], groups], dtype: x.dtype };
    const fresh = [{ shape: x.shape, dtype: x.dtype }, group, group];
    return enqueue('groupNorm', x.device, fresh, inputs, [Number(inputs.length > 1), groups, eps]);
  },
  backward: ({ inputs: [x, gamma], outputs: [, centre, rstd], params }, [g]) =>
    g ? groupNormGradOp(gamma ? [g, x, centre, rstd, gamma] : [g, x, centre, rstd], params) : [],
  saves: { inputs: [0, 1], outputs: [1, 2] },
  flops: ([x]) => 7 * x.size,
});

/**
 * Each sample's channels in `groups` equal groups of neighbours: to mean 0 and variance 1 over the group and all positions, then times
 * gamma [C] plus beta [C]. x [B, ..., C]. (Wu & He 2018, arXiv 1803.08494)
 * @param eps added to the variance; default 1e-5
 * @throws ShapeError (fewer than two axes, no element per sample, vectors of the wrong length), DTypeError; ConfigError for groups that
 * don't divide the channels
 */
export function groupNorm(x: Tensor, groups: number, gamma?: Tensor | null, beta?: Tensor | null, eps = 1e-5): Tensor {
  expectTensor('groupNorm', x);
  expectDType('groupNorm', x.dtype, floats);
  const channels = x.shape[x.rank - 1];
  const positions = sizeOf(x.shape.slice(1, -1));
  if (x.rank < 2 || positions * channels === 0) {
    throw new ShapeError(`groupNorm: expected x [B,...,C] with elements in each sample, got ${describe(x.shape)}`);
  }
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ConfigError(
      `groupNorm: expected a number of groups that divides ${channels} channels, got ${String(groups)}`,
    );
  }
  if (!(eps >= 0)) throw new ConfigError(`groupNorm: expected eps >= 0, got ${String(eps)}`);
  const inputs = [x.rank === 3 ? x : reshape(x, [x.shape[0], positions, channels])];
  if (gamma || beta) {
    const like = { dtype: x.dtype, device: x.device };
    for (const [what, value, fill] of [
      ['gamma', gamma, 1],
      ['beta', beta, 0],
    ] as const) {
      const t = value ?? full([channels], fill, like);
      expectTensor('groupNorm', t);
      if (t.dtype !== x.dtype) throw new DTypeError(`groupNorm: expected ${what} of dtype ${x.dtype}, got ${t.dtype}`);
      if (t.rank !== 1 || t.shape[0] !== channels) {
        throw new ShapeError(`groupNorm: expected ${what} of shape [${channels}], got ${describe(t.shape)}`);
      }
      inputs.push(t);
    }
  }
  const [y, centre, rstd] = groupNormOp(inputs, { groups, eps });
  centre.dispose();
  rstd.dispose();
  return x.rank === 3 ? y : reshape(y, x.shape);
}
