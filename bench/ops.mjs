/**
 * Suite `ops`: kernels that memory bounds, from 1e3 to 1e8 elements, in GB/s of the traffic that is needed at least (every input
 * read once, every output written once). `peak` is a stream of the same kind over as many bytes: reading for reductions, the best of
 * ordinary and streaming triads otherwise.
 */
import * as gyrus from '../dist/index.js';
import { compare, OURS, worstBar } from './format.mjs';
import { rate, replayed } from './measure.mjs';
import { nativeEngine } from './native.mjs';
import { torchEngine } from './torch.mjs';

export const NOTE =
  'ops: GB/s of the least traffic; small sizes run in the caches, where the stream of the same size is the limit.';

const SIZES = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
const BEYOND = 1e7; // elements from which arrays leave the caches
const { nn, optim } = gyrus;

/** name, bytes per element, and a maker of { measure(seconds), dispose() } from the number of elements. */
const unary = (name, run) => ({ name, bytes: 8, make: (n) => withTensor([n], run, n) });
const matrix = (name, bytes, run, kind) => ({ name, bytes, kind, make: (n) => withTensor([n / 100, 100], run, n) });

function withTensor(shape, run, n) {
  const x = gyrus.uniform(shape);
  const kernel = replayed((input) => gyrus.noGrad(() => run(input)), x, 100 * n);
  return {
    measure: kernel.measure,
    dispose: () => {
      kernel.dispose();
      x.dispose();
    },
  };
}

/** A layer of n weights with gradients, and the optimiser's step alone. */
function stepOf(n, make) {
  const net = new nn.Linear(n / 100, 100, { bias: false });
  const x = gyrus.uniform([1, n / 100]);
  const mover = make(net.parameters());
  gyrus.tidy(() => gyrus.sum(net.forward(x)).backward());
  return {
    measure: (seconds) => rate(() => mover.step(), seconds),
    dispose: () => {
      mover.dispose();
      net.dispose();
      x.dispose();
    },
  };
}

function batchNorm(n) {
  const channels = 100;
  const norm = new nn.BatchNorm(channels, { activation: 'relu' });
  const made = withTensor([n / channels, channels], (x) => norm.forward(x), n);
  return {
    measure: made.measure,
    dispose: () => {
      made.dispose();
      norm.dispose();
    },
  };
}

const CASES = [
  unary('relu', (x) => gyrus.relu(x)),
  unary('exp', (x) => gyrus.exp(x)),
  unary('tanh', (x) => gyrus.tanh(x)),
  unary('sigmoid', (x) => gyrus.sigmoid(x)),
  unary('gelu', (x) => gyrus.gelu(x)),
  { name: 'add', bytes: 12, make: (n) => withPair(n, (x, y) => gyrus.add(x, y)) },
  matrix('add a row', 8, (x) => gyrus.add(x, gyrus.slice(x, [0], [1]))),
  matrix('times a column', 8, (x) => gyrus.mul(x, gyrus.slice(x, [0, 0], [x.shape[0], 1]))),
  { name: 'sum', bytes: 4, kind: 'read', make: (n) => withTensor([n], (x) => gyrus.sum(x), n) },
  matrix('sum of rows', 4, (x) => gyrus.sum(x, 1), 'read'),
  matrix('sum of columns', 4, (x) => gyrus.sum(x, 0), 'read'),
  matrix('max of rows', 4, (x) => gyrus.max(x, 1), 'read'),
  matrix('variance of rows', 4, (x) => gyrus.variance(x, 1), 'read'),
  matrix('argmax of rows', 4, (x) => gyrus.argmax(x, 1), 'read'),
  matrix('softmax', 8, (x) => gyrus.softmax(x)),
  matrix('layerNorm', 8, (x) => gyrus.layerNorm(x)),
  { name: 'batchNorm and ReLU in training', bytes: 12, make: batchNorm },
  matrix('transpose', 8, (x) => gyrus.clone(gyrus.transpose(x))),
  {
    name: 'SGD with momentum',
    bytes: 20,
    make: (n) => stepOf(n, (params) => new optim.SGD(params, { lr: 1e-6, momentum: 0.9 })),
  },
  { name: 'Adam', bytes: 28, make: (n) => stepOf(n, (params) => new optim.Adam(params, { lr: 1e-6 })) },
];

function withPair(n, run) {
  const y = gyrus.uniform([n]);
  const made = withTensor([n], (x) => run(x, y), n);
  return {
    measure: made.measure,
    dispose: () => {
      made.dispose();
      y.dispose();
    },
  };
}

/** The machine's stream over the bytes of a call, in calls per second. */
export async function streamEngine(threads, bytes, kind, seconds) {
  const kinds = kind === 'read' ? ['read'] : ['triad', 'nt'];
  const engines = [];
  for (const name of kinds) engines.push(await nativeEngine('limits', threads, `stream ${name} ${bytes}`, seconds));
  const missing = engines.find((engine) => typeof engine !== 'function');
  if (missing) return missing;
  return async () => {
    let best = 0;
    for (const engine of engines) best = Math.max(best, await engine());
    return best / bytes;
  };
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  const sizes = quick ? [1e4] : SIZES;
  for (const { name: op, bytes, kind, make } of CASES)
    for (const n of sizes) {
      const name = `${op}, ${n.toExponential().replace('+', '')}`;
      if (!wants(name)) continue;
      const ours = make(n);
      for (const count of threads) {
        const engines = {
          [OURS]: () => ours.measure(seconds),
          torch: torchEngine('torch_ops:op', count, seconds, { name: op, n }),
          peak: await streamEngine(count, bytes * n, kind, seconds),
        };
        const scale = (bytes * n) / 1e9;
        entries.push(...(await compare({ suite: 'ops', name, unit: 'GB/s', threads: count, rounds, engines, scale })));
      }
      ours.dispose();
    }
  return entries;
}

export function bars(entries) {
  const ours = entries.filter(({ engine }) => engine === OURS);
  const items = (peer, chosen) =>
    chosen.map(({ case: name, threads, ratio_to }) => ({
      value: ratio_to[peer] ?? null,
      where: `${name}, threads ${threads}`,
    }));
  const large = ours.filter(({ case: name }) => Number(name.split(', ')[1]) >= BEYOND);
  return [
    worstBar('ops: share of the measured bandwidth beyond the caches', items('peak', large), { atLeast: 0.85 }),
    worstBar('ops: over PyTorch at every size', items('torch', ours), { atLeast: 1 }),
  ];
}
