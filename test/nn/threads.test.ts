/**
 * Layers large enough to be split among threads: the same bits for one and two of them, through growth and pruning.
 */
import { expect, test } from 'vitest';
import { addon } from '../../src/device/index.js';
import { BatchNorm, Linear, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { AdamW, SGD } from '../../src/optim/index.js';
import { tensor } from '../../src/tensor/index.js';
import { bits, trainStep } from './helpers.js';

test.each(['SGD', 'AdamW'])('%s', (name) => {
  const native = addon();
  const before = native.threads();
  const results = [1, 2].map((threads) => {
    native.setThreads(threads);
    const generator = new Generator(5);
    const width = new Width(200, { capacity: 260, name: 'hidden' });
    const net = new Sequential(
      new Linear(300, width, { generator }),
      new BatchNorm(width),
      new ReLU(),
      new Linear(width, 100, { generator }),
      new ReLU(),
      new Linear(100, 10, { generator }),
    );
    const params = net.parameters();
    const optimizer = name === 'SGD' ? new SGD(params, { lr: 0.05, momentum: 0.9 }) : new AdamW(params);
    const batch = {
      x: normal([128, 300], { generator }),
      y: tensor(Int32Array.from({ length: 128 }, (_, i) => i % 10)),
    };
    const steps = (n: number): void => {
      for (let i = 0; i < n; i++) trainStep(net, optimizer, batch);
    };
    steps(3);
    width.grow(50, { generator });
    steps(3);
    width.prune(Array.from({ length: 50 }, (_, i) => i * 4));
    steps(2);
    return bits(net, optimizer);
  });
  native.setThreads(before);
  expect(results[0].size).toBeGreaterThan(20);
  for (const [key, value] of results[0]) expect(results[1].get(key) === value, key).toBe(true);
});
