/**
 * Suite `mask`: a layer of n neurons of which a share is active, by three strategies: `prefix`, the leading block of
 * arrays made for more, as a Width keeps it; `indexed`, a list of the active neurons, evenly spread, that the kernels gather by; `dense-mask`, the whole layer
 * times a vector of zeros and ones. PyTorch does the nearest it can: a slice of the weight, a copy by index_select, the same mask.
 *
 * Beside the rate stands the time relative to that of the full layer, measured just before: what the share should cost, and no more.
 * The convolutions are of 8x8 images in batches of 8, since 4096 channels with 3x3 kernels would be 600 MB of weights and as much of
 * gradients; at 4096 channels the kernel is 1x1.
 */
import { conv2d, gradients, linear, mul, narrow, noGrad, tensor, uniform } from '../dist/index.js';
import { compare, median, OURS, worstBar } from './format.mjs';
import { replayed } from './measure.mjs';
import { torchEngine } from './torch.mjs';

export const NOTE = 'mask: "of full" is the time over that of the whole layer without any mask, measured in turn.';

const LAYERS = [
  { name: 'linear 1024, batch 128', n: 1024, batch: 128 },
  { name: 'linear 4096, batch 128', n: 4096, batch: 128 },
  { name: 'conv 3x3, 1024 channels', n: 1024, batch: 8, size: 8, kernel: 3 },
  { name: 'conv 1x1, 4096 channels', n: 4096, batch: 8, size: 8, kernel: 1 },
];
const SHARES = [0.1, 0.25, 0.5, 0.75, 0.9, 1];
const PASSES = ['forward', 'forward and backward'];
const STRATEGIES = { prefix: 'slice', indexed: 'select', 'dense-mask': 'mask' };

/** One of the strategies, or the full layer: what computes y of x, and its parameters. */
function layerOf({ n, kernel }, strategy, active) {
  const w = uniform(kernel ? [n, kernel, kernel, n] : [n, n], { low: -1 });
  const b = uniform([n]);
  const chosen = Int32Array.from({ length: active }, (_, i) => Math.floor((i * n) / active));
  const list = tensor(chosen);
  const zeroOrOne = tensor(Float32Array.from({ length: n }, (_, i) => Number(chosen.includes(i))));
  // As a Width's parameters are: the leading block of arrays made for the capacity.
  const parameters = [w, b].map((t) => (strategy === 'prefix' ? narrow(t, 0, 0, active) : t.detach()));
  for (const parameter of parameters) parameter.requiresGrad = true;
  const apply = (x, more) =>
    kernel ? conv2d(x, ...parameters, { padding: kernel >> 1, ...more }) : linear(x, ...parameters, more);
  const forward = {
    full: (x) => apply(x),
    prefix: (x) => apply(x),
    indexed: (x) => apply(x, { outputs: list }),
    'dense-mask': (x) => mul(apply(x), zeroOrOne),
  }[strategy];
  return { forward, parameters, dispose: () => [...parameters, w, b, list, zeroOrOne].forEach((t) => t.dispose()) };
}

/** Calls per second of a layer, and what frees its memory. */
function ours(layer, strategy, active, pass) {
  const { n, batch, size } = layer;
  const x = uniform(size ? [batch, size, size, n] : [batch, n], { low: -1, requiresGrad: true });
  const made = layerOf(layer, strategy, active);
  const flop = 2 * batch * (size ?? 1) ** 2 * n * active * (layer.kernel ?? 1) ** 2;
  const g = noGrad(() => uniform(made.forward(x).shape, { low: -1 }));
  const forward = (input) => noGrad(() => made.forward(input));
  const both = (input) => {
    const y = made.forward(input);
    return [y, ...gradients(y, [input, ...made.parameters], { gradient: g })];
  };
  const run = replayed(pass === 'forward' ? forward : both, x, flop);
  return { measure: run.measure, dispose: () => [run, made, x, g].forEach((held) => held.dispose()) };
}

function* cases(quick) {
  for (const layer of LAYERS.slice(0, quick ? 1 : undefined)) {
    for (const pass of PASSES) {
      for (const strategy of Object.keys(STRATEGIES)) {
        for (const share of quick ? [0.25] : SHARES) {
          const name = `${layer.name}, ${pass}, ${strategy}, ${share * 100} %`;
          yield { name, layer, pass, strategy, active: Math.round(share * layer.n) };
        }
      }
    }
  }
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const { name, layer, pass, strategy, active } of cases(quick)) {
    if (!wants(name)) continue;
    const full = ours(layer, 'full', layer.n, pass);
    const part = ours(layer, strategy, active, pass);
    const { n, batch, size = 0, kernel = 0 } = layer;
    const args = { strategy: STRATEGIES[strategy], backward: pass !== 'forward', n, batch, size, kernel, active };
    for (const count of threads) {
      const ofFull = [];
      const engines = {
        gyrus: () => {
          const whole = full.measure(seconds);
          const rate = part.measure(seconds);
          ofFull.push(whole / rate);
          return rate;
        },
        torch: torchEngine('torch_kernels:masked', count, seconds, args),
      };
      const measured = await compare({ suite: 'mask', name, unit: 'calls/s', threads: count, rounds, engines });
      const mine = measured.find(({ engine }) => engine === OURS);
      Object.assign(mine.detail, { 'of full': median(ofFull), active: active / n });
      entries.push(...measured);
    }
    full.dispose();
    part.dispose();
  }
  return entries;
}

export function bars(entries) {
  const mine = entries.filter(({ engine }) => engine === OURS);
  const counts = [...new Set(mine.map(({ threads }) => threads))];
  return counts.flatMap((count) =>
    ['prefix', 'indexed'].map((strategy) => {
      const items = mine
        .filter((entry) => entry.threads === count && entry.case.includes(strategy))
        .map((entry) => ({ value: entry.detail['of full'] - entry.detail.active, where: entry.case }));
      return worstBar(
        `mask: time over the full layer's, less the active fraction, ${strategy}, threads ${count}`,
        items,
        { atMost: 0.03 },
      );
    }),
  );
}
