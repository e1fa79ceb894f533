/**
 * Plain convolutional networks whose layers are all plastic: VGG-11 with batch norm for 32x32 images, and a small one of the same
 * make. Source of VGG: Simonyan and Zisserman 2014, arXiv 1409.1556, configuration A, with one linear layer at its end.
 */
import { ConfigError, shown } from '../device/index.js';
import { BatchNorm, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, type Module, Sequential, Width } from '../nn/index.js';
import { Generator } from '../ops/index.js';

export interface ConvNetOptions {
  /** Layers in order: channels of a 3x3 convolution (a Width, or a size of which one is made: conv1, conv2, ...), or 'pool'. */
  layers: readonly (Width | number | 'pool')[];
  classes: number;
  /** Channels of an image. Default 3. */
  inputs?: number;
  /** Room for growth of the widths made here, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/**
 * [conv 3x3 -> batch norm -> relu, or 2x2 max pooling] per layer -> mean over the pixels -> classes. Images [N, H, W, inputs],
 * logits [N, classes]. The plastic widths are `model.widths()`.
 * @throws ConfigError for sizes below 1, or without a convolution
 */
export function convNet(options: ConvNetOptions): Sequential {
  const { layers, classes, inputs = 3, capacity = 1, seed = 0 } = options;
  for (const [name, value] of Object.entries({ classes, inputs })) {
    if (!Number.isInteger(value) || value < 1)
      throw new ConfigError(`convNet: expected ${name} of at least 1, got ${shown(value)}`);
  }
  if (!(capacity >= 1 && capacity <= 64)) {
    throw new ConfigError(`convNet: expected a capacity from 1 to 64, got ${shown(capacity)}`);
  }
  if (!layers.some((layer) => layer !== 'pool')) throw new ConfigError('convNet: expected at least one convolution');
  const generator = seed instanceof Generator ? seed : new Generator(seed);
  const modules: Module[] = [];
  let before: Width | number = inputs;
  let convolutions = 0;
  for (const layer of layers) {
    if (layer === 'pool') {
      modules.push(new MaxPool2d(2));
      continue;
    }
    convolutions++;
    const width: Width =
      layer instanceof Width
        ? layer
        : new Width(layer, { name: `conv${convolutions}`, capacity: Math.ceil(layer * capacity) });
    modules.push(new Conv2d(before, width, 3, { padding: 1, bias: false, init: 'kaiming-normal', generator }));
    modules.push(new BatchNorm(width, { activation: 'relu' }));
    before = width;
  }
  modules.push(new GlobalAvgPool2d(), new Linear(before, classes, { generator }));
  return new Sequential(...modules);
}

/** VGG-11 with batch norm: images [N, 32, 32, inputs] -> logits [N, classes]. */
export function vgg11(options: Omit<ConvNetOptions, 'layers'>): Sequential {
  const layers = [64, 'pool', 128, 'pool', 256, 256, 'pool', 512, 512, 'pool', 512, 512, 'pool'] as const;
  return convNet({ ...options, layers });
}

/** A small net for small images: 32, 64 and 128 channels with pooling in between. */
export function smallConvNet(options: Omit<ConvNetOptions, 'layers'>): Sequential {
  return convNet({ ...options, layers: [32, 'pool', 64, 'pool', 128] });
}
