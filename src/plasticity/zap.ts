/**
 * Zapping: every period the last layer, or its rows of the rarest classes, is drawn anew. Source: Frati et al. 2024, "Reset It and
 * Forget It", arXiv 2310.07996; rows of the rarest classes only is an addition for long tails.
 */
import { ConfigError } from '../device/index.js';
import { init, lastLayer, type Linear, linearOf, type Module, type Parameter } from '../nn/index.js';
import { assign, fill, narrow } from '../ops/index.js';
import type { Optimizer } from '../optim/index.js';
import { noGrad, sameShape, tidy } from '../tensor/index.js';
import type { PlasticityContext } from './context.js';
import type { ResetSettings } from './reset-options.js';
import { ResetCallback, type ResetSource } from './resets.js';

export class Zapping extends ResetCallback {
  constructor(settings: ResetSettings, model: Module, source: ResetSource = {}) {
    super(settings, model, source);
  }

  override onTrainStart(context: PlasticityContext): void {
    this.#layer(context);
  }

  override onEpochStart(context: PlasticityContext): void {
    if (this.settings.unit === 'epochs' && this.due(context)) this.#zap(context);
  }

  onStepEnd(context: PlasticityContext): void {
    for (const width of this.model.widths()) width.tick();
    if (this.settings.unit === 'steps' && this.due(context)) this.#zap(context);
  }

  #layer({ classCounts }: PlasticityContext): { layer: Linear; rows: number[] } {
    if (!classCounts) throw new ConfigError('resets: zap: expected classCounts, got none');
    const { rows, tailClasses } = this.settings;
    const classes = classCounts.length;
    const n = tailClasses ?? Math.max(1, Math.round(classes / 3));
    if (n > classes) throw new ConfigError(`resets: zap: tailClasses: expected at most ${classes}, got ${n}`);
    const rarest = classCounts.map((_, c) => c).sort((a, b) => classCounts[a] - classCounts[b] || b - a);
    const chosen = rows === 'all' ? rarest : rarest.slice(0, n);
    const layer = linearOf(lastLayer(this.model));
    const [outputs] = layer.weight.array.axes;
    if (outputs !== classes) {
      const got = typeof outputs === 'number' ? outputs : `the units of '${outputs.name}'`;
      throw new ConfigError(`resets: zap: expected a model whose last layer has ${classes} rows, got ${got}`);
    }
    return { layer, rows: chosen.sort((a, b) => a - b) };
  }

  /** Weights drawn, biases 0, optimiser slots 0; the optimiser's step count only when all rows are drawn, since they share one. */
  #zap(context: PlasticityContext): void {
    const { layer, rows } = this.#layer(context);
    const { weight, bias } = layer;
    const { device, dtype } = weight.array.full;
    noGrad(() =>
      tidy(() => {
        const drawn = init.initializer(this.settings.init)(weight.shape, { generator: this.generator, dtype, device });
        for (const row of rows) {
          assign(narrow(weight.array.active, 0, row, 1), narrow(drawn, 0, row, 1));
          if (bias) fill(narrow(bias.array.active, 0, row, 1), 0);
        }
        for (const parameter of bias ? [weight, bias] : [weight]) clearSlots(context.optimizer, parameter, rows);
      }),
    );
    this.note(context, { layer: 'classifier', unitIds: rows, width: weight.shape[0] });
  }
}

function clearSlots(optimizer: Optimizer, parameter: Parameter, rows: readonly number[]): void {
  const at = optimizer.params.indexOf(parameter);
  for (const [name, view] of optimizer.stateDict()) {
    if (at < 0 || !name.endsWith(`.${at}`)) continue;
    const counter = /^(row|col)Steps\./.test(name);
    if (!counter && sameShape(view.shape, parameter.shape)) for (const row of rows) fill(narrow(view, 0, row, 1), 0);
    if (counter && view.size === 1 && rows.length === parameter.shape[0]) fill(view, 0);
  }
}
