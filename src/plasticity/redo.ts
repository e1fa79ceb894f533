/**
 * ReDo and ReGraMa: every period, the neurons of least activity or of smallest gradients in their layer start afresh.
 *
 *   redo     mean |h_i| / mean over k of mean |h_k| <= tau: incoming weights drawn, outgoing 0     Sokar et al. 2023, arXiv 2302.12902
 *   regrama  mean |dL/dW_i| / mean over k of it <= tau: incoming weights drawn, outgoing kept      Liu et al. 2025, arXiv 2505.24061
 *
 * Bias, norms, optimiser slots and step counts become those of a newborn in both. The scores are means over the last `window` training
 * batches before a reset, where the papers take one batch: a rare class may be absent from one.
 */
import { CarriedArray, type Module } from '../nn/index.js';
import { add, assign, fill } from '../ops/index.js';
import { noGrad, type Tensor, tidy } from '../tensor/index.js';
import type { PlasticityContext } from './context.js';
import type { ResetSettings } from './reset-options.js';
import { ResetCallback, type ResetSource } from './resets.js';
import { meanIncomingGradients, relative } from './scores.js';
import { meanActivity } from './stored.js';

export class DormantResets extends ResetCallback {
  #observing = false;

  /** @throws ConfigError for widths that the model lacks or whose units can't be looked at */
  constructor(settings: ResetSettings, model: Module, source: ResetSource = {}) {
    super(settings, model, source);
    for (const width of this.chosen()) {
      const { device, dtype } = width.producers[0].weight.array.full;
      this.arrays.set(width, { sum: new CarriedArray([width], { role: 'stat', device, dtype }) });
    }
    this.counters.batches = 0;
  }

  override onTrainStart(context: PlasticityContext): void {
    this.#watch(context);
  }

  override async onEpochStart(context: PlasticityContext): Promise<void> {
    if (this.settings.unit === 'epochs' && this.due(context)) await this.#resetDormant(context);
  }

  onStepEnd(context: PlasticityContext): void | Promise<void> {
    for (const width of this.widths) width.tick();
    if (this.#observing) {
      this.counters.batches++;
      if (this.settings.method === 'regrama')
        for (const width of this.widths) this.#add(this.arrays.get(width)?.sum, () => meanIncomingGradients(width));
    }
    if (this.settings.unit === 'steps' && this.due(context)) return this.#resetDormant(context);
    this.#watch(context);
  }

  /** Looks at the neurons in the last steps before a reset only: what isn't looked at costs nothing. */
  #watch(context: PlasticityContext): void {
    const interval = this.interval(context);
    const on = interval - (context.step % interval) <= this.settings.window;
    if (on === this.#observing) return;
    this.#observing = on;
    if (this.settings.method === 'regrama') return;
    if (on) {
      this.observe((width, activations) =>
        this.#add(this.arrays.get(width)?.sum, () => meanActivity(activations, width.size)),
      );
    } else this.unobserve();
  }

  #add(sum: CarriedArray | undefined, make: () => Tensor): void {
    if (sum) noGrad(() => tidy(() => void assign(sum.active, add(sum.active, make()))));
  }

  /** Scores all layers first, then resets: gradients and activations belong to the network before. */
  async #resetDormant(context: PlasticityContext): Promise<void> {
    if (this.counters.batches > 0) {
      const plans = [];
      for (const [width, { sum }] of this.arrays) {
        const scores = relative(Float64Array.from(await sum.active.data()));
        const slots = [...scores.keys()].filter((slot) => scores[slot] <= this.settings.tau);
        plans.push({ width, slots, scores });
      }
      for (const { width, slots, scores } of plans) this.reset(context, width, slots, scores);
      for (const { sum } of this.arrays.values()) fill(sum.active, 0);
      this.counters.batches = 0;
    }
    this.#watch(context);
  }
}
