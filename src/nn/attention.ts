/**
 * MultiHeadAttention, with the heads as units of a Width: growing and pruning them works as for neurons.
 */
import { ConfigError, type Device, expectKeys, ShapeError } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { Generator } from '../ops/index.js';
import { describe, type DType, type Tensor } from '../tensor/index.js';
import type { Axis } from './carried.js';
import type { Initializer, InitName } from './init.js';
import { Linear } from './layers.js';
import { Module } from './module.js';
import { extentOf, neuronsOf, Width } from './width.js';

export interface MultiHeadAttentionOptions {
  /** Channels per head. Default: the channels of x divided by the heads at construction. */
  headDim?: number;
  /** Query i sees keys 0..i only. Default false. */
  causal?: boolean;
  /** Factor on the scores. Default 1 / sqrt(headDim). */
  scale?: number;
  /** In both projections. Default true. */
  bias?: boolean;
  /** Of both weights; biases start at 0. Default 'xavier-uniform'. */
  init?: InitName | Initializer;
  /** Source of the first weights. Default: the default generator. */
  generator?: Generator;
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
}

/**
 * x [B, T, C] -> [B, T, C]: a fused projection to queries, keys and values, attention per head, and a projection back. A head owns
 * 3 headDim rows of the first weight (its q, k and v) and headDim columns of the second. Source: Vaswani et al. 2017.
 */
export class MultiHeadAttention extends Module {
  /** [heads * 3 * headDim, C]: per head q, k, v. */
  readonly qkv: Linear;
  /** [C, heads * headDim] */
  readonly out: Linear;
  readonly headDim: number;
  readonly causal: boolean;
  readonly scale: number;
  readonly #heads: Axis;

  /** @throws ConfigError for heads that don't divide the channels when no headDim is given, or an unknown option */
  constructor(channels: Axis, heads: Axis, options: MultiHeadAttentionOptions = {}) {
    super();
    expectKeys('MultiHeadAttention', options, [
      'headDim',
      'causal',
      'scale',
      'bias',
      'init',
      'generator',
      'dtype',
      'device',
    ]);
    const { causal = false, bias, init = 'xavier-uniform', generator, dtype, device } = options;
    const [c, h] = [extentOf(channels), extentOf(heads)];
    const headDim = options.headDim ?? c / h;
    if (!Number.isInteger(headDim) || headDim < 1) {
      throw new ConfigError(
        `MultiHeadAttention: expected a whole headDim >= 1, got ${headDim} (${c} channels, ${h} heads)`,
      );
    }
    this.#heads = heads;
    this.headDim = headDim;
    this.causal = causal;
    this.scale = options.scale ?? 1 / Math.sqrt(headDim);
    if (!Number.isFinite(this.scale)) {
      throw new ConfigError(`MultiHeadAttention: expected a finite scale, got ${String(options.scale)}`);
    }
    const rest = { bias, init, generator, dtype, device };
    this.qkv = new Linear(channels, heads, { ...rest, outputSpan: 3 * headDim });
    this.out = new Linear(heads, channels, { ...rest, inputSpan: headDim });
  }

  /** A Width, or a fixed number. */
  get heads(): Axis {
    return this.#heads;
  }

  /**
   * @param context [B, S, C], where keys and values come from instead of x (cross attention)
   * @throws ShapeError for x or a context that isn't [B, T, C]
   */
  override forward(x: Tensor, context?: Tensor): Tensor {
    const { causal, scale } = this;
    for (const input of context ? [x, context] : [x]) {
      if (input.rank !== 3) throw new ShapeError(`MultiHeadAttention: expected [B,T,C], got ${describe(input.shape)}`);
    }
    const [b, t] = x.shape;
    const h = extentOf(this.#heads);
    const d = this.headDim;
    const y = context
      ? this.#cross(x, context, h)
      : ops.selfAttention(ops.reshape(this.qkv.forward(x), [b, t, h, 3, d]), { causal, scale });
    return this.out.forward(ops.reshape(this.#seen(y), [b, t, h * d]));
  }

  #cross(x: Tensor, context: Tensor, h: number): Tensor {
    const d = this.headDim;
    const c = x.shape[2];
    const weight = ops.reshape(this.qkv.weight.value, [h, 3 * d, c]);
    const bias = this.qkv.bias && ops.reshape(this.qkv.bias.value, [h, 3 * d]);
    const inputs = neuronsOf('MultiHeadAttention', this.qkv.input, 1, x.device);
    // The rows from..to of every head as a projection of its own.
    const project = (input: Tensor, from: number, rows: number): Tensor => {
      const w = ops.reshape(ops.narrow(weight, 1, from, rows), [h * rows, c]);
      return ops.linear(input, w, bias && ops.reshape(ops.narrow(bias, 1, from, rows), [h * rows]), { inputs });
    };
    const q = ops.reshape(project(x, 0, d), [x.shape[0], x.shape[1], h, d]);
    const kv = ops.reshape(project(context, d, 2 * d), [context.shape[0], context.shape[1], h, 2, d]);
    const [k, v] = ops.split(kv, 2, 3).map((part) => ops.squeeze(part, 3));
    return ops.attention(q, k, v, { causal: this.causal, scale: this.scale });
  }

  /** y [B, T, H, D], shown to the observers and the gate of the heads where there are any: a head's sums run over its channels and positions. */
  #seen(y: Tensor): Tensor {
    const heads = this.#heads;
    const looked = heads instanceof Width && !heads.gated ? heads : undefined;
    looked?.show(ops.swapAxes(y, 2, 3));
    const gate = looked?.gate;
    return gate ? ops.swapAxes(ops.gate(ops.swapAxes(y, 2, 3), gate), 2, 3) : y;
  }
}
