/**
 * The model of a run: the fields of every kind in a configuration, and the network they describe.
 */
import { z } from 'zod';
import type { Dataset } from '../data/index.js';
import { ConfigError } from '../device/index.js';
import { type ClassifierName, convNet, mixer, mlp, resnet, vgg11, vit, wideResNet } from '../models/index.js';
import type { Module } from '../nn/index.js';
import type { Generator } from '../ops/index.js';

const size = z.number().int().min(1).max(65536);
const sizes = z.union([size, z.array(size).min(1).max(1024)], {
  error: 'expected a whole number >= 1 or a list of them',
});
const share = z.number().min(0).lt(1);

const blocks = size.max(1024).default(4).describe('Blocks');
const firstChannels = size.default(16).describe('Channels of the first convolution; the stages follow from it');
const patch = size.default(4).describe('Side of the squares that a picture is cut into');
const dim = size.default(128).describe('Channels of the residual stream');
const dropPath = share.default(0).describe('Stochastic depth: probability of skipping the last branch, less before');

/** Fields by `kind`; a configuration without one is an mlp. */
export const modelSchema = z
  .discriminatedUnion(
    'kind',
    [
      z.strictObject({
        kind: z
          .literal('mlp')
          .optional()
          .transform((kind) => kind ?? 'mlp')
          .describe('Which network; those but an mlp want pictures'),
        hidden: z.array(size).min(1).max(32).default([64]).describe('Units of each hidden layer'),
        norm: z.enum(['none', 'batch', 'layer']).default('none').describe('Normalisation after each hidden layer'),
        dropout: share.default(0).describe('Dropout after each hidden layer'),
        init: z
          .enum([
            'kaiming-uniform',
            'kaiming-normal',
            'xavier-uniform',
            'xavier-normal',
            'fan-in-uniform',
            'orthogonal',
          ])
          .default('kaiming-uniform')
          .describe('First weights; fan-in-uniform is what PyTorch does by default'),
      }),
      z.strictObject({
        kind: z.literal('convnet'),
        channels: z
          .array(z.union([size, z.literal('pool')], { error: "expected a whole number >= 1 or 'pool'" }))
          .min(1)
          .max(64)
          .default([32, 'pool', 64, 'pool', 128])
          .describe('Channels of each 3x3 convolution, and where 2x2 pooling goes'),
      }),
      z.strictObject({
        kind: z.literal('vgg11'),
        width: size.default(64).describe('Channels of the first layer; the others have 2, 4 and 8 times as many'),
      }),
      z.strictObject({
        kind: z.literal('resnet'),
        depth: size.max(1024).default(20).describe('Layers: 6n + 2'),
        width: firstChannels,
        dropPath,
      }),
      z.strictObject({
        kind: z.literal('wrn'),
        depth: size.max(1024).default(16).describe('Layers: 6n + 4'),
        widen: size.default(4).describe('k: channels relative to those of a ResNet'),
        width: firstChannels,
        dropout: share.default(0).describe('Dropout between the convolutions of a block'),
        dropPath,
      }),
      z.strictObject({
        kind: z.literal('vit'),
        patch,
        dim,
        depth: blocks,
        heads: sizes.default(4).describe('Heads per block, or a list'),
        headDim: size.optional().describe('Channels per head (default: dim / heads)'),
        mlp: sizes.optional().describe('Inner width of the feed-forward part, or a list (default: 4 dim)'),
        pool: z.enum(['class', 'mean']).default('class').describe('What the classifier reads: a token or the mean'),
        dropout: share.default(0).describe('Dropout after the position embedding'),
        dropPath,
      }),
      z.strictObject({
        kind: z.literal('mixer'),
        patch,
        dim,
        depth: blocks,
        tokens: sizes.optional().describe('Inner width of the parts that mix positions, or a list (default: dim / 2)'),
        channels: sizes.optional().describe('Inner width of the parts that mix channels, or a list (default: 4 dim)'),
        dropPath,
      }),
    ],
    {
      error: ({ code, options }) =>
        code === 'invalid_union' ? `expected one of ${(options as unknown[]).filter(Boolean).join(', ')}` : undefined,
    },
  )
  .describe('Model');

export type ModelConfig = z.output<typeof modelSchema>;

/** What the network is for, beside its configuration. */
export interface ModelUse {
  data: Pick<Dataset, 'name' | 'shape' | 'features' | 'classes'>;
  classifier: ClassifierName;
  /** Room for growth of the plastic widths, relative to their size, >= 1. */
  capacity: number;
  /** Of first weights and dropout. */
  generator: Generator;
}

/**
 * The network of a configuration for the rows of a data set [N, features].
 * @throws ConfigError for rows that are no pictures where the kind wants some, and as the models do
 */
export function buildModel(config: ModelConfig, { data, classifier, capacity, generator }: ModelUse): Module {
  const { classes, shape } = data;
  const common = { classes, classifier, capacity, seed: generator };
  if (config.kind === 'mlp') return mlp({ ...common, ...fields(config), inputs: data.features });
  if (shape.length !== 3) {
    throw new ConfigError(
      `model: expected rows that are pictures [height,width,channels] for kind ${config.kind}, got [${shape.join(',')}] of ` +
        `${data.name}; kind mlp takes any rows`,
    );
  }
  const image = [shape[0], shape[1], shape[2]] as const;
  const pictures = { ...common, image };
  switch (config.kind) {
    case 'convnet':
      return convNet({ ...pictures, layers: config.channels });
    case 'vgg11':
      return vgg11({ ...pictures, ...fields(config) });
    case 'resnet':
      return resnet({ ...pictures, ...fields(config) });
    case 'wrn':
      return wideResNet({ ...pictures, ...fields(config) });
    case 'vit':
      return vit({ ...pictures, ...fields(config) });
    case 'mixer':
      return mixer({ ...pictures, ...fields(config) });
  }
}

/** A model's own options. */
function fields<T extends ModelConfig>({ kind, ...own }: T): Omit<T, 'kind'> {
  void kind;
  return own;
}
