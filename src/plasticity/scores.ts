/**
 * How much a neuron matters, by several measures. All are importances: the neurons of lowest score are the ones to remove.
 *
 *   l1, l2          norm of the incoming weights                                           Li et al. 2017, arXiv 1608.08710
 *   taylor-weight   sum over incoming weights of (w g)^2                                   Molchanov et al. 2019, arXiv 1906.10771
 *   taylor-abs-sum  |sum w g|
 *   taylor-sum-abs  sum |w g|
 *   taylor-gate     mean over samples of |a dL/da|                                         Molchanov et al. 2017, arXiv 1611.06440
 *   class-taylor    sum_c w_c s_cj / sum_k s_ck, s_cj the mean of |a_j dL/da_j| over class c
 *   activation      mean |a|                                                               ibid.
 *   apoz            1 - share of samples with a = 0                                        Hu et al. 2016, arXiv 1607.03250
 *   dormant         mean |a_j| / mean over k of mean |a_k|                                 Sokar et al. 2023, arXiv 2302.12902
 *   random          uniform numbers: the control
 */
import { ConfigError, KIND_CODE, type ScoreKind } from '../device/index.js';
import type { Width } from '../nn/index.js';
import { enqueue, type Generator, reshape, uniform } from '../ops/index.js';
import { noGrad, type Tensor, tidy } from '../tensor/index.js';
import type { GateStats } from './collector.js';

export const scoreNames = [
  'class-taylor',
  'taylor-gate',
  'taylor-weight',
  'taylor-abs-sum',
  'taylor-sum-abs',
  'l1',
  'l2',
  'activation',
  'apoz',
  'dormant',
  'random',
] as const;
export type ScoreName = (typeof scoreNames)[number];

export const classWeightings = ['uniform', 'effective', 'inverse'] as const;
export type ClassWeighting = (typeof classWeightings)[number];

export interface ScoreOptions {
  /** What a GateCollector read. Needed by class-taylor, taylor-gate, activation, apoz and dormant. */
  stats?: GateStats;
  /** class-taylor: weight per class. Default: the same for all. */
  classWeights?: ArrayLike<number>;
  /** random: source of numbers. Default: the default generator. */
  generator?: Generator;
}

/** Scores that need what a GateCollector adds up. */
export function needsStats(name: ScoreName): boolean {
  return ['class-taylor', 'taylor-gate', 'activation', 'apoz', 'dormant'].includes(name);
}
/** Scores that need gradients of the weights. */
export function needsGrads(name: ScoreName): boolean {
  return name === 'taylor-weight' || name === 'taylor-abs-sum' || name === 'taylor-sum-abs';
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

/** Sum over all layers that compute the neurons of a native weight score; the root of it for l2. */
async function weightScore(width: Width, name: ScoreKind): Promise<Float64Array> {
  if (width.producers.length === 0) {
    throw new ConfigError(`score ${name}: expected a layer that computes width '${width.name}', got none`);
  }
  const parts = noGrad(() =>
    tidy(() =>
      width.producers.map(({ weight }) => {
        // A unit may own several rows: an attention head does.
        const asRows = (t: Tensor): Tensor =>
          t.rank === 2 && t.shape[0] === width.size ? t.detach() : reshape(t.detach(), [width.size, -1]);
        const inputs = [asRows(weight.array.active)];
        if (needsGrads(name)) {
          if (!weight.grad) {
            throw new ConfigError(
              `score ${name}: expected a gradient of the weights of width '${width.name}', got none`,
            );
          }
          inputs.push(asRows(weight.grad));
        }
        const spec = { shape: [width.size], dtype: weight.dtype };
        return enqueue('unitScore', inputs[0].device, [spec], inputs, [KIND_CODE.score[name]])[0];
      }),
    ),
  );
  const out = new Float64Array(width.size);
  for (const part of parts) {
    const values = await part.data();
    part.dispose();
    for (let j = 0; j < out.length; j++) out[j] += name === 'l2' && parts.length > 1 ? values[j] ** 2 : values[j];
  }
  return name === 'l2' && parts.length > 1 ? out.map(Math.sqrt) : out;
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
    case 'activation':
      return Float64Array.from(expectStats(name, width, options.stats).meanAbs);
    case 'apoz':
      return expectStats(name, width, options.stats).zeros.map((share) => 1 - share);
    case 'dormant': {
      const { meanAbs } = expectStats(name, width, options.stats);
      const mean = meanAbs.reduce((sum, a) => sum + a, 0) / meanAbs.length;
      return meanAbs.map((a) => (mean > 0 ? a / mean : 0));
    }
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
