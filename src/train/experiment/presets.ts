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

/** What methods are combined of: imbalance techniques that stand on either a fixed network or a changing one. */
const techniques: ExperimentInput['parts'] = {
  bs: { loss: { name: 'balanced-softmax' } },
  ldam: { loss: { name: 'ldam', drw: {} } },
  crt: { secondStage: { method: 'crt', epochs: 5 } },
};

/** The method, its baseline and its controls, alone and on top of the techniques. */
function methodsFor(plasticity: Record<string, unknown>): ExperimentInput['methods'] {
  const { period = 4 } = plasticity;
  return {
    fixed: {},
    cycle: { plasticity },
    phases: { plasticity: { ...plasticity, mode: 'phases' } },
    random: { plasticity: { ...plasticity, score: 'random' } },
    'cycle-plain': { plasticity: { ...plasticity, grownSampler: 'same' } },
    'cycle-balanced': { plasticity: { ...plasticity, grownSampler: 'class-balanced' } },
    replace: { plasticity: { ...plasticity, mode: 'replace' } },
    grow: { plasticity: { ...plasticity, mode: 'grow' } },
    longer: { epochsFactor: 1.2 },
    redo: { resets: { method: 'redo', period: Number(period) / 2, unit: 'epochs', until: 0.8 } },
    'fixed+bs': null,
    'cycle+bs': null,
    'fixed+ldam': null,
    'cycle+ldam': null,
    'fixed+crt': null,
    'cycle+crt': null,
  };
}

const PAIRS: ExperimentInput['compare'] = [
  ['cycle', 'fixed'],
  ['cycle', 'phases'],
  ['phases', 'fixed'],
  ['cycle-plain', 'fixed'],
  ['cycle-balanced', 'fixed'],
  ['cycle', 'random'],
  ['cycle', 'replace'],
  ['cycle', 'redo'],
  ['grow', 'fixed'],
  ['longer', 'fixed'],
  ['cycle+bs', 'fixed+bs'],
  ['cycle+ldam', 'fixed+ldam'],
  ['cycle+crt', 'fixed+crt'],
  ['fixed+bs', 'fixed'],
];

const small = { optimizer: { name: 'adamw', lr: 2e-3, weightDecay: 0.05 } };
const adamw = { optimizer: { name: 'adamw', lr: 1e-3, weightDecay: 0.05 } };

/** Widths at which capacity binds, and of the mlp two at which it does so less and less. Learning rates of plain trainings. */
const core: ExperimentInput = {
  description:
    'The cycle against fixed width on four long-tailed data sets with small models, alone, on top of other techniques, and its ' +
    'controls; hours on two cores. Seeds 0 to 4 served to choose defaults on mnist and fashion-mnist, so others are run',
  base: { ...mlp, epochs: 20, evalEvery: 1000, plasticity: null, dataset: { imbalanceFactor: 100, normalize: true } },
  models: {
    'mlp-12': { model: { hidden: [12, 12] }, epochs: 40 },
    'mlp-32': { model: { hidden: [32, 32] }, epochs: 40 },
    'mlp-128': { model: { hidden: [128, 128] }, epochs: 40 },
    convnet: { model: { kind: 'convnet', channels: [4, 'pool', 8, 'pool', 16] } },
    'resnet-8': { model: { kind: 'resnet', depth: 8, width: 4 } },
    'vgg-11': { model: { kind: 'vgg11', width: 2 } },
    vit: { ...small, model: { kind: 'vit', patch: 7, dim: 16, depth: 2, heads: 2, mlp: 4 } },
    mixer: { ...small, model: { kind: 'mixer', patch: 7, dim: 32, depth: 2, tokens: 8, channels: 16 } },
  },
  datasets: {
    'fashion-mnist': { dataset: { name: 'fashion-mnist' } },
    mnist: { dataset: { name: 'mnist' } },
    'cifar-10': { dataset: { name: 'cifar-10' } },
    letter: { dataset: { name: 'letter' } },
  },
  methods: methodsFor({}),
  parts: techniques,
  seeds: '5-9',
  exclude: [{ dataset: 'letter', model: ['convnet', 'resnet-8', 'vgg-11', 'vit', 'mixer'] }],
  overrides: [
    { dataset: 'cifar-10', model: ['vit', 'mixer'], config: { model: { patch: 8 } } },
    { dataset: ['fashion-mnist', 'mnist'], model: 'mlp-*', config: { dataset: { normalize: false } } },
  ],
  compare: PAIRS,
};

/** One choice of the cycle changed at a time. At the sampling of the base phase, so that the neurons alone make the difference. */
const plain = (options: Record<string, unknown>): Record<string, unknown> => ({
  plasticity: { grownSampler: 'same', ...options },
});

const ablation: ExperimentInput = {
  description:
    'Every choice of the cycle changed alone, on small MLPs and without sampling by class: what do neurons that come and go do, and ' +
    'when; an hour on two cores at most',
  base: { ...mlp, evalEvery: 1000, plasticity: null },
  models: { 'mlp-12': { model: { hidden: [12, 12] } }, 'mlp-32': { model: { hidden: [32, 32] } } },
  datasets: { 'fashion-mnist': { dataset: { name: 'fashion-mnist' } }, mnist: { dataset: { name: 'mnist' } } },
  methods: {
    fixed: {},
    cycle: plain({}),
    sampled: { plasticity: {} },
    balanced: { plasticity: { grownSampler: 'class-balanced' } },
    'rate-0.25': plain({ rate: 0.25 }),
    'rate-1': plain({ rate: 1 }),
    'period-2': plain({ period: 2, grownEpochs: 1 }),
    'period-8': plain({ period: 8, grownEpochs: 4 }),
    'warmup-0': plain({ warmup: 0 }),
    'warmup-0.4': plain({ warmup: 0.4 }),
    'last-0.6': plain({ lastShrink: 0.6 }),
    'last-0.9': plain({ lastShrink: 0.9 }),
    'maturity-300': plain({ maturity: 300 }),
    'init-paired': plain({ init: 'paired' }),
    'init-split': plain({ init: 'split', steer: 'none' }),
    'init-split-tail': plain({ init: 'split' }),
    'init-orthogonal': plain({ init: 'orthogonal' }),
    'init-gradmax': plain({ init: 'gradmax' }),
    'score-gate': plain({ score: 'taylor-gate' }),
    'score-tail': plain({ classWeighting: 'inverse' }),
    'score-fisher': plain({ score: 'fisher' }),
    'score-activation': plain({ score: 'activation' }),
    'score-l2': plain({ score: 'l2' }),
    'score-random': plain({ score: 'random' }),
    'retain-0.5': plain({ retain: 0.5 }),
    'shelter-0.5': plain({ shelter: 0.5 }),
    'no-fold': plain({ foldMean: false }),
    replace: plain({ mode: 'replace' }),
    grow: plain({ mode: 'grow' }),
    longer: { epochsFactor: 1.2 },
    redo: { resets: { method: 'redo', period: 2, unit: 'epochs', until: 0.8 } },
    cbp: { resets: { method: 'cbp', rate: 1e-3, until: 0.8 } },
  },
  seeds: '0-4',
};

const full: ExperimentInput = {
  description:
    'ResNet-32, WRN-16-4, VGG-11 and a vision transformer on long-tailed CIFAR-10 by the schedules of the literature; for a GPU',
  base: {
    dataset: { name: 'cifar-10', normalize: true },
    augment: { padding: 4, flip: 0.5 },
    optimizer: { name: 'sgd', lr: 0.1, momentum: 0.9, weightDecay: 2e-4 },
    schedule: { name: 'step', milestones: [0.8, 0.9], gamma: 0.01, warmupEpochs: 5 },
    epochs: 200,
    batchSize: 128,
    plasticity: null,
  },
  models: {
    'resnet-32': { model: { kind: 'resnet', depth: 32 } },
    'wrn-16-4': { model: { kind: 'wrn', depth: 16, widen: 4 }, optimizer: { weightDecay: 5e-4 } },
    'vgg-11': { model: { kind: 'vgg11' }, optimizer: { lr: 0.05, weightDecay: 5e-4 } },
    vit: { ...adamw, model: { kind: 'vit', patch: 4, dim: 192, depth: 6, heads: 3 }, schedule: { name: 'cosine' } },
  },
  datasets: { 'cifar-10': {} },
  imbalanceFactors: [10, 50, 100],
  methods: methodsFor({ rate: 0.25, period: 20, grownEpochs: 10 }),
  parts: techniques,
  seeds: '0-4',
  compare: PAIRS,
};

/** By name. */
export const experimentPresets: Readonly<Record<string, ExperimentInput>> = { smoke, core, ablation, full };

/** The preset of that name. Throws ConfigError listing the known ones. */
export function experimentPreset(name: string): ExperimentInput {
  if (Object.hasOwn(experimentPresets, name)) return experimentPresets[name];
  const names = Object.keys(experimentPresets);
  throw new ConfigError(
    `experiment: expected a file (.yaml, .yml, .json) or one of the presets ${names.join(', ')}, got '${name}'; ` +
      `did you mean '${closest(name, names)}'?`,
  );
}
