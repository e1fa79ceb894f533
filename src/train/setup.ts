/**
 * From a configuration to the objects of a run: data with its long tail, model, optimiser, schedule, loss, sampler, cycle.
 */
import { affineOf, type Dataset, normalized, openDataset, openFiles, relabel, sample, subset } from '../data/index.js';
import { ConfigError } from '../device/index.js';
import {
  classCounts,
  createLoss,
  createSampler,
  effectiveNumberWeights,
  exponentialCounts,
  inverseFrequencyWeights,
  longTailSubset,
  type Loss,
  type Sampler,
  type SamplerName,
  stepCounts,
} from '../longtail/index.js';
import type { Module, Parameter } from '../nn/index.js';
import { Generator } from '../ops/index.js';
import { Adam, AdamW, type Optimizer, type Schedule, schedules, SGD } from '../optim/index.js';
import { createResets, PlasticityCycle, Regularizers, type ResetCallback } from '../plasticity/index.js';
import { Philox, tensor, type Tensor } from '../tensor/index.js';
import type { PlasticityConfig, RunConfig } from './config.js';
import { buildModel } from './model-config.js';
import { SecondStage } from './second-stage.js';

/** A training set with its long tail and a test set; classes are numbered by frequency, the most frequent first. */
export interface PreparedData {
  name: string;
  source: string;
  train: Dataset;
  test: Dataset;
  /** Training samples per class. */
  counts: number[];
  /** Largest count over smallest. */
  imbalanceFactor: number;
  classNames: string[];
}

/** The largest class for which every class has as many rows as its profile asks for. */
function largestFor(available: readonly number[], shares: readonly number[]): number {
  return Math.max(1, Math.floor(Math.min(...available.map((n, c) => n / shares[c])) * (1 + 1e-12)));
}

/** A long-tailed training set from a pair of sets. Throws ConfigError when a class would have no samples. */
export function longTailed(
  pair: { name: string; source: string; train: Dataset; test: Dataset },
  options: Pick<RunConfig['dataset'], 'imbalanceFactor' | 'profile' | 'subsetSeed' | 'trainRows' | 'testRows'>,
): PreparedData {
  const { imbalanceFactor, profile, subsetSeed } = options;
  let train = options.trainRows === undefined ? pair.train : sample(pair.train, options.trainRows, subsetSeed);
  let test = options.testRows === undefined ? pair.test : sample(pair.test, options.testRows, subsetSeed);
  let counts = classCounts(train.labels, train.classes);
  if (counts.includes(0)) throw new ConfigError(`dataset: expected samples of every class, got [${counts.join(', ')}]`);
  if (imbalanceFactor !== null) {
    const profileOf = profile === 'exponential' ? exponentialCounts : stepCounts;
    // Shares of the profile, from a size at which rounding doesn't matter.
    const unit = 2 ** 40;
    const shares = profileOf(unit, train.classes, imbalanceFactor).map((n) => n / unit);
    counts = profileOf(largestFor(counts, shares), train.classes, imbalanceFactor);
    train = subset(train, longTailSubset(train.labels, counts, subsetSeed));
  } else {
    const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
    if (order.some((c, i) => c !== i)) {
      train = relabel(train, order);
      test = relabel(test, order);
      counts = order.map((c) => counts[c]);
    }
  }
  return {
    name: pair.name,
    source: pair.source,
    train,
    test,
    counts,
    imbalanceFactor: Math.max(...counts) / Math.min(...counts),
    classNames: [...(train.classNames ?? counts.map((_, c) => String(c)))],
  };
}

/** Opens the data set of a configuration and gives it its long tail. Throws as openDataset and openFiles do. */
export async function prepareData(config: RunConfig['dataset']): Promise<PreparedData> {
  const { name, dir, train, test, label, standardize, normalize } = config;
  const own = train !== undefined && test !== undefined;
  const pair = await (own ? openFiles({ train, test, label, standardize }) : openDataset(name, { dir }));
  const data = longTailed(pair, config);
  if (!normalize) return data;
  [data.train, data.test] = normalized([data.train, data.test], data.train);
  return data;
}

/** Everything a Trainer works with. */
export interface PreparedRun {
  config: RunConfig;
  model: Module;
  optimizer: Optimizer;
  schedule: Schedule;
  loss: Loss;
  sampler: Sampler;
  cycle: PlasticityCycle | undefined;
  /** Instead of the cycle. */
  resets: ResetCallback | undefined;
  /** Comes after all epochs; most runs have none. */
  secondStage: SecondStage | undefined;
  /** Added to the loss. */
  regularizers: Regularizers | undefined;
  /** What else changes while the widths are grown. */
  grown: { sampler: Sampler; weights: readonly number[] | undefined };
  /** Of weights, dropout and newborn neurons; its state is part of a checkpoint. */
  generator: Generator;
  /** Frees model, optimiser, loss and cycle. */
  dispose(): void;
}

function createOptimizer(config: RunConfig['optimizer'], parameters: readonly Parameter[]): Optimizer {
  const { name, lr, weightDecay, youngSteps, momentum, nesterov, beta1, beta2, eps } = config;
  if (name === 'sgd') return new SGD(parameters, { lr, momentum, nesterov, weightDecay, youngSteps });
  const Class = name === 'adam' ? Adam : AdamW;
  return new Class(parameters, { lr, betas: [beta1, beta2], eps, weightDecay, youngSteps });
}

function createSchedule({ schedule, epochs }: RunConfig): Schedule {
  const { name, milestones, gamma, warmupEpochs } = schedule;
  const base = { constant: schedules.constant(), step: schedules.step(milestones, gamma), cosine: schedules.cosine() }[
    name
  ];
  return warmupEpochs > 0 ? schedules.warmup(warmupEpochs / epochs, base) : base;
}

function createCycle(config: PlasticityConfig, seed: number): PlasticityCycle {
  const { grownLoss: _loss, grownSampler: _sampler, ...options } = config;
  // A stream of its own: newborn weights must not repeat the first ones.
  return new PlasticityCycle({ ...options, seed: new Philox(seed, 'cycle').u32() });
}

function createSecondStage(
  { secondStage, optimizer, seed }: RunConfig,
  {
    model,
    loss,
    train,
    samplerOf,
  }: Pick<PreparedRun, 'model' | 'loss'> & {
    train: Dataset;
    samplerOf: (name: SamplerName) => Sampler;
  },
): SecondStage | undefined {
  if (!secondStage) return undefined;
  return new SecondStage({
    config: secondStage,
    model,
    train,
    loss,
    sampler: samplerOf(secondStage.sampler ?? 'class-balanced'),
    lr: secondStage.lr ?? optimizer.lr,
    schedule: schedules.cosine(),
    optimizerOf: (parameters) => createOptimizer(optimizer, parameters),
    clipNorm: optimizer.clipNorm,
    // A stream of its own: the new classifier must not repeat the first weights.
    generator: new Generator(new Philox(seed, 'second-stage').u32()),
  });
}

/** The sampler of the grown phase. On top of a loss or sampler that makes up for rare classes, 'auto' would do it twice. */
function grownSampler({ plasticity, loss, sampler }: RunConfig): SamplerName {
  const wanted = plasticity?.grownSampler ?? 'same';
  if (wanted === 'same') return sampler;
  if (wanted !== 'auto') return wanted;
  const plain = (loss.name === 'ce' || loss.name === 'focal') && sampler === 'instance';
  return plain ? 'square-root' : sampler;
}

/** Extra class weights of the grown phase, with mean 1. */
function grownWeights(name: PlasticityConfig['grownLoss'], counts: readonly number[]): number[] | undefined {
  if (name === 'same') return undefined;
  if (name === 'effective') return effectiveNumberWeights(counts);
  return inverseFrequencyWeights(counts);
}

/** Up to that many rows of each class, drawn by seed and epoch, as one batch. */
export function probeBatch(
  train: Dataset,
  counts: readonly number[],
  samplesPerClass: number,
  seed: number,
): { x: Tensor; y: Tensor } {
  const wanted = counts.map((n) => Math.min(n, samplesPerClass));
  const chosen = subset(train, longTailSubset(train.labels, wanted, seed));
  const { data, labels, rows, features } = chosen;
  const { scale, shift } = affineOf(chosen);
  const x = Float32Array.from(data, (value, i) => {
    return Math.fround(value * scale[i % scale.length]) + shift[i % shift.length];
  });
  return { x: tensor(x, { shape: [rows, features] }), y: tensor(labels) };
}

/** Builds model, optimiser and the rest. Throws ConfigError for settings that don't fit together. */
export function prepareRun(config: RunConfig, data: PreparedData): PreparedRun {
  const { plasticity, seed } = config;
  const generator = new Generator(seed);
  const reweightable = plasticity !== null && plasticity.grownLoss !== 'same';
  const loss = createLoss({ ...config.loss, reweightable }, data.counts);
  const model = buildModel(config.model, {
    data: data.train,
    classifier: loss.cosine ? 'cosine' : 'linear',
    capacity: 1 + (plasticity?.rate ?? 0),
    generator,
  });
  const optimizer = createOptimizer(config.optimizer, model.parameters());
  const samplerOf = (name: SamplerName): Sampler =>
    createSampler(name, data.train.labels, data.train.classes, { seed, epochs: config.epochs });
  const sampler = samplerOf(config.sampler);
  const inGrown = grownSampler(config);
  const grown = {
    sampler: inGrown === config.sampler ? sampler : samplerOf(inGrown),
    weights: plasticity ? grownWeights(plasticity.grownLoss, data.counts) : undefined,
  };
  const cycle = plasticity ? createCycle(plasticity, seed) : undefined;
  const regularizers = config.regularizers.length > 0 ? new Regularizers(config.regularizers, model) : undefined;
  const resets = config.resets
    ? createResets(config.resets, model, { seed: new Philox(seed, 'resets').u32() })
    : undefined;
  const secondStage = createSecondStage(config, { model, loss, train: data.train, samplerOf });
  return {
    config,
    model,
    optimizer,
    schedule: createSchedule(config),
    loss,
    sampler,
    cycle,
    resets,
    secondStage,
    regularizers,
    grown,
    generator,
    dispose: () => {
      secondStage?.dispose();
      cycle?.dispose();
      resets?.dispose();
      regularizers?.dispose();
      optimizer.dispose();
      model.dispose();
      loss.dispose();
      generator.dispose();
    },
  };
}
