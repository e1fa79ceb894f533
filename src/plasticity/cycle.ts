/**
 * PlasticityCycle: the grow-and-prune cycle as a training callback. After a warm-up, every `period` epochs each plastic width grows by
 * a share of its base size, trains grown for `grownEpochs` epochs, and is pruned to exactly its base size by the score. A
 * reconstruction of "Long-Tailed Data Classification by Increasing and Decreasing Neurons During Training" (arXiv 2507.09940).
 */
import { backward } from '../autograd/index.js';
import { ConfigError } from '../device/index.js';
import type { Module, Width } from '../nn/index.js';
import { crossEntropy, Generator } from '../ops/index.js';
import { type Tensor, tidy, withGradMode } from '../tensor/index.js';
import { GateCollector, type GateStats } from './collector.js';
import type { PlasticityContext } from './context.js';
import type { PlasticityEvent } from './events.js';
import { foldMeans } from './fold.js';
import { type CycleOptions, type CycleSettings, growthEpochs, parseCycleOptions, unitsPerCycle } from './options.js';
import { classTaylor, classWeights, lowest, needsGrads, needsStats, scoreUnits } from './scores.js';

/** What a checkpoint keeps: `meta` is plain JSON, `tensors` are the collectors' sums by '<width>/<name>'. */
export interface CycleState {
  meta: {
    base: Record<string, number>;
    grownAt: number | null;
    collecting: boolean;
    log: PlasticityEvent[];
    generator: number[];
    tailScores: Record<string, [number, number][]>;
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
  /** Tail-weighted scores of the last shrink by unit id, for the donors of a split. */
  tailScores: Map<number, number>;
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
  /** Epoch at which the grown phase that is under way began. */
  #grownAt: number | null = null;
  #growths = new Set<number>();
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
   * sampler) is the same; the widths stay at their base size in mode 'replace', and grown after the first phase in mode 'grow'.
   */
  get grown(): boolean {
    return this.#grownAt !== null;
  }
  /** The widths that change; known from onTrainStart on. */
  get widths(): readonly Width[] {
    return this.#plastic.map(({ width }) => width);
  }

  /** Finds the widths, remembers their sizes, attaches collectors. Throws ConfigError when the options don't fit the training. */
  onTrainStart(context: PlasticityContext): void {
    if (this.#started) throw new ConfigError('PlasticityCycle: expected one training per cycle object');
    const { settings } = this;
    const epochs = growthEpochs(settings, context.epochs);
    if (epochs.length === 0) {
      throw new ConfigError(
        `PlasticityCycle: no cycle fits: ${context.epochs} epochs with warmup ${settings.warmup}, grownEpochs ` +
          `${settings.grownEpochs} and lastShrink ${settings.lastShrink}`,
      );
    }
    this.#growths = new Set(epochs);
    const widths = this.#choose(context.model);
    const classes = this.#classes(context);
    this.#plastic = widths.map((width) => ({
      width,
      base: width.size,
      collector: classes === undefined ? undefined : new GateCollector(width, classes),
      tailScores: new Map(),
    }));
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
    if (this.#growths.has(context.epoch) && this.#grownAt === null) {
      this.#grownAt = context.epoch;
      if (settings.mode === 'grow-prune' || (settings.mode === 'grow' && !this.#hasGrown)) this.#grow(context);
      await settings.adjust?.('grown', context);
    }
    if (this.#grownAt === null || !this.#collects || settings.probe !== 'running') return;
    const from = this.#grownAt + settings.grownEpochs - (settings.scoreEpochs ?? settings.grownEpochs);
    if (context.epoch >= from) this.#collect(true);
  }

  /** Counts the step: ages of the units follow. */
  onStepEnd(_context: PlasticityContext): void {
    for (const { width } of this.#plastic) width.tick();
  }

  async onEpochEnd(context: PlasticityContext): Promise<void> {
    const { settings } = this;
    if (this.#grownAt === null || context.epoch + 1 < this.#grownAt + settings.grownEpochs) return;
    if (settings.mode !== 'grow') await this.#shrink(context);
    this.#grownAt = null;
    await settings.adjust?.('base', context);
  }

  /** For a checkpoint. Drains the queue. The widths keep their own state. */
  state(): CycleState {
    const byName = <T>(value: (plastic: Plastic) => T): Record<string, T> =>
      Object.fromEntries(this.#plastic.map((plastic) => [plastic.width.name, value(plastic)]));
    const tensors = new Map<string, Tensor>();
    for (const { width, collector } of this.#plastic) {
      for (const [name, sums] of collector?.state() ?? []) tensors.set(`${width.name}/${name}`, sums);
    }
    return {
      meta: {
        base: byName(({ base }) => base),
        grownAt: this.#grownAt,
        collecting: this.#plastic.some(({ collector }) => collector?.active),
        log: structuredClone(this.log),
        generator: this.#generator.stateSync(),
        tailScores: byName(({ tailScores }) => [...tailScores]),
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
      tailScores: new Map(meta.tailScores[plastic.width.name]),
    }));
    for (const { width, collector } of this.#plastic) {
      if (!collector) continue;
      const prefix = `${width.name}/`;
      const own = [...tensors].filter(([name]) => name.startsWith(prefix));
      collector.load(new Map(own.map(([name, sums]) => [name.slice(prefix.length), sums])));
      collector.active = meta.collecting;
    }
    this.#grownAt = meta.grownAt;
    this.log.splice(0, this.log.length, ...structuredClone(meta.log));
    this.#generator.setState(meta.generator);
  }

  /** Whether activations and gradients have to be looked at. */
  get #collects(): boolean {
    const { mode, score, foldMean, retain, init } = this.settings;
    if (mode === 'grow') return false;
    return needsStats(score) || foldMean || retain !== null || init === 'split';
  }

  get #hasGrown(): boolean {
    return this.#plastic.some(({ width, base }) => width.size > base);
  }

  /** Training samples per class, if known. */
  #counts(context: PlasticityContext): readonly number[] | undefined {
    return this.#source.classCounts ?? context.classCounts;
  }

  #classes(context: PlasticityContext): number | undefined {
    const { score, retain, probe } = this.settings;
    const counts = this.#counts(context);
    if (probe !== 'running' && !this.#source.probe && !context.probe) {
      throw new ConfigError(
        'PlasticityCycle: probe: expected a training that can draw a probe set, got one that cannot',
      );
    }
    if (!this.#collects) return undefined;
    if (!counts || counts.length === 0) {
      throw new ConfigError(
        `PlasticityCycle: expected classCounts (score ${score}, retain ${String(retain)}), got none`,
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

  #grow(context: PlasticityContext): void {
    for (const plastic of this.#plastic) this.#add(context, plastic, unitsPerCycle(this.settings, plastic.base));
  }

  /** n newborn for one width. */
  #add(context: PlasticityContext, { width, tailScores }: Plastic, n: number, atEnd = false): void {
    const { init, spread, noise } = this.settings;
    const known = width.units.every(({ id }) => tailScores.has(id));
    const scores = init === 'split' && known ? width.units.map(({ id }) => tailScores.get(id) as number) : undefined;
    const unitIds = width.grow(n, { init, spread, noise, scores, generator: this.#generator });
    this.#note(context, { kind: 'grow', layer: width.name, unitIds, width: width.size }, atEnd);
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
    const probed = settings.probe !== 'running';
    if (probed && (this.#collects || needsGrads(settings.score))) await this.#probe(context);
    const plans: { plastic: Plastic; slots: number[]; scores: Float64Array; stats: GateStats | undefined }[] = [];
    for (const plastic of this.#plastic) {
      const { width, collector } = plastic;
      const stats = collector ? await collector.read() : undefined;
      const weights = counts ? classWeights(settings.classWeighting, counts, settings.effectiveBeta) : undefined;
      const scores = await scoreUnits(width, settings.score, {
        stats,
        classWeights: weights,
        generator: this.#generator,
      });
      const slots = this.#victims(plastic, this.#surplus(plastic), scores, stats, context);
      if (stats && counts) {
        const tail = classTaylor(stats.perClass, classWeights('inverse', counts));
        plastic.tailScores = new Map(width.units.map(({ id }, slot) => [id, tail[slot]]));
      }
      plans.push({ plastic, slots, scores, stats });
    }
    this.#collect(false);
    if (probed) context.model.zeroGrad();
    for (const { plastic, slots, scores, stats } of plans) {
      const { width } = plastic;
      if (slots.length === 0) continue;
      const before = width.units.map(({ id }, slot) => ({ id, score: scores[slot] }));
      if (settings.foldMean && stats && stats.samples > 0) foldMeans(width, slots, stats.mean);
      const unitIds = width.prune(slots);
      this.#note(context, { kind: 'prune', layer: width.name, unitIds, width: width.size, scores: before }, true);
      if (settings.mode === 'replace') this.#add(context, plastic, slots.length, true);
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

  /** Slots in the top share of any head class. */
  #retained(stats: GateStats | undefined, context: PlasticityContext): Set<number> {
    const { retain, headClasses } = this.settings;
    const kept = new Set<number>();
    const counts = this.#counts(context);
    if (retain === null || !stats || !counts) return kept;
    const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
    for (const c of order.slice(0, headClasses ?? Math.max(1, Math.round(counts.length / 3)))) {
      const row = stats.perClass[c];
      const top = lowest(
        row.map((value) => -value),
        Math.ceil(retain * row.length - 1e-9),
      );
      for (const slot of top) kept.add(slot);
    }
    return kept;
  }

  /** One forward and backward pass in evaluation mode over a class-balanced sample, with the collectors on. */
  async #probe(context: PlasticityContext): Promise<void> {
    const { probe } = this.settings;
    const source = this.#source.probe ? this.#source : context;
    if (probe === 'running' || !source.probe) return;
    const { model } = context;
    const { x, y } = await source.probe(probe.samplesPerClass);
    const modes = model.modules().map((module) => ({ module, training: module.training }));
    try {
      model.eval();
      model.zeroGrad();
      this.#collect(true);
      tidy(() => {
        this.setLabels(y);
        withGradMode(true, () => backward(crossEntropy(model.forward(x), y)));
      });
    } finally {
      // Parents first, so that a submodule with a mode of its own gets it back.
      for (const { module, training } of modes) module.train(training);
      x.dispose();
      y.dispose();
    }
  }

  #note(context: PlasticityContext, what: Omit<PlasticityEvent, 'step' | 'epoch'>, atEnd = false): void {
    const event = { step: context.step, epoch: context.epoch + (atEnd ? 1 : 0), ...what };
    this.log.push(event);
    this.onEvent?.(event);
  }
}
