/**
 * Stochastic gradient descent with momentum, as PyTorch defines it.
 */
import { ConfigError } from '../device/index.js';
import type { Parameter } from '../nn/index.js';
import { checkNumber, checkOptions, Optimizer, type OptimizerOptions } from './optimizer.js';

export interface SgdOptions extends OptimizerOptions {
  /** Default 0. */
  momentum?: number;
  /** Needs a momentum above 0 and no dampening. Default false. */
  nesterov?: boolean;
  /** Default 0. */
  dampening?: number;
}

/**
 * g += wd p;  v = momentum v + (1 - dampening) g (a neuron's first step: v = g);  p -= lr (nesterov ? g + momentum v : v).
 * Source: Sutskever et al. 2013, in PyTorch's form.
 */
export class SGD extends Optimizer {
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly dampening: number;

  /** @throws ConfigError for options out of range */
  constructor(params: Iterable<Parameter>, options: SgdOptions) {
    checkOptions('SGD', options, ['momentum', 'nesterov', 'dampening']);
    const momentum = checkNumber('SGD: momentum', options.momentum ?? 0, 0, 1);
    const nesterov = options.nesterov ?? false;
    const dampening = checkNumber('SGD: dampening', options.dampening ?? 0, 0);
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw new ConfigError(
        `SGD: expected a momentum > 0 and dampening 0 with nesterov, got ${momentum} and ${dampening}`,
      );
    }
    super('SGD', 'sgdStep', params, momentum === 0 ? [] : ['momentum'], options);
    this.momentum = momentum;
    this.nesterov = nesterov;
    this.dampening = dampening;
  }

  protected override record(count: number): number[] {
    return [count, this.momentum, this.dampening, this.nesterov ? 1 : 0, this.youngSteps];
  }
}
