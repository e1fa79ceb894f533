/**
 * CostMeter: the multiply-adds of a model whose widths change, counted again only when one has.
 */
import { multiplyAdds } from '../models/index.js';
import type { Module, Width } from '../nn/index.js';

export class CostMeter {
  readonly #model: Module;
  readonly #features: number;
  readonly #widths: readonly Width[];
  #versions = -1;
  #forward = 0;

  /** @param features numbers per row of the inputs */
  constructor(model: Module, features: number) {
    this.#model = model;
    this.#features = features;
    this.#widths = model.widths();
  }

  /** Of one sample's forward pass, as the widths are now. */
  forward(): number {
    // Versions only rise, so the sum tells of any change.
    const versions = this.#widths.reduce((sum, { version }) => sum + version, 0);
    if (versions !== this.#versions) {
      this.#forward = multiplyAdds(this.#model, [this.#features]);
      this.#versions = versions;
    }
    return this.#forward;
  }
}
