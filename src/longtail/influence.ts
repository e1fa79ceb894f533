/**
 * The influence-balanced loss: samples that pull most at the last layer, those near the decision boundary, count less.
 */
import { ConfigError, type Device } from '../device/index.js';
import { abs, add, div, mean, mul, oneHot, softmax, sub, sum } from '../ops/index.js';
import { type Tensor, track } from '../tensor/index.js';
import { CountLoss, inverseFrequencyWeights, type LossInputs, type LossOptions, range } from './losses.js';

/** Keeps the weight of a sample without influence finite. */
const EPS = 1e-3;

/**
 * From a share of the epochs on the mean of w_y ce alpha / (||p - y||_1 ||h||_1 + 0.001), w_c ~ 1 / n_c with sum C, p = softmax(z), h
 * the classifier's input; plain cross-entropy before. The gradient goes through the whole quotient, as in the authors' program: with
 * the denominator taken as constant every sample would pull with the same force to the end. Source: Park et al. 2021, arXiv 2110.02444.
 */
export class InfluenceBalancedLoss extends CountLoss {
  override readonly usesFeatures = true;
  readonly #alpha: number;
  readonly #from: number;
  readonly #counts: readonly number[];
  /** 1 where the weights apply: captured steps record again when it has changed. */
  readonly #phase = { version: 0 };

  constructor(options: LossOptions, counts: readonly number[], device?: Device | string) {
    const op = 'influence-balanced loss';
    if (options.drw) throw new ConfigError(`${op}: expected no drw, since it has class weights and a start of its own`);
    super(options, counts, device);
    this.#alpha = range(op, 'alpha', options.alpha ?? 1000, 1e-6, 1e9);
    this.#from = range(op, 'from', options.from ?? 0.5, 0, 1);
    this.#counts = counts;
  }

  override compute(logits: Tensor, labels: Tensor, inputs: LossInputs = {}): Tensor {
    track(this.#phase);
    const { features, mixed } = inputs;
    if (mixed) throw new ConfigError('influence-balanced loss: expected samples that are not mixed');
    if (this.#phase.version === 0) return super.compute(logits, labels);
    if (!features) throw new ConfigError("influence-balanced loss: expected the classifier's input, got none");
    const hot = oneHot(labels, logits.shape[1], { dtype: logits.dtype });
    const influence = mul(sum(abs(sub(softmax(logits), hot)), -1), sum(abs(features), -1));
    return mean(mul(div(this.#alpha, add(influence, EPS)), this.losses(logits, labels)));
  }

  override onEpoch(epoch: number, epochs: number): void {
    const on = epoch >= Math.floor(this.#from * epochs) ? 1 : 0;
    if (on === this.#phase.version) return;
    this.#phase.version = on;
    this.setClassWeights(on ? inverseFrequencyWeights(this.#counts) : this.#counts.map(() => 1));
  }
}
