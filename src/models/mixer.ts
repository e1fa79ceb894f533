/**
 * mixer: an MLP-Mixer whose inner widths are plastic, both of the parts that mix positions and of those that mix channels.
 * Source: Tolstikhin et al. 2021, arXiv 2105.01601.
 */
import { ConfigError } from '../device/index.js';
import { LayerNorm, type Classifier, Module, PatchEmbedding, Sequential, type Width } from '../nn/index.js';
import { Generator, mean, swapAxes } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { asPictures, dropRate, expectImage, expectSizes, FeedForward, perBlock, Residual, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';

export interface MixerOptions {
  /** Height, width, channels. Default [32, 32, 3]. */
  image?: readonly [number, number, number];
  classes: number;
  /** Side of the squares the picture is cut into. Default 4. */
  patch?: number;
  /** Channels of the residual stream; fixed. Default 128. */
  dim?: number;
  /** Blocks. Default 4. */
  depth?: number;
  /** Inner width of the parts that mix positions, or a list; named tokens1, tokens2, ... Default dim / 2. */
  tokens?: number | readonly (Width | number)[];
  /** Inner width of the parts that mix channels, or a list; named channels1, channels2, ... Default 4 dim. */
  channels?: number | readonly (Width | number)[];
  /** Probability that a sample skips a branch of the last block; it grows linearly with depth. Default 0. */
  dropPath?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the widths made here, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights and of dropping; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/** x [B, T, C] with the inner module working along T instead of C. */
class Across extends Module {
  readonly inner: Module;
  constructor(inner: Module) {
    super();
    this.inner = inner;
  }
  override forward(x: Tensor): Tensor {
    return swapAxes(this.inner.forward(swapAxes(x, 1, 2)), 1, 2);
  }
}

/** See {@link mixer}. */
export class Mixer extends Module {
  readonly image: readonly [number, number, number];
  readonly patches: PatchEmbedding;
  /** Per block: positions, then channels, each pre-normed and residual. */
  readonly blocks: readonly Module[];
  readonly norm: LayerNorm;
  readonly head: Classifier;

  constructor(options: MixerOptions) {
    super();
    const { image = [32, 32, 3], classes, patch = 4, dim = 128, depth = 4, dropPath = 0 } = options;
    const { classifier = 'linear', capacity, seed = 0 } = options;
    const [h, w, c] = image;
    expectImage('mixer', classes, image);
    expectSizes('mixer', { patch, dim, depth });
    if (h % patch !== 0 || w % patch !== 0) {
      throw new ConfigError(`mixer: expected an image that squares of ${patch} tile, got ${h} x ${w}`);
    }
    const generator = seed instanceof Generator ? seed : new Generator(seed);
    const tokens = perBlock('mixer', 'tokens', options.tokens ?? Math.max(1, dim >> 1), depth);
    const channels = perBlock('mixer', 'channels', options.channels ?? 4 * dim, depth);
    const init = 'xavier-uniform' as const;
    const count = (h / patch) * (w / patch);
    this.image = image;
    this.patches = new PatchEmbedding(patch, c, dim, { init, generator });
    this.blocks = tokens.map((size, i) => {
      const p = dropRate(dropPath, i, depth);
      const along = new FeedForward(count, widthOf('mixer', size, `tokens${i + 1}`, capacity), { init, generator });
      const inside = new FeedForward(dim, widthOf('mixer', channels[i], `channels${i + 1}`, capacity), {
        init,
        generator,
      });
      return new Sequential(
        new Residual(new Sequential(new LayerNorm(dim), new Across(along)), p, generator),
        new Residual(new Sequential(new LayerNorm(dim), inside), p, generator),
      );
    });
    this.norm = new LayerNorm(dim);
    this.head = classifierOf(classifier, dim, classes, { init, generator });
  }

  override forward(x: Tensor): Tensor {
    let y = this.patches.forward(asPictures(x, this.image));
    for (const block of this.blocks) y = block.forward(y);
    return this.head.forward(mean(this.norm.forward(y), 1));
  }
}

/**
 * Pictures [N, H, W, C] (or rows [N, H * W * C]) -> logits [N, classes]: patches, blocks of x + mlp along positions(norm(x)) and
 * x + mlp along channels(norm(x)), norm, mean over positions, linear. The widths are `model.widths()`.
 * @throws ConfigError for sizes below 1, a patch that doesn't tile the image, lists that don't have one entry per block
 */
export function mixer(options: MixerOptions): Mixer {
  return new Mixer(options);
}
