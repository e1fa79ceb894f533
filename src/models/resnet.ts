/**
 * ResNet for small images: 3x3 convolutions in three stages of n blocks, widths w, 2w, 4w; depth 6n + 2 (ResNet-20, 32, 44, 56).
 * Where a stage begins, the shortcut takes every other pixel and gets channels of zeros (option A), so it has no parameters.
 * The inner width of each block is plastic; the residual streams are fixed. Source: He et al. 2015, arXiv 1512.03385, section 4.2.
 */
import { ConfigError, shown } from '../device/index.js';
import { BatchNorm, Conv2d, GlobalAvgPool2d, Linear, Module, Width } from '../nn/index.js';
import { Generator, maxPool2d, pad } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

export interface ResNetOptions {
  /** 6n + 2. Default 20. */
  depth?: number;
  classes: number;
  /** Channels of an image. Default 3. */
  inputs?: number;
  /** Channels of the first stage. Default 16. */
  width?: number;
  /** Room for growth of the inner widths, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/** relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)): x [N, H, W, inputs] -> [N, H / stride, W / stride, outputs]. */
export class BasicBlock extends Module {
  readonly conv1: Conv2d;
  readonly norm1: BatchNorm;
  readonly conv2: Conv2d;
  readonly norm2: BatchNorm;
  readonly #stride: number;
  readonly #more: number;

  /** @throws ConfigError for fewer channels going out than coming in */
  constructor(inputs: number, inner: Width | number, outputs: number, stride: number, generator?: Generator) {
    super();
    if (outputs < inputs) {
      throw new ConfigError(`BasicBlock: expected at least ${inputs} channels to go out, got ${outputs}`);
    }
    const options = { padding: 1, bias: false, init: 'kaiming-normal', ...(generator ? { generator } : {}) } as const;
    this.conv1 = new Conv2d(inputs, inner, 3, { ...options, stride });
    this.norm1 = new BatchNorm(inner, { activation: 'relu' });
    this.conv2 = new Conv2d(inner, outputs, 3, options);
    this.norm2 = new BatchNorm(outputs, { activation: 'relu' });
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
    const inner = this.norm1.forward(this.conv1.forward(x));
    return this.norm2.forward(this.conv2.forward(inner), this.#shortcut(x));
  }
}

/** Images [N, H, W, inputs] -> logits [N, classes]. */
export class ResNet extends Module {
  readonly conv: Conv2d;
  readonly norm: BatchNorm;
  readonly blocks: readonly BasicBlock[];
  readonly pool = new GlobalAvgPool2d();
  readonly classifier: Linear;

  /** @throws ConfigError for a depth that is not 6n + 2, n >= 1, or sizes below 1 */
  constructor(options: ResNetOptions) {
    super();
    const { depth = 20, classes, inputs = 3, width = 16, capacity = 1, seed = 0 } = options;
    if (!Number.isInteger(depth) || depth < 8 || (depth - 2) % 6 !== 0) {
      throw new ConfigError(`resnet: expected a depth of 6n + 2, n >= 1, got ${shown(depth)}`);
    }
    for (const [name, value] of Object.entries({ classes, inputs, width })) {
      if (!Number.isInteger(value) || value < 1)
        throw new ConfigError(`resnet: expected ${name} of at least 1, got ${shown(value)}`);
    }
    if (!(capacity >= 1 && capacity <= 64)) {
      throw new ConfigError(`resnet: expected a capacity from 1 to 64, got ${shown(capacity)}`);
    }
    const generator = seed instanceof Generator ? seed : new Generator(seed);
    this.conv = new Conv2d(inputs, width, 3, { padding: 1, bias: false, init: 'kaiming-normal', generator });
    this.norm = new BatchNorm(width, { activation: 'relu' });
    const blocks: BasicBlock[] = [];
    let before = width;
    for (let stage = 0; stage < 3; stage++) {
      const channels = width << stage;
      for (let i = 0; i < (depth - 2) / 6; i++) {
        const name = `stage${stage + 1}.block${i + 1}`;
        const inner = new Width(channels, { name, capacity: Math.ceil(channels * capacity) });
        blocks.push(new BasicBlock(before, inner, channels, i === 0 && stage > 0 ? 2 : 1, generator));
        before = channels;
      }
    }
    this.blocks = blocks;
    this.classifier = new Linear(before, classes, { generator });
  }

  override forward(x: Tensor): Tensor {
    let value = this.norm.forward(this.conv.forward(x));
    for (const block of this.blocks) value = block.forward(value);
    return this.classifier.forward(this.pool.forward(value));
  }
}

/** A ResNet as {@link ResNetOptions} say; its plastic widths are `model.widths()`. */
export function resnet(options: ResNetOptions): ResNet {
  return new ResNet(options);
}
