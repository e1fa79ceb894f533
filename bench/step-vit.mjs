/**
 * Suite `step`, vision transformer: whole training steps (forward, loss, backward, AdamW) of a ViT of 4 layers, dimension 128, 4 heads and
 * squares of 4 on 32x32 images, batch 128, on one batch that stays in memory; and its attention alone, forward and backward.
 * PyTorch runs the same in eager mode, each product written in two ways and the optimiser in two, and the fastest counts.
 */
import {
  capture,
  crossEntropy,
  device,
  manualSeed,
  models,
  mul,
  normal,
  optim,
  selfAttention,
  sum,
  tensor,
  uniform,
} from '../dist/index.js';
import { compare } from './format.mjs';
import { torchBestEngine, torchEngine } from './torch.mjs';

function trainer() {
  manualSeed(0);
  const net = models.vit({ classes: 10 });
  const optimizer = new optim.AdamW(net.parameters(), { lr: 0.001 });
  const step = capture((x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(net.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss.detach();
  });
  const x = uniform([128, 32, 32, 3]);
  const y = tensor(Int32Array.from({ length: 128 }, (_, i) => i % 10));
  return { run: () => step(x, y), dispose: () => step.dispose() };
}

function attention() {
  manualSeed(0);
  const qkv = normal([128, 65, 4, 3, 32]);
  qkv.requiresGrad = true;
  const weight = normal([128, 65, 4, 32]);
  const step = capture((w) => {
    qkv.grad?.dispose();
    qkv.grad = null;
    sum(mul(selfAttention(qkv), w)).backward();
  });
  return { run: () => step(weight), dispose: () => step.dispose() };
}

/** Runs per second, waiting for the stream after each: a run takes long against the wait. */
async function rate(run, seconds) {
  for (let i = 0; i < 2; i++) run();
  await device().fence();
  const began = performance.now();
  let runs = 0;
  while (performance.now() - began < seconds * 1000) {
    run();
    runs++;
    await device().fence();
  }
  return (runs / (performance.now() - began)) * 1000;
}

const variants = ['matmul', 'baddbmm'].flatMap((products) => [true, false].map((foreach) => ({ products, foreach })));

const cases = {
  'ViT 4 x 128, patch 4, batch 128, AdamW': [
    'steps/s',
    trainer,
    (count, seconds) => torchBestEngine('torch_vit:step', count, seconds, variants),
  ],
  'attention 128 x 65 x 4 x 32, forward and backward': [
    'runs/s',
    attention,
    (count, seconds) => torchEngine('torch_vit:attention', count, seconds),
  ],
};

export async function run({ seconds, rounds, threads, wants }) {
  const entries = [];
  for (const [name, [unit, make, torch]] of Object.entries(cases)) {
    if (!wants(name)) continue;
    const { run: once, dispose } = make();
    for (const count of threads) {
      const engines = { gyrus: () => rate(once, seconds), torch: torch(count, seconds) };
      entries.push(...(await compare({ suite: 'step', name, unit, threads: count, rounds, engines })));
    }
    dispose();
  }
  return entries;
}
