/**
 * Plain convolutional networks whose layers are all plastic: VGG-11 with batch norm for 32x32 images, and a small one of the same
 * make. Source of VGG: Simonyan and Zisserman 2014, arXiv 1409.1556, configuration A, with one linear layer at its end.
 */
import { ConfigError } from '../device/index.js';
import { BatchNorm, Conv2d, GlobalAvgPool2d, MaxPool2d, type Module, Sequential, type Width } from '../nn/index.js';
import { Generator } from '../ops/index.js';
import { expectImage, Pictures, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';

export interface ConvNetOptions {
  /** Layers in order: channels of a 3x3 convolution (a Width, or a size of which one is made: conv1, conv2, ...), or 'pool'. */
  layers: readonly (Width | number | 'pool')[];
  classes: number;
  /** Height, width, channels of an image. Default [32, 32, 3]. */
  image?: readonly [number, number, number];
  /** Zeros around the image make its height and width multiples of this. Default 1: none. */
  multiple?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the widths made here, relative to their size. Default 1. */
  capacity?: number;
  /** Of the first weights; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/**
 * [conv 3x3 -> batch norm -> relu, or 2x2 max pooling] per layer -> mean over the pixels -> classes. Images [N, H, W, C] (or rows
 * [N, H * W * C]), logits [N, classes]. Pooling drops a last row or column that has no partner. The plastic widths are
 * `model.widths()`.
 * @throws ConfigError for sizes below 1, without a convolution, or with more pooling than the image has pixels
 */
export function convNet(options: ConvNetOptions): Sequential {
  const { layers, classes, image = [32, 32, 3], multiple, classifier = 'linear', capacity, seed = 0 } = options;
  expectImage('convNet', classes, image);
  if (!layers.some((layer) => layer !== 'pool')) throw new ConfigError('convNet: expected at least one convolution');
  const generator = seed instanceof Generator ? seed : new Generator(seed);
  const pictures = new Pictures(image, multiple);
  const modules: Module[] = [pictures];
  const pools = layers.filter((layer) => layer === 'pool').length;
  const least = Math.min(...pictures.padded(image));
  if (least >> pools < 1) {
    throw new ConfigError(
      `convNet: expected images of at least ${2 ** pools} pixels for ${pools} poolings, got ${least}`,
    );
  }
  let before: Width | number = image[2];
  let convolutions = 0;
  for (const layer of layers) {
    if (layer === 'pool') {
      modules.push(new MaxPool2d(2));
      continue;
    }
    const width: Width = widthOf('convNet', layer, `conv${++convolutions}`, capacity);
    modules.push(new Conv2d(before, width, 3, { padding: 1, bias: false, init: 'kaiming-normal', generator }));
    modules.push(new BatchNorm(width, { activation: 'relu' }));
    before = width;
  }
  modules.push(new GlobalAvgPool2d(), classifierOf(classifier, before, classes, { generator }));
  return new Sequential(...modules);
}

/** Options of {@link vgg11}. */
export interface VggOptions extends Omit<ConvNetOptions, 'layers' | 'multiple'> {
  /** Channels of the first layer; the others have 2, 4 and 8 times as many. Default 64. */
  width?: number;
}

/**
 * VGG-11 with batch norm: images [N, H, W, C] (or rows) -> logits [N, classes]. Its five poolings want multiples of 32 pixels: zeros
 * are put around other images, 2 on each side of 28x28.
 */
export function vgg11({ width = 64, ...options }: VggOptions): Sequential {
  const [a, b, c, d] = [width, 2 * width, 4 * width, 8 * width];
  return convNet({
    ...options,
    layers: [a, 'pool', b, 'pool', c, c, 'pool', d, d, 'pool', d, d, 'pool'],
    multiple: 32,
  });
}

/** A small net for small images: 32, 64 and 128 channels with pooling in between. */
export function smallConvNet(options: Omit<ConvNetOptions, 'layers' | 'multiple'>): Sequential {
  return convNet({ ...options, layers: [32, 'pool', 64, 'pool', 128] });
}
