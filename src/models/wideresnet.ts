/**
 * WideResNet: a ResNet of pre-activation blocks that is wide instead of deep. Three stages of n blocks with 16k, 32k, 64k channels,
 * depth 6n + 4 (WRN-16-k has n = 2). The inner width of each block is plastic; the residual streams are fixed.
 * Source: Zagoruyko and Komodakis 2016, arXiv 1605.07146.
 */
import { ConfigError, shown } from '../device/index.js';
import {
  BatchNorm,
  Conv2d,
  Dropout,
  DropPath,
  GlobalAvgPool2d,
  type Classifier,
  Module,
  type Width,
} from '../nn/index.js';
import { add, Generator } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { asPictures, dropRate, expectImage, expectSizes, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';
import type { BlockOptions } from './resnet.js';

export interface WideResNetOptions {
  /** 6n + 4. Default 16. */
  depth?: number;
  /** k: channels of the stages relative to those of a ResNet. Default 4. */
  widen?: number;
  classes: number;
  /** Height, width, channels of an image. Default [32, 32, 3]. */
  image?: readonly [number, number, number];
  /** Channels of the first convolution; the stages have k, 2k and 4k times as many. Default 16. */
  width?: number;
  /** Probability of dropout between the convolutions of a block. Default 0. */
  dropout?: number;
  /** Stochastic depth: probability that a sample skips the branch of the last block; it grows linearly with depth. Default 0. */
  dropPath?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the inner widths, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights and of dropping; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/**
 * With a = relu(bn(x)): conv(dropout(relu(bn(conv(a))))) + shortcut, which is x, or where stride or channels change a 1x1 convolution
 * of a. x [N, H, W, inputs] -> [N, H / stride, W / stride, outputs].
 */
export class PreActivationBlock extends Module {
  readonly norm1: BatchNorm;
  readonly conv1: Conv2d;
  readonly norm2: BatchNorm;
  readonly dropout: Dropout;
  readonly conv2: Conv2d;
  readonly drop: DropPath;
  readonly shortcut: Conv2d | undefined;

  constructor(
    inputs: number,
    inner: Width | number,
    outputs: number,
    options: BlockOptions & { dropout?: number } = {},
  ) {
    super();
    const { stride = 1, dropout = 0, dropPath = 0, generator } = options;
    const convolution = { bias: false, init: 'kaiming-normal', generator } as const;
    this.norm1 = new BatchNorm(inputs, { activation: 'relu' });
    this.conv1 = new Conv2d(inputs, inner, 3, { ...convolution, padding: 1, stride });
    this.norm2 = new BatchNorm(inner, { activation: 'relu' });
    this.dropout = new Dropout(dropout, { generator, width: inner });
    this.conv2 = new Conv2d(inner, outputs, 3, { ...convolution, padding: 1 });
    this.drop = new DropPath(dropPath, { generator });
    this.shortcut =
      inputs === outputs && stride === 1 ? undefined : new Conv2d(inputs, outputs, 1, { ...convolution, stride });
  }

  override forward(x: Tensor): Tensor {
    const a = this.norm1.forward(x);
    const inner = this.norm2.forward(this.conv1.forward(a));
    const kept = this.dropout.p > 0 ? this.dropout.forward(inner) : inner;
    return add(this.shortcut ? this.shortcut.forward(a) : x, this.drop.forward(this.conv2.forward(kept)));
  }
}

/** Images [N, H, W, C] (or rows [N, H * W * C]) -> logits [N, classes]. */
export class WideResNet extends Module {
  readonly image: readonly [number, number, number];
  readonly conv: Conv2d;
  readonly blocks: readonly PreActivationBlock[];
  readonly norm: BatchNorm;
  readonly pool = new GlobalAvgPool2d();
  readonly classifier: Classifier;

  /** @throws ConfigError for a depth that is not 6n + 4, n >= 1, or sizes below 1 */
  constructor(options: WideResNetOptions) {
    super();
    const { depth = 16, widen = 4, classes, image = [32, 32, 3], width = 16, dropout = 0, dropPath = 0 } = options;
    const { classifier = 'linear', capacity, seed = 0 } = options;
    if (!Number.isInteger(depth) || depth < 10 || (depth - 4) % 6 !== 0) {
      throw new ConfigError(`wideResNet: expected a depth of 6n + 4, n >= 1, got ${shown(depth)}`);
    }
    expectImage('wideResNet', classes, image);
    expectSizes('wideResNet', { width, widen });
    const generator = seed instanceof Generator ? seed : new Generator(seed);
    this.image = image;
    this.conv = new Conv2d(image[2], width, 3, { padding: 1, bias: false, init: 'kaiming-normal', generator });
    const perStage = (depth - 4) / 6;
    let before = width;
    this.blocks = Array.from({ length: 3 * perStage }, (_, i) => {
      const [stage, block] = [Math.floor(i / perStage), i % perStage];
      const channels = (width * widen) << stage;
      const inner = widthOf('wideResNet', channels, `stage${stage + 1}.block${block + 1}`, capacity);
      const made = new PreActivationBlock(before, inner, channels, {
        stride: block === 0 && stage > 0 ? 2 : 1,
        dropout,
        dropPath: dropRate(dropPath, i, 3 * perStage),
        generator,
      });
      before = channels;
      return made;
    });
    this.norm = new BatchNorm(before, { activation: 'relu' });
    this.classifier = classifierOf(classifier, before, classes, { generator });
  }

  override forward(x: Tensor): Tensor {
    let value = this.conv.forward(asPictures(x, this.image));
    for (const block of this.blocks) value = block.forward(value);
    return this.classifier.forward(this.pool.forward(this.norm.forward(value)));
  }
}

/** A WideResNet as {@link WideResNetOptions} say; its plastic widths are `model.widths()`. */
export function wideResNet(options: WideResNetOptions): WideResNet {
  return new WideResNet(options);
}
