/**
 * Samplers: in which order, and how often, an epoch visits the training rows. An order is a pure function of seed and epoch, so
 * a checkpoint needs no more than the two.
 */
import { ConfigError } from '../device/index.js';
import { checkSeed, Philox } from '../tensor/index.js';
import { rowsByClass } from './profiles.js';

export const samplerNames = ['instance', 'class-balanced', 'square-root', 'progressive'] as const;
export type SamplerName = (typeof samplerNames)[number];

/** Gives the rows of each epoch. */
export abstract class Sampler {
  readonly name: SamplerName;
  readonly seed: number;
  /** Rows per epoch. */
  readonly length: number;

  constructor(name: SamplerName, length: number, seed: number) {
    checkSeed(`${name} sampler`, seed);
    if (length < 1) throw new ConfigError(`${name} sampler: expected at least one row, got ${length}`);
    this.name = name;
    this.length = length;
    this.seed = seed;
  }

  /** Row numbers of epoch e (from 0), in the order of their use. The same for the same seed and epoch. */
  abstract epoch(e: number): Int32Array;

  protected random(e: number): Philox {
    if (!Number.isInteger(e) || e < 0)
      throw new ConfigError(`${this.name} sampler: expected an epoch from 0, got ${e}`);
    return new Philox(this.seed, `sampler/${e}`);
  }
}

class InstanceSampler extends Sampler {
  override epoch(e: number): Int32Array {
    return this.random(e).permutation(this.length);
  }
}

/** Draws a class by probability, then its next row; a class's rows come in random order and start over when they are used up. */
class ClassSampler extends Sampler {
  readonly #rows: readonly Int32Array[];
  readonly #probabilities: (e: number) => readonly number[];

  constructor(
    name: SamplerName,
    rows: readonly Int32Array[],
    length: number,
    seed: number,
    probabilities: (e: number) => readonly number[],
  ) {
    super(name, length, seed);
    this.#rows = rows;
    this.#probabilities = probabilities;
  }

  /** Class probabilities in epoch e. */
  probabilities(e: number): readonly number[] {
    return this.#probabilities(e);
  }

  override epoch(e: number): Int32Array {
    const random = this.random(e);
    const decks = this.#rows.map((rows) => ({ rows: rows.slice(), next: rows.length }));
    let sum = 0;
    const cumulative = this.#probabilities(e).map((p) => (sum += p));
    const out = new Int32Array(this.length);
    for (let i = 0; i < out.length; i++) {
      const u = random.uniform() * sum;
      let c = cumulative.findIndex((edge) => u < edge);
      if (c < 0) c = cumulative.length - 1;
      const deck = decks[c];
      if (deck.next === deck.rows.length) {
        random.shuffle(deck.rows);
        deck.next = 0;
      }
      out[i] = deck.rows[deck.next++];
    }
    return out;
  }
}

/** p_c proportional to n_c^power; empty classes are left out. */
function powerProbabilities(rows: readonly Int32Array[], power: number): number[] {
  const weights = rows.map((r) => (r.length === 0 ? 0 : r.length ** power));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

/** Every row once per epoch, in random order. */
export function instanceSampler(rows: number, seed: number): Sampler {
  return new InstanceSampler('instance', rows, seed);
}

/** Every class equally often; as many draws per epoch as there are rows. */
export function classBalancedSampler(labels: ArrayLike<number>, classes: number, seed: number): Sampler {
  const rows = rowsByClass(labels, classes);
  const p = powerProbabilities(rows, 0);
  return new ClassSampler('class-balanced', rows, labels.length, seed, () => p);
}

/** Class probability proportional to sqrt(n_c) (Mahajan et al. 2018). */
export function squareRootSampler(labels: ArrayLike<number>, classes: number, seed: number): Sampler {
  const rows = rowsByClass(labels, classes);
  const p = powerProbabilities(rows, 0.5);
  return new ClassSampler('square-root', rows, labels.length, seed, () => p);
}

/** From instance-balanced to class-balanced over the training: p = (1 - t) n_c / N + t / C, t = e / (epochs - 1) (Kang et al. 2020). */
export function progressiveSampler(labels: ArrayLike<number>, classes: number, seed: number, epochs: number): Sampler {
  if (!Number.isInteger(epochs) || epochs < 1) {
    throw new ConfigError(`progressive sampler: expected at least 1 epoch, got ${epochs}`);
  }
  const rows = rowsByClass(labels, classes);
  const instance = powerProbabilities(rows, 1);
  const balanced = powerProbabilities(rows, 0);
  return new ClassSampler('progressive', rows, labels.length, seed, (e) => {
    const t = epochs === 1 ? 1 : Math.min(1, e / (epochs - 1));
    return instance.map((p, c) => (1 - t) * p + t * balanced[c]);
  });
}

/** A sampler by name. `epochs` (the whole training) matters to 'progressive' only. Throws ConfigError for other names. */
export function createSampler(
  name: SamplerName,
  labels: ArrayLike<number>,
  classes: number,
  options: { seed: number; epochs: number },
): Sampler {
  switch (name) {
    case 'instance':
      return instanceSampler(labels.length, options.seed);
    case 'class-balanced':
      return classBalancedSampler(labels, classes, options.seed);
    case 'square-root':
      return squareRootSampler(labels, classes, options.seed);
    case 'progressive':
      return progressiveSampler(labels, classes, options.seed, options.epochs);
    default:
      throw new ConfigError(`createSampler: expected one of ${samplerNames.join(', ')}, got '${String(name)}'`);
  }
}
