/**
 * Multi-head scaled dot-product attention, without the matrix of scores in memory. Forward keeps the logarithmic sum of each row;
 * backward computes the scores again from it.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, type DType, empty, expectDType, sameShape, type Tensor } from '../tensor/index.js';
import { greaterEqual, mul, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { arange, full } from './create.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { stack } from './join.js';
import { matmul } from './matmul.js';
import { reshape, swapAxes, transpose, viewOf } from './movement.js';
import { sum } from './reduce.js';
import { softmax } from './softmax.js';
import { mulScalar } from './unary.js';
import { where } from './where.js';

const floats: readonly DType[] = ['f32', 'f64'];

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Query i sees keys 0..i only. Default false. */
  causal?: boolean;
  /** Factor on the scores. Default 1 / sqrt(D). */
  scale?: number;
}
interface Params {
  causal: boolean;
  scale: number;
}

const record = ({ causal, scale }: Params): number[] => [Number(causal), scale];
const flopsOf = (q: Tensor, keys: number): number => 4 * q.size * keys + 5 * (q.size / Math.max(1, q.shape[3])) * keys;

/** Gradients dq, dk, dv as a composite, for second derivatives: [B, T, H, D] is seen as [B, H, T, D]. */
function written(g: Tensor, q: Tensor, k: Tensor, v: Tensor, { causal, scale }: Params): Tensor[] {
  const [gh, qh, kh, vh] = [g, q, k, v].map((x) => transpose(x, [0, 2, 1, 3]));
  let scores = mulScalar(matmul(qh, swapAxes(kh, 2, 3)), scale);
  if (causal) {
    const places = (n: number): Tensor => arange(0, n, 1, { device: q.device });
    const seen = greaterEqual(reshape(places(q.shape[1]), [-1, 1]), places(k.shape[1]));
    scores = where(seen, scores, full([], -Infinity, { dtype: q.dtype, device: q.device }));
  }
  const weights = softmax(scores, -1);
  const dw = matmul(gh, swapAxes(vh, 2, 3));
  const ds = mul(weights, sub(dw, sum(mul(weights, dw), -1, { keepDims: true })));
  const dq = mulScalar(matmul(ds, kh), scale);
  const dk = mulScalar(matmul(swapAxes(ds, 2, 3), qh), scale);
  const dv = matmul(swapAxes(weights, 2, 3), gh);
  return [dq, dk, dv].map((x) => transpose(x, [0, 2, 1, 3]));
}

/** Inputs g, y, lse, q, k, v; outputs dq, dk, dv. */
const attentionGradOp = defineOp<Params>({
  name: 'attentionGrad',
  forward: (inputs, params) => {
    const [g, , , q, k, v] = inputs;
    const fresh = [q, k, v].map(({ shape, dtype }) => ({ shape, dtype }));
    return enqueue('attentionGrad', g.device, fresh, inputs, record(params));
  },
  backward: compositeRule(([g, , , q, k, v], params) => written(g, q, k, v, params)),
  saves: { inputs: [0, 3, 4, 5] },
  flops: ([, , , q, k]) => 2.5 * flopsOf(q, k.shape[1]),
});

/** Inputs q, k, v; outputs y, lse [B, H, Q]. */
const attentionOp = defineOp<Params>({
  name: 'attention',
  forward: (inputs, params) => {
    const [q] = inputs;
    const [b, t, h] = q.shape;
    const fresh = [
      { shape: q.shape, dtype: q.dtype },
      { shape: [b, h, t], dtype: q.dtype },
    ];
    return enqueue('attention', q.device, fresh, inputs, record(params));
  },
  backward: ({ inputs, outputs, params }, [g]) => (g ? attentionGradOp([g, ...outputs, ...inputs], params) : []),
  saves: { inputs: 'all', outputs: 'all' },
  products: ([q, k]) => 2 * q.size * k.shape[1],
  flops: ([q, k]) => flopsOf(q, k.shape[1]),
});

/** q, k and v of a fused projection [B, T, H, 3, D], as views. */
function parts(qkv: Tensor): Tensor[] {
  const [b, t, h, , d] = qkv.shape;
  const [sb, st, sh, sp, sd] = qkv.strides;
  return [0, 1, 2].map((i) => viewOf(qkv, [b, t, h, d], [sb, st, sh, sd], qkv.offset + i * sp));
}

/** Inputs g, y, lse, qkv; output dqkv, written in place of its three parts. */
const selfAttentionGradOp = defineOp<Params>({
  name: 'selfAttentionGrad',
  forward: ([g, y, lse, qkv], params) => {
    const out = empty(qkv.shape, { dtype: qkv.dtype, device: qkv.device });
    const from = parts(qkv);
    const to = parts(out);
    enqueue('attentionGrad', g.device, [], [g, y, lse, ...from], record(params), to);
    for (const view of [...from, ...to]) view.dispose();
    return [out];
  },
  backward: compositeRule(([g, , , qkv], params) => {
    const [q, k, v] = [0, 1, 2].map((i) => part(qkv, i));
    return [stack(written(g, q, k, v, params), 3)];
  }),
  saves: { inputs: [0, 3] },
  flops: ([g]) => 2.5 * flopsOf(g, g.shape[1]),
});

/** Part i of [B, T, H, 3, D] within the graph. */
const partOp = defineOp<number>({
  name: 'attentionPart',
  forward: ([qkv], i) => {
    const views = parts(qkv);
    views.forEach((view, at) => at !== i && view.dispose());
    return [views[i]];
  },
  backward: ({ params: i }, [g]) => {
    if (!g) return [];
    const none = full(g.shape, 0, { dtype: g.dtype, device: g.device });
    return [
      stack(
        [0, 1, 2].map((at) => (at === i ? g : none)),
        3,
      ),
    ];
  },
  flops: () => 0,
});
const part = (qkv: Tensor, i: number): Tensor => partOp([qkv], i)[0];

/** Input qkv; outputs y, lse. */
const selfAttentionOp = defineOp<Params>({
  name: 'selfAttention',
  forward: ([qkv], params) => {
    const [b, t, h, , d] = qkv.shape;
    const { dtype } = qkv;
    const from = parts(qkv);
    const fresh = [
      { shape: [b, t, h, d], dtype },
      { shape: [b, h, t], dtype },
    ];
    const out = enqueue('attention', qkv.device, fresh, from, record(params));
    for (const view of from) view.dispose();
    return out;
  },
  backward: ({ inputs: [qkv], outputs, params }, [g]) => (g ? selfAttentionGradOp([g, ...outputs, qkv], params) : []),
  saves: { inputs: 'all', outputs: 'all' },
  products: ([qkv]) => (2 * qkv.size * qkv.shape[1]) / 3,
  flops: ([qkv]) => (4 * qkv.size * qkv.shape[1]) / 3,
});

function paramsOf(op: string, options: AttentionOptions, dim: number): Params {
  expectOptions(op, options);
  const { causal = false, scale = 1 / Math.sqrt(dim) } = options;
  if (typeof causal !== 'boolean')
    throw new ConfigError(`${op}: expected causal to be a boolean, got ${typeof causal}`);
  if (!Number.isFinite(scale)) throw new ConfigError(`${op}: expected a finite scale, got ${String(scale)}`);
  return { causal, scale };
}

/**
 * softmax(scale q k^T) v per sample and head: q [B, Q, H, D], k and v [B, K, H, D] -> [B, Q, H, D]. Dtypes: f32, f64. Views whose last
 * axis is dense (slices of a fused projection) are read in place. With no keys the result is 0. (Vaswani et al. 2017, arXiv 1706.03762)
 * @throws ShapeError, DTypeError, ConfigError
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  expectTensor('attention', q);
  expectTensor('attention', k);
  expectTensor('attention', v);
  expectDType('attention', q.dtype, floats);
  for (const [what, x] of [
    ['k', k],
    ['v', v],
  ] as const) {
    if (x.dtype !== q.dtype) throw new DTypeError(`attention: expected ${what} of dtype ${q.dtype}, got ${x.dtype}`);
  }
  const [b, , h, d] = q.shape;
  if (
    q.rank !== 4 ||
    d < 1 ||
    k.rank !== 4 ||
    !sameShape(k.shape, [b, k.shape[1], h, d]) ||
    !sameShape(k.shape, v.shape)
  ) {
    throw new ShapeError(
      `attention: expected q [B,Q,H,D], k and v [B,K,H,D] with D >= 1, got ${[q, k, v].map((x) => describe(x.shape)).join(', ')}`,
    );
  }
  const [y, lse] = attentionOp([q, k, v], paramsOf('attention', options, d));
  lse.dispose();
  return y;
}

/**
 * The same where q, k and v come out of one projection: qkv [B, T, H, 3, D] -> [B, T, H, D]. Nothing is copied in either direction.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function selfAttention(qkv: Tensor, options: AttentionOptions = {}): Tensor {
  expectTensor('selfAttention', qkv);
  expectDType('selfAttention', qkv.dtype, floats);
  if (qkv.rank !== 5 || qkv.shape[3] !== 3 || qkv.shape[4] < 1) {
    throw new ShapeError(`selfAttention: expected qkv [B,T,H,3,D] with D >= 1, got ${describe(qkv.shape)}`);
  }
  const [y, lse] = selfAttentionOp([qkv], paramsOf('selfAttention', options, qkv.shape[4]));
  lse.dispose();
  return y;
}
