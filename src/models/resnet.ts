/**
 * ResNet for small images: 3x3 convolutions in three stages of n blocks, widths w, 2w, 4w; depth 6n + 2 (ResNet-20, 32, 44, 56).
 * Where a stage begins, the shortcut takes every other pixel and gets channels of zeros (option A), so it has no parameters.
 * The inner width of each block is plastic; the residual streams are fixed. Source: He et al. 2015, arXiv 1512.03385, section 4.2.
 */
import { ConfigError, shown } from '../device/index.js';
import { BatchNorm, Conv2d, DropPath, GlobalAvgPool2d, type Classifier, Module, type Width } from '../nn/index.js';
import { add, Generator, maxPool2d, pad, relu } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { asPictures, dropRate, expectImage, expectSizes, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';

export interface ResNetOptions {
  /** 6n + 2. Default 20. */
  depth?: number;
  classes: number;
  /** Height, width, channels of an image. Default [32, 32, 3]. */
  image?: readonly [number, number, number];
  /** Channels of the first stage. Default 16. */
  width?: number;
  /** Stochastic depth: probability that a sample skips the branch of the last block; it grows linearly with depth. Default 0. */
  dropPath?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the inner widths, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights and of dropping; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/** Options of a {@link BasicBlock}. */
export interface BlockOptions {
  /** Of the first convolution and the shortcut. Default 1. */
  stride?: number;
  /** Probability that a sample skips the branch in training. Default 0. */
  dropPath?: number;
  /** Source of the first weights and of dropping. Default: the default generator. */
  generator?: Generator;
}

/** relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)): x [N, H, W, inputs] -> [N, H / stride, W / stride, outputs]. */
export class BasicBlock extends Module {
  readonly conv1: Conv2d;
  readonly norm1: BatchNorm;
  readonly conv2: Conv2d;
  readonly norm2: BatchNorm;
  readonly drop: DropPath;
  readonly #stride: number;
  readonly #more: number;

  /** @throws ConfigError for fewer channels going out than coming in */
  constructor(inputs: number, inner: Width | number, outputs: number, options: BlockOptions = {}) {
    super();
    if (outputs < inputs) {
      throw new ConfigError(`BasicBlock: expected at least ${inputs} channels to go out, got ${outputs}`);
    }
    const { stride = 1, dropPath = 0, generator } = options;
    const convolution = { padding: 1, bias: false, init: 'kaiming-normal', generator } as const;
    this.conv1 = new Conv2d(inputs, inner, 3, { ...convolution, stride });
    this.norm1 = new BatchNorm(inner, { activation: 'relu' });
    this.conv2 = new Conv2d(inner, outputs, 3, convolution);
    this.drop = new DropPath(dropPath, { generator });
    // Without a branch to drop, sum and relu are part of the norm's kernel.
    this.norm2 = new BatchNorm(outputs, { activation: dropPath > 0 ? 'none' : 'relu' });
    this.#stride = stride;
    this.#more = outputs - inputs;
  }

  /** Every stride-th pixel, and zeros for the channels that the input doesn't have. */
  #shortcut(x: Tensor): Tensor {
    const pixels = this.#stride === 1 ? x : maxPool2d(x, 1, { stride: this.#stride });
    if (this.#more === 0) return pixels;
    const before = this.#more >> 1;
    const none = [0, 0] as const;
    return pad(pixels, [none, none, none, [before, this.#more - before]]);
  }

  override forward(x: Tensor): Tensor {
    const branch = this.conv2.forward(this.norm1.forward(this.conv1.forward(x)));
    const shortcut = this.#shortcut(x);
    if (this.drop.p === 0) return this.norm2.forward(branch, shortcut);
    return relu(add(shortcut, this.drop.forward(this.norm2.forward(branch))));
  }
}

/** Images [N, H, W, C] (or rows [N, H * W * C]) -> logits [N, classes]. */
export class ResNet extends Module {
  readonly image: readonly [number, number, number];
  readonly conv: Conv2d;
  readonly norm: BatchNorm;
  readonly blocks: readonly BasicBlock[];
  readonly pool = new GlobalAvgPool2d();
  readonly classifier: Classifier;

  /** @throws ConfigError for a depth that is not 6n + 2, n >= 1, or sizes below 1 */
  constructor(options: ResNetOptions) {
    super();
    const { depth = 20, classes, image = [32, 32, 3], width = 16, dropPath = 0 } = options;
    const { classifier = 'linear', capacity, seed = 0 } = options;
    if (!Number.isInteger(depth) || depth < 8 || (depth - 2) % 6 !== 0) {
      throw new ConfigError(`resnet: expected a depth of 6n + 2, n >= 1, got ${shown(depth)}`);
    }
    expectImage('resnet', classes, image);
    expectSizes('resnet', { width });
    const generator = seed instanceof Generator ? seed : new Generator(seed);
    this.image = image;
    this.conv = new Conv2d(image[2], width, 3, { padding: 1, bias: false, init: 'kaiming-normal', generator });
    this.norm = new BatchNorm(width, { activation: 'relu' });
    const perStage = (depth - 2) / 6;
    let before = width;
    this.blocks = Array.from({ length: 3 * perStage }, (_, i) => {
      const [stage, block] = [Math.floor(i / perStage), i % perStage];
      const channels = width << stage;
      const inner = widthOf('resnet', channels, `stage${stage + 1}.block${block + 1}`, capacity);
      const made = new BasicBlock(before, inner, channels, {
        stride: block === 0 && stage > 0 ? 2 : 1,
        dropPath: dropRate(dropPath, i, 3 * perStage),
        generator,
      });
      before = channels;
      return made;
    });
    this.classifier = classifierOf(classifier, before, classes, { generator });
  }

  override forward(x: Tensor): Tensor {
    let value = this.norm.forward(this.conv.forward(asPictures(x, this.image)));
    for (const block of this.blocks) value = block.forward(value);
    return this.classifier.forward(this.pool.forward(value));
  }
}

/** A ResNet as {@link ResNetOptions} say; its plastic widths are `model.widths()`. */
export function resnet(options: ResNetOptions): ResNet {
  return new ResNet(options);
}
