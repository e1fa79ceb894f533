/**
 * Suite `step`: whole training steps (forward, loss, backward, optimiser) of an MLP 784-512-256-10, ReLU, batch 128, on one batch that
 * stays in memory. PyTorch runs the same in eager mode with as many threads.
 */
import { capture, crossEntropy, device, manualSeed, nn, optim, tensor, uniform } from '../dist/index.js';
import { compare } from './format.mjs';
import { torchEngine } from './torch.mjs';

function makeStep(makeOptimizer) {
  manualSeed(0);
  const net = new nn.Sequential(
    new nn.Linear(784, 512),
    new nn.ReLU(),
    new nn.Linear(512, 256),
    new nn.ReLU(),
    new nn.Linear(256, 10),
  );
  const optimizer = makeOptimizer(net.parameters());
  return capture((x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(net.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss.detach();
  });
}

/** Steps per second, waiting for the stream every few steps. */
async function rate(step, x, y, seconds) {
  for (let i = 0; i < 5; i++) step(x, y);
  await device().fence();
  const began = performance.now();
  let steps = 0;
  while (performance.now() - began < seconds * 1000) {
    for (let i = 0; i < 10; i++) step(x, y);
    steps += 10;
    await device().fence();
  }
  return (steps / (performance.now() - began)) * 1000;
}

export async function run({ seconds, rounds, threads, wants }) {
  const x = uniform([128, 784]);
  const y = tensor(Int32Array.from({ length: 128 }, (_, i) => i % 10));
  const cases = {
    sgd: ['SGD with momentum', (p) => new optim.SGD(p, { lr: 0.01, momentum: 0.9 })],
    adam: ['Adam', (p) => new optim.Adam(p, { lr: 0.001 })],
  };
  const entries = [];
  for (const [key, [label, makeOptimizer]] of Object.entries(cases)) {
    const name = `MLP 784-512-256-10, batch 128, ${label}`;
    if (!wants(name)) continue;
    const train = makeStep(makeOptimizer);
    for (const count of threads) {
      const engines = { gyrus: () => rate(train, x, y, seconds), torch: torchEngine(key, count, seconds) };
      entries.push(...(await compare({ suite: 'step', name, unit: 'steps/s', threads: count, rounds, engines })));
    }
    train.dispose();
  }
  return entries;
}
