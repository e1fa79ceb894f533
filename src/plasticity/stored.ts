/**
 * Carried arrays in and out of a checkpoint by name, and the mean activity of neurons: what scores and resets share.
 */
import { ConfigError, ShapeError } from '../device/index.js';
import type { CarriedArray } from '../nn/index.js';
import { abs, assign, mean, reshape } from '../ops/index.js';
import { describe, noGrad, sameShape, type Tensor } from '../tensor/index.js';

/** Views that show later changes, by name; the caller's to dispose. */
export function storedArrays(arrays: Readonly<Record<string, CarriedArray>>): Map<string, Tensor> {
  return new Map(Object.entries(arrays).map(([name, array]) => [name, array.active.detach()]));
}

/** Copies the tensors of those names in. Throws ConfigError for a missing one, ShapeError for one of another shape or dtype. */
export function loadArrays(
  what: string,
  arrays: Readonly<Record<string, CarriedArray>>,
  state: ReadonlyMap<string, Tensor>,
): void {
  for (const [name, array] of Object.entries(arrays)) {
    const given = state.get(name);
    if (!given) throw new ConfigError(`${what}: load: '${name}': missing`);
    if (!sameShape(given.shape, array.shape) || given.dtype !== array.dtype) {
      throw new ShapeError(
        `${what}: load: '${name}': expected ${array.dtype} ${describe(array.shape)}, got ${given.dtype} ${describe(given.shape)}`,
      );
    }
    noGrad(() => assign(array.active, given));
  }
}

/** Activations [..., units] as rows [samples and positions, units], outside the graph. */
export function activationRows(activations: Tensor, units: number): Tensor {
  const a = activations.detach();
  return a.rank === 2 ? a : reshape(a, [-1, units]);
}

/** mean |a_j| over all but the last axis: [units]. */
export function meanActivity(activations: Tensor, units: number): Tensor {
  return mean(abs(activationRows(activations, units)), 0);
}
