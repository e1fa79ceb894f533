/**
 * Evaluator: runs a model over a test set in captured batches and counts on the host.
 */
import { capture, type Captured } from '../autograd/index.js';
import { DataLoader, type Dataset } from '../data/index.js';
import { classificationMetrics, type Loss, meanOf } from '../longtail/index.js';
import type { Module } from '../nn/index.js';
import { argmax, crossEntropy, max, softmax } from '../ops/index.js';
import { noGrad, type Tensor } from '../tensor/index.js';
import type { Evaluation } from './results.js';

interface Outputs {
  losses: Tensor;
  confidences: Tensor;
  predictions: Tensor;
}

/** Batches whose results are awaited together; keeps the queue, and the inputs in it, short. */
const IN_FLIGHT = 4;

/**
 * Rows per batch for a model of so many multiply-adds a row: 128 to 1000, about 1e9 multiply-adds. That is enough to keep the kernels
 * busy, and the activations of a convolutional net don't take fresh memory, whose first touch costs more than the arithmetic.
 */
export function evaluationBatch(multiplyAdds: number): number {
  return Math.min(1000, Math.max(128, Math.round(1e9 / multiplyAdds)));
}

export class Evaluator {
  readonly #model: Module;
  readonly #counts: readonly number[];
  readonly #loader: DataLoader;
  readonly #run: Captured<[Tensor, Tensor], Outputs>;

  /**
   * @param loss says how logits become predictions
   * @param counts training samples per class, which define head, mid and tail
   * @param atCapacity records at the capacity of the widths, see capture
   */
  constructor(
    model: Module,
    loss: Loss,
    test: Dataset,
    counts: readonly number[],
    batchSize = 1000,
    atCapacity = false,
  ) {
    this.#model = model;
    this.#counts = counts;
    this.#loader = new DataLoader(test, { batchSize, prefetch: 2 });
    const outputs = (x: Tensor, y: Tensor): Outputs =>
      noGrad(() => {
        const logits = loss.predict(model.forward(x));
        return {
          losses: crossEntropy(logits, y, { reduction: 'none' }),
          confidences: max(softmax(logits), -1),
          predictions: argmax(logits, -1),
        };
      });
    this.#run = capture(outputs, { atCapacity });
  }

  /** Evaluates the model as it is at this point of the stream; it is in training mode afterwards if it was before. */
  async evaluate(): Promise<Evaluation> {
    const { rows, labels } = this.#loader.dataset;
    const losses = new Float64Array(rows);
    const confidences = new Float64Array(rows);
    const predictions = new Int32Array(rows);
    const training = this.#model.training;
    this.#model.eval();
    try {
      this.#loader.start(0);
      let at = 0;
      let pending: Promise<void>[] = [];
      for (let batch = this.#loader.next(); batch; batch = this.#loader.next()) {
        const out = this.#run(batch.x, batch.y);
        batch.x.dispose();
        batch.y.dispose();
        const from = at;
        at += batch.rows;
        const into = async (tensor: Tensor, target: Float64Array | Int32Array): Promise<void> =>
          target.set(await tensor.data(), from);
        pending.push(into(out.losses, losses), into(out.confidences, confidences), into(out.predictions, predictions));
        if (pending.length >= 3 * IN_FLIGHT) {
          await Promise.all(pending);
          pending = [];
        }
      }
      await Promise.all(pending);
    } finally {
      this.#model.train(training);
    }
    const metrics = classificationMetrics(labels, predictions, this.#counts, confidences);
    return { ...metrics, loss: meanOf([...losses]) };
  }

  dispose(): void {
    this.#run.dispose();
    this.#loader.dispose();
  }
}
