/**
 * Which neurons of an axis are active: all, those of a list, or the first ones by a count that kernels read when they run. With a
 * count, activations hold all neurons of the axis; those beyond it are not read, come out as 0 and have gradients of 0.
 */
import { ShapeError } from '../device/index.js';
import { describe, expectDType, type Tensor } from '../tensor/index.js';
import { less } from './binary.js';
import { arange } from './create.js';
import { expectTensor } from './define.js';
import { expand } from './movement.js';
import { where } from './where.js';

/** The first neurons of an axis, as many as `count` says when a kernel runs: i32 [1], held to 0..extent. */
export interface Counted {
  readonly count: Tensor;
}

/** The numbers are those of the native records. */
export const NEURONS = { all: 0, listed: 1, counted: 2 } as const;
export type Neurons = (typeof NEURONS)[keyof typeof NEURONS];

/** The active neurons of an axis: how they are said, the tensor that says it, and how many of them activations hold. */
export interface ActiveNeurons {
  readonly kind: Neurons;
  readonly tensor: Tensor | undefined;
  readonly extent: number;
}

/**
 * What an option says about the neurons of an axis of `size`. Values of lists are checked when the kernel runs.
 * @throws ConfigError, DTypeError, ShapeError for what is neither a list i32 [at most size] nor a count i32 [1]
 */
export function expectNeurons(
  op: string,
  what: string,
  given: Tensor | Counted | undefined,
  size: number,
): ActiveNeurons {
  if (given === undefined) return { kind: NEURONS.all, tensor: undefined, extent: size };
  if (typeof given === 'object' && given !== null && 'count' in given) {
    return { kind: NEURONS.counted, tensor: expectCount(op, `the count of ${what}`, given.count), extent: size };
  }
  expectTensor(op, given);
  expectDType(op, given.dtype, ['i32']);
  if (given.rank !== 1 || given.shape[0] > size) {
    throw new ShapeError(
      `${op}: expected ${what} to be a list of at most ${size} indices, got ${describe(given.shape)}`,
    );
  }
  return { kind: NEURONS.listed, tensor: given, extent: given.shape[0] };
}

/** Throws unless it is a count, i32 [1]. */
export function expectCount(op: string, what: string, count: Tensor): Tensor {
  expectTensor(op, count);
  expectDType(op, count.dtype, ['i32']);
  if (count.rank !== 1 || count.shape[0] !== 1)
    throw new ShapeError(`${op}: expected ${what} to have shape [1], got ${describe(count.shape)}`);
  return count;
}

/** How many inputs of an op say which neurons are active. */
export function neuronInputs({ outputs, inputs }: { outputs: Neurons; inputs: Neurons }): number {
  return Number(outputs !== NEURONS.all) + Number(inputs !== NEURONS.all);
}

/** x [..., n] with 0 beyond the count. */
export function maskBeyond(x: Tensor, count: Tensor): Tensor {
  const n = x.shape[x.rank - 1];
  const active = less(arange(0, n, 1, { dtype: 'i32', device: x.device }), expand(count, [n]));
  return where(expand(active, x.shape), x, 0);
}
