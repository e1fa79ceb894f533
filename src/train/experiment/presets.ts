/**
 * Experiments that come with Gyrus.
 */
import { closest } from 'fastest-levenshtein';
import { ConfigError } from '../../device/index.js';
import type { ExperimentInput } from './schema.js';

const mlp: ExperimentInput['base'] = {
  dataset: { imbalanceFactor: 100 },
  optimizer: { name: 'sgd', lr: 0.05, momentum: 0.9, weightDecay: 5e-4 },
  schedule: { name: 'cosine' },
  epochs: 40,
  batchSize: 128,
};

const smoke: ExperimentInput = {
  description:
    'Does it work here: two small networks, two methods, two seeds on what data there is; at most two minutes',
  base: { ...mlp, epochs: 12, plasticity: null },
  models: { 'mlp-12': { model: { hidden: [12, 12] } }, 'mlp-24': { model: { hidden: [24, 24] } } },
  datasets: { auto: { dataset: { name: 'auto', trainRows: 20000, testRows: 5000 } } },
  methods: { fixed: {}, cycle: { plasticity: { rate: 0.5, period: 4, grownEpochs: 2 } } },
  seeds: '0-1',
};

/** By name. */
export const experimentPresets: Readonly<Record<string, ExperimentInput>> = { smoke };

/** The preset of that name. Throws ConfigError listing the known ones. */
export function experimentPreset(name: string): ExperimentInput {
  if (Object.hasOwn(experimentPresets, name)) return experimentPresets[name];
  const names = Object.keys(experimentPresets);
  throw new ConfigError(
    `experiment: expected a file (.yaml, .yml, .json) or one of the presets ${names.join(', ')}, got '${name}'; ` +
      `did you mean '${closest(name, names)}'?`,
  );
}
