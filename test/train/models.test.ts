/**
 * Every kind of model through the whole training: the cycle, a stop in the grown phase and on from the checkpoint, what is counted.
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createDataset } from '../../src/data/index.js';
import { longTailed, type RunConfigInput, train } from '../../src/train/index.js';
import { bumps, fingerprint, temporaryFolder, timeless } from './support.js';

const dir = temporaryFolder();

/** The bumps as pictures of 8x8 in two channels. */
const [first, second] = [bumps('train', 24, 3, 128), bumps('test', 6, 3, 128)].map((set) =>
  createDataset({ ...set, shape: [8, 8, 2] }),
);
const data = longTailed(
  { name: 'pictures', source: 'test', train: first, test: second },
  { imbalanceFactor: 3, profile: 'exponential', subsetSeed: 0 },
);
const STEPS = Math.ceil(data.train.rows / 8);

const kinds: NonNullable<RunConfigInput['model']>[] = [
  { kind: 'mlp', hidden: [4] },
  { kind: 'convnet', channels: [4, 'pool', 4] },
  { kind: 'vgg11', width: 1 },
  { kind: 'resnet', depth: 8, width: 2, dropPath: 0.2 },
  { kind: 'wrn', depth: 10, widen: 1, width: 2, dropout: 0.1 },
  { kind: 'vit', depth: 2, dim: 8, heads: 2, mlp: 4, dropout: 0.1, dropPath: 0.2 },
  { kind: 'mixer', depth: 2, dim: 8, tokens: 2, channels: 4, dropPath: 0.2 },
];

it.each(kinds)('$kind goes on bit for bit from the grown phase and ends at its own size', async (model) => {
  const config: RunConfigInput = {
    model,
    optimizer: { name: 'adamw', lr: 0.01 },
    loss: { name: 'ldam' },
    augment: { padding: 1, flip: 0.5 },
    plasticity: { rate: 0.5, period: 2, grownEpochs: 1, warmup: 0.25, lastShrink: 0.75, lastPhase: 0.75 },
    epochs: 4,
    batchSize: 8,
    seed: 1,
  };
  const saving = (name: string): RunConfigInput => ({ ...config, checkpoint: { path: join(dir, name), every: 99 } });
  const whole = await train(saving(`${model.kind}.whole`), { data });
  expect(whole.parameters.start).toBe(whole.parameters.end);
  const grown = whole.epochs.map(({ widths }) => Object.values(widths).reduce((a, b) => a + b));
  expect(new Set(grown).size).toBe(1);
  expect(whole.events.filter(({ kind }) => kind === 'grow').length).toBeGreaterThan(0);
  expect(whole.epochs[3].trainLoss).toBeLessThan(whole.epochs[0].trainLoss);
  // One epoch of four ran at a grown width, where every sample costs more.
  const { forward, training } = whole.multiplyAdds;
  expect(training).toBeGreaterThan(3 * 4 * data.train.rows * forward);
  expect(training).toBeLessThan(3 * 5.5 * data.train.rows * forward);

  const controller = new AbortController();
  const stop = STEPS + 2;
  const stopped = await train(saving(`${model.kind}.part`), {
    data,
    signal: controller.signal,
    callbacks: [{ onStepEnd: ({ step }) => (step === stop ? controller.abort() : undefined) }],
  });
  expect(stopped.interrupted).toBe(true);
  const resumed = await train(saving(`${model.kind}.end`), { data, resume: join(dir, `${model.kind}.part`) });
  expect(timeless(resumed)).toEqual(timeless(whole));
  expect(await fingerprint(join(dir, `${model.kind}.end`))).toEqual(
    await fingerprint(join(dir, `${model.kind}.whole`)),
  );
});
