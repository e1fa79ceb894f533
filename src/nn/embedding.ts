/**
 * Embeddings: vectors looked up by number, patches of pictures as vectors, and vectors added by position.
 */
import { ConfigError, type Device, expectKeys, ShapeError, shown } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { Generator } from '../ops/index.js';
import { describe, type DType, noGrad, type Shape, type Tensor, tidy } from '../tensor/index.js';
import { type Axis, CarriedArray, type Role } from './carried.js';
import { initializer, type Initializer, type InitName } from './init.js';
import { Linear } from './layers.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { extentOf } from './width.js';

export interface EmbeddingOptions {
  /** Standard deviation of the first vectors, drawn from N(0, std^2). Default 1 for Embedding, 0.02 for PositionEmbedding. */
  std?: number;
  generator?: Generator;
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
}

function drawn(what: string, axes: Axis[], role: Role[], std: number, options: EmbeddingOptions): Parameter {
  expectKeys(what, options, ['std', 'generator', 'dtype', 'device']);
  if (!(std >= 0 && Number.isFinite(std))) throw new ConfigError(`${what}: expected a std >= 0, got ${shown(std)}`);
  const { generator, dtype = 'f32', device } = options;
  const shape = axes.map((axis) => extentOf(axis));
  const array = noGrad(() =>
    tidy(() => {
      const initial = ops.normal(shape, { mean: 0, std, generator, dtype, device });
      return new CarriedArray(axes, { role, dtype, initial, counted: true });
    }),
  );
  return new Parameter(array, { name: 'weight' });
}

/** index i32 [...] in 0..count-1 -> rows of weight [..., dim]. -1 gives zeros, for padding. */
export class Embedding extends Module {
  /** [count, dim] */
  readonly weight: Parameter;
  readonly #dim: Axis;

  /** @throws ShapeError for a count or dim below 1; ConfigError for an unknown option */
  constructor(count: number, dim: Axis, options: EmbeddingOptions = {}) {
    super();
    this.weight = drawn('Embedding', [count, dim], ['slot', 'incoming'], options.std ?? 1, options);
    this.#dim = dim;
  }

  /** An index out of range is thrown where a value is next read. @throws DTypeError for other than i32 */
  override forward(index: Tensor): Tensor {
    const flat = ops.reshape(index, [-1]);
    return ops.reshape(ops.indexSelect(this.weight.value, flat), [...index.shape, extentOf(this.#dim)]);
  }
}

/** Adds a learnt vector to each position: x [B, ..., dim] + weight [..., dim]. */
export class PositionEmbedding extends Module {
  /** [positions..., dim] */
  readonly weight: Parameter;

  constructor(shape: Shape, options: EmbeddingOptions = {}) {
    super();
    const roles = shape.map((): Role => 'slot');
    this.weight = drawn('PositionEmbedding', [...shape], roles, options.std ?? 0.02, options);
    this.weight.decay = false;
  }

  override forward(x: Tensor): Tensor {
    return ops.add(x, this.weight.value);
  }
}

/** Puts a learnt vector in front of every sequence: x [B, T, dim] -> [B, T + 1, dim]. */
export class ClassToken extends Module {
  /** [dim] */
  readonly weight: Parameter;

  constructor(dim: number, options: EmbeddingOptions = {}) {
    super();
    this.weight = drawn('ClassToken', [dim], ['slot'], options.std ?? 0.02, options);
    this.weight.decay = false;
  }

  override forward(x: Tensor): Tensor {
    const [dim] = this.weight.shape;
    if (x.rank !== 3 || x.shape[2] !== dim) {
      throw new ShapeError(`ClassToken: expected x [B,T,${dim}], got ${describe(x.shape)}`);
    }
    return ops.concat([ops.expand(this.weight.value, [x.shape[0], 1, dim]), x], 1);
  }
}

export interface PatchEmbeddingOptions {
  /** Of the weight; the bias starts at 0. Default 'xavier-uniform'. */
  init?: InitName | Initializer;
  generator?: Generator;
  dtype?: DType;
  device?: Device | string;
}

/**
 * Cuts pictures into squares and projects each: x [B, H, W, channels] -> [B, H/patch * W/patch, dim], row by row. The same as a
 * convolution of kernel and stride `patch`.
 */
export class PatchEmbedding extends Module {
  /** weight [dim, patch * patch * channels]: rows, columns, channels of the square */
  readonly projection: Linear;
  readonly patch: number;
  readonly channels: number;

  /** @throws ConfigError for a patch or channels below 1 */
  constructor(patch: number, channels: number, dim: Axis, options: PatchEmbeddingOptions = {}) {
    super();
    for (const [what, value] of [
      ['patch', patch],
      ['channels', channels],
    ] as const) {
      if (!Number.isInteger(value) || value < 1) {
        throw new ConfigError(`PatchEmbedding: expected ${what} of at least 1, got ${shown(value)}`);
      }
    }
    this.patch = patch;
    this.channels = channels;
    this.projection = new Linear(patch * patch * channels, dim, { init: initializer('xavier-uniform'), ...options });
  }

  /** @throws ShapeError unless patches tile the picture */
  override forward(x: Tensor): Tensor {
    const { patch, channels } = this;
    const [b, h, w, c] = x.shape;
    if (x.rank !== 4 || c !== channels || h % patch !== 0 || w % patch !== 0) {
      throw new ShapeError(
        `PatchEmbedding: expected x [B,H,W,${channels}] with H and W multiples of ${patch}, got ${describe(x.shape)}`,
      );
    }
    const [rows, cols] = [h / patch, w / patch];
    const squares = ops.transpose(ops.reshape(x, [b, rows, patch, cols, patch, c]), [0, 1, 3, 2, 4, 5]);
    return this.projection.forward(ops.reshape(squares, [b, rows * cols, patch * patch * c]));
  }
}
