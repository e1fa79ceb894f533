/**
 * mlp: a multi-layer perceptron whose hidden layers are plastic.
 */
import {
  BatchNorm,
  Dropout,
  type init,
  LayerNorm,
  Linear,
  type Module,
  ReLU,
  Sequential,
  type Width,
} from '../nn/index.js';
import { Generator } from '../ops/index.js';
import { expectSizes, widthOf } from './blocks.js';
import { classifierOf, type ClassifierName } from './classifier.js';

export interface MlpOptions {
  /** Numbers per sample. */
  inputs: number;
  /** Hidden layers: a Width, or a size of which one is made, named hidden1, hidden2, ... */
  hidden: readonly (Width | number)[];
  classes: number;
  /** After each hidden layer's product. Default 'none'. */
  norm?: 'none' | 'batch' | 'layer';
  /** Probability of dropout after each hidden layer. Default 0. */
  dropout?: number;
  /** Last layer: logits, or cosines in -1..1. Default 'linear'. */
  classifier?: ClassifierName;
  /** Room for growth of the widths made here, relative to their size. Default 1. */
  capacity?: number;
  /** First weights; biases start at 0. Default 'kaiming-uniform'. */
  init?: init.InitName;
  /** Of the first weights and of dropout; a Generator is used as it is. Default 0. */
  seed?: number | Generator;
}

/**
 * inputs -> [Linear -> norm -> ReLU -> dropout] per hidden layer -> classes. Input [N, inputs], output logits [N, classes].
 * The widths are `model.widths()`.
 * @throws ConfigError for sizes below 1 or a dropout outside 0..1
 */
export function mlp(options: MlpOptions): Sequential {
  const {
    inputs,
    hidden,
    classes,
    norm = 'none',
    dropout = 0,
    classifier = 'linear',
    capacity,
    init,
    seed = 0,
  } = options;
  expectSizes('mlp', { inputs, classes });
  const generator = seed instanceof Generator ? seed : new Generator(seed);
  const layers: Module[] = [];
  let before: Width | number = inputs;
  hidden.forEach((size, i) => {
    const width = widthOf('mlp', size, `hidden${i + 1}`, capacity);
    // Without a norm in between, the activation is part of the product's kernel.
    layers.push(new Linear(before, width, { generator, init, activation: norm === 'none' ? 'relu' : 'none' }));
    if (norm === 'batch') layers.push(new BatchNorm(width));
    if (norm === 'layer') layers.push(new LayerNorm(width));
    if (norm !== 'none') layers.push(new ReLU());
    if (dropout > 0) layers.push(new Dropout(dropout, { generator, width }));
    before = width;
  });
  layers.push(classifierOf(classifier, before, classes, { generator, init }));
  return new Sequential(...layers);
}
