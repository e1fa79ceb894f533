/**
 * Every model keeps its recording at capacity while all of its widths change within it, and learns what it learns recorded at its size.
 */
import '../../src/autograd/index.js';
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { device } from '../../src/device/index.js';
import { convNet, mixer, mlp, resnet, vgg11, vit, wideResNet } from '../../src/models/index.js';
import type { Module } from '../../src/nn/index.js';
import { crossEntropy, Generator, normal } from '../../src/ops/index.js';
import { Adam, SGD } from '../../src/optim/index.js';
import { GateCollector } from '../../src/plasticity/index.js';
import { type Tensor, tensor } from '../../src/tensor/index.js';
import { bits } from '../nn/helpers.js';

const classes = 4;
const onCpu = device().name === 'cpu';

interface Net {
  make: () => Module;
  image: readonly number[];
  rows?: number;
}
const image = [8, 8, 3] as const;
const common = { classes, image, capacity: 2, seed: 1 } as const;
const nets: Record<string, Net> = {
  mlp: { make: () => mlp({ ...common, inputs: 192, hidden: [24, 20] }), image: [192] },
  'mlp with batch norm and dropout': {
    make: () => mlp({ ...common, inputs: 192, hidden: [24, 20], norm: 'batch', dropout: 0.25 }),
    image: [192],
  },
  // Enough elements for batch norm to lay rows side by side.
  convnet: { make: () => convNet({ ...common, layers: [12, 'pool', 20] }), image, rows: 64 },
  vgg: { make: () => vgg11({ ...common, image: [32, 32, 3], width: 4 }), image: [32, 32, 3] },
  resnet: { make: () => resnet({ ...common, depth: 8, width: 8, dropPath: 0.2 }), image, rows: 72 },
  'wide resnet with dropout': {
    make: () => wideResNet({ ...common, depth: 10, widen: 1, width: 8, dropout: 0.25 }),
    image,
  },
  'vision transformer': { make: () => vit({ ...common, patch: 2, dim: 24, depth: 2, heads: 3, mlp: 40 }), image },
  mixer: { make: () => mixer({ ...common, patch: 2, dim: 24, depth: 2, tokens: 10, channels: 40 }), image },
};

interface Run {
  net: Module;
  step: ((x: Tensor, y: Tensor) => Tensor) & { recordings: number };
  state(): Map<string, string>;
  change(i: number): void;
  dispose(): void;
}

/** A training with scores and a limit on the gradients. */
function runOf({ make }: Net, atCapacity: boolean, adam: boolean): Run {
  const net = make();
  const widths = net.widths();
  const optimizer = adam
    ? new Adam(net.parameters(), { lr: 0.01, weightDecay: 1e-3 })
    : new SGD(net.parameters(), { lr: 0.05, momentum: 0.9 });
  const collectors = widths.map((width) => new GateCollector(width, classes));
  for (const collector of collectors) collector.active = true;
  const step = capture(
    (x: Tensor, y: Tensor) => {
      optimizer.zeroGrad();
      for (const collector of collectors) collector.setLabels(y);
      const loss = crossEntropy(net.forward(x), y);
      loss.backward();
      optimizer.clipGradNorm(1);
      optimizer.step();
      return loss.detach();
    },
    { atCapacity },
  );
  const changes: (() => void)[] = [
    () => widths.forEach((width, i) => width.grow(1 + (i % 3), { init: 'split', generator: new Generator(i) })),
    () => widths.forEach((width, i) => width.prune([i % width.size])),
    () => widths.forEach((width, i) => width.reset([i % width.size], { generator: new Generator(i) })),
    () => widths.forEach((width) => width.grow(width.capacity - width.size, { generator: new Generator(7) })),
    () => widths.forEach((width) => width.prune(Array.from({ length: width.size >> 1 }, (_, i) => 2 * i))),
  ];
  return {
    net,
    step,
    state: () => bits(net, optimizer),
    change: (i) => changes[i](),
    dispose: () => {
      step.dispose();
      for (const collector of collectors) collector.dispose();
      optimizer.dispose();
      net.dispose();
    },
  };
}

const CHANGES = 5;

describe.each(Object.entries(nets))('%s', (_, net) => {
  test.each([
    ['SGD', false],
    ['Adam', true],
  ])('%s', (__, adam) => {
    const rows = net.rows ?? 12;
    const x = normal([rows, ...net.image], { generator: new Generator(2) });
    const y = tensor(Int32Array.from({ length: rows }, (___, i) => i % classes));
    const [a, b] = [true, false].map((atCapacity) => runOf(net, atCapacity, adam));
    for (let i = 0; i <= CHANGES; i++) {
      for (let k = 0; k < 2; k++) {
        const losses = [a, b].map(({ step }) => step(x, y).itemSync());
        if (onCpu) expect(losses[0]).toBe(losses[1]);
        // Elsewhere sums are cut by the capacity, and Adam makes steps of what is left of gradients that are 0 but for rounding.
        else expect(Math.abs(losses[0] - losses[1])).toBeLessThan(5e-3 * losses[1]);
      }
      if (onCpu) {
        const expected = b.state();
        for (const [name, value] of a.state()) expect(value === expected.get(name), name).toBe(true);
      }
      if (i < CHANGES) for (const run of [a, b]) run.change(i);
    }
    expect(a.step.recordings).toBe(1);
    expect(b.step.recordings).toBe(1 + CHANGES);
    [a, b].forEach((run) => run.dispose());
  });
});
