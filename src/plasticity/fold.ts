/**
 * Mean folding: what removed neurons contributed on average goes into what follows, so that only the deviation from the mean is
 * lost. b_next += W_next[:, j] mean(a_j); where the consumer has no bias and a batch norm follows, running_mean_next -= the same.
 */
import { ConfigError } from '../device/index.js';
import type { CarriedArray, Consumer } from '../nn/index.js';
import { Width } from '../nn/index.js';
import { add, assign, indexSelect, mul, sub, sum } from '../ops/index.js';
import { noGrad, tensor, tidy } from '../tensor/index.js';

/** Where a consumer can take a constant: its bias, or the running mean of the only batch norm behind it. */
function target(consumer: Consumer): { array: CarriedArray; minus: boolean } | undefined {
  if (consumer.bias) return { array: consumer.bias.array, minus: false };
  const { output } = consumer;
  if (
    !(output instanceof Width) ||
    consumer.activation !== 'none' ||
    output.producers.length !== 1 ||
    output.means.length !== 1
  )
    return undefined;
  return { array: output.means[0], minus: true };
}

/**
 * Folds the neurons in `slots` into all layers that read them. Call it before Width.prune.
 * @param means mean activation of every active neuron, as its consumers see it
 * @returns whether every consumer could take it (one without bias and batch norm can't)
 * @throws ConfigError for means that are not one finite number per active neuron
 */
export function foldMeans(width: Width, slots: ArrayLike<number>, means: ArrayLike<number>): boolean {
  if (means.length !== width.size) {
    throw new ConfigError(`foldMeans '${width.name}': expected ${width.size} means, got ${means.length}`);
  }
  const chosen = Int32Array.from(slots);
  const values = Float64Array.from(chosen, (slot) => means[slot]);
  if (values.some((value) => !Number.isFinite(value))) {
    throw new ConfigError(
      `foldMeans '${width.name}': expected finite means of slots ${chosen.join(',')}, got ${values.join(',')}`,
    );
  }
  if (chosen.length === 0) return true;
  return noGrad(() =>
    tidy(() => {
      let complete = true;
      for (const consumer of width.consumers) {
        const into = target(consumer);
        // The mean of a unit that owns several columns, an attention head, says nothing about each of them.
        if (!into || consumer.weight.array.spans[consumer.weight.array.axes.length - 1] !== 1) {
          complete = false;
          continue;
        }
        const { active } = consumer.weight.array;
        const { device, dtype, rank } = active;
        const columns = indexSelect(active, tensor(chosen, { device }), rank - 1);
        const weighted = mul(columns, tensor(values, { device, dtype }));
        const shift = sum(
          weighted,
          Array.from({ length: rank - 1 }, (_, i) => i + 1),
        );
        assign(into.array.active, into.minus ? sub(into.array.active, shift) : add(into.array.active, shift));
      }
      return complete;
    }),
  );
}
