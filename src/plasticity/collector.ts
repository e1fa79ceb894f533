/**
 * GateCollector: running statistics of the neurons of a width, added up inside the backward kernels that hold activation a and
 * gradient dL/da anyway: per class sum |a dL/da|, and over all samples sum |a|, sum a, the number of zeros and sum (a dL/da)^2. The sums are a carried
 * array, so they follow the neurons; inside a captured step the labels are an input of the step.
 */
import { ConfigError, ShapeError, shown } from '../device/index.js';
import { CarriedArray, type Width } from '../nn/index.js';
import { enqueue, fill, full, type Gate } from '../ops/index.js';
import { describe, type HostArray, noGrad, type Tensor, tidy, track } from '../tensor/index.js';
import { loadArrays, storedArrays } from './stored.js';

/** Means over the samples seen since the last reset; arrays are indexed by slot. */
export interface GateStats {
  /** perClass[c][j] = mean over samples of class c of |a_j dL/da_j|; 0 for a class that was not seen. */
  perClass: Float64Array[];
  /** Samples seen per class. */
  counts: number[];
  samples: number;
  /** mean |a_j| */
  meanAbs: Float64Array;
  /** mean a_j */
  mean: Float64Array;
  /** share of samples with a_j = 0 */
  zeros: Float64Array;
  /** mean (a_j dL/da_j)^2 */
  squares: Float64Array;
}

export class GateCollector implements Gate {
  readonly width: Width;
  readonly classes: number;
  /** Factor on dL/da: the batch size, which undoes the mean of the loss. Set by setLabels. */
  scale = 1;
  #sums: CarriedArray;
  #counts: CarriedArray;
  #labels: Tensor | undefined;
  /** 1 while backward passes are added up. */
  readonly #adding = { version: 0, recurring: true };

  /** Attaches itself as the width's gate, inactive. Throws ConfigError when the width has no place to look at its neurons. */
  constructor(width: Width, classes: number) {
    if (!Number.isInteger(classes) || classes < 1) {
      throw new ConfigError(`GateCollector: expected a number of classes >= 1, got ${String(classes)}`);
    }
    if (!width.gated && width.consumers.length !== 1) {
      throw new ConfigError(
        `GateCollector: expected exactly one layer that reads width '${width.name}', got ${width.consumers.length}; ` +
          'put a UnitGate(width) behind its activation',
      );
    }
    this.width = width;
    this.classes = classes;
    const { device } = (width.consumers[0] ?? width.producers[0]).weight.array.full;
    this.#sums = new CarriedArray([classes + 4, width], { role: 'stat', device, counted: true });
    this.#counts = new CarriedArray([classes], { role: 'stat', dtype: 'i32', device });
    width.gate = this;
  }

  /** The same as the constructor. */
  static attach(width: Width, classes: number): GateCollector {
    return new GateCollector(width, classes);
  }

  /** Whether backward passes are added up. Captured steps are recorded once for each of the two. Anything but a boolean is a ConfigError. */
  get active(): boolean {
    track(this.#adding);
    return this.#adding.version === 1;
  }
  set active(on: boolean) {
    if (typeof on !== 'boolean')
      throw new ConfigError(`GateCollector: expected active to be a boolean, got ${shown(on)}`);
    this.#adding.version = Number(on);
  }

  /** Labels of the current batch; undefined when there are none (any more). */
  get labels(): Tensor | undefined {
    return this.#labels?.disposed ? undefined : this.#labels;
  }

  /** f32 [classes + 4, active units] */
  get stats(): Tensor | undefined {
    return this.#sums.active;
  }

  /** Of the units, in a function recorded at capacity (see Width.countOn). */
  get count(): Tensor | undefined {
    return this.width.countOn(this.#sums.full.device)?.count;
  }

  /**
   * Says what the coming backward pass is about: i32 [rows]. Call it before, inside the captured step. Does nothing while inactive.
   * @throws ShapeError for labels that are no vector
   */
  setLabels(labels: Tensor): void {
    if (labels.rank !== 1)
      throw new ShapeError(`GateCollector: expected labels [rows], got shape ${describe(labels.shape)}`);
    if (!this.active) return;
    this.#labels = labels;
    this.scale = labels.size;
    noGrad(() =>
      tidy(() => {
        const ones = full([labels.size], 1, { dtype: 'i32', device: labels.device });
        enqueue('scatterAdd', labels.device, [], [labels, ones], [0], [this.#counts.active]);
      }),
    );
  }

  /** Forgets what was added up. */
  reset(): void {
    fill(this.#sums.active, 0);
    fill(this.#counts.active, 0);
  }

  /** Means over what was added up, once the stream gets there. */
  async read(): Promise<GateStats> {
    const [sums, counts] = await Promise.all([this.#sums.active.data(), this.#counts.active.data()]);
    return this.#means(sums as HostArray['f32'], counts as HostArray['i32']);
  }
  /** The same, running what is queued on the calling thread. */
  readSync(): GateStats {
    return this.#means(
      this.#sums.active.dataSync() as HostArray['f32'],
      this.#counts.active.dataSync() as HostArray['i32'],
    );
  }

  /** Raw sums and counts, as views that show later changes; `active` is the caller's to keep. */
  state(): Map<string, Tensor> {
    return storedArrays({ sums: this.#sums, counts: this.#counts });
  }

  /** Copies a state of the same number of classes and units. Throws ConfigError or ShapeError for any other. */
  load(state: ReadonlyMap<string, Tensor>): void {
    loadArrays(`GateCollector '${this.width.name}'`, { sums: this.#sums, counts: this.#counts }, state);
  }

  /** Lets go of the width and frees the sums. */
  dispose(): void {
    if (this.width.gate === this) this.width.gate = undefined;
    this.#sums.dispose();
    this.#counts.dispose();
  }

  #means(sums: Float32Array, counts: Int32Array): GateStats {
    const units = sums.length / (this.classes + 4);
    const samples = counts.reduce((sum, n) => sum + n, 0);
    const row = (c: number, divisor: number): Float64Array =>
      Float64Array.from(sums.subarray(c * units, (c + 1) * units), (sum) => (divisor > 0 ? sum / divisor : 0));
    return {
      perClass: Array.from(counts, (n, c) => row(c, n)),
      counts: [...counts],
      samples,
      meanAbs: row(this.classes, samples),
      mean: row(this.classes + 1, samples),
      zeros: row(this.classes + 2, samples),
      squares: row(this.classes + 3, samples),
    };
  }
}
