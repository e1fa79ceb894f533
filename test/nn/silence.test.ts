/**
 * Silenced neurons: as if they gave 0, at no cost, and gone without trace.
 */
import { expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, device } from '../../src/device/index.js';
import { BatchNorm, Conv2d, Flatten, Linear, ReLU, Sequential, Width } from '../../src/nn/index.js';
import * as ops from '../../src/ops/index.js';
import { manualSeed } from '../../src/ops/index.js';
import { noGrad, tensor, tidy } from '../../src/tensor/index.js';

function twoLayers(): { width: Width; net: Sequential } {
  manualSeed(1);
  const width = new Width(7, { capacity: 9, name: 'hidden' });
  return { width, net: new Sequential(new Linear(5, width), new ReLU(), new Linear(width, 3)) };
}
const input = (): Float32Array => Float32Array.from({ length: 20 }, (_, i) => Math.sin(i));

test('a silenced neuron counts as one that gives 0; the gradients of its weights are 0', () => {
  const { width, net } = twoLayers();
  const x = tensor(input(), { shape: [4, 5] });
  const [first, , last] = net.layers as [Linear, ReLU, Linear];
  const mask = tensor([1, 0, 1, 1, 0, 1, 1]);
  const wanted = tidy(() => last.forward(ops.mul(ops.relu(first.forward(x)), mask)).dataSync());
  width.silence([4, 1]);
  const y = net.forward(x);
  expect([...y.dataSync()].map((v) => v.toFixed(5))).toEqual([...wanted].map((v) => v.toFixed(5)));
  y.sum().backward();
  const incoming = first.weight.value.grad?.dataSync() ?? [];
  const outgoing = last.weight.value.grad?.dataSync() ?? [];
  for (const slot of [1, 4]) {
    expect([...incoming.slice(slot * 5, slot * 5 + 5)]).toEqual([0, 0, 0, 0, 0]);
    expect([0, 1, 2].map((row) => outgoing[row * 7 + slot])).toEqual([0, 0, 0]);
  }
  expect([...incoming].some((v) => v !== 0)).toBe(true);
});

test('silence ends with an empty list and with any change of the width; captured steps follow', () => {
  const { width, net } = twoLayers();
  const x = tensor(input(), { shape: [4, 5] });
  const run = capture((batch) => noGrad(() => net.forward(batch)));
  const all = [...run(x).dataSync()];
  width.silence([0]);
  expect([...run(x).dataSync()]).not.toEqual(all);
  width.silence([]);
  expect(width.heard).toBeUndefined();
  expect([...run(x).dataSync()]).toEqual(all);
  width.silence([0, 2]);
  width.grow(2, { init: 'zero-out' });
  expect(width.heard).toBeUndefined();
  const grown = [...run(x).dataSync()];
  expect(grown.map((v) => v.toFixed(5))).toEqual(all.map((v) => v.toFixed(5)));
  run.dispose();
});

test('bad slots are refused, and lists are not leaked', () => {
  const { width } = twoLayers();
  expect(() => width.silence([7])).toThrow(ConfigError);
  expect(() => width.silence([1, 1])).toThrow(/expected distinct slots/);
  expect(() => width.silence([0, 1, 2, 3, 4, 5, 6])).toThrow(/expected at least one neuron to be left, got all 7/);
  const before = device().memory().buffers;
  for (let i = 0; i < 5; i++) width.silence([i]);
  expect(device().memory().buffers).toBe(before + 1);
  width.silence([]);
  expect(device().memory().buffers).toBe(before);
});

test('channels of a convolution are silenced too; a norm over silenced neurons is refused', () => {
  manualSeed(2);
  const width = new Width(6, { name: 'channels' });
  const [first, second] = [new Conv2d(2, width, 3, { padding: 1 }), new Conv2d(width, 3, 3)];
  const x = tensor(
    Float32Array.from({ length: 50 }, (_, i) => Math.cos(i)),
    { shape: [1, 5, 5, 2] },
  );
  const mask = tensor([0, 1, 1, 0, 1, 1]);
  const wanted = tidy(() => second.forward(ops.mul(ops.relu(first.forward(x)), mask)).dataSync());
  width.silence([0, 3]);
  const y = new Sequential(first, new ReLU(), second, new Flatten()).forward(x).dataSync();
  expect(y.length).toBe(wanted.length);
  wanted.forEach((value, i) => expect(y[i]).toBeCloseTo(value, 4));
  const norm = new BatchNorm(width);
  expect(() => norm.forward(first.forward(x))).toThrow(/BatchNorm 'channels': expected no silenced neurons/);
});
