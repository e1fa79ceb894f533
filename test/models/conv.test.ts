/**
 * Convolutional models: their parameters, counted by hand, what they learn and that their inner widths may grow.
 */
import '../../src/autograd/index.js';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { convNet, resnet, smallConvNet, vgg11, wideResNet } from '../../src/models/index.js';
import type { Module } from '../../src/nn/index.js';
import { Generator, normal, pad } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import { tensor, tidy } from '../../src/tensor/index.js';
import { stepOf } from '../nn/helpers.js';

/** Losses of three steps on one batch of 16x16 images. */
function losses(net: Module, lr: number, size = 16): number[] {
  const x = normal([8, size, size, 3], { generator: new Generator(3) });
  const y = tensor(Int32Array.from({ length: 8 }, (_, i) => i % 4));
  const optimizer = new SGD(net.parameters(), { lr, momentum: 0.9 });
  const step = stepOf(net, optimizer);
  return [1, 2, 3, 4].map(() => tidy(() => step(x, y).itemSync()));
}

function expectFalling(values: number[]): void {
  for (let i = 1; i < values.length; i++) expect(values[i]).toBeLessThan(values[i - 1]);
}

/** Weights and batch norms of a ResNet on 3 channels with option A: 3x3 kernels throughout, and the classifier. */
function resnetParameters(n: number, classes: number): number {
  let total = 9 * 3 * 16 + 2 * 16;
  let before = 16;
  for (const channels of [16, 32, 64]) {
    for (let block = 0; block < n; block++) {
      total += 9 * before * channels + 2 * channels + 9 * channels * channels + 2 * channels;
      before = channels;
    }
  }
  return total + 64 * classes + classes;
}

describe('resnet', () => {
  it('has the parameters of the paper', () => {
    expect(resnetParameters(3, 10)).toBe(269722);
    for (const depth of [20, 32, 44, 56]) {
      const net = resnet({ depth, classes: 10 });
      expect(net.parameterCount()).toBe(resnetParameters((depth - 2) / 6, 10));
      net.dispose();
    }
  });

  it('learns, and its inner widths grow without a change of the function', () => {
    const net = resnet({ depth: 8, classes: 4, width: 8, capacity: 1.5, seed: 1 });
    expectFalling(losses(net, 0.02));
    expect(net.widths().map(({ name, size, capacity }) => [name, size, capacity])).toEqual([
      ['stage1.block1', 8, 12],
      ['stage2.block1', 16, 24],
      ['stage3.block1', 32, 48],
    ]);
    net.eval();
    const x = normal([2, 16, 16, 3], { generator: new Generator(9) });
    const before = net.forward(x).dataSync();
    for (const width of net.widths()) width.grow(3);
    const after = net.forward(x).dataSync();
    before.forEach((value, i) => expect(after[i]).toBeCloseTo(value, 5));
    net.dispose();
  });

  it('refuses other depths', () => {
    expect(() => resnet({ depth: 18, classes: 10 })).toThrow(ConfigError);
    expect(() => resnet({ depth: 20, classes: 0 })).toThrow(/classes of at least 1/);
  });
});

describe('wideResNet', () => {
  it('has the parameters of its convolutions, norms and last layer', () => {
    const count = (depth: number, widen: number, inputs: number): number => {
      let total = 9 * inputs * 16;
      let before = 16;
      for (const channels of [16 * widen, 32 * widen, 64 * widen]) {
        for (let block = 0; block < (depth - 4) / 6; block++) {
          total += 2 * before + 9 * before * channels + 2 * channels + 9 * channels * channels;
          if (before !== channels) total += before * channels;
          before = channels;
        }
      }
      return total + 2 * before + before * 10 + 10;
    };
    for (const [depth, widen] of [
      [16, 1],
      [16, 4],
      [22, 2],
    ] as const) {
      const net = wideResNet({ depth, widen, classes: 10, image: [32, 32, 1] });
      expect(net.parameterCount()).toBe(count(depth, widen, 1));
      expect(net.widths().map(({ size }) => size)).toEqual(
        [16, 32, 64].flatMap((channels) => Array<number>((depth - 4) / 6).fill(channels * widen)),
      );
      net.dispose();
    }
    expect(count(16, 4, 3)).toBe(2748890);
  });

  it('learns, with dropout and stochastic depth', () => {
    const net = wideResNet({ depth: 10, widen: 2, classes: 4, dropout: 0.1, dropPath: 0.2, seed: 1 });
    const values = losses(net, 0.02);
    expect(values[3]).toBeLessThan(values[0]);
    net.dispose();
  });

  it('refuses other depths', () => {
    expect(() => wideResNet({ depth: 18, classes: 10 })).toThrow(ConfigError);
    expect(() => wideResNet({ widen: 0, classes: 10 })).toThrow(/widen of at least 1/);
    expect(() => wideResNet({ capacity: 0.5, classes: 10 })).toThrow(/capacity from 1 to 64/);
  });
});

it('stochastic depth changes training only', () => {
  const [plain, dropping] = [0, 0.5].map((dropPath) => resnet({ depth: 8, width: 4, classes: 3, dropPath, seed: 2 }));
  const x = normal([4, 8, 8, 3], { generator: new Generator(3) });
  const both = (): Float32Array[] =>
    [plain, dropping].map((net) => tidy(() => net.forward(x).dataSync() as Float32Array));
  plain.eval();
  dropping.eval();
  let [a, b] = both();
  a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 5));
  plain.train();
  dropping.train();
  [a, b] = both();
  expect(a).not.toEqual(b);
  plain.dispose();
  dropping.dispose();
});

describe('plain nets', () => {
  it('vgg11 puts a rim of zeros around images that are no multiples of 32', () => {
    const net = vgg11({ classes: 10, width: 4, image: [28, 28, 1] }).eval();
    tidy(() => {
      const x = normal([2, 28, 28, 1], { generator: new Generator(3) });
      const around = [2, 2] as const;
      const padded = pad(x, [[0, 0], around, around, [0, 0]]);
      expect(net.forward(x).dataSync()).toEqual(net.forward(padded).dataSync());
    });
    net.dispose();
  });

  it('vgg11 has 3x3 kernels, batch norms and one linear layer', () => {
    const channels = [3, 64, 128, 256, 256, 512, 512, 512, 512];
    let total = 512 * 10 + 10;
    for (let i = 1; i < channels.length; i++) total += 9 * channels[i - 1] * channels[i] + 2 * channels[i];
    const net = vgg11({ classes: 10 });
    expect(net.parameterCount()).toBe(total);
    expect(net.widths()).toHaveLength(8);
    expect(tidy(() => net.eval().forward(normal([1, 32, 32, 3])).shape)).toEqual([1, 10]);
    net.dispose();
  });

  it('the small net and one of given layers learn', () => {
    for (const net of [
      smallConvNet({ classes: 4, seed: 1 }),
      convNet({ layers: [8, 8, 'pool', 12], classes: 4, seed: 2 }),
    ]) {
      expectFalling(losses(net, 0.02));
      net.dispose();
    }
  });

  it('refuses nets without a convolution', () => {
    expect(() => convNet({ layers: ['pool'], classes: 2 })).toThrow(/at least one convolution/);
    expect(() => convNet({ layers: [0], classes: 2 })).toThrow(ConfigError);
  });
});
