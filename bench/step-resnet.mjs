/**
 * Part of suite `step`: training steps of the CIFAR ResNets (option A: shortcuts without weights) on one batch of 128 images of 32x32:
 * forward, cross-entropy, backward, SGD with momentum and weight decay. Ours is captured; PyTorch is the best of NHWC and NCHW, each
 * with its optimiser one tensor at a time and over all of them (foreach).
 */
import { capture, crossEntropy, manualSeed, models, optim, tensor, uniform } from '../dist/index.js';
import { compare, OURS, worstBar } from './format.mjs';
import { rate } from './measure.mjs';
import { peakEngine } from './native.mjs';
import { torchBestEngine } from './torch.mjs';

const BATCH = 128;

/** Multiply-adds of the convolutions and the last layer, times two; a gradient costs as much as the forward pass. */
function flopOf(depth) {
  const conv = (size, inputs, outputs) => 2 * BATCH * size ** 2 * 9 * inputs * outputs;
  const blocks = (depth - 2) / 6;
  let flop = 2 * conv(32, 3, 16);
  let before = 16;
  for (const [size, width] of [
    [32, 16],
    [16, 32],
    [8, 64],
  ]) {
    flop += 3 * (conv(size, before, width) + (2 * blocks - 1) * conv(size, width, width));
    before = width;
  }
  return flop + 3 * 2 * BATCH * 64 * 10;
}

function makeStep(depth) {
  manualSeed(0);
  const net = models.resnet({ depth, classes: 10 });
  const optimizer = new optim.SGD(net.parameters(), { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 });
  return capture((x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(net.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss.detach();
  });
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  if (quick) return entries;
  const x = uniform([BATCH, 32, 32, 3]);
  const y = tensor(Int32Array.from({ length: BATCH }, (_, i) => i % 10));
  for (const depth of [20, 32]) {
    const name = `ResNet-${depth}, 32x32, batch ${BATCH}, SGD with momentum`;
    if (!wants(name)) continue;
    const train = makeStep(depth);
    const flop = flopOf(depth);
    const variants = [true, false].flatMap((channels_last) =>
      [true, false].map((foreach) => ({ depth, batch: BATCH, channels_last, foreach })),
    );
    for (const count of threads) {
      const engines = {
        gyrus: () => rate(() => train(x, y), seconds),
        peak: await peakEngine(count, flop, Math.min(seconds, 0.2)),
        torch: torchBestEngine('torch_resnet:step', count, seconds, variants),
      };
      const detail = { GFLOP: flop / 1e9 };
      entries.push(
        ...(await compare({ suite: 'step', name, unit: 'steps/s', threads: count, rounds, engines, detail })),
      );
    }
    train.dispose();
  }
  x.dispose();
  y.dispose();
  return entries;
}

export function bars(entries) {
  const mine = entries.filter(({ engine }) => engine === OURS);
  const against = (peer, count) =>
    mine
      .filter(({ threads, ratio_to }) => threads === count && ratio_to[peer] !== undefined)
      .map((entry) => ({ value: entry.ratio_to[peer], where: entry.case }));
  return [1, 2].flatMap((count) => [
    worstBar(`step: ResNets, gyrus/torch, threads ${count}`, against('torch', count), {
      atLeast: count === 1 ? 1.15 : 1.3,
    }),
    worstBar(`step: ResNets, gyrus/peak, threads ${count}`, against('peak', count), { atLeast: 0.75 }),
  ]);
}
