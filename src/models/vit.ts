/**
 * vit: a vision transformer whose feed-forward widths and head counts are plastic. Source: Dosovitskiy et al. 2020, arXiv 2010.11929.
 */
import { ConfigError } from '../device/index.js';
import {
  ClassToken,
  Dropout,
  LayerNorm,
  type Classifier,
  Module,
  MultiHeadAttention,
  PatchEmbedding,
  PositionEmbedding,
  Sequential,
  type Width,
} from '../nn/index.js';
import { Generator, mean, narrow, reshape } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { asPictures, dropRate, expectImage, expectSizes, FeedForward, perBlock, Residual, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';

export interface VitOptions {
  /** Height, width, channels. Default [32, 32, 3]. */
  image?: readonly [number, number, number];
  classes: number;
  /** Side of the squares the picture is cut into. Default 4. */
  patch?: number;
  /** Channels of the residual stream; fixed. Default 128. */
  dim?: number;
  /** Blocks. Default 4. */
  depth?: number;
  /** Heads per block, or a list: sizes of which widths heads1, heads2, ... are made, or Widths. Default 4. */
  heads?: number | readonly (Width | number)[];
  /** Channels per head. Default dim / heads. */
  headDim?: number;
  /** Inner width of the feed-forward parts, or a list; named mlp1, mlp2, ... Default 4 dim. */
  mlp?: number | readonly (Width | number)[];
  /** What the classifier reads: a learnt token of its own, or the mean of all. Default 'class'. */
  pool?: 'class' | 'mean';
  /** Probability of dropout after the position embedding. Default 0. */
  dropout?: number;
  /** Probability that a sample skips a branch of the last block; it grows linearly with depth. Default 0. */
  dropPath?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the widths made here, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights and of dropping; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/** See {@link vit}. */
export class VisionTransformer extends Module {
  readonly image: readonly [number, number, number];
  readonly patches: PatchEmbedding;
  readonly token: ClassToken | undefined;
  readonly positions: PositionEmbedding;
  readonly dropout: Dropout;
  /** Per block: attention, then feed-forward, each pre-normed and residual. */
  readonly blocks: readonly Module[];
  readonly norm: LayerNorm;
  readonly head: Classifier;

  constructor(options: VitOptions) {
    super();
    const { image = [32, 32, 3], classes, patch = 4, dim = 128, depth = 4, pool = 'class' } = options;
    const { dropout = 0, dropPath = 0, classifier = 'linear', capacity, seed = 0 } = options;
    const [h, w, c] = image;
    expectImage('vit', classes, image);
    expectSizes('vit', { patch, dim, depth });
    if (h % patch !== 0 || w % patch !== 0) {
      throw new ConfigError(`vit: expected an image that squares of ${patch} tile, got ${h} x ${w}`);
    }
    // `pool` comes from configuration files as well.
    if (!['class', 'mean'].includes(pool)) {
      throw new ConfigError(`vit: expected pool to be class or mean, got '${String(pool)}'`);
    }
    const generator = seed instanceof Generator ? seed : new Generator(seed);
    const heads = perBlock('vit', 'heads', options.heads ?? 4, depth);
    const mlp = perBlock('vit', 'mlp', options.mlp ?? 4 * dim, depth);
    const init = 'xavier-uniform' as const;
    const count = (h / patch) * (w / patch) + Number(pool === 'class');
    this.image = image;
    this.patches = new PatchEmbedding(patch, c, dim, { init, generator });
    this.token = pool === 'class' ? new ClassToken(dim, { generator }) : undefined;
    this.positions = new PositionEmbedding([count, dim], { generator });
    this.dropout = new Dropout(dropout, { generator });
    this.blocks = heads.map((size, i) => {
      const p = dropRate(dropPath, i, depth);
      const attention = new MultiHeadAttention(dim, widthOf('vit', size, `heads${i + 1}`, capacity), {
        headDim: options.headDim,
        init,
        generator,
      });
      const forward = new FeedForward(dim, widthOf('vit', mlp[i], `mlp${i + 1}`, capacity), { init, generator });
      return new Sequential(
        new Residual(new Sequential(new LayerNorm(dim), attention), p, generator),
        new Residual(new Sequential(new LayerNorm(dim), forward), p, generator),
      );
    });
    this.norm = new LayerNorm(dim);
    this.head = classifierOf(classifier, dim, classes, { init, generator });
  }

  override forward(x: Tensor): Tensor {
    let y = this.patches.forward(asPictures(x, this.image));
    if (this.token) y = this.token.forward(y);
    y = this.positions.forward(y);
    if (this.dropout.p > 0) y = this.dropout.forward(y);
    for (const block of this.blocks) y = block.forward(y);
    const [b, , dim] = y.shape;
    // Norms work row by row, so only what is read needs one.
    const read = this.token ? this.norm.forward(reshape(narrow(y, 1, 0, 1), [b, dim])) : mean(this.norm.forward(y), 1);
    return this.head.forward(read);
  }
}

/**
 * Pictures [N, H, W, C] (or rows [N, H * W * C]) -> logits [N, classes]: patches, class token, positions, blocks of
 * x + attention(norm(x)) and x + mlp(norm(x)), norm, linear. The widths are `model.widths()`.
 * @throws ConfigError for sizes below 1, a patch that doesn't tile the image, lists that don't have one entry per block
 */
export function vit(options: VitOptions): VisionTransformer {
  return new VisionTransformer(options);
}
