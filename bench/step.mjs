/**
 * Suite `step`, multilayer perceptrons: whole training steps, captured, against PyTorch in its best variant and the trainers of npm.
 * `peak` is what the machine's multiply-adds would allow for the products alone.
 */
import { bar, compare, OURS } from './format.mjs';
import { rate } from './measure.mjs';
import { makeStep, stepFlop } from './mlp.mjs';
import { peakEngine } from './native.mjs';
import { peerEngines } from './peers.mjs';
import { torchBestEngine } from './torch.mjs';

export const NOTE =
  'step, MLPs: peak counts the products only; PyTorch runs with its optimiser for each or foreach, whichever is faster.';

const LARGE = [784, 512, 256, 10];
const SMALL = [784, 32, 10];
const CASES = [
  { sizes: LARGE, batch: 128, optimizer: 'sgd' },
  { sizes: LARGE, batch: 128, optimizer: 'adam' },
  { sizes: SMALL, batch: 16, optimizer: 'sgd' },
  { sizes: SMALL, batch: 16, optimizer: 'adam' },
  { sizes: SMALL, batch: 1, optimizer: 'sgd' },
];
const nameOf = ({ sizes, batch, optimizer }) =>
  `MLP ${sizes.join('-')}, batch ${batch}, ${optimizer === 'adam' ? 'Adam' : 'SGD with momentum'}`;

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const task of CASES) {
    const name = nameOf(task);
    if (!wants(name) || (quick && task.sizes !== SMALL)) continue;
    const step = makeStep(task);
    for (const count of threads) {
      const engines = {
        [OURS]: () => rate(step.run, seconds),
        peak: await peakEngine(count, stepFlop(task.sizes, task.batch), Math.min(seconds, 0.2)),
        torch: torchBestEngine(
          'step',
          count,
          seconds,
          [true, false].map((foreach) => ({ ...task, foreach })),
        ),
        ...peerEngines('step', count, seconds, { args: task }),
      };
      entries.push(...(await compare({ suite: 'step', name, unit: 'steps/s', threads: count, rounds, engines })));
    }
    step.dispose();
  }
  return entries;
}

export function bars(entries) {
  const ours = entries.filter(({ engine }) => engine === OURS);
  const limits = { 1: { peak: 0.88, torch: 1.25, 'tfjs-wasm': 45 }, 2: { peak: 0.8, torch: 1.5 } };
  const large = ours.flatMap(({ case: name, threads, ratio_to: ratios }) =>
    Object.entries(name.startsWith(`MLP ${LARGE.join('-')}`) ? (limits[threads] ?? {}) : {}).map(([peer, atLeast]) =>
      bar(`step: gyrus/${peer}, ${name}, threads ${threads}`, ratios[peer] ?? null, { atLeast }),
    ),
  );
  const small = nameOf(CASES[2]);
  return [
    ...large,
    ...ours
      .filter((entry) => entry.case === small && entry.threads === 1)
      .map(({ value }) => bar(`step: steps/s, ${small}, 1 thread`, value, { atLeast: 20000 })),
  ];
}
