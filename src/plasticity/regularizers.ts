/**
 * Regularisers on the neurons of a layer, added to the loss inside the training step.
 *
 *   similarity  mean over pairs i < j of cos(w_i, w_j)^2, w_i the incoming weights of neuron i without its bias. As mean of squares it is
 *               mean^2 + variance of the similarities: it pulls in both the centre and the spread of their distribution. A
 *               reconstruction of the similarity-distribution penalty of arXiv 2408.13291, whose formula was not available to us
 *   t1          -sum of d_e                   d_e = 1 - |corr(i, j)| over the edges e = (i, j) of the minimum spanning tree of the
 *   t2          .5 std(d_e) - .5 mean(d_e)    neurons' activations in the batch            Ballester et al. 2023, arXiv 2308.04870
 *
 * The tree is found anew in every step, by kernels of the step itself (Prim's algorithm on the detached distances), so that a captured
 * step needs no help from the host and a checkpoint no further state. It takes about 8 small kernels per neuron; the gradient flows
 * through the correlations of the chosen edges. Where a sample has several positions, its activation is the mean over them.
 *
 * A neuron that is silent on the batch is at distance 1 from all others, which is what t1 and t2 ask for: with ReLU, large weights drive
 * neurons to silence. Look at the share of dead ones in the diagnostics when choosing the weight.
 */
import { z } from 'zod';
import { ConfigError, shown } from '../device/index.js';
import type { Module, Width } from '../nn/index.js';
import {
  abs,
  add,
  argmin,
  concat,
  eye,
  full,
  gather,
  indexAdd,
  indexSelect,
  less,
  matmul,
  maximum,
  mean,
  minimum,
  mul,
  narrow,
  reshape,
  rsqrt,
  sqrt,
  square,
  sub,
  sum,
  transpose,
  variance,
  where,
  zeros,
} from '../ops/index.js';
import { gradEnabled, noGrad, type Tensor, tidy } from '../tensor/index.js';
import { observableWidths } from './widths.js';

export const regularizerNames = ['similarity', 't1', 't2'] as const;
export type RegularizerName = (typeof regularizerNames)[number];

export const regularizerSchema = z.strictObject({
  name: z.enum(regularizerNames).describe('Pairwise similarity of weights, or persistence of activations'),
  weight: z.number().gt(0).max(1e6).describe('Factor on its value, which is added to the loss'),
  widths: z
    .union([z.literal('all'), z.array(z.string()).min(1)])
    .default('all')
    .describe("Names of the widths it acts on: 'all' or a list; the values are summed"),
});
export type RegularizerOptions = z.input<typeof regularizerSchema>;

/** Added to sums of squares: neurons without weights or variation then have similarity 0, and their gradient is finite. */
const TINY = 1e-6;

/** mean over pairs of rows of w [units, fan-in] of cos^2: 0 (orthogonal) .. 1 (parallel). Scalar; 0 for a single unit. */
export function similarityPenalty(w: Tensor): Tensor {
  const [units] = w.shape;
  const { dtype, device } = w;
  if (units < 2) return zeros([], { dtype, device });
  const rows = mul(w, rsqrt(add(sum(square(w), 1, { keepDims: true }), TINY)));
  const pairs = sub(1, eye(units, units, { dtype, device }));
  return mul(sum(mul(square(matmul(rows, transpose(rows))), pairs)), 1 / (units * (units - 1)));
}

/** Correlations of the columns of activations [samples, units]: [units, units]; about 0 with a column that doesn't vary. */
export function correlations(activations: Tensor): Tensor {
  const centred = sub(activations, mean(activations, 0));
  const columns = mul(centred, rsqrt(add(sum(square(centred), 0), TINY)));
  return matmul(transpose(columns), columns);
}

/**
 * Parents in a minimum spanning tree of the complete graph with these distances [units, units] in 0..1: i32 [units]; node 0 is the
 * root and its own parent. The same tree as spanningTree(), found by 8 (units - 2) small kernels, without the host.
 */
export function treeParents(distances: Tensor): Tensor {
  return noGrad(() =>
    tidy(() => {
      const [units] = distances.shape;
      const { dtype, device } = distances;
      const first = (value: number, type: 'i32' | typeof dtype): Tensor => full([1], value, { dtype: type, device });
      // More than any distance, on the nodes of the tree: they are never the nearest, and never come nearer.
      const inside = first(4, dtype);
      const d = maximum(distances.detach(), 0);
      let penalty = indexAdd(zeros([units], { dtype, device }), first(0, 'i32'), inside);
      let near = maximum(reshape(narrow(d, 0, 0, 1), [units]), penalty);
      let parents = zeros([units], { dtype: 'i32', device });
      for (let found = 1; found + 1 < units; found++) {
        const next = reshape(argmin(near), [1]);
        const row = reshape(indexSelect(d, next), [units]);
        penalty = indexAdd(penalty, next, inside);
        near = maximum(near, penalty);
        const candidate = add(row, penalty);
        parents = where(less(candidate, near), next, parents);
        near = minimum(near, candidate);
      }
      return parents;
    }),
  );
}

/** T1 or T2 of activations [samples, units]: a scalar. 0 for fewer than two units. */
export function persistencePenalty(name: 't1' | 't2', activations: Tensor): Tensor {
  const units = activations.shape[1];
  if (units < 2) return zeros([], { dtype: activations.dtype, device: activations.device });
  const distances = sub(1, abs(correlations(activations)));
  const parents = reshape(treeParents(distances), [units, 1]);
  const deaths = narrow(reshape(gather(distances, 1, parents), [units]), 0, 1, units - 1);
  if (name === 't1') return mul(sum(deaths), -1);
  // Kept off 0, where the root has no derivative: a single edge, or edges of one length.
  const deviation = sqrt(add(variance(deaths, undefined, { correction: 0 }), 1e-12));
  return sub(mul(deviation, 0.5), mul(mean(deaths), 0.5));
}

interface Term {
  name: RegularizerName;
  weight: number;
  widths: Width[];
}

/** The regularisers of a training. */
export class Regularizers {
  readonly #terms: Term[];
  readonly #seen = new Map<Width, Tensor>();
  readonly #stops: (() => void)[];

  /** @throws ConfigError for fields out of range, and widths that the model lacks or that can't be looked at */
  constructor(options: readonly RegularizerOptions[], model: Module) {
    this.#terms = options.map((option, i) => {
      const parsed = regularizerSchema.safeParse(option);
      if (!parsed.success) {
        const { path, message } = parsed.error.issues[0];
        throw new ConfigError(`regularizers[${i}]: ${path.join('.')}: ${message}, got ${shown(option)}`);
      }
      const { name, weight, widths } = parsed.data;
      const chosen = observableWidths(model, widths, `regularizers[${i}]`);
      if (chosen.length === 0)
        throw new ConfigError(`regularizers[${i}]: widths: the model has no width that it could act on`);
      return { name, weight, widths: chosen };
    });
    const watched = new Set(this.#terms.flatMap(({ name, widths }) => (name === 'similarity' ? [] : widths)));
    const weighed = new Set(this.#terms.flatMap(({ name, widths }) => (name === 'similarity' ? widths : [])));
    this.#stops = [...watched].map((width) =>
      width.observe((activations) => {
        if (model.training && gradEnabled()) this.#seen.set(width, activations);
      }),
    );
    this.#stops.push(...[...weighed].map((width) => width.needSize()));
  }

  /** The loss with the regularisers added, from the activations of the forward pass before. To be called in the training step. */
  add(loss: Tensor): Tensor {
    let total = loss;
    for (const { name, weight, widths } of this.#terms)
      for (const width of widths) {
        const value =
          name === 'similarity' ? similarityPenalty(incomingWeights(width)) : this.#persistence(name, width);
        if (value) total = add(total, mul(value, weight));
      }
    this.#seen.clear();
    return total;
  }

  /** Stops looking at the neurons. */
  dispose(): void {
    for (const stop of this.#stops) stop();
    this.#seen.clear();
  }

  #persistence(name: 't1' | 't2', width: Width): Tensor | undefined {
    const a = this.#seen.get(width);
    if (!a) return undefined;
    const rows = a.rank === 2 ? a : mean(reshape(a, [a.shape[0], -1, width.size]), 1);
    return persistencePenalty(name, rows);
  }
}

/** The incoming weights of all layers that compute the neurons, in the graph: [units, fan-in]. */
function incomingWeights(width: Width): Tensor {
  const parts = width.producers.map(({ weight }) => reshape(weight.value, [width.size, -1]));
  return parts.length === 1 ? parts[0] : concat(parts, 1);
}
