/**
 * Resets: training callbacks that start neurons afresh in place, as alternatives to growing and pruning. This file holds what they
 * share; redo.ts, continual.ts and zap.ts the methods.
 */
import { ConfigError, shown } from '../device/index.js';
import type { CarriedArray, Module, Width } from '../nn/index.js';
import { Generator } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import type { PlasticityContext } from './context.js';
import type { PlasticityEvent } from './events.js';
import type { ResetSettings } from './reset-options.js';
import { loadArrays, storedArrays } from './stored.js';
import { observableWidths } from './widths.js';

/** What a checkpoint keeps: `meta` is plain JSON, `tensors` are running statistics by '<width>/<name>'. */
export interface ResetState {
  meta: {
    log: PlasticityEvent[];
    generator: number[];
    /** Whole numbers of the method, by name. */
    counters: Record<string, number>;
  };
  tensors: Map<string, Tensor>;
}

export interface ResetSource {
  /** Seed of the drawn weights. Default 0. */
  seed?: number;
}

export abstract class ResetCallback {
  readonly settings: ResetSettings;
  /** All resets so far. */
  readonly log: PlasticityEvent[] = [];
  readonly generator: Generator;
  protected readonly model: Module;
  /** Whole numbers that a checkpoint keeps. */
  protected readonly counters: Record<string, number> = {};
  /** Running statistics by width, carried by it. */
  protected readonly arrays = new Map<Width, Record<string, CarriedArray>>();
  #stops: (() => void)[] = [];

  protected constructor(settings: ResetSettings, model: Module, source: ResetSource) {
    this.settings = settings;
    this.model = model;
    this.generator = new Generator(source.seed ?? 0);
  }

  /** Widths whose units are reset. */
  get widths(): readonly Width[] {
    return [...this.arrays.keys()];
  }

  onTrainStart(_context: PlasticityContext): void {
    // Most start with the first step.
  }
  onEpochStart(_context: PlasticityContext): void | Promise<void> {
    // Only where the period is in epochs.
  }
  abstract onStepEnd(context: PlasticityContext): void | Promise<void>;

  /** For a checkpoint. Drains the queue. The widths keep their own state. */
  state(): ResetState {
    const tensors = new Map<string, Tensor>();
    for (const [width, arrays] of this.arrays)
      for (const [name, view] of storedArrays(arrays)) tensors.set(`${width.name}/${name}`, view);
    const { log, counters } = this;
    return {
      meta: { log: structuredClone(log), generator: this.generator.stateSync(), counters: { ...counters } },
      tensors,
    };
  }

  /** Goes on from a state; the widths must have been loaded, and training not have started. Throws ConfigError or ShapeError. */
  load({ meta, tensors }: ResetState): void {
    for (const [width, arrays] of this.arrays) {
      const prefix = `${width.name}/`;
      const own = [...tensors].filter(([name]) => name.startsWith(prefix));
      loadArrays(`resets '${width.name}'`, arrays, new Map(own.map(([name, t]) => [name.slice(prefix.length), t])));
    }
    for (const name of Object.keys(this.counters)) {
      if (!Number.isInteger(meta.counters[name]))
        throw new ConfigError(`resets: load: '${name}': expected a whole number, got ${shown(meta.counters[name])}`);
    }
    this.log.splice(0, this.log.length, ...structuredClone(meta.log));
    Object.assign(this.counters, meta.counters);
    this.generator.setState(meta.generator);
  }

  /** Stops looking at the neurons and frees what it holds on the device. */
  dispose(): void {
    this.unobserve();
    for (const arrays of this.arrays.values()) for (const array of Object.values(arrays)) array.dispose();
    this.arrays.clear();
    this.generator.dispose();
  }

  protected chosen(): Width[] {
    const widths = observableWidths(this.model, this.settings.widths, 'resets');
    if (widths.length === 0) throw new ConfigError('resets: widths: the model has no width whose units can be reset');
    return widths;
  }

  /** Hands the activations of training passes to `look` until unobserve(). */
  protected observe(look: (width: Width, activations: Tensor) => void): void {
    for (const width of this.widths) {
      const stop = width.observe((activations) => {
        if (this.model.training) look(width, activations);
      });
      this.#stops.push(stop);
    }
  }
  protected unobserve(): void {
    for (const stop of this.#stops) stop();
    this.#stops = [];
  }

  /** Steps from one reset to the next. */
  protected interval({ stepsPerEpoch }: PlasticityContext): number {
    const { period, unit } = this.settings;
    return unit === 'epochs' ? period * stepsPerEpoch : period;
  }

  /**
   * Whether a reset is due now. The period counts from the start of the training; the last step is never followed by one. A period in
   * epochs ends at the start of the next epoch, so that an epoch is evaluated with what it has learned.
   */
  protected due(context: PlasticityContext): boolean {
    const { step, epochs, stepsPerEpoch } = context;
    const steps = epochs * stepsPerEpoch;
    return step > 0 && step % this.interval(context) === 0 && step < steps && step <= this.settings.until * steps;
  }

  /** Resets units and logs it. */
  protected reset(context: PlasticityContext, width: Width, slots: number[], scores: ArrayLike<number>): void {
    if (slots.length === 0) return;
    const before = width.units.map(({ id }, slot) => ({ id, score: scores[slot] }));
    const keepOutgoing = this.settings.method === 'regrama';
    const unitIds = width.reset(slots, { keepOutgoing, spread: this.settings.spread, generator: this.generator });
    this.note(context, { layer: width.name, unitIds, width: width.size, scores: before });
  }

  protected note(context: PlasticityContext, what: Omit<PlasticityEvent, 'step' | 'epoch' | 'kind'>): void {
    const { step, stepsPerEpoch } = context;
    this.log.push({ step, epoch: step / stepsPerEpoch, kind: 'reset', ...what });
  }
}
