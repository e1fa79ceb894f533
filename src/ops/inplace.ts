/**
 * Writing into a tensor. Outside the graph: backward notices by the storage's version when a saved tensor was overwritten.
 */
import { AutogradError, ShapeError } from '../device/index.js';
import { describe, gradEnabled, type Tensor } from '../tensor/index.js';
import { expectValue } from './create.js';
import { enqueue, expectTensor } from './define.js';
import { stretched } from './movement.js';

const NONE: readonly never[] = [];

/** Throws AutogradError where a write would falsify gradients, ShapeError where elements share memory. */
function expectWritable(op: string, target: Tensor): void {
  expectTensor(op, target);
  target.view(op);
  if (target.meta?.node) {
    throw new AutogradError(
      `${op}: expected a target outside the graph, got the result of ${target.meta.node.name}; detach it first`,
    );
  }
  if (target.meta && gradEnabled()) {
    throw new AutogradError(
      `${op}: expected a target that needs no gradient, got a leaf of shape ${describe(target.shape)}; use noGrad`,
    );
  }
  if (target.shape.some((extent, i) => extent > 1 && target.strides[i] === 0)) {
    throw new ShapeError(
      `${op}: expected a target with memory for each element, got an expanded view of shape ${describe(target.shape)}`,
    );
  }
}

/**
 * Copies the elements of `source` into `target` (a view with strides is fine), broadcasting and casting. Returns the target.
 * @throws AutogradError for a target in the graph, or one that requires a gradient outside noGrad; ShapeError
 */
export function assign(target: Tensor, source: Tensor): Tensor {
  expectWritable('assign', target);
  expectTensor('assign', source);
  const lead = target.rank - source.rank;
  if (lead < 0 || source.shape.some((extent, i) => extent !== 1 && extent !== target.shape[i + lead])) {
    throw new ShapeError(
      `assign: expected a source that fits ${describe(target.shape)}, got ${describe(source.shape)}`,
    );
  }
  const from = stretched(source, target.shape);
  enqueue('copy', target.device, NONE, [from], NONE, [target]);
  if (from !== source) from.dispose();
  return target;
}

/** Sets every element of `target` to a value. Returns the target. Throws as {@link assign}. */
export function fill(target: Tensor, value: number): Tensor {
  expectWritable('fill', target);
  expectValue('fill', value, target.dtype);
  enqueue('fill', target.device, NONE, NONE, [value], [target]);
  return target;
}
