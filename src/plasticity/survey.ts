/**
 * Survey: passes over a class-balanced sample of the training set, in evaluation mode, and what they tell of units and weights.
 */
import { backward } from '../autograd/index.js';
import type { Module } from '../nn/index.js';
import { crossEntropy } from '../ops/index.js';
import { type Tensor, tidy, withGradMode } from '../tensor/index.js';
import type { GateCollector, GateStats } from './collector.js';

export class Survey {
  readonly #model: Module;
  readonly #sample: { x: Tensor; y: Tensor };
  readonly #collectors: readonly (GateCollector | undefined)[];

  /** Owns the sample from now on. `collectors`: one per width, where its units are to be looked at. */
  constructor(model: Module, sample: { x: Tensor; y: Tensor }, collectors: readonly (GateCollector | undefined)[]) {
    this.#model = model;
    this.#sample = sample;
    this.#collectors = collectors;
  }

  /** Forward and backward by cross-entropy. The gradients stay in the parameters until the next pass. */
  pass(): void {
    const model = this.#model;
    const { x, y } = this.#sample;
    const modes = model.modules().map((module) => ({ module, training: module.training }));
    try {
      model.eval();
      model.zeroGrad();
      tidy(() => {
        for (const collector of this.#collectors) collector?.setLabels(y);
        withGradMode(true, () => backward(crossEntropy(model.forward(x), y)));
      });
    } finally {
      // Parents first, so that a submodule with a mode of its own gets it back.
      for (const { module, training } of modes) module.train(training);
    }
  }

  /** A pass, and what the collectors saw in it. */
  async stats(): Promise<(GateStats | undefined)[]> {
    for (const collector of this.#collectors) {
      collector?.reset();
      if (collector) collector.active = true;
    }
    try {
      this.pass();
      const out: (GateStats | undefined)[] = [];
      for (const collector of this.#collectors) out.push(await collector?.read());
      return out;
    } finally {
      for (const collector of this.#collectors) if (collector) collector.active = false;
    }
  }

  /** Drops the gradients and frees the sample. */
  dispose(): void {
    this.#model.zeroGrad();
    this.#sample.x.dispose();
    this.#sample.y.dispose();
  }
}
