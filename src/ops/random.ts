/**
 * Random numbers: Philox4x32-10 on the device, counter-based, the same for every instruction set and number of threads. A
 * generator's state lives in a tensor that the kernels advance, so that a captured step draws new numbers at each replay.
 */
import { ConfigError, type Device, DisposedError, KIND_CODE, type RandomKind, ShapeError } from '../device/index.js';
import {
  checkShape,
  describe,
  type DType,
  expectDType,
  keep,
  resolveDevice,
  type Shape,
  tensor,
  type Tensor,
  type TensorOptions,
} from '../tensor/index.js';
import { expectCount } from './active.js';
import { mul } from './binary.js';
import { expectOptionDType } from './create.js';
import { defineOp, enqueue, expectNumber, expectOptions, expectTensor } from './define.js';
import { identity } from './composite.js';
import { reshape } from './movement.js';

/** A stream of random numbers of its own. */
export class Generator {
  readonly device: Device;
  #seed: number;
  #state: Tensor;

  /** @param seed a whole number, 0 <= seed < 2^53 */
  constructor(seed: number, options: { device?: Device | string } = {}) {
    checkSeed(seed);
    this.#seed = seed;
    this.device = resolveDevice(options.device);
    this.#state = keep(tensor(stateOf(seed), { device: this.device }));
  }

  get seed(): number {
    return this.#seed;
  }
  /** i32 [4]: seed low, seed high, counter low, counter high. Kernels read and advance it. */
  get state(): Tensor {
    return this.#state;
  }
  /** Begins the stream of a seed. Not during a capture: it writes from the host. */
  manualSeed(seed: number): this {
    checkSeed(seed);
    this.#seed = seed;
    return this.#write(stateOf(seed));
  }
  /** The four numbers of the state, for checkpoints. */
  stateSync(): number[] {
    return [...this.#state.dataSync()];
  }
  /** Goes on from a state that {@link stateSync} gave. */
  setState(numbers: readonly number[]): this {
    if (!Array.isArray(numbers) || numbers.length !== 4 || numbers.some((n) => (n | 0) !== n)) {
      throw new ConfigError(`Generator.setState: expected four 32-bit integers, got ${describe(numbers)}`);
    }
    this.#seed = (numbers[0] >>> 0) + (numbers[1] >>> 0) * 2 ** 32;
    return this.#write(Int32Array.from(numbers));
  }
  dispose(): void {
    this.#state.dispose();
  }
  #write(state: Int32Array): this {
    this.#state.view('Generator');
    this.device.write(this.#state.storage.handle, 0, state);
    this.#state.storage.version++;
    return this;
  }
}

function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ConfigError(`Generator: expected a seed that is a whole number >= 0, got ${seed}`);
}

function stateOf(seed: number): Int32Array {
  return Int32Array.of((seed % 2 ** 32) | 0, Math.floor(seed / 2 ** 32) | 0, 0, 0);
}

const defaults = new WeakMap<Device, Generator>();
let defaultSeed = 0;

/** The generator used where none is given: one per device, with seed 0 until manualSeed. */
export function defaultGenerator(on?: Device | string): Generator {
  const device = resolveDevice(on);
  let generator = defaults.get(device);
  if (!generator) defaults.set(device, (generator = new Generator(defaultSeed, { device })));
  return generator;
}

/** Seeds the default generators. */
export function manualSeed(seed: number): void {
  checkSeed(seed);
  defaultSeed = seed;
  defaultGenerator().manualSeed(seed);
}

/** Options of random tensors. */
export interface RandomOptions extends TensorOptions {
  /** Default: the device's default generator. */
  generator?: Generator;
}

function generatorOf(op: string, options: { generator?: Generator; device?: Device | string }): Generator {
  const { generator } = options;
  if (generator !== undefined && !(generator instanceof Generator))
    throw new ConfigError(`${op}: expected a Generator`);
  const found = generator ?? defaultGenerator(options.device);
  if (found.state.disposed) throw new DisposedError(`${op}: the generator was disposed of`);
  return found;
}

/** Creation ops have no tensor inputs but the generator's state, which is written. */
interface Draw {
  kind: RandomKind;
  a: number;
  b: number;
  shape: Shape;
  dtype: DType;
  generator: Generator;
}
/** Inputs: none, or a count of columns. */
const randomOp = defineOp<Draw>({
  name: 'random',
  forward: (inputs, { kind, a, b, shape, dtype, generator }) => {
    const record = [KIND_CODE.random[kind], a, b];
    return enqueue('random', generator.device, [{ shape, dtype }], inputs, record, [generator.state]);
  },
  backward: null,
  flops: (_, { shape }) => 10 * shape.reduce((n, extent) => n * extent, 1),
});

function draw(
  op: string,
  kind: RandomKind,
  a: number,
  b: number,
  shape: Shape,
  options: RandomOptions,
  count?: Tensor,
): Tensor {
  checkShape(op, shape);
  const dtype = options.dtype ?? 'f32';
  expectOptionDType(op, dtype, ['f32', 'f64']);
  const generator = generatorOf(op, options);
  const [out] = randomOp(count ? [count] : [], { kind, a, b, shape: [...shape], dtype, generator });
  if (options.requiresGrad) out.requiresGrad = true;
  return out;
}

/** Evenly distributed in [low, high); default [0, 1). */
export function uniform(shape: Shape, options: RandomOptions & { low?: number; high?: number } = {}): Tensor {
  expectOptions('uniform', options);
  const { low = 0, high = 1 } = options;
  expectNumber('uniform', 'low', low);
  expectNumber('uniform', 'high', high);
  if (!(low <= high && high - low < Infinity))
    throw new ConfigError(`uniform: expected finite low <= high, got ${low} and ${high}`);
  return draw('uniform', 'uniform', low, high, shape, options);
}

/** Normally distributed; default mean 0, standard deviation 1. */
export function normal(shape: Shape, options: RandomOptions & { mean?: number; std?: number } = {}): Tensor {
  expectOptions('normal', options);
  const { mean = 0, std = 1 } = options;
  if (!Number.isFinite(mean) || !(std >= 0 && std < Infinity)) {
    throw new ConfigError(`normal: expected a finite mean and std >= 0, got ${mean} and ${std}`);
  }
  return draw('normal', 'normal', mean, std, shape, options);
}

/** 1 with probability p, else 0. */
export function bernoulli(shape: Shape, p: number, options: RandomOptions = {}): Tensor {
  expectOptions('bernoulli', options);
  if (!(p >= 0 && p <= 1)) throw new ConfigError(`bernoulli: expected p in 0..1, got ${p}`);
  return draw('bernoulli', 'bernoulli', p, 1, shape, options);
}

const permutationOp = defineOp<{ n: number; generator: Generator }>({
  name: 'permutation',
  forward: (_, { n, generator }) =>
    enqueue('permutation', generator.device, [{ shape: [n], dtype: 'i32' }], [], [], [generator.state]),
  backward: null,
  flops: () => 0,
});

/** The numbers 0..n-1 in random order: i32 [n]. */
export function permutation(n: number, options: { generator?: Generator; device?: Device | string } = {}): Tensor {
  expectOptions('permutation', options);
  checkShape('permutation', [n]);
  return permutationOp([], { n, generator: generatorOf('permutation', options) })[0];
}

const categoricalOp = defineOp<{ samples: number; generator: Generator }>({
  name: 'categorical',
  forward: ([weights], { samples, generator }) => {
    const fresh = [{ shape: [weights.shape[0], samples], dtype: 'i32' as const }];
    return enqueue('categorical', weights.device, fresh, [weights], [], [generator.state]);
  },
  backward: null,
  flops: ([weights]) => weights.size,
});

/**
 * Classes drawn with replacement in proportion to weights [..., C]: i32 [..., samples]. Weights that are negative or sum to 0 are
 * thrown where a value is next read.
 */
export function categorical(weights: Tensor, samples: number, options: { generator?: Generator } = {}): Tensor {
  expectOptions('categorical', options);
  expectTensor('categorical', weights);
  expectDType('categorical', weights.dtype, ['f32', 'f64']);
  if (weights.rank === 0 || weights.shape[weights.rank - 1] === 0) {
    throw new ShapeError(`categorical: expected weights [...,C] with C > 0, got ${describe(weights.shape)}`);
  }
  const lead = weights.shape.slice(0, -1);
  checkShape('categorical', [...lead, samples]);
  const generator = generatorOf('categorical', { device: weights.device, ...options });
  const flat = reshape(weights, [lead.reduce((n, extent) => n * extent, 1), weights.shape[weights.rank - 1]]);
  return reshape(categoricalOp([flat], { samples, generator })[0], [...lead, samples]);
}

/** Options of {@link dropout}. */
export interface DropoutOptions {
  /** Default true. */
  training?: boolean;
  /** Default: the device's default generator. */
  generator?: Generator;
  /** The active neurons of the last axis where they are counted: the others become 0 and no numbers are drawn for them. */
  count?: Tensor | null | undefined;
}

/**
 * Sets each element to 0 with probability p and divides the others by 1 - p; the identity outside training. The mask is drawn by
 * the device's generator, so a captured step draws a new one each time. (Srivastava et al. 2014)
 * @throws ShapeError for a count of another shape than [1], or of a scalar
 */
export function dropout(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  expectOptions('dropout', options);
  expectTensor('dropout', x);
  expectDType('dropout', x.dtype, ['f32', 'f64']);
  if (!(p >= 0 && p <= 1)) throw new ConfigError(`dropout: expected p in 0..1, got ${p}`);
  const count = options.count ?? undefined;
  if (count !== undefined) {
    expectCount('dropout', 'the count', count);
    if (x.rank === 0) throw new ShapeError(`dropout: expected an axis for the count, got ${describe(x.shape)}`);
  }
  if (!(options.training ?? true) || p === 0) return identity(x);
  const scale = p === 1 ? 0 : 1 / (1 - p);
  const { dtype, device } = x;
  const mask = draw(
    'dropout',
    'bernoulli',
    1 - p,
    scale,
    x.shape,
    { dtype, device, generator: options.generator },
    count,
  );
  const out = mul(x, mask);
  mask.dispose();
  return out;
}

/**
 * Stochastic depth: sets whole samples (the first axis) to 0 with probability p and divides the others by 1 - p; the identity outside
 * training. For the branch of a residual block. (Huang et al. 2016, arXiv 1603.09382)
 */
export function dropPath(x: Tensor, p: number, options: { training?: boolean; generator?: Generator } = {}): Tensor {
  expectOptions('dropPath', options);
  expectTensor('dropPath', x);
  expectDType('dropPath', x.dtype, ['f32', 'f64']);
  if (!(p >= 0 && p <= 1)) throw new ConfigError(`dropPath: expected p in 0..1, got ${p}`);
  if (x.rank === 0) throw new ShapeError(`dropPath: expected a first axis of samples, got ${describe(x.shape)}`);
  if (!(options.training ?? true) || p === 0) return identity(x);
  const shape = x.shape.map((extent, axis) => (axis === 0 ? extent : 1));
  const { dtype, device } = x;
  const kept = draw('dropPath', 'bernoulli', 1 - p, p === 1 ? 0 : 1 / (1 - p), shape, {
    dtype,
    device,
    generator: options.generator,
  });
  const out = mul(x, kept);
  kept.dispose();
  return out;
}
