/**
 * The second stage of two-stage methods: the network without its classifier stays as it is, batch norm with its running statistics
 * and no dropout, and the classifier is balanced. Source: Kang et al. 2020, "Decoupling representation and classifier",
 * arXiv 1910.09217.
 *
 * crt trains the classifier anew; lws trains a factor on each class's logit; tau-norm divides each row of the weight by |w|^tau and sets
 * the bias to 0, without training. Both trainings take cross-entropy over class-balanced samples. At every step the model's own
 * weights are what it predicts with.
 */
import { DataLoader, type Dataset } from '../data/index.js';
import { ConfigError } from '../device/index.js';
import { ConfusionMatrix, type Loss, meanOf, type Sampler } from '../longtail/index.js';
import {
  CarriedArray,
  type Classifier,
  CosineLinear,
  featuresOf,
  init,
  lastLayer,
  type Linear,
  linearOf,
  type Module,
  Parameter,
} from '../nn/index.js';
import {
  add,
  assign,
  clone,
  crossEntropy,
  div,
  fill,
  type Generator,
  linear,
  mul,
  norm,
  pow,
  unsqueeze,
} from '../ops/index.js';
import type { Optimizer, OptimizerMeta, Schedule } from '../optim/index.js';
import { keep, noGrad, type Tensor, tidy } from '../tensor/index.js';
import type { SecondStageConfig } from './second-stage-config.js';

/** What the stage is given. */
export interface SecondStageOptions {
  config: SecondStageConfig;
  model: Module;
  train: Dataset;
  /** Of the first stage; says how cosines become logits. */
  loss: Loss;
  sampler: Sampler;
  lr: number;
  schedule: Schedule;
  optimizerOf: (parameters: readonly Parameter[]) => Optimizer;
  /** Largest norm of all gradients together; null: no limit. */
  clipNorm: number | null;
  /** Of the classifier's new weights. */
  generator: Generator;
}

/** What a checkpoint keeps of a stage that has begun. */
export interface SecondStageState {
  meta: { method: string; tau: number | null; optimizer: OptimizerMeta | null };
  tensors: Map<string, Tensor>;
}

/** Values of tau that 'auto' tries. */
const TAUS = Array.from({ length: 21 }, (_, i) => i / 10);
const BATCH = 1000;

/** The factors on the logits, and the classifier they are on, as it came out of the first stage. */
interface Scaled {
  scale: Parameter;
  weight: Tensor;
  bias: Tensor | undefined;
}

export class SecondStage {
  readonly #options: SecondStageOptions;
  readonly #classifier: Classifier;
  #optimizer: Optimizer | undefined;
  #scaled: Scaled | undefined;
  #tau: number | undefined;
  #begun = false;

  /** @throws ConfigError for a model whose classifier the method can't work with */
  constructor(options: SecondStageOptions) {
    this.#options = options;
    this.#classifier = lastLayer(options.model);
    if (options.config.method !== 'crt') this.#linear();
  }

  /** Whether the first stage is over. */
  get begun(): boolean {
    return this.#begun;
  }
  get sampler(): Sampler {
    return this.#options.sampler;
  }
  /** For a result: the method and, for tau-norm, its tau. */
  get summary(): { method: string; tau?: number } {
    return { method: this.#options.config.method, ...(this.#tau !== undefined && { tau: this.#tau }) };
  }
  get lr(): number {
    return this.#optimizer?.lr ?? 0;
  }
  /** Sets the learning rate for the share of the stage that is done. */
  setProgress(progress: number): void {
    if (this.#optimizer) this.#optimizer.lr = this.#options.lr * this.#options.schedule(progress);
  }

  /** Ends the first stage: from here on the model is in evaluation mode and its classifier is what this method makes of it. */
  async begin(): Promise<void> {
    const { model, config, generator } = this.#options;
    model.eval();
    this.#begun = true;
    if (config.method === 'tau-norm') {
      this.#tau = config.tau === undefined || config.tau === 'auto' ? await this.#chooseTau() : config.tau;
      this.#divide(this.#tau);
      return;
    }
    if (config.method === 'crt') {
      const { weight, bias } = linearOf(this.#classifier);
      noGrad(() =>
        tidy(() => {
          assign(weight.value, init.fanInUniform(weight.shape, { generator }));
          if (bias) fill(bias.value, 0);
        }),
      );
    }
    this.#prepare();
  }

  /** One step: loss and logits. Valid inside a capture. */
  step(x: Tensor, y: Tensor): { value: Tensor; logits: Tensor } {
    const { model, loss, config, clipNorm } = this.#options;
    const optimizer = this.#optimizer as Optimizer;
    optimizer.zeroGrad();
    const features = noGrad(() => featuresOf(model, this.#classifier, x));
    const logits = config.method === 'lws' ? this.#scaledLogits(features) : this.#classifier.forward(features);
    const value = crossEntropy(loss.predict(logits), y);
    value.backward();
    if (clipNorm !== null) optimizer.clipGradNorm(clipNorm);
    optimizer.step();
    if (config.method === 'lws') this.#apply();
    return { value, logits };
  }

  /** For a checkpoint; undefined before the stage has begun. */
  state(): SecondStageState | undefined {
    if (!this.#begun) return undefined;
    const tensors = new Map<string, Tensor>();
    const optimizer = this.#optimizer?.stateDict();
    for (const [name, slot] of optimizer ?? []) tensors.set(`optimizer/${name}`, slot);
    if (this.#scaled) {
      const { scale, weight, bias } = this.#scaled;
      tensors.set('scale', scale.array.active.detach());
      tensors.set('weight', weight.detach());
      if (bias) tensors.set('bias', bias.detach());
    }
    const { method } = this.#options.config;
    return { meta: { method, tau: this.#tau ?? null, optimizer: optimizer?.meta ?? null }, tensors };
  }

  /** Goes on from a state; the model's must have been loaded. Throws ConfigError for a state that lacks a part. */
  load({ meta, tensors }: SecondStageState): void {
    this.#begun = true;
    this.#options.model.eval();
    this.#tau = meta.tau ?? undefined;
    if (this.#options.config.method === 'tau-norm') return;
    if (!meta.optimizer) throw new ConfigError("second stage: load: the state has no 'optimizer'");
    this.#prepare();
    const prefix = 'optimizer/';
    const slots = [...tensors].filter(([name]) => name.startsWith(prefix));
    const state = new Map(slots.map(([name, slot]) => [name.slice(prefix.length), slot]));
    this.#optimizer?.loadStateDict(Object.assign(state, { meta: meta.optimizer }));
    if (!this.#scaled) return;
    const { scale, weight, bias } = this.#scaled;
    const targets = { scale: scale.array.active, weight, ...(bias && { bias }) };
    noGrad(() => {
      for (const [name, target] of Object.entries(targets)) {
        const given = tensors.get(name);
        if (!given) throw new ConfigError(`second stage: load: the state has no '${name}'`);
        assign(target, given);
      }
    });
  }

  dispose(): void {
    this.#optimizer?.dispose();
    this.#scaled?.scale.dispose();
    this.#scaled?.weight.dispose();
    this.#scaled?.bias?.dispose();
    this.#options.generator.dispose();
  }

  /** Optimiser and, for LWS, factors and a copy of the classifier. */
  #prepare(): void {
    const { weight, bias } = linearOf(this.#classifier);
    if (this.#options.config.method === 'crt') {
      this.#optimizer = this.#options.optimizerOf(bias ? [weight, bias] : [weight]);
      return;
    }
    const array = new CarriedArray([weight.shape[0]], { fill: 1, role: 'norm', device: weight.value.device });
    // Decay would pull all factors to 0, which means nothing.
    const scale = new Parameter(array, { name: 'scale', decay: false });
    const copy = (parameter: Parameter): Tensor => keep(noGrad(() => clone(parameter.value)));
    this.#scaled = { scale, weight: copy(weight), bias: bias && copy(bias) };
    this.#optimizer = this.#options.optimizerOf([scale]);
  }

  #scaledLogits(features: Tensor): Tensor {
    const { scale, weight, bias } = this.#scaled as Scaled;
    return mul(
      noGrad(() => linear(features, weight, bias)),
      scale.value,
    );
  }

  /** Writes the scaled classifier into the model. */
  #apply(): void {
    const { scale, weight, bias } = this.#scaled as Scaled;
    const own = this.#linear();
    noGrad(() => {
      assign(own.weight.value, mul(weight, unsqueeze(scale.value, 1)));
      if (bias && own.bias) assign(own.bias.value, mul(bias, scale.value));
    });
  }

  /** The classifier, for methods that scale its rows. */
  #linear(): Linear {
    const { config } = this.#options;
    if (this.#classifier instanceof CosineLinear)
      throw new ConfigError(`second stage: expected a linear classifier for ${config.method}, got cosines`);
    return this.#classifier;
  }

  #divide(tau: number): void {
    const { weight, bias } = this.#linear();
    noGrad(() =>
      tidy(() => {
        const lengths = norm(weight.value, -1, { keepDims: true });
        assign(weight.value, div(weight.value, pow(add(lengths, 1e-12), tau)));
        if (bias) fill(bias.value, 0);
      }),
    );
  }

  /** The tau with the highest mean class recall on the training rows; of equals the smallest. */
  async #chooseTau(): Promise<number> {
    const { model, train } = this.#options;
    const { weight } = this.#linear();
    const classes = weight.shape[0];
    const rows = await weight.value.data();
    const lengths = Array.from({ length: classes }, (_, c) => {
      return Math.hypot(...rows.subarray((c * rows.length) / classes, ((c + 1) * rows.length) / classes));
    });
    const matrices = TAUS.map(() => new ConfusionMatrix(classes));
    using loader = new DataLoader(train, { batchSize: BATCH });
    let at = 0;
    for await (const { x, rows } of loader) {
      using output = tidy(() => noGrad(() => linear(featuresOf(model, this.#classifier, x), weight.value)));
      const logits = await output.data();
      const labels = train.labels.subarray(at, (at += rows));
      TAUS.forEach((tau, t) => {
        const factors = lengths.map((length) => (length + 1e-12) ** -tau);
        const predictions = new Int32Array(rows);
        for (let i = 0; i < rows; i++) {
          let best = -Infinity;
          for (let c = 0; c < classes; c++) {
            const z = logits[i * classes + c] * factors[c];
            if (z > best) [best, predictions[i]] = [z, c];
          }
        }
        matrices[t].add(labels, predictions);
      });
    }
    const recalls = matrices.map((matrix) => meanOf(matrix.recalls()));
    return TAUS[recalls.indexOf(Math.max(...recalls))];
  }
}
