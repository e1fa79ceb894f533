/**
 * Suite `score`: what importance costs. Scores of a weight matrix on their own, in GB/s of the weights and gradients they read; and
 * the training step of an MLP with class-taylor collected in its backward pass, beside the step without.
 */
import * as gyrus from '../dist/index.js';
import { bar, compare, OURS, worstBar } from './format.mjs';
import { rate, replayed } from './measure.mjs';
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
const LAYERS = [784, 512, 256, 10];
const BATCH = 128;
const STEP = 'step of 784-512-256-10, batch 128, SGD momentum, with class-taylor';

/** The native score of the rows of w (with gradient g): what scoreUnits enqueues. */
function unitScore(name, w, g) {
  const kind = ['l1', 'l2', 'taylor-weight', 'taylor-abs-sum', 'taylor-sum-abs', 'l2-taylor'].indexOf(name);
  const shape = name === 'l2-taylor' ? [2, w.shape[0]] : [w.shape[0]];
  return gyrus.enqueue('unitScore', w.device, [{ shape, dtype: w.dtype }], g ? [w, g] : [w], [kind])[0];
}

/** A captured training step; `scored`: class-taylor of both hidden widths is collected. */
function makeStep(scored) {
  gyrus.manualSeed(0);
  const [inputs, ...rest] = LAYERS;
  const hidden = rest.slice(0, -1).map((size) => new gyrus.nn.Width(size));
  const axes = [inputs, ...hidden, rest.at(-1)];
  const layers = rest.map((_, i) => new gyrus.nn.Linear(axes[i], axes[i + 1], { activation: i < 2 ? 'relu' : 'none' }));
  const net = new gyrus.nn.Sequential(...layers);
  const gates = scored ? hidden.map((width) => gyrus.plasticity.GateCollector.attach(width, 10)) : [];
  for (const gate of gates) gate.active = true;
  const mover = new gyrus.optim.SGD(net.parameters(), { lr: 0.01, momentum: 0.9 });
  const x = gyrus.uniform([BATCH, inputs]);
  const y = gyrus.tensor(Int32Array.from({ length: BATCH }, (_, i) => i % 10));
  const step = gyrus.capture((input, labels) => {
    for (const gate of gates) gate.setLabels(labels);
    mover.zeroGrad();
    const loss = gyrus.crossEntropy(net.forward(input), labels);
    loss.backward();
    mover.step();
    return loss.detach();
  });
  step(x, y);
  return {
    run: () => step(x, y),
    dispose: () => {
      step.dispose();
      for (const gate of gates) gate.dispose();
      mover.dispose();
      net.dispose();
      x.dispose();
      y.dispose();
    },
  };
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
  const [scored, plain] = [makeStep(true), makeStep(false)];
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
