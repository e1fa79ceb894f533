/**
 * Named comparisons. 'demo' is what `npm run demo` runs: the same long-tailed data at fixed width and with the cycle.
 */
import { ConfigError } from '../device/index.js';
import type { RunConfigInput } from './config.js';

/** Configurations to be run side by side. */
export interface Preset {
  name: string;
  description: string;
  runs: { name: string; config: RunConfigInput }[];
  seeds: number[];
}

const small: RunConfigInput = {
  dataset: { imbalanceFactor: 100 },
  model: { hidden: [12, 12] },
  optimizer: { lr: 0.05, momentum: 0.9, weightDecay: 5e-4 },
  schedule: { name: 'cosine' },
  epochs: 40,
  batchSize: 128,
};

export const presets: Readonly<Record<string, Preset>> = {
  demo: {
    name: 'demo',
    description: 'A small MLP on long-tailed Fashion-MNIST (or MNIST): fixed width against the grow-and-prune cycle',
    runs: [
      { name: 'fixed', config: small },
      { name: 'plastic', config: { ...small, plasticity: {} } },
    ],
    seeds: [0],
  },
  losses: {
    name: 'losses',
    description: 'Cross-entropy and balanced softmax, each at fixed width and with the cycle, three seeds',
    runs: [
      { name: 'ce', config: small },
      { name: 'ce-plastic', config: { ...small, plasticity: {} } },
      { name: 'balanced-softmax', config: { ...small, loss: { name: 'balanced-softmax' } } },
      { name: 'balanced-softmax-plastic', config: { ...small, loss: { name: 'balanced-softmax' }, plasticity: {} } },
    ],
    seeds: [0, 1, 2],
  },
  quick: {
    name: 'quick',
    description: 'The demo in a few seconds, for a first try: six epochs',
    runs: [
      { name: 'fixed', config: { ...small, epochs: 6 } },
      { name: 'plastic', config: { ...small, epochs: 6, plasticity: { period: 2, grownEpochs: 1 } } },
    ],
    seeds: [0],
  },
};

/** The preset of that name. Throws ConfigError listing the known ones. */
export function preset(name: string): Preset {
  const found = Object.hasOwn(presets, name) ? presets[name] : undefined;
  if (!found) throw new ConfigError(`preset: expected one of ${Object.keys(presets).join(', ')}, got '${name}'`);
  return found;
}
