/**
 * A minimal training loop around the cycle: captured steps over a few fixed batches of a long-tailed toy problem.
 */
import { capture } from '../../src/autograd/index.js';
import { BatchNorm, Linear, type Module, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { crossEntropy, Generator, normal } from '../../src/ops/index.js';
import { AdamW, type Optimizer, SGD } from '../../src/optim/index.js';
import { type CycleOptions, PlasticityCycle, type PlasticityContext } from '../../src/plasticity/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';

export const classCounts = [48, 24, 12, 8, 4];
const batchSize = 16;

/** Clusters in 8 dimensions, class c with classCounts[c] samples, in a fixed order. */
export function batches(): { x: Tensor; y: Tensor }[] {
  const labels = classCounts.flatMap((n, c) => new Array<number>(n).fill(c));
  const order = labels.map((_, i) => (i * 37) % labels.length);
  const noise = tidy(() => normal([labels.length, 8], { generator: new Generator(9) }).dataSync());
  const out: { x: Tensor; y: Tensor }[] = [];
  for (let from = 0; from + batchSize <= labels.length; from += batchSize) {
    const rows = order.slice(from, from + batchSize);
    const x = Float32Array.from({ length: batchSize * 8 }, (_, i) => {
      const row = rows[i >> 3];
      return noise[row * 8 + (i & 7)] * 0.7 + ((i & 7) === labels[row] ? 2 : 0);
    });
    out.push({ x: tensor(x, { shape: [batchSize, 8] }), y: tensor(Int32Array.from(rows, (row) => labels[row])) });
  }
  return out;
}

export interface Training {
  net: Module;
  widths: Width[];
  optimizer: Optimizer;
  cycle: PlasticityCycle;
  /** Sizes of the widths after each epoch. */
  sizes: number[][];
  recordings(): number;
  /**
   * Runs epochs [from, to); calls onTrainStart before the first one of this object. `begin`: only what comes before the steps of epoch
   * `from`; `begun`: without that.
   */
  run(from: number, to: number, begin?: boolean, begun?: boolean): Promise<void>;
  /** The sample of an epoch that the cycle is given. */
  probe(epoch: number, samples: number): { x: Tensor; y: Tensor };
}

export function training(
  options: CycleOptions,
  settings: { epochs?: number; norm?: boolean; eager?: boolean; optimizer?: 'adamw' | 'sgd'; model?: Module } = {},
): Training {
  const { epochs = 10, norm = true, eager = false } = settings;
  const generator = new Generator(17);
  const [a, b] = [new Width(6, { name: 'a', capacity: 8 }), new Width(5, { name: 'b', capacity: 12 })];
  const net =
    settings.model ??
    new Sequential(
      new Linear(8, a, { generator }),
      ...(norm ? [new BatchNorm(a)] : []),
      new ReLU(),
      new Linear(a, b, { generator }),
      new ReLU(),
      new Linear(b, 5, { generator }),
    );
  const widths = settings.model ? net.widths() : [a, b];
  const optimizer: Optimizer =
    settings.optimizer === 'sgd'
      ? new SGD(net.parameters(), { lr: 0.01, momentum: 0.9, nesterov: true, weightDecay: 0.01 })
      : new AdamW(net.parameters(), { lr: 0.01, youngSteps: 2 });
  const cycle = new PlasticityCycle(options);
  const data = batches();
  const body = (x: Tensor, y: Tensor): void => {
    optimizer.zeroGrad();
    cycle.setLabels(y);
    crossEntropy(net.forward(x), y).backward();
    optimizer.clipGradNorm(5);
    optimizer.step();
  };
  const recorded = capture(body);
  let started = false;
  const probe = (epoch: number, samples: number): { x: Tensor; y: Tensor } => {
    const source = new Generator(epoch);
    const x = normal([5 * samples, 8], { generator: source });
    source.dispose();
    return { x, y: tensor(Int32Array.from({ length: 5 * samples }, (_, i) => i % 5)) };
  };
  const out: Training = {
    net,
    widths,
    optimizer,
    cycle,
    sizes: [],
    recordings: () => recorded.recordings,
    probe,
    async run(from, to, begin = false, begun = false) {
      const context = (epoch: number, step: number): PlasticityContext => ({
        model: net,
        optimizer,
        epochs,
        epoch,
        step,
        stepsPerEpoch: data.length,
        classCounts,
        probe: (samples) => probe(epoch, samples),
      });
      if (!started) cycle.onTrainStart(context(from, from * data.length));
      started = true;
      if (begin) await cycle.onEpochStart(context(from, from * data.length));
      for (let epoch = from; epoch < to; epoch++) {
        let step = epoch * data.length;
        if (!begun || epoch > from) await cycle.onEpochStart(context(epoch, step));
        for (const { x, y } of data) {
          optimizer.lr = 0.01 * (1 - step / (epochs * data.length));
          if (eager) tidy(() => body(x, y));
          else recorded(x, y);
          cycle.onStepEnd(context(epoch, ++step));
        }
        await cycle.onEpochEnd(context(epoch, step));
        out.sizes.push(widths.map(({ size }) => size));
      }
    },
  };
  return out;
}
