/**
 * Diagnostics of the neurons of a layer on a sample of data: how alike they are, how many do nothing, how many dimensions they span.
 *
 *   cosine         mean over pairs of |cos| of their incoming weights
 *   correlation    mean over pairs of |corr| of their activations; 0 with a neuron whose activation doesn't vary
 *   clones         share of neurons with |corr| >= 0.9 to another
 *   effectiveRank  of the activations [samples, neurons]                                   Roy and Vetterli 2007
 *   dead, dormant  share with activation 0 everywhere; with mean |h| <= tau times the layer's mean      arXiv 2302.12902
 *   t1, t2         -sum and .5 std - .5 mean of the edges of the minimum spanning tree under 1 - |corr| (deaths of 0-dimensional
 *                  persistence); std divides by their number                               Ballester et al. 2023, arXiv 2308.04870
 *
 * Where a sample has several positions (pixels, tokens), its activation is the mean over them; `dead` and `dormant` take mean |h|.
 */
import type { Module, Width } from '../nn/index.js';
import { mean, reshape } from '../ops/index.js';
import { noGrad, type Tensor, tidy } from '../tensor/index.js';
import { relative } from './scores.js';
import { effectiveRank } from './spectrum.js';
import { activationRows, meanActivity } from './stored.js';
import { observableWidths } from './widths.js';

/** Correlation from which two neurons count as clones. */
export const CLONE = 0.9;

export interface WidthDiagnostics {
  /** Active neurons. */
  units: number;
  cosine: number;
  correlation: number;
  /** Share of the neurons, 0..1, as `dead` and `dormant`. */
  clones: number;
  /** 0 .. number of neurons. */
  effectiveRank: number;
  dead: number;
  dormant: number;
  t1: number;
  t2: number;
}

/** |cos| of every pair of rows of [n, length]; 0 with a row of zeros. centred: |corr|. Row-major [n, n], ones on the diagonal. */
export function absoluteCosines(rows: ArrayLike<number>, n: number, options: { centred?: boolean } = {}): Float64Array {
  const length = rows.length / n;
  const unit = new Float64Array(rows.length);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let k = 0; k < length; k++) sum += rows[i * length + k];
    const centre = options.centred ? sum / length : 0;
    let [square, size] = [0, 0];
    for (let k = 0; k < length; k++) {
      const x = rows[i * length + k] - centre;
      unit[i * length + k] = x;
      square += x * x;
      size += rows[i * length + k] ** 2;
    }
    // What is left of a constant row after centring is rounding.
    const scale = square > 1e-24 * size ? 1 / Math.sqrt(square) : 0;
    for (let k = 0; k < length; k++) unit[i * length + k] *= scale;
  }
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    out[i * n + i] = 1;
    for (let j = 0; j < i; j++) {
      let dot = 0;
      for (let k = 0; k < length; k++) dot += unit[i * length + k] * unit[j * length + k];
      out[i * n + j] = out[j * n + i] = Math.min(1, Math.abs(dot));
    }
  }
  return out;
}

/**
 * Edges [node, parent, length] of a minimum spanning tree of the complete graph with these distances, row-major [n, n], by Prim's
 * algorithm from node 0; ties go to the lowest node and to the parent that came first.
 */
export function spanningTree(
  distances: ArrayLike<number>,
  n: number,
): [node: number, parent: number, length: number][] {
  const near = Float64Array.from({ length: n }, (_, j) => distances[j]);
  const parent = new Int32Array(n);
  const inside = new Uint8Array(n);
  inside[0] = 1;
  const edges: [number, number, number][] = [];
  for (let count = 1; count < n; count++) {
    let next = -1;
    for (let j = 0; j < n; j++) if (!inside[j] && (next < 0 || near[j] < near[next])) next = j;
    inside[next] = 1;
    edges.push([next, parent[next], near[next]]);
    for (let j = 0; j < n; j++) {
      const d = distances[next * n + j];
      if (inside[j] || d >= near[j]) continue;
      near[j] = d;
      parent[j] = next;
    }
  }
  return edges;
}

/** T1 and T2 of deaths; 0 where there are none. */
export function persistence(deaths: readonly number[]): { t1: number; t2: number } {
  if (deaths.length === 0) return { t1: 0, t2: 0 };
  const sum = deaths.reduce((a, b) => a + b, 0);
  const centre = sum / deaths.length;
  const variance = deaths.reduce((a, b) => a + (b - centre) ** 2, 0) / deaths.length;
  return { t1: -sum, t2: 0.5 * Math.sqrt(variance) - 0.5 * centre };
}

function meanOfPairs(matrix: Float64Array, n: number): number {
  if (n < 2) return 0;
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) sum += matrix[i * n + j];
  return sum / ((n * (n - 1)) / 2);
}

/** What one layer is diagnosed from. */
export interface LayerSample {
  units: number;
  /** Incoming weights [units, fan-in]. */
  weights: ArrayLike<number>;
  /** [samples, units] */
  activations: ArrayLike<number>;
  /** mean |h| of each neuron. */
  activity: ArrayLike<number>;
}

/** The diagnostics of one layer, on the host in f64: about samples units^2 + units^3 multiply-adds. */
export function diagnoseLayer({ units, weights, activations, activity }: LayerSample, tau: number): WidthDiagnostics {
  const samples = activations.length / units;
  const byUnit = Float64Array.from(
    { length: activations.length },
    (_, i) => activations[(i % samples) * units + Math.floor(i / samples)],
  );
  const correlations = absoluteCosines(byUnit, units, { centred: true });
  const closest = Array.from({ length: units }, (_, i) =>
    correlations.subarray(i * units, (i + 1) * units).reduce((most, c, j) => (j === i ? most : Math.max(most, c)), 0),
  );
  const tree = spanningTree(
    correlations.map((c) => 1 - c),
    units,
  );
  const share = (n: number): number => n / units;
  const scores = relative(Float64Array.from(activity));
  return {
    units,
    cosine: meanOfPairs(absoluteCosines(weights, units), units),
    correlation: meanOfPairs(correlations, units),
    clones: share(closest.filter((c) => c >= CLONE).length),
    effectiveRank: effectiveRank(activations, samples, units),
    dead: share(Array.from(activity).filter((a) => a === 0).length),
    dormant: share(scores.filter((score) => score <= tau).length),
    ...persistence(tree.map(([, , length]) => length)),
  };
}

/** The incoming weights of all layers that compute the neurons, side by side: [units, fan-in]. */
async function incoming(width: Width): Promise<Float64Array> {
  const { size } = width;
  const parts = await Promise.all(width.producers.map(({ weight }) => weight.array.active.data()));
  const fanIn = parts.reduce((sum, part) => sum + part.length / size, 0);
  const out = new Float64Array(size * fanIn);
  let at = 0;
  for (const part of parts) {
    const own = part.length / size;
    for (let j = 0; j < size; j++) for (let k = 0; k < own; k++) out[j * fanIn + at + k] = part[j * own + k];
    at += own;
  }
  return out;
}

/**
 * Diagnostics of every width whose neurons can be looked at, by name, from one forward pass in evaluation mode over x [samples, ...].
 * Training goes on as if nothing had been.
 * @param options.tau relative activity up to which a neuron is dormant; default 0.025
 */
export async function diagnose(
  model: Module,
  x: Tensor,
  options: { tau?: number } = {},
): Promise<Record<string, WidthDiagnostics>> {
  const { tau = 0.025 } = options;
  const modes = model.modules().map((module) => ({ module, training: module.training }));
  const seen = new Map<Width, { activations: Tensor; activity: Tensor }>();
  const stops = observableWidths(model, 'all', 'diagnostics').map((width) =>
    width.observe((a) => {
      if (seen.has(width)) return;
      const { size } = width;
      const perSample = a.rank === 2 ? activationRows(a, size) : mean(reshape(a.detach(), [a.shape[0], -1, size]), 1);
      seen.set(width, { activations: perSample, activity: meanActivity(a, size) });
    }),
  );
  try {
    model.eval();
    noGrad(() =>
      tidy(() => {
        model.forward(x);
        return [...seen.values()].map(({ activations, activity }) => [activations, activity]);
      }),
    );
  } finally {
    for (const stop of stops) stop();
    // Parents first, so that a submodule with a mode of its own gets it back.
    for (const { module, training } of modes) module.train(training);
  }
  const out: Record<string, WidthDiagnostics> = {};
  for (const [width, { activations, activity }] of seen) {
    const [weights, a, mu] = await Promise.all([incoming(width), activations.data(), activity.data()]);
    activations.dispose();
    activity.dispose();
    out[width.name] = diagnoseLayer({ units: width.size, weights, activations: a, activity: mu }, tau);
  }
  return out;
}
