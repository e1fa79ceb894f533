/**
 * LADE: balanced softmax, and a term that disentangles the logits from the label distribution of the training set.
 */
import { ConfigError, type Device } from '../device/index.js';
import { add, div, exp, log, max, mul, oneHot, square, sub, sum } from '../ops/index.js';
import { keep, noGrad, tensor, type Tensor } from '../tensor/index.js';
import { CountLoss, logPriors, type LossInputs, type LossOptions, range } from './losses.js';

/**
 * ce(z + log pi) + alpha R, R = sum_c pi_c (-mean_{i: y_i = c} z_ic + S_c + lambda S_c^2), S_c = log mean_i exp(z_ic - log pi_c - log C):
 * the regularised Donsker-Varadhan estimate of log p(x | c) / p(x) under balanced classes. A class without samples in the batch has 0
 * for its first mean. Source: Hong et al. 2021, arXiv 2012.00321.
 */
export class LadeLoss extends CountLoss {
  readonly #alpha: number;
  readonly #lambda: number;
  readonly #priors: Tensor;
  /** log pi_c + log C */
  readonly #shifts: Tensor;

  constructor(options: LossOptions, counts: readonly number[], device?: Device | string) {
    super(options, counts, device);
    this.#alpha = range('lade loss', 'alpha', options.alpha ?? 0.1, 0, 1e3);
    this.#lambda = range('lade loss', 'lambda', options.lambda ?? 0.1, 0, 1e3);
    const priors = logPriors(counts);
    const constant = (values: number[]): Tensor => keep(tensor(Float32Array.from(values), { device }));
    this.#priors = constant(priors.map(Math.exp));
    this.#shifts = constant(priors.map((l) => l + Math.log(counts.length)));
  }

  override compute(logits: Tensor, labels: Tensor, inputs: LossInputs = {}): Tensor {
    if (inputs.mixed) throw new ConfigError('lade loss: expected samples that are not mixed');
    const [rows, classes] = logits.shape;
    const hot = oneHot(labels, classes, { dtype: logits.dtype });
    const own = div(sum(mul(logits, hot), 0), add(sum(hot, 0), 1e-8));
    const z = sub(logits, this.#shifts);
    // As every log of a sum of exponentials: less the largest, which cancels.
    const most = noGrad(() => max(z, 0));
    const normaliser = add(log(mul(sum(exp(sub(z, most)), 0), 1 / rows)), most);
    const estimate = sub(add(normaliser, mul(square(normaliser), this.#lambda)), own);
    return add(super.compute(logits, labels), mul(sum(mul(estimate, this.#priors)), this.#alpha));
  }

  override dispose(): void {
    super.dispose();
    this.#priors.dispose();
    this.#shifts.dispose();
  }
}
