/**
 * Suite `train`: samples per second of whole trainings by configuration (reading, augmentation, sums of loss and accuracy, the loop of
 * `train`; evaluation stands in the detail), beside the bare step of the same network on one batch that stays in memory (`step`).
 */
import { capture, crossEntropy, models, optim, tensor, train, uniform } from '../dist/index.js';
import { compare, OURS, worstBar } from './format.mjs';
import { rate } from './measure.mjs';
import { makeStep } from './mlp.mjs';

const BATCH = 128;
const EPOCHS = 3;

export const NOTE = 'train: the first epoch of each training, which records the step, is not counted.';

function resnetStep() {
  const net = models.resnet({ depth: 20, classes: 10 });
  const optimizer = new optim.SGD(net.parameters(), { lr: 0.05, momentum: 0.9, weightDecay: 5e-4 });
  const x = uniform([BATCH, 32, 32, 3]);
  const y = tensor(Int32Array.from({ length: BATCH }, (_, i) => i % 10));
  const step = capture((pictures, labels) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(net.forward(pictures), labels);
    loss.backward();
    optimizer.step();
    return loss.detach();
  });
  return {
    run: () => step(x, y),
    dispose: () => {
      for (const made of [step, optimizer, net, x, y]) made.dispose();
    },
  };
}

const CASES = [
  {
    name: 'MLP 784-512-256-10, long-tailed',
    config: { dataset: { trainRows: 30000 }, model: { hidden: [512, 256] } },
    step: () => makeStep({ sizes: [784, 512, 256, 10], batch: BATCH, optimizer: 'sgd' }),
  },
  {
    name: 'ResNet-20, CIFAR-10, long-tailed, crops and flips',
    config: {
      dataset: { name: 'cifar-10', trainRows: 15000, testRows: 2000, normalize: true },
      augment: { padding: 4, flip: 0.5 },
      model: { kind: 'resnet', depth: 20 },
    },
    step: resnetStep,
  },
];

/** Samples per second of the trainings' epochs but the first, and the seconds of an evaluation. */
async function trainingRate(config, data) {
  const { epochs } = await train.train(config, { data });
  const counted = epochs.slice(1);
  const seconds = counted.map(({ samplesPerSecond }) => data.train.rows / samplesPerSecond);
  const total = seconds.reduce((sum, s) => sum + s, 0);
  const evaluations = counted.map((epoch, i) => epoch.seconds - seconds[i]);
  return { rate: (counted.length * data.train.rows) / total, evaluation: Math.min(...evaluations) };
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const { name: label, config: own, step } of quick ? CASES.slice(0, 1) : CASES) {
    const name = `${label}, batch ${BATCH}`;
    if (!wants(name)) continue;
    const config = { ...own, batchSize: BATCH, epochs: EPOCHS, schedule: { name: 'constant' } };
    let data;
    try {
      data = await train.prepareData(train.parseConfig(config).dataset);
    } catch (error) {
      const absent = { suite: 'train', case: name, engine: OURS, threads: threads[0], value: null, unit: 'samples/s' };
      entries.push({ ...absent, ratio_to: {}, absent: error.message });
      continue;
    }
    const bare = step();
    for (const count of threads) {
      const detail = { rows: data.train.rows, 'test rows': data.test.rows };
      const engines = {
        gyrus: async () => {
          const measured = await trainingRate(config, data);
          detail['evaluation s'] = Number(measured.evaluation.toFixed(3));
          return measured.rate;
        },
        step: () => rate(bare.run, seconds) * BATCH,
      };
      entries.push(
        ...(await compare({ suite: 'train', name, unit: 'samples/s', threads: count, rounds, engines, detail })),
      );
    }
    bare.dispose();
  }
  return entries;
}

export function bars(entries) {
  const judged = entries.filter(
    (entry) => entry.engine === OURS && entry.ratio_to.step !== undefined && /ResNet/.test(entry.case),
  );
  return [
    worstBar(
      'train: ResNet-20, training over its bare step',
      judged.map((entry) => ({ value: entry.ratio_to.step, where: `${entry.case}, threads ${entry.threads}` })),
      { atLeast: 0.9 },
    ),
  ];
}
