/**
 * PlasticityCycle: the grow-and-prune cycle as a training callback. After a warm-up, every `period` epochs each plastic width grows by
 * a share of its base size, trains grown for `grownEpochs` epochs, and is pruned to exactly its base size by the score. A
 * reconstruction of "Long-Tailed Data Classification by Increasing and Decreasing Neurons During Training" (arXiv 2507.09940).
 */
import { ConfigError } from '../device/index.js';
import { expectGradmax, gradmaxDirections, type Module, transferVariance, type Width } from '../nn/index.js';
import { Generator } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { allocate } from './allocation.js';
import { GateCollector, type GateStats } from './collector.js';
import type { PlasticityContext } from './context.js';
import type { PlasticityEvent } from './events.js';
import { foldMeans } from './fold.js';
import {
  type CycleOptions,
  type CycleSettings,
  cyclePhases,
  parseCycleOptions,
  type Phase,
  unitsPerCycle,
} from './options.js';
import { headClasses, neededUnits } from './retention.js';
import { classTaylor, classWeights, lowest, needsGrads, needsStats, scoreUnits } from './scores.js';
import { Survey } from './survey.js';
import { UnitRates } from './unit-rates.js';

/** What a checkpoint keeps: `meta` is plain JSON, `tensors` are the collectors' sums and the units' learning-rate factors by '<width>/<name>'. */
export interface CycleState {
  meta: {
    base: Record<string, number>;
    grownAt: number | null;
    collecting: boolean;
    log: PlasticityEvent[];
    generator: number[];
  };
  tensors: Map<string, Tensor>;
}

/** What the cycle asks of the training data; goes before the fields of the same names in the context. */
export type CycleSource = Pick<PlasticityContext, 'classCounts' | 'probe'>;

/** One plastic width and what the cycle knows of it. */
interface Plastic {
  readonly width: Width;
  /** Units at the start of training, and after every shrink. */
  readonly base: number;
  readonly collector: GateCollector | undefined;
}

export class PlasticityCycle {
  readonly settings: CycleSettings;
  /** All births and deaths so far. */
  readonly log: PlasticityEvent[] = [];
  /** Called with each event. */
  onEvent: ((event: PlasticityEvent) => void) | undefined;
  readonly #source: CycleSource;
  #generator: Generator;
  #plastic: Plastic[] = [];
  /** The phase that is under way. */
  #phase: Phase | undefined;
  #phases: readonly Phase[] = [];
  #rates: UnitRates | undefined;
  #pending: CycleState | undefined;
  #started = false;

  /** @throws ConfigError for unknown fields and values out of range */
  constructor(options: CycleOptions = {}, source: CycleSource = {}) {
    this.#source = source;
    this.settings = parseCycleOptions(options);
    this.#generator = new Generator(this.settings.seed);
  }

  /**
   * Whether a grown phase is under way. The controls have the phases of the cycle, so that whatever else changes in them (loss,
   * sampler) is the same; the widths stay at their base size in modes 'replace' and 'phases', and grown after the first phase in
   * mode 'grow'.
   */
  get grown(): boolean {
    return this.#phase !== undefined;
  }
  /** The widths that change; known from onTrainStart on. */
  get widths(): readonly Width[] {
    return this.#plastic.map(({ width }) => width);
  }

  /** Finds the widths, remembers their sizes, attaches collectors. Throws ConfigError when the options don't fit the training. */
  onTrainStart(context: PlasticityContext): void {
    if (this.#started) throw new ConfigError('PlasticityCycle: expected one training per cycle object');
    const { settings } = this;
    this.#phases = cyclePhases(settings, context.epochs);
    if (this.#phases.length === 0) {
      throw new ConfigError(
        `PlasticityCycle: no cycle fits: ${context.epochs} epochs with warmup ${settings.warmup}, grownEpochs ` +
          `${settings.grownEpochs} and lastPhase ${settings.lastPhase}`,
      );
    }
    const widths = this.#choose(context.model);
    if (settings.init === 'gradmax') for (const width of widths) expectGradmax(width);
    const classes = this.#classes(context);
    this.#plastic = widths.map((width) => ({
      width,
      base: width.size,
      collector: classes === undefined ? undefined : new GateCollector(width, classes),
    }));
    this.#rates = new UnitRates(context.optimizer);
    this.#started = true;
    if (!this.#pending) return;
    this.#restore(this.#pending);
    for (const sums of this.#pending.tensors.values()) sums.dispose();
    this.#pending = undefined;
  }

  /**
   * To be called inside the (captured) training step, before the forward pass, with the labels of the batch: i32 [rows].
   * Costs nothing while no statistics are being collected.
   */
  setLabels(labels: Tensor): void {
    for (const { collector } of this.#plastic) collector?.setLabels(labels);
  }

  async onEpochStart(context: PlasticityContext): Promise<void> {
    const { settings } = this;
    const begins = this.#phase ? undefined : this.#phases.find(({ from }) => from === context.epoch);
    if (begins) {
      await this.#begin(begins, context);
      await settings.adjust?.('grown', context);
    }
    if (!this.#phase?.neurons || !this.#scores || settings.probe !== 'running') return;
    const from = this.#phase.to - (settings.scoreEpochs ?? settings.grownEpochs);
    if (context.epoch >= from) this.#collect(true);
  }

  /** Counts the step: ages of the units follow. */
  onStepEnd(_context: PlasticityContext): void {
    for (const { width } of this.#plastic) width.tick();
  }

  async onEpochEnd(context: PlasticityContext): Promise<void> {
    const { settings } = this;
    if (!this.#phase || context.epoch + 1 < this.#phase.to) return;
    this.#rates?.lift();
    if (this.#removes && this.#phase.neurons) await this.#shrink(context);
    this.#phase = undefined;
    await settings.adjust?.('base', context);
  }

  /** For a checkpoint. Drains the queue. The widths keep their own state. */
  state(): CycleState {
    const byName = <T>(value: (plastic: Plastic) => T): Record<string, T> =>
      Object.fromEntries(this.#plastic.map((plastic) => [plastic.width.name, value(plastic)]));
    const tensors = new Map<string, Tensor>();
    for (const { width, collector } of this.#plastic) {
      const own = [...(collector?.state() ?? []), ...(this.#rates?.state(width) ?? [])];
      for (const [name, array] of own) tensors.set(`${width.name}/${name}`, array);
    }
    return {
      meta: {
        base: byName(({ base }) => base),
        grownAt: this.#phase?.from ?? null,
        collecting: this.#plastic.some(({ collector }) => collector?.active),
        log: structuredClone(this.log),
        generator: this.#generator.stateSync(),
      },
      tensors,
    };
  }

  /** Goes on from a state; the widths must have been loaded. Before onTrainStart or right after it. */
  load(state: CycleState): void {
    if (this.#started) {
      this.#restore(state);
      return;
    }
    // Aliases, since the caller may free its tensors before the training starts.
    const tensors = new Map([...state.tensors].map(([name, sums]) => [name, sums.alias()]));
    this.#pending = { meta: structuredClone(state.meta), tensors };
  }

  /** Detaches the collectors and frees what the cycle holds on the device. */
  dispose(): void {
    this.#rates?.lift();
    for (const { collector } of this.#plastic) collector?.dispose();
    this.#plastic = [];
    for (const sums of this.#pending?.tensors.values() ?? []) sums.dispose();
    this.#pending = undefined;
    this.#generator.dispose();
  }

  #restore({ meta, tensors }: CycleState): void {
    const missing = this.#plastic.find(({ width }) => meta.base[width.name] === undefined);
    if (missing) throw new ConfigError(`PlasticityCycle: load: the state has no width '${missing.width.name}'`);
    this.#plastic = this.#plastic.map((plastic) => ({
      ...plastic,
      base: meta.base[plastic.width.name],
    }));
    this.#rates?.lift();
    for (const { width, collector } of this.#plastic) {
      const prefix = `${width.name}/`;
      const entries = [...tensors].filter(([name]) => name.startsWith(prefix));
      const own = new Map(entries.map(([name, array]) => [name.slice(prefix.length), array]));
      this.#rates?.load(width, own);
      if (!collector) continue;
      collector.load(own);
      collector.active = meta.collecting;
    }
    this.#phase = this.#phases.find(({ from }) => from === meta.grownAt);
    this.log.splice(0, this.log.length, ...structuredClone(meta.log));
    this.#generator.setState(meta.generator);
  }

  /** Whether a grown phase ends with a removal. */
  get #removes(): boolean {
    return this.settings.mode === 'grow-prune' || this.settings.mode === 'replace';
  }

  /** Whether the statistics of a grown phase decide what is removed, or how. */
  get #scores(): boolean {
    const { score, foldMean, retain } = this.settings;
    return this.#removes && (needsStats(score) || foldMean || retain !== null);
  }

  get #steers(): boolean {
    return this.settings.init === 'split' && this.settings.steer === 'tail';
  }

  /** Whether newborn ask for a sample of the training set. */
  get #birthsLook(): boolean {
    return this.#steers || this.settings.init === 'gradmax';
  }

  get #hasGrown(): boolean {
    return this.#plastic.some(({ width, base }) => width.size > base);
  }

  /** Training samples per class, if known. */
  #counts(context: PlasticityContext): readonly number[] | undefined {
    return this.#source.classCounts ?? context.classCounts;
  }

  /** Number of classes, where units are looked at by class; undefined where they aren't. */
  #classes(context: PlasticityContext): number | undefined {
    const { score, retain, shelter, allocation, probe } = this.settings;
    const counts = this.#counts(context);
    const sampled = {
      probe: probe !== 'running',
      [`init ${this.settings.init}`]: this.#birthsLook,
      shelter: shelter !== null,
      'allocation gradient': allocation === 'gradient',
    };
    const [sampling] = Object.entries(sampled).find(([, wanted]) => wanted) ?? [];
    if (sampling !== undefined && !this.#source.probe && !context.probe) {
      throw new ConfigError(
        `PlasticityCycle: ${sampling}: expected a training that can draw a probe set, got one that cannot`,
      );
    }
    if (!this.#scores && !this.#steers && shelter === null) return undefined;
    if (!counts || counts.length === 0) {
      throw new ConfigError(
        `PlasticityCycle: expected classCounts (score ${score}, retain ${String(retain)}, shelter ${String(shelter)}), got none`,
      );
    }
    return counts.length;
  }

  #choose(model: Module): Width[] {
    const all = model.widths();
    const plastic = (width: Width): boolean =>
      width.producers.length > 0 && width.consumers.length > 0 && width.mixers.length === 0;
    const { widths } = this.settings;
    const chosen =
      widths === 'all'
        ? all.filter(plastic)
        : widths.map((wanted) => {
            const found = all.find((width) => width === wanted || width.name === wanted);
            const name = typeof wanted === 'string' ? wanted : wanted.name;
            if (!found) {
              const names = all.map((width) => `'${width.name}'`).join(', ') || 'none';
              throw new ConfigError(`PlasticityCycle: widths: the model has no width '${name}' (it has ${names})`);
            }
            if (!plastic(found)) {
              const why =
                found.mixers.length > 0 ? 'a layer norm mixes its units' : 'it lacks a producer or a consumer';
              throw new ConfigError(`PlasticityCycle: widths: '${name}' can't be plastic: ${why}`);
            }
            return found;
          });
    if (chosen.length === 0)
      throw new ConfigError('PlasticityCycle: widths: the model has no width that can be plastic');
    const names = chosen.map(({ name }) => name);
    if (new Set(names).size !== names.length) {
      throw new ConfigError(`PlasticityCycle: widths: expected distinct names, got ${names.join(', ')}`);
    }
    return chosen;
  }

  #collect(on: boolean): void {
    for (const { collector } of this.#plastic) {
      if (!collector || collector.active === on) continue;
      if (on) collector.reset();
      collector.active = on;
    }
  }

  /** A phase begins: growth where the mode has it, shelter where it is asked for. */
  async #begin(phase: Phase, context: PlasticityContext): Promise<void> {
    const { mode, shelter, allocation } = this.settings;
    this.#phase = phase;
    const grows = phase.neurons && (mode === 'grow-prune' || (mode === 'grow' && !this.#hasGrown));
    const looks = shelter !== null || (grows && (this.#birthsLook || allocation === 'gradient'));
    const survey = looks ? await this.#survey(context) : undefined;
    const sizes = this.#plastic.map(({ width }) => width.size);
    try {
      const stats = await survey?.stats();
      if (grows) {
        const even = this.#plastic.map(({ base }) => unitsPerCycle(this.settings, base));
        const numbers = await allocate(allocation, this.#plastic, even);
        this.#births(context, numbers, survey, stats);
      }
      this.#setRates(context, sizes, stats);
    } finally {
      survey?.dispose();
    }
  }

  /** Units that a head class needs learn slower, the newborn, behind the others, faster: as far as the settings say so. */
  #setRates(
    context: PlasticityContext,
    sizes: readonly number[],
    stats: readonly (GateStats | undefined)[] | undefined,
  ): void {
    const { shelter, shelterFactor, headClasses: heads, newbornRate } = this.settings;
    if (shelter === null && newbornRate === 1) return;
    const head = headClasses(this.#counts(context) ?? [], heads);
    this.#plastic.forEach(({ width }, i) => {
      const seen = stats?.[i];
      const needed = shelter !== null && seen ? neededUnits(seen, head, shelter) : new Set<number>();
      const factors = width.units.map((_, slot) => {
        if (slot >= sizes[i]) return newbornRate;
        return needed.has(slot) ? shelterFactor : 1;
      });
      if (factors.some((factor) => factor !== 1)) this.#rates?.set(width, factors);
    });
  }

  /** That many newborn for each width. */
  #births(
    context: PlasticityContext,
    numbers: readonly number[],
    survey: Survey | undefined,
    stats: readonly (GateStats | undefined)[] | undefined,
    atEnd = false,
  ): void {
    const { init, spread, noise, steerWeighting, effectiveBeta } = this.settings;
    const counts = this.#counts(context);
    this.#plastic.forEach(({ width }, i) => {
      const n = numbers[i];
      if (n === 0) return;
      const seen = stats?.[i];
      const weights = counts && classWeights(steerWeighting, counts, effectiveBeta);
      const scores = this.#steers && seen ? classTaylor(seen.perClass, weights) : undefined;
      const directions =
        init === 'gradmax' && survey ? gradmaxDirections(width, n >> 1, () => survey.pass()) : undefined;
      const unitIds = width.grow(n, { init, spread, noise, scores, directions, generator: this.#generator });
      this.#note(context, { kind: 'grow', layer: width.name, unitIds, width: width.size }, atEnd);
    });
  }

  /** Newborn in the place of units that were removed. */
  async #replace(context: PlasticityContext, numbers: readonly number[]): Promise<void> {
    const survey = this.#birthsLook ? await this.#survey(context) : undefined;
    try {
      const stats = this.#steers ? await survey?.stats() : undefined;
      this.#births(context, numbers, survey, stats, true);
    } finally {
      survey?.dispose();
    }
  }

  /** A sample of the training set to look at; its owner disposes of it. */
  async #survey(context: PlasticityContext, samples = this.settings.growthSamples): Promise<Survey> {
    const source = this.#source.probe ? this.#source : context;
    const sample = await source.probe?.(samples);
    if (!sample) throw new ConfigError('PlasticityCycle: expected a training that can draw a probe set');
    const collectors = this.#plastic.map(({ collector }) => collector);
    return new Survey(context.model, sample, collectors);
  }

  /** How many units go at a shrink. Replacing leaves one at least. */
  #surplus({ width, base }: Plastic): number {
    return this.settings.mode === 'replace'
      ? Math.min(unitsPerCycle(this.settings, base), base - 1)
      : width.size - base;
  }

  /** Scores all widths first (gradients are gone once one has changed), then removes; mode 'replace' puts newborn in their place. */
  async #shrink(context: PlasticityContext): Promise<void> {
    const { settings } = this;
    const counts = this.#counts(context);
    const weights = counts ? classWeights(settings.classWeighting, counts, settings.effectiveBeta) : undefined;
    const { probe } = settings;
    const looks = this.#scores || needsGrads(settings.score);
    const survey = probe !== 'running' && looks ? await this.#survey(context, probe.samplesPerClass) : undefined;
    const seen = await survey?.stats();
    const plans: { width: Width; slots: number[]; scores: Float64Array; stats: GateStats | undefined }[] = [];
    for (const [i, plastic] of this.#plastic.entries()) {
      const { width, collector } = plastic;
      const running = this.#scores && !survey ? await collector?.read() : undefined;
      const stats = seen?.[i] ?? running;
      const scores = await scoreUnits(width, settings.score, {
        stats,
        classWeights: weights,
        generator: this.#generator,
      });
      plans.push({
        width,
        slots: this.#victims(plastic, this.#surplus(plastic), scores, stats, context),
        scores,
        stats,
      });
    }
    this.#collect(false);
    survey?.dispose();
    for (const { width, slots, scores, stats } of plans) {
      if (slots.length === 0) continue;
      const before = width.units.map(({ id }, slot) => ({ id, score: scores[slot] }));
      if (settings.foldMean && stats && stats.samples > 0) foldMeans(width, slots, stats.mean);
      const unitIds = width.prune(slots);
      if (settings.init === 'variance-transfer') transferVariance(width, before.length);
      this.#note(context, { kind: 'prune', layer: width.name, unitIds, width: width.size, scores: before }, true);
    }
    if (settings.mode === 'replace') {
      await this.#replace(
        context,
        plans.map(({ slots }) => slots.length),
      );
    }
  }

  /**
   * The n units to remove: lowest scores among the mature that no head class needs; should these be too few, then among all mature
   * ones; should these be too few, too, then also the oldest of the young. The base size is reached in any case.
   */
  #victims(
    plastic: Plastic,
    n: number,
    scores: Float64Array,
    stats: GateStats | undefined,
    context: PlasticityContext,
  ): number[] {
    const { units } = plastic.width;
    const kept = this.#retained(stats, context);
    const mature = units.flatMap(({ age }, slot) => (age >= this.settings.maturity ? [slot] : []));
    const chosen = lowest(
      scores,
      n,
      mature.filter((slot) => !kept.has(slot)),
    );
    if (chosen.length < n)
      chosen.push(
        ...lowest(
          scores,
          n - chosen.length,
          mature.filter((slot) => kept.has(slot)),
        ),
      );
    if (chosen.length < n) {
      const young = units.flatMap(({ age }, slot) => (age < this.settings.maturity ? [slot] : []));
      young.sort((a, b) => units[b].age - units[a].age || scores[a] - scores[b] || a - b);
      chosen.push(...young.slice(0, n - chosen.length));
    }
    return chosen;
  }

  /** Slots that a head class needs. */
  #retained(stats: GateStats | undefined, context: PlasticityContext): Set<number> {
    const { retain, headClasses: heads } = this.settings;
    const counts = this.#counts(context);
    if (retain === null || !stats || !counts) return new Set();
    return neededUnits(stats, headClasses(counts, heads), retain);
  }

  #note(context: PlasticityContext, what: Omit<PlasticityEvent, 'step' | 'epoch'>, atEnd = false): void {
    const event = { step: context.step, epoch: context.epoch + (atEnd ? 1 : 0), ...what };
    this.log.push(event);
    this.onEvent?.(event);
  }
}
