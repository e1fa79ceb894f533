/**
 * Suite `score`: what importance costs. Scores of a weight matrix on their own, in GB/s of the weights and gradients they read; and
 * the training step of an MLP with class-taylor collected in its backward pass, beside the step without.
 */
import * as gyrus from '../dist/index.js';
import { bar, compare, OURS, worstBar } from './format.mjs';
import { rate, replayed } from './measure.mjs';
import { makeStep } from './mlp.mjs';
import { streamEngine } from './ops.mjs';
import { torchEngine } from './torch.mjs';

export const NOTE =
  'score: GB/s of what is read once. step without scores: the same step, in turn with the one that collects class-taylor.';

const SIZES = [512, 1024, 2048, 4096];
const BEYOND = 4096; // two such matrices are beyond the caches
const SCORES = [
  { name: 'l1', arrays: 1 },
  { name: 'l2', arrays: 1 },
  { name: 'taylor-weight', arrays: 2 },
  { name: 'taylor-abs-sum', arrays: 2 },
  { name: 'l2-taylor', arrays: 2 },
];
const TASK = { sizes: [784, 512, 256, 10], batch: 128, optimizer: 'sgd' };
const STEP = 'step of 784-512-256-10, batch 128, SGD momentum, with class-taylor';

/** The native score of the rows of w (with gradient g): what scoreUnits enqueues. */
function unitScore(name, w, g) {
  const kind = ['l1', 'l2', 'taylor-weight', 'taylor-abs-sum', 'taylor-sum-abs', 'l2-taylor'].indexOf(name);
  const shape = name === 'l2-taylor' ? [2, w.shape[0]] : [w.shape[0]];
  return gyrus.enqueue('unitScore', w.device, [{ shape, dtype: w.dtype }], g ? [w, g] : [w], [kind])[0];
}

async function weightScores({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const { name: score, arrays } of SCORES)
    for (const size of quick ? [512] : SIZES) {
      const name = `${score} of ${size}x${size}`;
      if (!wants(name)) continue;
      const w = gyrus.uniform([size, size]);
      const g = arrays > 1 ? gyrus.uniform([size, size]) : undefined;
      const bytes = 4 * arrays * size * size;
      const ours = replayed((input) => unitScore(score, input, g), w, 50 * size * size);
      for (const count of threads) {
        const engines = {
          [OURS]: () => ours.measure(seconds),
          torch: torchEngine('torch_ops:score', count, seconds, { name: score, size }),
          peak: await streamEngine(count, bytes, 'read', seconds),
        };
        const common = { suite: 'score', name, unit: 'GB/s', threads: count, rounds, engines, scale: bytes / 1e9 };
        entries.push(...(await compare(common)));
      }
      ours.dispose();
      w.dispose();
      g?.dispose();
    }
  return entries;
}

async function steps({ seconds, rounds, threads, wants }) {
  if (!wants(STEP)) return [];
  const [scored, plain] = [makeStep({ ...TASK, scored: true }), makeStep(TASK)];
  const entries = [];
  for (const count of threads) {
    const engines = {
      [OURS]: () => rate(scored.run, seconds),
      'without scores': () => rate(plain.run, seconds),
    };
    // In short turns and many rounds: the difference is smaller than the drift of the machine.
    const common = { suite: 'score', name: STEP, unit: 'steps/s', threads: count, rounds: 5 * rounds, engines };
    entries.push(...(await compare(common)));
  }
  scored.dispose();
  plain.dispose();
  return entries;
}

export async function run(options) {
  return [...(await weightScores(options)), ...(await steps(options))];
}

export function bars(entries) {
  const ours = entries.filter(({ engine }) => engine === OURS);
  const where = ({ case: name, threads }) => `${name}, threads ${threads}`;
  const large = ours.filter(({ case: name }) => name.endsWith(`x${BEYOND}`));
  const peaks = large.map((entry) => ({ value: entry.ratio_to.peak ?? null, where: where(entry) }));
  const stepped = ours.filter(({ case: name }) => name === STEP);
  return [
    worstBar('score: share of the measured bandwidth beyond the caches', peaks, { atLeast: 0.85 }),
    ...stepped.map((entry) =>
      bar(
        'score: what class-taylor adds to a step, relative',
        1 / entry.ratio_to['without scores'] - 1,
        { atMost: 0.01 },
        where(entry),
      ),
    ),
  ];
}
