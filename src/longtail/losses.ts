/**
 * Losses for long-tailed data that are cross-entropies with a weight, offset, margin and factor for each class. Whatever depends on
 * the class counts lives in device tensors that compute() reads, so a captured step stays valid when deferred re-weighting changes
 * the weights: their contents are written, in stream order.
 */
import { ConfigError, type Device } from '../device/index.js';
import { add, clamp, crossEntropy, div, expm1, indexSelect, mean, mul, neg, pow, sub, sum } from '../ops/index.js';
import { keep, noGrad, tensor, type Tensor } from '../tensor/index.js';

export const lossNames = [
  'ce',
  'focal',
  'class-balanced',
  'ldam',
  'logit-adjustment',
  'balanced-softmax',
  'vs',
  'influence-balanced',
  'lade',
] as const;
export type LossName = (typeof lossNames)[number];

/** Losses that samples with two labels mean nothing to. */
export const unmixable: readonly LossName[] = ['influence-balanced', 'lade'];

/** Deferred re-weighting (Cao et al. 2019): class-balanced weights from a share of the epochs on. */
export interface DeferredReweighting {
  /** Share of the epochs after which the weights apply. Default 0.8. */
  from?: number;
  /** Default 0.9999. */
  beta?: number;
}

export interface LossOptions {
  name: LossName;
  /** Focal: exponent, default 2. VS: exponent of the count ratio, default 0.15. */
  gamma?: number;
  /** Class-balanced: default 0.9999. */
  beta?: number;
  /** Influence-balanced: factor, default 1000. LADE: weight of the estimator, default 0.1. */
  alpha?: number;
  /** LADE: weight of the squared log-normalisers, default 0.1. */
  lambda?: number;
  /** Influence-balanced: share of the epochs before its weights apply, default 0.5. */
  from?: number;
  /** Logit adjustment, default 1; VS, default 1.25. */
  tau?: number;
  /** LDAM: the largest margin, default 0.5. */
  maxMargin?: number;
  /** LDAM: factor on the cosines, default 30. */
  scale?: number;
  /** Logit adjustment: at training (default), or only when predicting. */
  mode?: 'train' | 'post-hoc';
  /** Default 0. */
  labelSmoothing?: number;
  /** Default: none. */
  drw?: DeferredReweighting;
  /** Whether setExtraWeights will be used; the loss then reads weights from the start. Default false. */
  reweightable?: boolean;
}

/** What some losses look at beside logits and labels. */
export interface LossInputs {
  /** What went into the classifier, [N, F]. For losses with `usesFeatures`. */
  features?: Tensor;
  /** For samples that are mixed of two. For losses with `mixable`. */
  mixed?: {
    /** Labels of the second parts, i32 [N]. */
    labels: Tensor;
    /** Shares of the first parts, f32 [N], 0..1. */
    share: Tensor;
  };
}

/** A loss over logits [N, C] and labels i32 [N]. */
export interface Loss {
  readonly name: LossName;
  /** Whether the logits must come from a cosine classifier. */
  readonly cosine: boolean;
  /** Whether compute() needs the classifier's input. */
  readonly usesFeatures: boolean;
  /** Whether compute() takes mixed samples. */
  readonly mixable: boolean;
  /**
   * Mean loss, a scalar. A mixed sample counts as its first label by its share, and as its second by the rest: share L(y) +
   * (1 - share) L(y2), and where classes have weights the sum is divided by those of both.
   * @throws ConfigError for mixed samples or missing features where the loss can't do with them
   */
  compute(logits: Tensor, labels: Tensor, inputs?: LossInputs): Tensor;
  /** Logits to predict with, and to report the plain cross-entropy of. May be the argument itself. */
  predict(logits: Tensor): Tensor;
  /** To be called as each epoch (from 0) starts; deferred re-weighting switches here. */
  onEpoch(epoch: number, epochs: number): void;
  /** Weights on the classes on top of the loss's own (a tail-weighted phase); undefined takes them off. Needs `reweightable`. */
  setExtraWeights(weights: readonly number[] | undefined): void;
  dispose(): void;
}

export function checkCounts(op: string, counts: readonly number[]): void {
  if (counts.length < 2 || counts.some((n) => !Number.isFinite(n) || n < 1)) {
    throw new ConfigError(
      `${op}: expected at least one sample in each of two or more classes, got [${counts.join(', ')}]`,
    );
  }
}

export function range(op: string, name: string, value: number, low: number, high: number): number {
  if (!(value >= low && value <= high))
    throw new ConfigError(`${op}: expected ${name} from ${low} to ${high}, got ${value}`);
  return value;
}

/** Weights by the effective number of samples, (1 - b) / (1 - b^n_c), with sum C (Cui et al. 2019). */
export function effectiveNumberWeights(counts: readonly number[], beta = 0.9999): number[] {
  checkCounts('effectiveNumberWeights', counts);
  range('effectiveNumberWeights', 'beta', beta, 0, 1 - 1e-12);
  const raw = counts.map((n) => (1 - beta) / (1 - beta ** n));
  const sum = raw.reduce((a, b) => a + b, 0);
  return raw.map((w) => (w * counts.length) / sum);
}

/** Weights 1 / n_c with sum C. */
export function inverseFrequencyWeights(counts: readonly number[]): number[] {
  checkCounts('inverseFrequencyWeights', counts);
  const sum = counts.reduce((a, n) => a + 1 / n, 0);
  return counts.map((n) => counts.length / n / sum);
}

/** Margins m_c = K n_c^(-1/4), K such that the largest is `max` (Cao et al. 2019). */
export function ldamMargins(counts: readonly number[], max = 0.5): number[] {
  checkCounts('ldamMargins', counts);
  const raw = counts.map((n) => n ** -0.25);
  const factor = max / Math.max(...raw);
  return raw.map((m) => m * factor);
}

/** log pi_c, pi_c = n_c / N. */
export function logPriors(counts: readonly number[]): number[] {
  checkCounts('logPriors', counts);
  const sum = counts.reduce((a, b) => a + b, 0);
  return counts.map((n) => Math.log(n / sum));
}

interface Parts {
  offsets?: number[];
  margins?: number[];
  factors?: number[];
  weights?: number[];
  scale?: number;
  gamma?: number;
  /** Added to the logits when predicting. */
  posthoc?: number[];
}

function partsOf(o: LossOptions, counts: readonly number[]): Parts {
  const op = `${o.name} loss`;
  switch (o.name) {
    case 'ce':
      return {};
    case 'focal':
      return { gamma: range(op, 'gamma', o.gamma ?? 2, 0, 10) };
    case 'class-balanced':
      return { weights: effectiveNumberWeights(counts, o.beta) };
    case 'ldam': {
      const scale = range(op, 'scale', o.scale ?? 30, 1e-3, 1e3);
      return {
        scale,
        margins: ldamMargins(counts, range(op, 'maxMargin', o.maxMargin ?? 0.5, 0, 2)).map((m) => m * scale),
      };
    }
    case 'influence-balanced':
      // Until its own begin to apply.
      return { weights: counts.map(() => 1) };
    case 'balanced-softmax':
    case 'lade':
    case 'logit-adjustment': {
      const tau = range(op, 'tau', o.name === 'logit-adjustment' ? (o.tau ?? 1) : 1, 0, 10);
      const offsets = logPriors(counts).map((l) => tau * l);
      return o.name === 'logit-adjustment' && o.mode === 'post-hoc' ? { posthoc: offsets.map((v) => -v) } : { offsets };
    }
    case 'vs': {
      const tau = range(op, 'tau', o.tau ?? 1.25, 0, 10);
      const gamma = range(op, 'gamma', o.gamma ?? 0.15, 0, 10);
      const most = Math.max(...counts);
      return { offsets: logPriors(counts).map((l) => tau * l), factors: counts.map((n) => (n / most) ** gamma) };
    }
    default:
      throw new ConfigError(`createLoss: expected one of ${lossNames.join(', ')}, got '${String(o.name)}'`);
  }
}

/** The table's losses, and what those that add something to them start from. */
export class CountLoss implements Loss {
  readonly name: LossName;
  readonly cosine: boolean;
  readonly usesFeatures: boolean = false;
  readonly mixable: boolean;
  readonly #options: LossOptions;
  readonly #parts: Parts;
  readonly #drw: number[] | undefined;
  readonly #weights: Tensor;
  readonly #tensors: Tensor[] = [];
  readonly #offsets: Tensor | undefined;
  readonly #margins: Tensor | undefined;
  readonly #factors: Tensor | undefined;
  readonly #posthoc: Tensor | undefined;
  /** The loss's own class weights, where it has any. */
  #own: readonly number[] | undefined;
  #deferred = false;
  #extra: readonly number[] | undefined;
  /** Whether compute() reads the weights; plain cross-entropy without them is one kernel less. */
  readonly #weighted: boolean;

  constructor(options: LossOptions, counts: readonly number[], device: Device | string | undefined) {
    const op = `${options.name} loss`;
    const parts = partsOf(options, counts);
    this.name = options.name;
    this.cosine = options.name === 'ldam';
    this.mixable = !unmixable.includes(options.name);
    this.#options = options;
    this.#parts = parts;
    range(op, 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1);
    if (options.drw) range(op, 'drw.from', options.drw.from ?? 0.8, 0, 1);
    this.#drw = options.drw ? effectiveNumberWeights(counts, options.drw.beta) : undefined;
    const constant = (values: number[] | undefined): Tensor | undefined => {
      if (!values) return undefined;
      const out = keep(tensor(Float32Array.from(values), { device }));
      this.#tensors.push(out);
      return out;
    };
    this.#own = parts.weights;
    this.#weights = constant(this.#current(counts.length)) as Tensor;
    this.#weighted = parts.weights !== undefined || this.#drw !== undefined || (options.reweightable ?? false);
    this.#offsets = constant(parts.offsets);
    this.#margins = constant(parts.margins);
    this.#factors = constant(parts.factors);
    this.#posthoc = constant(parts.posthoc);
  }

  #current(classes: number): number[] {
    return Array.from({ length: classes }, (_, c) => {
      const own = this.#deferred && this.#drw ? this.#drw[c] : (this.#own?.[c] ?? 1);
      return own * (this.#extra?.[c] ?? 1);
    });
  }

  #write(): void {
    const { device, handle } = this.#weights.storage;
    device.write(handle, 0, Float32Array.from(this.#current(this.#weights.size)));
    this.#weights.storage.version++;
  }

  /** Other class weights of its own, for a loss that began with some. */
  protected setClassWeights(weights: readonly number[]): void {
    this.#own = weights;
    this.#write();
  }

  compute(logits: Tensor, labels: Tensor, { mixed }: LossInputs = {}): Tensor {
    let losses = this.losses(logits, labels);
    if (mixed) {
      const { labels: others, share } = mixed;
      losses = add(mul(share, losses), mul(sub(1, share), this.losses(logits, others)));
    }
    // Focal losses are a plain mean, weighted or not.
    if (!this.#weighted || this.#parts.gamma !== undefined) return mean(losses);
    const weights = noGrad(() => {
      const first = indexSelect(this.#weights, labels);
      if (!mixed) return sum(first);
      const second = indexSelect(this.#weights, mixed.labels);
      return sum(add(mul(mixed.share, first), mul(sub(1, mixed.share), second)));
    });
    return div(sum(losses), weights);
  }

  /** Loss of each sample times the weight of its class, [N]. */
  protected losses(logits: Tensor, labels: Tensor): Tensor {
    const { scale, gamma } = this.#parts;
    let z = scale === undefined ? logits : mul(logits, scale);
    if (this.#factors) z = mul(z, this.#factors);
    const weighted = crossEntropy(z, labels, {
      classWeights: this.#weighted ? this.#weights : undefined,
      offsets: this.#offsets,
      margins: this.#margins,
      labelSmoothing: this.#options.labelSmoothing ?? 0,
      reduction: 'none',
    });
    if (gamma === undefined) return weighted;
    // p from the unweighted cross-entropy: the weight must not change the probability.
    const ce = crossEntropy(z, labels, { reduction: 'none' });
    return mul(pow(clamp(neg(expm1(neg(ce))), 1e-7, 1), gamma), weighted);
  }

  predict(logits: Tensor): Tensor {
    if (this.#parts.scale !== undefined) return mul(logits, this.#parts.scale);
    return this.#posthoc ? add(logits, this.#posthoc) : logits;
  }

  onEpoch(epoch: number, epochs: number): void {
    if (!this.#drw) return;
    const on = epoch >= Math.floor((this.#options.drw?.from ?? 0.8) * epochs);
    if (on === this.#deferred) return;
    this.#deferred = on;
    this.#write();
  }

  setExtraWeights(weights: readonly number[] | undefined): void {
    if (weights && weights.length !== this.#weights.size) {
      throw new ConfigError(`${this.name} loss: expected ${this.#weights.size} class weights, got ${weights.length}`);
    }
    if (weights && !this.#weighted) {
      throw new ConfigError(`${this.name} loss: expected the option reweightable for extra class weights`);
    }
    if (weights === this.#extra) return;
    this.#extra = weights;
    this.#write();
  }

  dispose(): void {
    for (const t of this.#tensors) t.dispose();
  }
}
