/**
 * Continual backpropagation: each step, a small share of the mature neurons of least utility is replaced by new ones.
 *
 *   u <- d u + (1 - d) mean |h_j| sum_k |w_kj|,  f <- d f + (1 - d) mean h_j,  both corrected by 1 - d^age
 *   replacements owed grow by rho times the mature neurons per step; a replaced neuron's mean f goes into the next bias,
 *   its incoming weights are drawn, the outgoing become 0, utility, mean, age and optimiser slots 0.
 *
 * Source: Dohare et al. 2024, "Loss of plasticity in deep continual learning", Nature 632.
 */
import { CarriedArray, type Module, type Width } from '../nn/index.js';
import { add, assign, mean, mul } from '../ops/index.js';
import { noGrad, type Tensor, tidy } from '../tensor/index.js';
import type { PlasticityContext } from './context.js';
import { foldMeans } from './fold.js';
import type { ResetSettings } from './reset-options.js';
import { ResetCallback, type ResetSource } from './resets.js';
import { lowest, UnitUtility } from './scores.js';
import { activationRows } from './stored.js';

export class ContinualBackprop extends ResetCallback {
  readonly #utilities = new Map<Width, UnitUtility>();

  /** @throws ConfigError for widths that the model lacks or whose units can't be looked at */
  constructor(settings: ResetSettings, model: Module, source: ResetSource = {}) {
    super(settings, model, source);
    for (const width of this.chosen()) {
      const { device, dtype } = width.producers[0].weight.array.full;
      const utility = new UnitUtility(width, { decay: settings.decay });
      this.#utilities.set(width, utility);
      this.arrays.set(width, { ...utility.arrays, mean: new CarriedArray([width], { role: 'stat', device, dtype }) });
      this.counters[`${width.name}/mature`] = 0;
      this.counters[`${width.name}/replaced`] = 0;
    }
  }

  override onTrainStart(): void {
    this.observe((width, activations) => this.#look(width, activations));
  }

  onStepEnd(context: PlasticityContext): void | Promise<void> {
    const { rate, maturity, until } = this.settings;
    const { step, epochs, stepsPerEpoch } = context;
    const open = step < epochs * stepsPerEpoch && step <= until * epochs * stepsPerEpoch;
    const owing: { width: Width; n: number }[] = [];
    for (const width of this.widths) {
      width.tick();
      if (!open) continue;
      const mature = width.units.filter(({ age }) => age >= maturity).length;
      // Whole numbers, so that the share adds up without rounding, over any number of steps and resumes.
      const total = (this.counters[`${width.name}/mature`] += mature);
      const n = Math.min(mature, Math.floor(rate * total + 1e-9) - this.counters[`${width.name}/replaced`]);
      if (n > 0) owing.push({ width, n });
    }
    return owing.length > 0 ? this.#replace(context, owing) : undefined;
  }

  /** Inside the captured step. */
  #look(width: Width, activations: Tensor): void {
    const { decay } = this.settings;
    const running = this.arrays.get(width)?.mean.active;
    const utility = this.#utilities.get(width);
    if (!running || !utility) return;
    noGrad(() =>
      tidy(() => {
        utility.update(activations);
        const now = mean(activationRows(activations, width.size), 0);
        assign(running, add(mul(running, decay), mul(now, 1 - decay)));
      }),
    );
  }

  async #replace(context: PlasticityContext, owing: readonly { width: Width; n: number }[]): Promise<void> {
    const { decay, maturity } = this.settings;
    for (const { width, n } of owing) {
      const { utility, age, mean: running } = this.arrays.get(width) as Record<string, CarriedArray>;
      const [u, ages, means] = await Promise.all([utility, age, running].map((array) => array.active.data()));
      const corrected = (values: ArrayLike<number>): Float64Array =>
        Float64Array.from(values, (value, slot) => (ages[slot] > 0 ? value / (1 - decay ** ages[slot]) : 0));
      const scores = corrected(u);
      const mature = width.units.flatMap((unit, slot) => (unit.age >= maturity ? [slot] : []));
      const slots = lowest(scores, n, mature);
      foldMeans(width, slots, corrected(means));
      this.reset(context, width, slots, scores);
      this.counters[`${width.name}/replaced`] += n;
    }
  }
}
