/**
 * Trainer: the training loop. A step is captured, at the size or at the capacity of the widths (`recording`), and replayed; loss and
 * accuracy are summed on the device; the event loop stays free, since the loop waits for fences a few steps behind. Between any two
 * steps it can stop, save and go on.
 */
import { capture, type Captured } from '../autograd/index.js';
import { type Batch, DataLoader, disposeBatch, type LoaderMix } from '../data/index.js';
import { ConfigError, type Device } from '../device/index.js';
import { saveCheckpoint } from '../io/index.js';
import { BatchNorm, type Classifier, forwardWithFeatures, lastLayer, linearOf, Width } from '../nn/index.js';
import { add, argmax, assign, cast, equal, mul, stack, sum } from '../ops/index.js';
import { keep, noGrad, Philox, tensor, type Tensor } from '../tensor/index.js';
import type { Callback, RunHooks, TrainContext } from './callback.js';
import { CostMeter } from './cost.js';
import { diagnosticsAt } from './diagnostics.js';
import { evaluationBatch, Evaluator } from './evaluate.js';
import type { MixConfig } from './mix-config.js';
import { Pace } from './pace.js';
import type { EpochRecord, Evaluation, RunResult } from './results.js';
import { totalEpochs } from './second-stage-config.js';
import { type PreparedData, type PreparedRun, probeBatch } from './setup.js';
import { damageOf, packState, restoreState, type TrainingState } from './state.js';

export interface TrainerOptions extends PreparedRun, RunHooks {
  /** Default 'run'. */
  name?: string;
  data: PreparedData;
  callbacks?: readonly Callback[];
  /** Ends the run at a step boundary. */
  signal?: AbortSignal;
}

/** Milliseconds between two progress reports. */
const PROGRESS_EVERY = 100;

type Hook = 'onTrainStart' | 'onEpochStart' | 'onStepEnd' | 'onEpochEnd' | 'onTrainEnd';

export class Trainer {
  readonly #options: TrainerOptions;
  readonly #device: Device;
  readonly #loader: DataLoader;
  readonly #evaluator: Evaluator;
  /** Inputs: x, y and, of mixed samples, second labels and shares. */
  readonly #step: Captured<Tensor[], void>;
  readonly #secondStep: Captured<[Tensor, Tensor], void>;
  /** Whose input the loss wants to see. */
  readonly #classifier: Classifier | undefined;
  /** Ends what the loss needs of the width of those inputs. */
  readonly #release: (() => void) | undefined;
  /** f64 [2]: sum of the losses and number of right predictions of the epoch so far; a mixed sample is of its larger part's class. */
  readonly #totals: Tensor;
  readonly #callbacks: readonly Callback[];
  /** Epochs of both stages. */
  readonly #epochs: number;
  readonly #pace: Pace;
  readonly #cost: CostMeter;
  readonly #context: TrainContext;
  /** Batch norm can't train on one row: a last batch of one is left out. */
  readonly #rowsPerEpoch: number;
  readonly stepsPerEpoch: number;
  #state: TrainingState;
  /** The read of the sums that is under way, for a progress report. */
  #reading: Promise<void> | undefined;
  /** What that read was rejected with: the stream hands its error out once, to whoever reads first. */
  #failure: { error: unknown } | undefined;
  #reported = 0;
  /** The checkpoint that this goes on from. */
  #resumed: string | undefined;
  #started = 0;
  /** Steps taken before this session. */
  #firstStep = 0;
  #disposed = false;

  constructor(options: TrainerOptions) {
    this.#options = options;
    const { config, data, model, sampler, loss } = options;
    const lonely = sampler.length % config.batchSize === 1 && sampler.length > 1;
    this.#rowsPerEpoch = sampler.length - (lonely && model.modules().some((m) => m instanceof BatchNorm) ? 1 : 0);
    this.stepsPerEpoch = Math.ceil(this.#rowsPerEpoch / config.batchSize);
    this.#loader = new DataLoader(data.train, {
      batchSize: config.batchSize,
      sampler: { epoch: (e) => this.#order(e) },
      augment: config.augment ? { ...config.augment, seed: config.seed } : undefined,
      mix: config.mix ? mixOf(config.mix, config.epochs, config.seed) : undefined,
    });
    this.#epochs = totalEpochs(config);
    this.#classifier = loss.usesFeatures ? lastLayer(model) : undefined;
    // The loss adds up over the features, and so wants no others beside the active.
    const features = this.#classifier && linearOf(this.#classifier).input;
    this.#release = features instanceof Width ? features.needSize() : undefined;
    this.#device = this.#loader.device;
    this.#cost = new CostMeter(model, data.train.features);
    const rows = evaluationBatch(this.#cost.forward());
    const atCapacity = config.recording === 'capacity';
    this.#evaluator = new Evaluator(model, loss, data.test, data.counts, rows, atCapacity);
    this.#totals = keep(tensor(new Float64Array(2)));
    const own = [options.cycle, options.resets].filter((callback) => callback !== undefined);
    this.#callbacks = [...own, ...(options.callbacks ?? [])];
    this.#pace = new Pace(this.#device);
    this.#step = capture((...inputs: Tensor[]) => this.#computeStep(inputs), { atCapacity });
    this.#secondStep = capture((x: Tensor, y: Tensor) => this.#computeSecondStep(x, y));
    this.#state = {
      epoch: 0,
      batch: 0,
      step: 0,
      rows: 0,
      totals: [0, 0],
      history: [],
      events: [],
      startParameters: model.parameterCount(),
      multiplyAdds: 0,
      seconds: 0,
    };
    this.#context = this.#makeContext();
  }

  /** Epochs completed and steps taken so far. */
  get position(): { epoch: number; step: number } {
    return { epoch: this.#state.epoch, step: this.#state.step };
  }

  /**
   * Takes over a checkpoint; to be called before run().
   * @throws ConfigError when it is of another configuration, FormatError when it is damaged, IOError when it can't be read
   */
  async resume(path: string): Promise<void> {
    this.#state = await restoreState(path, this.#options);
    this.#resumed = path;
    const { storage } = this.#totals;
    this.#device.write(storage.handle, 0, Float64Array.from(this.#state.totals));
  }

  /** Saves everything that run() needs to go on bit for bit. To be called between steps. Throws IOError. */
  async save(path: string): Promise<void> {
    this.#state.totals = [...(await this.#totals.data())];
    await saveCheckpoint(path, await packState(this.#options, { ...this.#state, seconds: this.#seconds() }));
  }

  /** Trains to the end, or until the signal aborts; then saves where the configuration says so. */
  async run(): Promise<RunResult> {
    const { config, signal, secondStage } = this.#options;
    this.#started = performance.now();
    this.#firstStep = this.#state.step;
    this.#options.model.train(!secondStage?.begun);
    await this.#call('onTrainStart').catch((error: unknown) => {
      // What was right when the training began is wrong with the checkpoint: callbacks take their part of it here.
      throw this.#resumed === undefined ? error : damageOf(this.#resumed, error);
    });
    let last: { step: number; evaluation: Evaluation } | undefined;
    let saved = -1;
    const { checkpoint } = config;
    let savedAt = performance.now();
    while (this.#state.epoch < this.#epochs && !signal?.aborted) {
      const began = performance.now();
      if (this.#state.epoch === config.epochs) await this.#beginSecondStage();
      const whole = await this.#epoch();
      if (!whole) break;
      const state = this.#state;
      const isLast = state.epoch + 1 === this.#epochs;
      const endsStage = isLast || state.epoch + 1 === config.epochs;
      const [loss, hits] = await this.#totals.data();
      if (!Number.isFinite(loss)) {
        throw new ConfigError(
          `train: expected a finite loss, got ${loss} in epoch ${state.epoch + 1}; a lower optimizer.lr may help`,
        );
      }
      await this.#call('onEpochEnd');
      const trained = (performance.now() - began) / 1000;
      const evaluate = endsStage || (state.epoch + 1) % config.evalEvery === 0;
      const evaluation = evaluate ? await this.#evaluator.evaluate() : undefined;
      if (evaluation) last = { step: state.step, evaluation };
      const diagnostics = await diagnosticsAt(this.#options, this.#options.data, state.epoch + 1);
      const record: EpochRecord = {
        epoch: state.epoch + 1,
        ...(secondStage?.begun && { stage: 2 as const }),
        step: state.step,
        learningRate: (secondStage?.begun ? secondStage : this.#options.optimizer).lr,
        trainLoss: loss / state.rows,
        trainAccuracy: hits / state.rows,
        ...(evaluation && { test: summary(evaluation) }),
        widths: this.#widths(),
        ...(diagnostics && { diagnostics }),
        samplesPerSecond: state.rows / trained,
        seconds: (performance.now() - began) / 1000,
      };
      state.history.push(record);
      state.epoch++;
      state.batch = 0;
      state.rows = 0;
      this.#clearTotals();
      this.#options.onEpoch?.(record);
      const due = checkpoint && performance.now() - savedAt >= 1000 * checkpoint.seconds;
      if (checkpoint && (isLast || (due && state.epoch % checkpoint.every === 0))) {
        await this.save(checkpoint.path);
        savedAt = performance.now();
        saved = state.step;
      }
    }
    const interrupted = this.#state.epoch < this.#epochs;
    // A method without epochs of its own.
    if (!interrupted && secondStage && !secondStage.begun) {
      await this.#beginSecondStage();
      last = undefined;
      if (checkpoint) await this.save(checkpoint.path);
    }
    if (interrupted && checkpoint && saved !== this.#state.step) await this.save(checkpoint.path);
    if (!interrupted) await this.#call('onTrainEnd');
    const final = last?.step === this.#state.step ? last.evaluation : await this.#evaluator.evaluate();
    return this.#result(final, interrupted);
  }

  /** Frees what the trainer made, and the model, optimiser and loss it was given. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#step.dispose();
    this.#secondStep.dispose();
    this.#evaluator.dispose();
    this.#release?.();
    this.#loader.dispose();
    this.#totals.dispose();
    this.#options.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Once in a training, whether it was resumed or not. */
  async #beginSecondStage(): Promise<void> {
    const { secondStage } = this.#options;
    if (!secondStage || secondStage.begun) return;
    await secondStage.begin();
    this.#step.dispose();
  }

  /** What is recorded: forward, loss, backward, clip, optimiser, and the sums of the epoch. */
  #computeStep([x, y, others, share]: readonly Tensor[]): void {
    const { model, optimizer, loss, config, cycle, regularizers } = this.#options;
    optimizer.zeroGrad();
    cycle?.setLabels(y);
    const { logits, features } = this.#classifier
      ? forwardWithFeatures(model, this.#classifier, x)
      : { logits: model.forward(x), features: undefined };
    const mixed = others && { labels: others, share };
    const value = loss.compute(logits, y, { features, mixed });
    (regularizers?.add(value) ?? value).backward();
    if (config.optimizer.clipNorm !== null) optimizer.clipGradNorm(config.optimizer.clipNorm);
    optimizer.step();
    this.#count(value, logits, y);
  }

  #computeSecondStep(x: Tensor, y: Tensor): void {
    const { secondStage } = this.#options;
    if (!secondStage) throw new ConfigError('train: expected a second stage, got none');
    const { value, logits } = secondStage.step(x, y);
    this.#count(value, logits, y);
  }

  /** Adds a step to the sums of the epoch. */
  #count(value: Tensor, logits: Tensor, y: Tensor): void {
    const { loss } = this.#options;
    noGrad(() => {
      const hits = sum(cast(equal(argmax(loss.predict(logits), -1), y), 'f64'));
      const total = mul(cast(value.detach(), 'f64'), y.size);
      assign(this.#totals, add(this.#totals, stack([total, hits], 0)));
    });
  }

  /** The steps of one epoch, or what is left of it. False when the signal ended it early. */
  async #epoch(): Promise<boolean> {
    const { loss, config, signal, cycle, grown, secondStage } = this.#options;
    const state = this.#state;
    const resumed = state.batch > 0;
    loss.onEpoch(state.epoch, config.epochs);
    if (!resumed) await this.#call('onEpochStart');
    if (grown.weights) loss.setExtraWeights(cycle?.grown ? grown.weights : undefined);
    this.#loader.start(state.epoch, state.batch);
    for (let batch = this.#loader.next(); batch; batch = this.#loader.next()) {
      state.multiplyAdds += (secondStage?.begun ? 1 : 3) * batch.rows * this.#cost.forward();
      try {
        this.#take(batch);
      } finally {
        disposeBatch(batch);
      }
      state.step++;
      state.batch++;
      state.rows += batch.rows;
      const pending = this.#callNow('onStepEnd');
      if (pending) await pending;
      await this.#pace.stepped();
      if (this.#failure) throw this.#failure.error;
      this.#progress();
      if (signal?.aborted && state.batch < this.#loader.batches) {
        await this.#drain();
        return false;
      }
    }
    await this.#drain();
    return true;
  }

  /** One step of the stage we are in, at the learning rate of its place in it. */
  #take({ x, y, mixed }: Batch): void {
    const { optimizer, schedule, config, secondStage } = this.#options;
    const { step } = this.#state;
    const first = this.stepsPerEpoch * config.epochs;
    if (secondStage?.begun) {
      secondStage.setProgress((step - first) / (this.stepsPerEpoch * this.#epochs - first));
      this.#secondStep(x, y);
      return;
    }
    optimizer.lr = config.optimizer.lr * schedule(step / first);
    if (mixed) this.#step(x, y, mixed.labels, mixed.share);
    else this.#step(x, y);
  }

  /** Waits until nothing is in flight; throws what failed on the way. */
  async #drain(): Promise<void> {
    await this.#pace.drain();
    await this.#reading;
    if (this.#failure) throw this.#failure.error;
  }

  #order(e: number): Int32Array {
    const { sampler, grown, cycle, secondStage } = this.#options;
    const current = secondStage?.begun ? secondStage.sampler : cycle?.grown ? grown.sampler : sampler;
    return current.epoch(e).subarray(0, this.#rowsPerEpoch);
  }

  #clearTotals(): void {
    this.#device.write(this.#totals.storage.handle, 0, new Float64Array(2));
    this.#totals.storage.version++;
  }

  /** One object for all calls; its numbers are current whenever they are read. */
  #makeContext(): TrainContext {
    const { model, optimizer, loss, config, data } = this.#options;
    const state = (): TrainingState => this.#state;
    return {
      model,
      optimizer,
      loss,
      epochs: config.epochs,
      get epoch() {
        return state().epoch;
      },
      get step() {
        return state().step;
      },
      stepsPerEpoch: this.stepsPerEpoch,
      classCounts: data.counts,
      probe: (samplesPerClass) =>
        probeBatch(data.train, data.counts, samplesPerClass, new Philox(config.seed, `probe/${state().epoch}`).u32()),
    };
  }

  /** Calls a hook of all callbacks in turn; a promise only when one of them returned one. */
  #callNow(hook: Hook): Promise<void> | undefined {
    // What acts on the network is done with it in the second stage.
    const over = this.#options.secondStage?.begun && hook !== 'onTrainStart';
    const callbacks = over ? (this.#options.callbacks ?? []) : this.#callbacks;
    for (let i = 0; i < callbacks.length; i++) {
      const pending = callbacks[i][hook]?.(this.#context);
      if (pending) return this.#callRest(hook, callbacks.slice(i + 1), pending);
    }
    return undefined;
  }
  async #callRest(hook: Hook, callbacks: readonly Callback[], pending: Promise<void>): Promise<void> {
    await pending;
    for (const callback of callbacks) await callback[hook]?.(this.#context);
  }
  async #call(hook: Hook): Promise<void> {
    await this.#callNow(hook);
    this.#collectEvents();
  }

  #collectEvents(): void {
    const { cycle, resets } = this.#options;
    const log = (cycle ?? resets)?.log ?? [];
    for (const event of log.slice(this.#state.events.length)) {
      this.#state.events.push(event);
      this.#options.onEvent?.(event);
    }
  }

  #widths(): Record<string, number> {
    return Object.fromEntries(this.#options.model.widths().map((width) => [width.name, width.size]));
  }

  #seconds(): number {
    return this.#state.seconds + (performance.now() - this.#started) / 1000;
  }

  /** Reads the sums without waiting and reports when they arrive. */
  #progress(): void {
    const { onProgress, config, name = 'run' } = this.#options;
    const now = performance.now();
    if (!onProgress || this.#reading || now - this.#reported < PROGRESS_EVERY) return;
    this.#reported = now;
    const { epoch, step, rows } = this.#state;
    const steps = this.stepsPerEpoch * this.#epochs;
    const seconds = (now - this.#started) / 1000;
    const done = step - this.#firstStep;
    this.#reading = this.#totals.data().then(
      ([loss, hits]) => {
        this.#reading = undefined;
        onProgress({
          name,
          seed: config.seed,
          epoch: epoch + 1,
          epochs: this.#epochs,
          step,
          steps,
          loss: loss / rows,
          accuracy: hits / rows,
          widths: this.#widths(),
          samplesPerSecond: (done * config.batchSize) / seconds,
          secondsLeft: ((steps - step) * seconds) / Math.max(1, done),
        });
      },
      (error: unknown) => {
        this.#reading = undefined;
        this.#failure = { error };
      },
    );
  }

  #result(final: Evaluation, interrupted: boolean): RunResult {
    this.#collectEvents();
    const { config, data, model, name = 'run', secondStage } = this.#options;
    const { history, events, startParameters, multiplyAdds } = this.#state;
    return {
      name,
      seed: config.seed,
      config: { ...config },
      dataset: {
        name: data.name,
        source: data.source,
        trainRows: data.train.rows,
        testRows: data.test.rows,
        imbalanceFactor: data.imbalanceFactor,
        classNames: data.classNames,
        classCounts: data.counts,
      },
      parameters: { start: startParameters, end: model.parameterCount() },
      multiplyAdds: { forward: this.#cost.forward(), training: multiplyAdds },
      epochs: history,
      events,
      ...(secondStage?.begun && { secondStage: secondStage.summary }),
      final,
      interrupted,
      seconds: this.#seconds(),
    };
  }
}

function summary({ top1, meanRecall, head, mid, tail, perClass, loss }: Evaluation): EpochRecord['test'] {
  return { top1, meanRecall, head, mid, tail, perClass, loss };
}

/** What the loader is asked for; the second stage's epochs come after those that are mixed. */
function mixOf({ until, ...mix }: MixConfig, epochs: number, seed: number): LoaderMix {
  return { ...mix, epochs: Math.floor(until * epochs), seed };
}
