/**
 * Models by configuration: each kind on pictures of 28x28 and 32x32, its fields, and what is refused.
 */
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { CosineLinear, type Module } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { tidy } from '../../src/tensor/index.js';
import { buildModel, configFields, parseConfig, type RunConfigInput } from '../../src/train/index.js';

type Model = NonNullable<RunConfigInput['model']>;

function built(model: Model, shape: readonly number[], classifier: 'linear' | 'cosine' = 'linear'): Module {
  const data = { name: 'pictures', shape, features: shape.reduce((a, b) => a * b, 1), classes: 7 };
  const generator = new Generator(1);
  return buildModel(parseConfig({ model }).model, { data, classifier, capacity: 1.5, generator });
}

const kinds: [Model, string[]][] = [
  [{ kind: 'mlp', hidden: [6, 5], norm: 'batch', dropout: 0.1 }, ['hidden1', 'hidden2']],
  [{ kind: 'convnet', channels: [4, 'pool', 6] }, ['conv1', 'conv2']],
  [{ kind: 'vgg11', width: 2 }, ['conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'conv6', 'conv7', 'conv8']],
  [{ kind: 'resnet', depth: 8, width: 4, dropPath: 0.2 }, ['stage1.block1', 'stage2.block1', 'stage3.block1']],
  [
    { kind: 'wrn', depth: 10, widen: 2, width: 2, dropout: 0.1, dropPath: 0.2 },
    ['stage1.block1', 'stage2.block1', 'stage3.block1'],
  ],
  [
    { kind: 'vit', depth: 2, dim: 8, heads: [2, 1], headDim: 4, mlp: 6, pool: 'mean', dropout: 0.1, dropPath: 0.2 },
    ['heads1', 'mlp1', 'heads2', 'mlp2'],
  ],
  [
    { kind: 'mixer', depth: 2, dim: 8, tokens: [3, 4], channels: 6, dropPath: 0.2 },
    ['tokens1', 'channels1', 'tokens2', 'channels2'],
  ],
];

describe.each(kinds)('%j', (model, names) => {
  it.each([
    ['28x28', [28, 28, 1]],
    ['32x32', [32, 32, 3]],
  ])('takes rows of %s, has room for growth and either classifier', (_, shape) => {
    for (const classifier of ['linear', 'cosine'] as const) {
      const net = built(model, shape, classifier);
      expect(net.modules().some((module) => module instanceof CosineLinear)).toBe(classifier === 'cosine');
      expect(net.widths().map(({ name }) => name)).toEqual(names);
      for (const { size, capacity } of net.widths()) expect(capacity).toBe(Math.ceil(1.5 * size));
      tidy(() => {
        const rows = normal([3, shape.reduce((a, b) => a * b)], { generator: new Generator(2) });
        expect(net.forward(rows).shape).toEqual([3, 7]);
      });
      net.dispose();
    }
  });
});

describe('fields', () => {
  it('have the defaults of their kind', () => {
    expect(parseConfig({}).model).toEqual(parseConfig({ model: { kind: 'mlp' } }).model);
    expect(parseConfig({ model: { kind: 'resnet' } }).model).toEqual({
      kind: 'resnet',
      depth: 20,
      width: 16,
      dropPath: 0,
    });
    for (const [model] of kinds) {
      const full = parseConfig({ model });
      expect(parseConfig(full)).toEqual(full);
    }
  });

  it('are listed once, with what they mean for each kind', () => {
    const fields = configFields().filter(({ key }) => key.startsWith('model.'));
    expect(new Set(fields.map(({ key }) => key)).size).toBe(fields.length);
    expect(fields.find(({ key }) => key === 'model.depth')?.description).toBe(
      'resnet: Layers: 6n + 2 [20]; wrn: Layers: 6n + 4 [16]; vit, mixer: Blocks [4]',
    );
    expect(fields.find(({ key }) => key === 'model.kind')).toMatchObject({
      default: 'mlp',
      type: "'mlp' | 'convnet' | 'vgg11' | 'resnet' | 'wrn' | 'vit' | 'mixer'",
    });
  });

  it.each([
    [{ kind: 'lstm' }, /'model.kind': expected one of mlp, convnet, vgg11, resnet, wrn, vit, mixer, got "lstm"/],
    [{ kind: 'resnet', hidden: [3] }, /'model.hidden' is no field of kind resnet, which has: kind, depth, width, drop/],
    [{ depth: 3 }, /'model.depth' is no field of kind mlp, which has: kind, hidden, norm, dropout, init/],
    [{ kind: 'vit', heds: 3 }, /unknown key 'model.heds'; did you mean 'model.heads'\?/],
    [{ kind: 'mixer', channels: ['pool'] }, /'model.channels': expected a whole number >= 1 or a list of them, got/],
    [{ kind: 'convnet', channels: ['poll'] }, /'model.channels.0': expected a whole number >= 1 or 'pool', got "poll"/],
  ])('%j is refused', (model, message) => {
    expect(() => parseConfig({ model })).toThrow(ConfigError);
    expect(() => parseConfig({ model })).toThrow(message);
  });

  it('that fit no data or no network are refused', () => {
    expect(() => built({ kind: 'wrn' }, [9])).toThrow(/pictures \[height,width,channels\] for kind wrn, got \[9\]/);
    expect(() => built({ kind: 'resnet', depth: 9 }, [8, 8, 1])).toThrow(/depth of 6n \+ 2/);
    expect(() => built({ kind: 'wrn', depth: 12 }, [8, 8, 1])).toThrow(/depth of 6n \+ 4/);
    expect(() => built({ kind: 'vit', patch: 5 }, [28, 28, 1])).toThrow(/squares of 5 tile/);
    expect(() => built({ kind: 'convnet', channels: [2, 'pool', 'pool'] }, [3, 8, 1])).toThrow(/at least 4 pixels/);
    expect(() => built({ kind: 'convnet', channels: ['pool'] }, [8, 8, 1])).toThrow(/at least one convolution/);
  });
});
