/**
 * Losses for long-tailed data. Whatever depends on the class counts lives in device tensors that compute() reads, so a captured
 * step stays valid when deferred re-weighting changes the weights: their contents are written, in stream order.
 */
import { ConfigError, type Device } from '../device/index.js';
import { add, clamp, crossEntropy, expm1, mean, mul, neg, pow } from '../ops/index.js';
import { keep, tensor, type Tensor } from '../tensor/index.js';

export const lossNames = [
  'ce',
  'focal',
  'class-balanced',
  'ldam',
  'logit-adjustment',
  'balanced-softmax',
  'vs',
] as const;
export type LossName = (typeof lossNames)[number];

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

/** A loss over logits [N, C] and labels i32 [N]. */
export interface Loss {
  readonly name: LossName;
  /** Whether the logits must come from a cosine classifier. */
  readonly cosine: boolean;
  /** Mean loss, a scalar. */
  compute(logits: Tensor, labels: Tensor): Tensor;
  /** Logits to predict with, and to report the plain cross-entropy of. May be the argument itself. */
  predict(logits: Tensor): Tensor;
  /** To be called as each epoch (from 0) starts; deferred re-weighting switches here. */
  onEpoch(epoch: number, epochs: number): void;
  /** Weights on the classes on top of the loss's own (a tail-weighted phase); undefined takes them off. Needs `reweightable`. */
  setExtraWeights(weights: readonly number[] | undefined): void;
  dispose(): void;
}

function checkCounts(op: string, counts: readonly number[]): void {
  if (counts.length < 2 || counts.some((n) => !Number.isFinite(n) || n < 1)) {
    throw new ConfigError(
      `${op}: expected at least one sample in each of two or more classes, got [${counts.join(', ')}]`,
    );
  }
}

function range(op: string, name: string, value: number, low: number, high: number): number {
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
    case 'balanced-softmax':
    case 'logit-adjustment': {
      const tau = range(op, 'tau', o.name === 'balanced-softmax' ? 1 : (o.tau ?? 1), 0, 10);
      const offsets = logPriors(counts).map((l) => tau * l);
      return o.mode === 'post-hoc' ? { posthoc: offsets.map((v) => -v) } : { offsets };
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

class CountLoss implements Loss {
  readonly name: LossName;
  readonly cosine: boolean;
  readonly #options: LossOptions;
  readonly #parts: Parts;
  readonly #drw: number[] | undefined;
  readonly #weights: Tensor;
  readonly #tensors: Tensor[] = [];
  readonly #offsets: Tensor | undefined;
  readonly #margins: Tensor | undefined;
  readonly #factors: Tensor | undefined;
  readonly #posthoc: Tensor | undefined;
  #deferred = false;
  #extra: readonly number[] | undefined;
  /** Whether compute() reads the weights; plain cross-entropy without them is one kernel less. */
  readonly #weighted: boolean;

  constructor(options: LossOptions, counts: readonly number[], device: Device | string | undefined) {
    const op = `${options.name} loss`;
    const parts = partsOf(options, counts);
    this.name = options.name;
    this.cosine = options.name === 'ldam';
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
    this.#weights = constant(this.#current(counts.length)) as Tensor;
    this.#weighted = parts.weights !== undefined || this.#drw !== undefined || (options.reweightable ?? false);
    this.#offsets = constant(parts.offsets);
    this.#margins = constant(parts.margins);
    this.#factors = constant(parts.factors);
    this.#posthoc = constant(parts.posthoc);
  }

  #current(classes: number): number[] {
    return Array.from({ length: classes }, (_, c) => {
      const own = this.#deferred && this.#drw ? this.#drw[c] : (this.#parts.weights?.[c] ?? 1);
      return own * (this.#extra?.[c] ?? 1);
    });
  }

  #write(): void {
    const { device, handle } = this.#weights.storage;
    device.write(handle, 0, Float32Array.from(this.#current(this.#weights.size)));
    this.#weights.storage.version++;
  }

  compute(logits: Tensor, labels: Tensor): Tensor {
    const { scale, gamma } = this.#parts;
    let z = scale === undefined ? logits : mul(logits, scale);
    if (this.#factors) z = mul(z, this.#factors);
    const options = {
      classWeights: this.#weighted ? this.#weights : undefined,
      offsets: this.#offsets,
      margins: this.#margins,
      labelSmoothing: this.#options.labelSmoothing ?? 0,
    };
    if (gamma === undefined) return crossEntropy(z, labels, { ...options, reduction: 'mean' });
    // p from the unweighted cross-entropy: the weight must not change the probability.
    const ce = crossEntropy(z, labels, { reduction: 'none' });
    const miss = clamp(neg(expm1(neg(ce))), 1e-7, 1);
    const weighted = crossEntropy(z, labels, { ...options, reduction: 'none' });
    return mean(mul(pow(miss, gamma), weighted));
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

/**
 * The loss of that name for a training set with `counts` samples per class.
 * Formulas (z logits, y label, n_c counts, pi = n / N):
 * ce -log softmax(z)_y; focal (1 - p)^gamma ce; class-balanced: weights (1-b)/(1-b^n_c) with sum C; ldam: z_y -= m_y, ce(s z) over
 * cosines; logit-adjustment, balanced-softmax: ce(z + tau log pi); vs: ce(z (n_c/n_max)^gamma + tau log pi).
 * @throws ConfigError for unknown names, parameters out of range, or a class without samples
 */
export function createLoss(options: LossOptions, counts: readonly number[], device?: Device | string): Loss {
  checkCounts('createLoss', counts);
  return new CountLoss(options, counts, device);
}
