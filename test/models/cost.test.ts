/**
 * Multiply-adds by hand, and that counting leaves no trace.
 */
import '../../src/autograd/index.js';
import { expect, it } from 'vitest';
import { convNet, mixer, mlp, multiplyAdds, resnet, vgg11, vit, wideResNet } from '../../src/models/index.js';
import { device } from '../../src/device/index.js';

/** Of a 3x3 convolution with an output of `size` x `size`. */
const conv = (size: number, inputs: number, outputs: number): number => size ** 2 * 9 * inputs * outputs;

it('an mlp, before and after growth and pruning', () => {
  for (const classifier of ['linear', 'cosine'] as const) {
    const net = mlp({ inputs: 7, hidden: [5, 4], classes: 3, norm: 'batch', dropout: 0.5, classifier });
    expect(multiplyAdds(net, [7])).toBe(7 * 5 + 5 * 4 + 4 * 3);
    net.widths()[0].grow(2);
    expect(multiplyAdds(net, [7])).toBe(7 * 7 + 7 * 4 + 4 * 3);
    net.widths()[1].prune([1]);
    expect(multiplyAdds(net, [7])).toBe(7 * 7 + 7 * 3 + 3 * 3);
    net.dispose();
  }
});

it('convolutional nets', () => {
  const small = convNet({ layers: [4, 'pool', 6], classes: 3, image: [9, 8, 2] });
  expect(multiplyAdds(small, [9, 8, 2])).toBe(72 * 9 * 2 * 4 + 16 * 9 * 4 * 6 + 18);
  const vgg = vgg11({ width: 2, classes: 3, image: [28, 28, 1] });
  expect(multiplyAdds(vgg, [784])).toBe(
    conv(32, 1, 2) +
      conv(16, 2, 4) +
      conv(8, 4, 8) +
      conv(8, 8, 8) +
      conv(4, 8, 16) +
      conv(4, 16, 16) +
      2 * conv(2, 16, 16) +
      48,
  );
  const res = resnet({ depth: 20, classes: 10 });
  expect(multiplyAdds(res, [32, 32, 3])).toBe(
    conv(32, 3, 16) +
      6 * conv(32, 16, 16) +
      conv(16, 16, 32) +
      5 * conv(16, 32, 32) +
      conv(8, 32, 64) +
      5 * conv(8, 64, 64) +
      640,
  );
  expect(multiplyAdds(res, [32, 32, 3])).toBe(40551040);
  const wide = wideResNet({ depth: 10, widen: 2, width: 4, classes: 3, image: [8, 8, 1] });
  expect(multiplyAdds(wide, [8, 8, 1])).toBe(
    conv(8, 1, 4) +
      (conv(8, 4, 8) + conv(8, 8, 8) + 64 * 4 * 8) +
      (conv(4, 8, 16) + conv(4, 16, 16) + 16 * 8 * 16) +
      (conv(2, 16, 32) + conv(2, 32, 32) + 4 * 16 * 32) +
      96,
  );
  for (const net of [small, vgg, res, wide]) net.dispose();
});

it('transformers and mixers', () => {
  const image = [8, 8, 3] as const;
  const attentive = vit({ image, classes: 3, patch: 4, dim: 16, depth: 2, heads: 3, headDim: 5, mlp: 24 });
  const rows = 5 * (16 * 45 + 15 * 16 + 2 * 16 * 24) + 2 * 3 * 5 * 5 * 5;
  expect(multiplyAdds(attentive, [...image])).toBe(4 * 48 * 16 + 2 * rows + 48);
  const mixing = mixer({ image, classes: 3, patch: 4, dim: 16, depth: 1, tokens: 6, channels: 24 });
  expect(multiplyAdds(mixing, [192])).toBe(4 * 48 * 16 + 16 * 2 * 4 * 6 + 4 * 2 * 16 * 24 + 48);
  attentive.dispose();
  mixing.dispose();
});

it('leaves modes, memory and statistics as they were', () => {
  const net = resnet({ depth: 8, width: 2, classes: 2, image: [8, 8, 1] });
  net.train();
  net.blocks[0].eval();
  const before = device().memory().buffers;
  const mean = net.norm.runningMean.value.dataSync();
  multiplyAdds(net, [64]);
  expect(device().memory().buffers).toBe(before);
  expect([net.training, net.blocks[0].training, net.blocks[0].norm1.training, net.blocks[1].training]).toEqual([
    true,
    false,
    false,
    true,
  ]);
  expect(net.norm.runningMean.value.dataSync()).toEqual(mean);
  expect(() => multiplyAdds(net, [63])).toThrow();
  expect(net.training).toBe(true);
  net.dispose();
});
