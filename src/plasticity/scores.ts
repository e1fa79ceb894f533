/**
 * How much a neuron matters, by several measures. All are importances: the neurons of lowest score are the ones to remove.
 *
 *   l1, l2          norm of the incoming weights                                           Li et al. 2017, arXiv 1608.08710
 *   taylor-weight   sum over incoming weights of (w g)^2                                   Molchanov et al. 2019, arXiv 1906.10771
 *   taylor-abs-sum  |sum w g|
 *   taylor-sum-abs  sum |w g|
 *   taylor-gate     mean over samples of |a dL/da|                                         Molchanov et al. 2017, arXiv 1611.06440
 *   class-taylor    sum_c w_c s_cj / sum_k s_ck, s_cj the mean of |a_j dL/da_j| over class c
 *   fisher          mean over samples of (a dL/da)^2                                       Theis et al. 2018, arXiv 1801.05787
 *   activation      mean |a|                                                               ibid.
 *   apoz            1 - share of samples with a = 0                                        Hu et al. 2016, arXiv 1607.03250
 *   dormant         mean |a_j| / mean over k of mean |a_k|                                 Sokar et al. 2023, arXiv 2302.12902
 *   grama           mean |dL/dW_j| / mean over k of mean |dL/dW_k|                         Liu et al. 2025, arXiv 2505.24061
 *   cbp             mean |a_j| times sum over outgoing weights of |w|; running: UnitUtility Dohare et al. 2024, Nature 632
 *   random          uniform numbers: the control
 */
import { ConfigError, KIND_CODE, type ScoreKind, ShapeError } from '../device/index.js';
import { CarriedArray, type Parameter, type Width } from '../nn/index.js';
import { add, enqueue, type Generator, mul, reshape, sum, transpose, uniform } from '../ops/index.js';
import { describe, noGrad, type Tensor, tidy } from '../tensor/index.js';
import type { GateStats } from './collector.js';
import { meanActivity } from './stored.js';

export const scoreNames = [
  'class-taylor',
  'taylor-gate',
  'fisher',
  'taylor-weight',
  'taylor-abs-sum',
  'taylor-sum-abs',
  'l1',
  'l2',
  'activation',
  'apoz',
  'dormant',
  'grama',
  'cbp',
  'random',
] as const;
export type ScoreName = (typeof scoreNames)[number];

export const classWeightings = ['uniform', 'effective', 'inverse'] as const;
export type ClassWeighting = (typeof classWeightings)[number];

export interface ScoreOptions {
  /** What a GateCollector read. Needed by class-taylor, taylor-gate, fisher, activation, apoz, dormant and cbp. */
  stats?: GateStats;
  /** class-taylor: weight per class. Default: the same for all. */
  classWeights?: ArrayLike<number>;
  /** random: source of numbers. Default: the default generator. */
  generator?: Generator;
}

/** Scores that need what a GateCollector adds up. */
export function needsStats(name: ScoreName): boolean {
  return ['class-taylor', 'taylor-gate', 'fisher', 'activation', 'apoz', 'dormant', 'cbp'].includes(name);
}
/** Scores that need gradients of the weights. */
export function needsGrads(name: ScoreName): boolean {
  return ['taylor-weight', 'taylor-abs-sum', 'taylor-sum-abs', 'grama'].includes(name);
}

/**
 * Weights per class that sum to 1: uniform 1 / C; effective (1 - b) / (1 - b^n) with b = beta (Cui et al. 2019, arXiv 1901.05555);
 * inverse 1 / n. A class without samples weighs 0 in the last two.
 * @throws ConfigError for counts that are no whole numbers >= 0, or all 0
 */
export function classWeights(weighting: ClassWeighting, counts: readonly number[], beta = 0.9999): Float64Array {
  if (counts.length === 0 || counts.some((n) => !Number.isInteger(n) || n < 0) || counts.every((n) => n === 0)) {
    throw new ConfigError(`classWeights: expected counts of samples per class, got [${counts.join(',')}]`);
  }
  const raw = counts.map((n) => {
    if (weighting === 'uniform') return 1;
    if (n === 0) return 0;
    return weighting === 'inverse' ? 1 / n : (1 - beta) / (1 - beta ** n);
  });
  const total = raw.reduce((sum, w) => sum + w, 0);
  return Float64Array.from(raw, (w) => w / total);
}

/** class-taylor from per-class means: each class is normalised to sum 1 over the units, so that its loss scale doesn't decide. */
export function classTaylor(perClass: readonly ArrayLike<number>[], weights?: ArrayLike<number>): Float64Array {
  const units = perClass[0]?.length ?? 0;
  const out = new Float64Array(units);
  perClass.forEach((row, c) => {
    let total = 0;
    for (let j = 0; j < units; j++) total += row[j];
    if (!(total > 0)) return;
    const weight = weights ? weights[c] : 1 / perClass.length;
    for (let j = 0; j < units; j++) out[j] += (weight * row[j]) / total;
  });
  return out;
}

function expectStats(name: ScoreName, width: Width, stats: GateStats | undefined): GateStats {
  if (!stats)
    throw new ConfigError(`score ${name}: expected statistics of a GateCollector on width '${width.name}', got none`);
  if (stats.samples === 0) {
    throw new ConfigError(
      `score ${name}: the GateCollector on width '${width.name}' has seen no sample since its reset`,
    );
  }
  if (stats.meanAbs.length !== width.size) {
    throw new ConfigError(`score ${name}: expected statistics of ${width.size} units, got ${stats.meanAbs.length}`);
  }
  return stats;
}

/** The weights of each unit as a row. A unit may own several rows: an attention head does. */
const asRows = (t: Tensor, units: number): Tensor =>
  t.rank === 2 && t.shape[0] === units ? t.detach() : reshape(t.detach(), [units, -1]);

/** The native score of units whose weights are the rows of w [U, F], with the gradients g; two rows for l2-taylor. */
function unitScore(kind: ScoreKind, w: Tensor, g?: Tensor): Tensor {
  const shape = kind === 'l2-taylor' ? [2, w.shape[0]] : [w.shape[0]];
  const inputs = g ? [w, g] : [w];
  return enqueue('unitScore', w.device, [{ shape, dtype: w.dtype }], inputs, [KIND_CODE.score[kind]])[0];
}

function expectProducers(name: string, width: Width): Width['producers'] {
  if (width.producers.length === 0) {
    throw new ConfigError(`score ${name}: expected a layer that computes width '${width.name}', got none`);
  }
  return width.producers;
}

function gradientOf(name: string, width: Width, weight: Parameter): Tensor {
  if (!weight.grad)
    throw new ConfigError(`score ${name}: expected a gradient of the weights of width '${width.name}', got none`);
  return asRows(weight.grad, width.size);
}

/** What `make` enqueues, one tensor per part, as host numbers. */
async function readAll(make: () => Tensor[]): Promise<ArrayLike<number>[]> {
  const parts = noGrad(() => tidy(make));
  const out: ArrayLike<number>[] = [];
  for (const part of parts) {
    out.push(await part.data());
    part.dispose();
  }
  return out;
}

/** Sum over all layers that compute the neurons of a native weight score; the root of it for l2. */
async function weightScore(width: Width, name: ScoreKind): Promise<Float64Array> {
  const producers = expectProducers(name, width);
  const parts = await readAll(() =>
    producers.map(({ weight }) => {
      const gradient = name === 'l1' || name === 'l2' ? undefined : gradientOf(name, width, weight);
      return unitScore(name, asRows(weight.array.active, width.size), gradient);
    }),
  );
  const squared = name === 'l2' && parts.length > 1;
  const out = new Float64Array(width.size);
  for (const values of parts) for (let j = 0; j < out.length; j++) out[j] += squared ? values[j] ** 2 : values[j];
  return squared ? out.map(Math.sqrt) : out;
}

/**
 * l2 and taylor-weight of every active neuron in one pass over weights and gradients.
 * @throws ConfigError when there is no gradient
 */
export async function l2AndTaylor(width: Width): Promise<{ l2: Float64Array; taylor: Float64Array }> {
  const producers = expectProducers('l2-taylor', width);
  const parts = await readAll(() =>
    producers.map(({ weight }) =>
      unitScore('l2-taylor', asRows(weight.array.active, width.size), gradientOf('l2-taylor', width, weight)),
    ),
  );
  const [squares, taylor] = [new Float64Array(width.size), new Float64Array(width.size)];
  for (const values of parts)
    for (let j = 0; j < width.size; j++) {
      squares[j] += values[j] ** 2;
      taylor[j] += values[width.size + j];
    }
  return { l2: squares.map(Math.sqrt), taylor };
}

/**
 * mean |dL/dW_j| over the incoming weights of each neuron, of all layers that compute it: [units], the caller's to dispose.
 * @throws ConfigError when there is no gradient
 */
export function meanIncomingGradients(width: Width): Tensor {
  return noGrad(() =>
    tidy(() => {
      let fanIn = 0;
      const parts = expectProducers('grama', width).map(({ weight }) => {
        const g = gradientOf('grama', width, weight);
        fanIn += g.shape[1];
        return unitScore('l1', g);
      });
      return mul(
        parts.reduce((a, b) => add(a, b)),
        1 / fanIn,
      );
    }),
  );
}

/** mean |dL/dW_j| by the mean of that over the neurons. */
async function gramaScore(width: Width): Promise<Float64Array> {
  const [values] = await readAll(() => [meanIncomingGradients(width)]);
  return relative(Float64Array.from(values));
}

/** By the mean of all; zeros where that is 0. */
export function relative(values: Float64Array): Float64Array {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return values.map((v) => (mean > 0 ? v / mean : 0));
}

/** Sum of |w| over the weights that leave each neuron, of all layers that read it: f32 or f64 [units]. The caller disposes. */
function outgoing(width: Width): Tensor {
  if (width.consumers.length === 0)
    throw new ConfigError(`score cbp: expected a layer that reads width '${width.name}', got none`);
  return width.consumers
    .map(({ weight }) => {
      // [out, ..., in]: a neuron's weights are a column, or several that follow each other
      const w = weight.array.active.detach();
      const last = w.shape[w.rank - 1];
      if (last % width.size !== 0)
        throw new ConfigError(
          `score cbp: expected width '${width.name}' along the last axis of the weights that read it, got ${describe(w.shape)}`,
        );
      const columns = unitScore('l1', transpose(w.rank === 2 ? w : reshape(w, [-1, last])));
      return last === width.size ? columns : sum(reshape(columns, [width.size, -1]), 1);
    })
    .reduce((a, b) => add(a, b));
}

async function cbpScore(width: Width, stats: GateStats): Promise<Float64Array> {
  const [sums] = await readAll(() => [outgoing(width)]);
  return stats.meanAbs.map((a, j) => a * sums[j]);
}

/**
 * The running utility of continual backpropagation: u <- decay u + (1 - decay) |a| sum |w_out|, corrected for a neuron's age by
 * 1 - decay^age. Utilities and ages are carried arrays: they follow the neurons, and the newborn start at 0. (Dohare et al. 2024)
 */
export class UnitUtility {
  readonly width: Width;
  readonly decay: number;
  #utility: CarriedArray;
  #age: CarriedArray;

  /** Decay in [0, 1). Default 0.99. Throws ConfigError for any other. */
  constructor(width: Width, options: { decay?: number } = {}) {
    const { decay = 0.99 } = options;
    if (!(decay >= 0 && decay < 1))
      throw new ConfigError(`UnitUtility: expected decay in [0, 1), got ${String(decay)}`);
    this.width = width;
    this.decay = decay;
    const { device, dtype } = expectProducers('cbp', width)[0].weight.array.full;
    this.#utility = new CarriedArray([width], { role: 'stat', device, dtype });
    this.#age = new CarriedArray([width], { role: 'stat', device, dtype });
  }

  /** One step, from the activations of a batch [..., units]: returns the corrected utilities [units], the caller's to dispose. */
  update(activations: Tensor): Tensor {
    const units = this.width.size;
    if (activations.shape[activations.rank - 1] !== units)
      throw new ShapeError(`UnitUtility: expected activations [..., ${units}], got ${describe(activations.shape)}`);
    return noGrad(() =>
      tidy(() => {
        const activity = meanActivity(activations, units);
        const spec = { shape: [units], dtype: activity.dtype };
        const inPlace = [this.#utility.active, this.#age.active];
        return enqueue(
          'unitUtility',
          activity.device,
          [spec],
          [activity, outgoing(this.width)],
          [this.decay],
          inPlace,
        )[0];
      }),
    );
  }

  /** The running utilities before the correction, and the steps that each neuron was seen; for reading and for checkpoints. */
  get arrays(): { utility: CarriedArray; age: CarriedArray } {
    return { utility: this.#utility, age: this.#age };
  }

  dispose(): void {
    this.#utility.dispose();
    this.#age.dispose();
  }
}

/**
 * Importance of every active neuron, in slot order; see the head of this file for the measures.
 * @throws ConfigError for an unknown name, and when the statistics or gradients that the measure needs are missing
 */
export async function scoreUnits(width: Width, name: ScoreName, options: ScoreOptions = {}): Promise<Float64Array> {
  switch (name) {
    case 'l1':
    case 'l2':
    case 'taylor-weight':
    case 'taylor-abs-sum':
    case 'taylor-sum-abs':
      return weightScore(width, name);
    case 'taylor-gate': {
      const { perClass, counts, samples } = expectStats(name, width, options.stats);
      const out = new Float64Array(width.size);
      perClass.forEach((row, c) => row.forEach((value, j) => (out[j] += (value * counts[c]) / samples)));
      return out;
    }
    case 'class-taylor':
      return classTaylor(expectStats(name, width, options.stats).perClass, options.classWeights);
    case 'fisher':
      return Float64Array.from(expectStats(name, width, options.stats).squares);
    case 'activation':
      return Float64Array.from(expectStats(name, width, options.stats).meanAbs);
    case 'apoz':
      return expectStats(name, width, options.stats).zeros.map((share) => 1 - share);
    case 'dormant':
      return relative(expectStats(name, width, options.stats).meanAbs);
    case 'grama':
      return gramaScore(width);
    case 'cbp':
      return cbpScore(width, expectStats(name, width, options.stats));
    case 'random': {
      const { device } = width.producers[0]?.weight.array.full ?? {};
      const drawn = tidy(() => uniform([width.size], { generator: options.generator, device }));
      const values = await drawn.data();
      drawn.dispose();
      return Float64Array.from(values);
    }
    default:
      throw new ConfigError(`score: expected one of ${scoreNames.join(', ')}, got '${String(name)}'`);
  }
}

/** Slots of the n lowest scores, lowest first; equal scores in slot order. A NaN counts as the lowest. */
export function lowest(scores: ArrayLike<number>, n: number, candidates?: readonly number[]): number[] {
  const value = (slot: number): number => (Number.isNaN(scores[slot]) ? -Infinity : scores[slot]);
  const slots = candidates ? [...candidates] : Array.from({ length: scores.length }, (_, i) => i);
  // Not by difference: two infinities would give NaN.
  slots.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a - b));
  return slots.slice(0, n);
}
