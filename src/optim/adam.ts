/**
 * Adam and AdamW. Bias correction counts the steps of each neuron, so a newborn is corrected as at the start of training.
 */
import type { Parameter } from '../nn/index.js';
import { ConfigError, shown } from '../device/index.js';
import { checkNumber, checkOptions, Optimizer, type OptimizerOptions } from './optimizer.js';

export interface AdamOptions extends Omit<OptimizerOptions, 'lr'> {
  /** Default 0.001. */
  lr?: number;
  /** Decay of the first and second moment. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
}

class AdamBase extends Optimizer {
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly #decoupled: boolean;

  constructor(name: string, params: Iterable<Parameter>, options: AdamOptions, decoupled: boolean) {
    checkOptions(name, options, ['betas', 'eps']);
    if (options.betas !== undefined && !Array.isArray(options.betas)) {
      throw new ConfigError(`${name}: betas: expected two numbers, got ${shown(options.betas)}`);
    }
    const [beta1, beta2] = options.betas ?? [0.9, 0.999];
    checkNumber(`${name}: betas[0]`, beta1, 0, 1);
    checkNumber(`${name}: betas[1]`, beta2, 0, 1);
    checkNumber(`${name}: eps`, options.eps ?? 1e-8, 0);
    super(name, 'adamStep', params, ['m', 'v'], { ...options, lr: options.lr ?? 1e-3 });
    this.betas = [beta1, beta2];
    this.eps = options.eps ?? 1e-8;
    this.#decoupled = decoupled;
  }

  protected override record(count: number): number[] {
    return [count, this.betas[0], this.betas[1], this.eps, this.#decoupled ? 1 : 0, this.youngSteps];
  }
}

/** p -= lr mhat / (sqrt(vhat) + eps); weight decay is added to the gradient. Source: Kingma and Ba 2015. */
export class Adam extends AdamBase {
  /** @throws ConfigError for options out of range */
  constructor(params: Iterable<Parameter>, options: AdamOptions = {}) {
    super('Adam', params, options, false);
  }
}

/** Adam with decoupled weight decay, p -= lr wd p; default 0.01. Source: Loshchilov and Hutter 2019. */
export class AdamW extends AdamBase {
  /** @throws ConfigError for options out of range */
  constructor(params: Iterable<Parameter>, options: AdamOptions = {}) {
    super('AdamW', params, { ...options, weightDecay: options.weightDecay ?? 0.01 }, true);
  }
}
