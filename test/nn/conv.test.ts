/**
 * Convolution layers and what growth, pruning and scores do to them.
 */
import '../../src/autograd/index.js';
import { describe, expect, it } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { ConfigError, ShapeError } from '../../src/device/index.js';
import { BatchNorm, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, Sequential, Width } from '../../src/nn/index.js';
import { Generator, mul, normal, relu, sum } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import { foldMeans, GateCollector, scoreUnits } from '../../src/plasticity/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { stepOf } from './helpers.js';

/** 2 - a(5) - b(6) - 3 classes on 6x6 images. */
function makeNet(capacity = 5): { net: Sequential; a: Width; b: Width } {
  const generator = new Generator(1);
  const a = new Width(5, { name: 'a', capacity });
  const b = new Width(6, { name: 'b' });
  const net = new Sequential(
    new Conv2d(2, a, 3, { padding: 1, generator, activation: 'relu' }),
    new Conv2d(a, b, 3, { padding: 1, stride: 2, bias: false, generator }),
    new BatchNorm(b, { activation: 'relu' }),
    new MaxPool2d(2),
    new GlobalAvgPool2d(),
    new Linear(b, 3, { generator }),
  );
  return { net, a, b };
}
const images = (rows = 8): Tensor => normal([rows, 6, 6, 2], { generator: new Generator(5) });
const labels = (rows = 8): Tensor => tensor(Int32Array.from({ length: rows }, (_, i) => i % 3));

function step(net: Sequential, optimizer: SGD, x: Tensor, y: Tensor): number {
  return tidy(() => stepOf(net, optimizer)(x, y).itemSync());
}

describe('Conv2d', () => {
  it('has weights [out, kh, kw, in] and refuses what makes no sense', () => {
    const conv = new Conv2d(4, 6, [3, 1], { groups: 2 });
    expect(conv.weight.shape).toEqual([6, 3, 1, 2]);
    expect(conv.bias?.shape).toEqual([6]);
    conv.dispose();
    expect(() => new Conv2d(0, 2, 3)).toThrow(ShapeError);
    expect(() => new Conv2d(2, 2, 0)).toThrow(/kernel of whole numbers/);
    expect(() => new Conv2d(3, 4, 3, { groups: 2 })).toThrow(/groups that divide/);
    expect(() => new Conv2d(new Width(4), 4, 3, { groups: 2 })).toThrow(ConfigError);
    expect(() => new Conv2d(2, 2, 3, { activation: 'tanh' as 'relu' })).toThrow(/none or relu/);
  });

  it('keeps the function when its width grows, whatever the init and the capacity', () => {
    for (const init of ['zero-out', 'paired', 'split', 'orthogonal'] as const) {
      for (const capacity of [5, 9]) {
        const { net, a, b } = makeNet(capacity);
        net.eval();
        const x = images();
        const before = net.forward(x).dataSync();
        for (const width of [a, b]) width.grow(3, { init, generator: new Generator(2) });
        expect((net.layers[1] as Conv2d).weight.shape).toEqual([9, 3, 3, 8]);
        const after = net.forward(x).dataSync();
        before.forEach((value, i) => expect(after[i]).toBeCloseTo(value, 5));
        net.dispose();
      }
    }
  });

  it('keeps every bit of the survivors and their optimiser slots when a width is pruned', () => {
    const { net, a } = makeNet(8);
    const optimizer = new SGD(net.parameters(), { lr: 0.05, momentum: 0.9 });
    const [x, y] = [images(), labels()];
    step(net, optimizer, x, y);
    a.grow(3);
    step(net, optimizer, x, y);
    a.prune([5, 6, 7]);
    const first = (net.layers[0] as Conv2d).weight;
    const second = (net.layers[1] as Conv2d).weight;
    expect(first.shape).toEqual([5, 3, 3, 2]);
    expect(second.shape).toEqual([6, 3, 3, 5]);
    const kept = [0, 2, 3];
    const all = first.value.dataSync().slice();
    const wide = second.value.dataSync().slice();
    a.prune([1, 4]);
    const left = first.value.dataSync();
    kept.forEach((from, to) => {
      expect([...left.slice(to * 18, to * 18 + 18)]).toEqual([...all.slice(from * 18, from * 18 + 18)]);
    });
    const narrow = second.value.dataSync();
    for (let tap = 0; tap < 6 * 9; tap++) {
      kept.forEach((from, to) => expect(narrow[tap * 3 + to]).toBe(wide[tap * 5 + from]));
    }
    expect(Number.isFinite(step(net, optimizer, x, y))).toBe(true);
    net.dispose();
  });

  it('folds the mean of removed channels into the bias and the running mean behind', () => {
    const { net, a, b } = makeNet();
    net.eval();
    const before = (net.layers[2] as BatchNorm).runningMean.value.dataSync().slice();
    const weights = (net.layers[1] as Conv2d).weight.value.dataSync().slice();
    expect(foldMeans(a, [1], [0, 2, 0, 0, 0])).toBe(true);
    const after = (net.layers[2] as BatchNorm).runningMean.value.dataSync();
    for (let f = 0; f < b.size; f++) {
      let taps = 0;
      for (let tap = 0; tap < 9; tap++) taps += weights[(f * 9 + tap) * 5 + 1];
      expect(after[f]).toBeCloseTo(before[f] - 2 * taps, 5);
    }
    net.dispose();
  });
});

describe('scores of channels', () => {
  it('the gate score is |sum over the positions of a * dL/da|, per sample and class', () => {
    tidy(() => {
      const width = new Width(4, { name: 'w' });
      const conv = new Conv2d(width, 3, 3, { padding: 1, generator: new Generator(3) });
      const collector = new GateCollector(width, 2);
      collector.active = true;
      const y = tensor(Int32Array.of(0, 1, 1));
      collector.setLabels(y);
      const a = relu(normal([3, 5, 5, 4], { generator: new Generator(4) }));
      a.requiresGrad = true;
      const [g] = gradients(sum(mul(conv.forward(a), 0.1)), [a]) as Tensor[];
      const [av, gv] = [a.dataSync(), g.dataSync()];
      const stats = collector.readSync();
      const score = (n: number, k: number): number => {
        let total = 0;
        for (let p = 0; p < 25; p++) total += av[(n * 25 + p) * 4 + k] * gv[(n * 25 + p) * 4 + k];
        return Math.abs(total * 3);
      };
      for (let k = 0; k < 4; k++) {
        expect(stats.perClass[0][k]).toBeCloseTo(score(0, k), 4);
        expect(stats.perClass[1][k]).toBeCloseTo((score(1, k) + score(2, k)) / 2, 4);
        let mean = 0;
        let zeros = 0;
        for (let i = 0; i < 75; i++) {
          mean += av[i * 4 + k] / 75;
          zeros += Number(av[i * 4 + k] === 0) / 75;
        }
        expect(stats.mean[k]).toBeCloseTo(mean, 5);
        expect(stats.zeros[k]).toBeCloseTo(zeros, 5);
      }
      collector.dispose();
      conv.dispose();
    });
  });

  it('weight scores see all taps of a channel', async () => {
    const width = new Width(3, { capacity: 5, name: 'w' });
    const conv = new Conv2d(2, width, 3, { generator: new Generator(3) });
    const weights = conv.weight.value.dataSync();
    const l1 = await scoreUnits(width, 'l1');
    for (let f = 0; f < 3; f++) {
      const own = Array.from(weights.slice(f * 18, f * 18 + 18), Number);
      expect(l1[f]).toBeCloseTo(
        own.reduce((total, w) => total + Math.abs(w), 0),
        4,
      );
    }
    conv.dispose();
  });
});
