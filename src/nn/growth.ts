/**
 * What the newborn start with. Every initialisation but the last leaves the function of the network as it was, as long as what reads
 * the neurons is linear in them. A cosine classifier is not: it divides by the lengths of features and weights, so that paired and split change its
 * logits, zero-out and orthogonal scale them, and gradmax is refused.
 *   zero-out  incoming weights drawn, outgoing 0                                        (exact)
 *   paired    neurons in twos with incoming (V, V) and outgoing (Z, -Z); odd one zero-out (to rounding)
 *   split     copies of chosen neurons, the outgoing weights shared out among the copies  (to rounding)
 *   orthogonal  drawn as for zero-out, without what lies in the space of the incoming weights there are, length kept; outgoing 0 (exact)
 *   gradmax   neurons in twos with incoming 0, a small bias and outgoing (u, -u), u the direction that gives the incoming weights the
 *             largest gradient (see gradmaxDirections); odd one zero-out                  (to rounding)
 *   variance-transfer  paired, and then all outgoing weights times sqrt(n / m) for a width that goes from n to m units: what reads the
 *             neurons computes that much less than it did, before its bias. The function changes, unless batch norm takes the factor
 *             out again at once, in training; its running statistics follow as it trains. (see transferVariance)
 * The paper of gradmax takes single neurons with an activation that has a slope at 0. ReLU has none here, so the twins get a bias just
 * above 0: they are active for every sample, what they add cancels, and they set out in opposite directions, as the two halves of a
 * linear unit. Sources: Chen, Goodfellow, Shlens, "Net2Net", arXiv 1511.05641 (split: Net2Wider); Maile et al. 2022, arXiv 2202.08539
 * (orthogonal: NORTH*); Evci et al. 2022, arXiv 2201.05125 (gradmax).
 */
import { ConfigError } from '../device/index.js';
import {
  add,
  concat,
  defaultGenerator,
  div,
  expand,
  gather,
  type Generator,
  indexSelect,
  mean,
  mul,
  normal,
  permutation,
  reshape,
  scatterAdd,
  sqrt,
  square,
  std,
  sum,
  uniform,
  zeros,
} from '../ops/index.js';
import { sizeOf, type Tensor, tensor } from '../tensor/index.js';
import type { CarriedArray } from './carried.js';
import { orthogonalTo, rowsOf } from './directions.js';
import { varianceFactor } from './variance.js';

export const GROWTH_INITS = ['zero-out', 'paired', 'split', 'orthogonal', 'gradmax', 'variance-transfer'] as const;
export type GrowthInit = (typeof GROWTH_INITS)[number];

export interface NewbornOptions {
  /** Default 'zero-out'. */
  init?: GrowthInit;
  /**
   * Spread of drawn weights: 'kaiming' U(+-sqrt(6 / fan-in)) (He 2015) or 'match' U(+-sqrt(3) std(W_old)), which follows what
   * the layer has become. Default 'kaiming'.
   */
  spread?: 'kaiming' | 'match';
  /** split: importance per active neuron; the highest are copied, in turn. Default: donors drawn at random. */
  scores?: ArrayLike<number>;
  /** split: the slots to copy, one per newborn. Goes before `scores`. */
  donors?: ArrayLike<number>;
  /** split: standard deviation of the noise on incoming weights, relative to theirs. Above 0 the function changes. Default 0. */
  noise?: number;
  /** split: 'random' shares of the outgoing weights break the symmetry of the copies, 'equal' ones don't. Default 'random'. */
  shares?: 'random' | 'equal';
  /**
   * gradmax: orthonormal outgoing weights, best first, one for each two newborn; see gradmaxDirections. Newborn for which there is none
   * are zero-out.
   */
  directions?: readonly ArrayLike<number>[];
  /** Source of random numbers. Default: the default generator. */
  generator?: Generator;
}

/** Names of the options, for refusing others. */
export const NEWBORN_OPTIONS = [
  'init',
  'spread',
  'scores',
  'donors',
  'noise',
  'shares',
  'directions',
  'generator',
] as const;

/** Of gradmax twins: enough for ReLU to pass on a gradient, far below what neurons compute. */
const GRADMAX_BIAS = 1e-3;

/** What CarriedArray asks while it makes room for the newborn. */
export interface Newborn {
  /** Reset only: leave the outgoing weights of the reborn as they are. */
  readonly keepOutgoing: boolean;
  /** Slices of the newborn along `axis` of `current`, or undefined for the array's fill value. */
  slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined;
  /** Factors along `axis` for all neurons after the change, shaped to broadcast, or undefined. */
  factors(array: CarriedArray, axis: number): Tensor | undefined;
}

/** U(-bound, bound) of the given shape, by the rule of `spread`; `like` is the old weight, its first axis the outputs. */
function draw(shape: readonly number[], like: Tensor, options: NewbornOptions): Tensor {
  const { dtype, device } = like;
  const { generator } = options;
  if ((options.spread ?? 'kaiming') === 'match' && like.size > 1) {
    const unit = uniform([...shape], { low: -1, high: 1, generator, dtype, device });
    return mul(unit, mul(std(like, undefined, { correction: 0 }), Math.sqrt(3)));
  }
  const bound = Math.sqrt(6 / Math.max(1, sizeOf(like.shape.slice(1))));
  return uniform([...shape], { low: -bound, high: bound, generator, dtype, device });
}

function resized(shape: readonly number[], axis: number, extent: number): number[] {
  return shape.map((old, i) => (i === axis ? extent : old));
}

/** A vector shaped to run along `axis` of an array of that rank. */
function alongAxis(vector: Tensor, axis: number, rank: number): Tensor {
  return reshape(
    vector,
    Array.from({ length: rank }, (_, i) => (i === axis ? vector.size : 1)),
  );
}

/** Slots of units as slots of their elements, `span` for each; -1 stays -1. */
export function spread(slots: Int32Array, span: number): Int32Array {
  if (span === 1) return slots;
  return Int32Array.from({ length: slots.length * span }, (_, i) => {
    const slot = slots[Math.floor(i / span)];
    return slot < 0 ? -1 : slot * span + (i % span);
  });
}

/** Slots of units on the device as slots of their elements, `span` for each. */
function elements(slots: Tensor, span: number): Tensor {
  if (span === 1) return slots;
  const { device } = slots;
  const within = tensor(
    Int32Array.from({ length: span }, (_, i) => i),
    { device },
  );
  return reshape(add(reshape(mul(slots, span), [-1, 1]), within), [-1]);
}

class ZeroOut implements Newborn {
  constructor(
    readonly count: number,
    readonly options: NewbornOptions,
    readonly keepOutgoing: boolean,
  ) {}

  slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined {
    const shape = resized(current.shape, axis, this.count * array.spans[axis]);
    if (array.roles[axis] === 'incoming') return draw(shape, current, this.options);
    if (array.roles[axis] === 'outgoing' && array.fill !== 0) {
      return zeros(shape, { dtype: current.dtype, device: current.device });
    }
    return undefined;
  }

  factors(): undefined {
    return undefined;
  }
}

class Orthogonal extends ZeroOut {
  override slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined {
    const born = super.slices(array, axis, current);
    if (!born || array.roles[axis] !== 'incoming') return born;
    const rows = (t: Tensor): Float64Array[] => rowsOf(t.dataSync(), t.shape[0]);
    const { shape, dtype, device } = born;
    const values = orthogonalTo(rows(current), rows(born)).flatMap((row) => [...row]);
    return tensor(Float64Array.from(values), { shape, dtype, device });
  }
}

class GradMax implements Newborn {
  readonly keepOutgoing = false;
  /** Neurons that have a direction. */
  readonly aimed: number;
  constructor(
    readonly count: number,
    readonly directions: readonly ArrayLike<number>[],
    readonly options: NewbornOptions,
  ) {
    this.aimed = 2 * Math.min(count >> 1, directions.length);
  }

  slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined {
    const { aimed, count } = this;
    const { dtype, device } = current;
    const part = (n: number): number[] => resized(current.shape, axis, n * array.spans[axis]);
    switch (array.roles[axis]) {
      case 'incoming': {
        const still = zeros(part(aimed), { dtype, device });
        return aimed === count ? still : concat([still, draw(part(count - aimed), current, this.options)], axis);
      }
      case 'bias':
        return tensor(
          Float64Array.from({ length: count }, (_, i) => (i < aimed ? GRADMAX_BIAS : 0)),
          { dtype, device },
        );
      case 'outgoing':
        return this.#outgoing(array, current);
      default:
        return undefined;
    }
  }

  factors(): undefined {
    return undefined;
  }

  /** (u, -u) for each direction, as long as the columns there are in the mean. */
  #outgoing(array: CarriedArray, current: Tensor): Tensor {
    const { aimed, count, directions } = this;
    const { dtype, device, rank, shape } = current;
    const weights = sizeOf(shape.slice(0, -1));
    if (array.spans[rank - 1] !== 1 || directions.some(({ length }) => length !== weights)) {
      throw new ConfigError(
        `grow: gradmax: expected a layer behind the width that reads each unit as a whole, and directions of its ${weights} ` +
          `weights, got ${directions.map(({ length }) => length).join(',') || 'none'}`,
      );
    }
    const columns = Float64Array.from({ length: weights * count }, (_, at) => {
      const [o, i] = [Math.floor(at / count), at % count];
      return i < aimed ? (i % 2 === 0 ? 1 : -1) * directions[i >> 1][o] : 0;
    });
    const lengths = sqrt(sum(reshape(square(current), [weights, shape[rank - 1]]), 0));
    return mul(tensor(columns, { shape: resized(shape, rank - 1, count), dtype, device }), mean(lengths));
  }
}

class Paired implements Newborn {
  readonly keepOutgoing = false;
  readonly pairs: number;
  constructor(
    readonly count: number,
    readonly options: NewbornOptions,
  ) {
    this.pairs = Math.floor(count / 2);
  }

  slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined {
    const role = array.roles[axis];
    if (role !== 'incoming' && role !== 'outgoing') return undefined;
    const { device, dtype } = current;
    const odd = this.count % 2 === 1;
    const span = array.spans[axis];
    const drawn = draw(
      resized(current.shape, axis, span * (this.pairs + (odd && role === 'incoming' ? 1 : 0))),
      current,
      this.options,
    );
    // Pair i comes to newborn 2i and 2i + 1; the odd one out is zero-out: drawn incoming, no outgoing (index -1).
    const index = Int32Array.from({ length: this.count }, (_, i) => {
      const pair = i >> 1;
      return pair < this.pairs || role === 'incoming' ? pair : -1;
    });
    const both = indexSelect(drawn, tensor(spread(index, span), { device }), axis, { fill: 0 });
    if (role === 'incoming') return both;
    const signs = tensor(
      Float32Array.from({ length: span * this.count }, (_, i) => (Math.floor(i / span) % 2 === 0 ? 1 : -1)),
      { device, dtype },
    );
    return mul(both, alongAxis(signs, axis, current.rank));
  }

  factors(_array: CarriedArray, _axis: number): Tensor | undefined {
    return undefined;
  }
}

class VarianceTransfer extends Paired {
  constructor(
    count: number,
    /** Neurons there are. */
    readonly size: number,
    options: NewbornOptions,
  ) {
    super(count, options);
  }

  override factors(array: CarriedArray, axis: number): Tensor | undefined {
    if (array.roles[axis] !== 'outgoing') return undefined;
    const { dtype, device } = array.full;
    return tensor(Float64Array.of(varianceFactor(this.size, this.size + this.count)), { dtype, device });
  }
}

class Split implements Newborn {
  readonly keepOutgoing = false;
  readonly #donors: Tensor;
  readonly #shares: Tensor;

  /** donors: i32 [count], slots among the `size` neurons there are. */
  constructor(
    donors: Tensor,
    size: number,
    readonly options: NewbornOptions,
  ) {
    const { device } = donors;
    this.#donors = donors;
    // Each neuron and its copies get a part of its outgoing weights: part / sum of the parts; x / x is 1 for the others.
    const family = concat(
      [
        tensor(
          Int32Array.from({ length: size }, (_, i) => i),
          { device },
        ),
        donors,
      ],
      0,
    );
    const [low, high] = options.shares === 'equal' ? [1, 1] : [0.5, 1.5];
    const parts = uniform([family.size], { low, high, generator: options.generator, device });
    const total = scatterAdd(zeros([size], { device }), 0, family, parts);
    this.#shares = div(parts, gather(total, 0, family));
  }

  slices(array: CarriedArray, axis: number, current: Tensor): Tensor | undefined {
    const role = array.roles[axis];
    if (role === 'slot' || role === 'stat') return undefined;
    const copies = indexSelect(current, elements(this.#donors, array.spans[axis]), axis);
    const noise = this.options.noise ?? 0;
    if (role !== 'incoming' || noise === 0) return copies;
    const { dtype, device } = current;
    const jitter = normal(copies.shape, { mean: 0, std: noise, generator: this.options.generator, dtype, device });
    return add(copies, mul(jitter, std(current, undefined, { correction: 0 })));
  }

  factors(array: CarriedArray, axis: number): Tensor | undefined {
    if (array.roles[axis] !== 'outgoing') return undefined;
    const shares = array.dtype === 'f32' ? this.#shares : this.#shares.cast(array.dtype);
    const span = array.spans[axis];
    // Every element of a unit gets the unit's share.
    const each = span === 1 ? shares : reshape(expand(reshape(shares, [-1, 1]), [shares.size, span]), [-1]);
    return alongAxis(each, axis, array.axes.length);
  }
}

/** Slots of the highest scores, one per newborn, starting over when there are more newborn than neurons. */
function highest(scores: ArrayLike<number>, count: number): Int32Array {
  const order = Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
  return Int32Array.from({ length: count }, (_, i) => order[i % order.length]);
}

/** Donors of a split: given, of the highest scores, or drawn without replacement (in rounds when they are too few). */
function chooseDonors(op: string, count: number, size: number, options: NewbornOptions): Tensor {
  const { device } = (options.generator ?? defaultGenerator()).state;
  if (options.donors) {
    const donors = Array.from(options.donors);
    if (donors.length !== count || donors.some((slot) => !Number.isInteger(slot) || slot < 0 || slot >= size)) {
      throw new ConfigError(`${op}: expected ${count} donors among slots 0..${size - 1}, got [${donors.join(',')}]`);
    }
    return tensor(Int32Array.from(donors), { device });
  }
  if (options.scores) {
    if (options.scores.length !== size) {
      throw new ConfigError(`${op}: expected ${size} scores, one per active neuron, got ${options.scores.length}`);
    }
    return tensor(highest(options.scores, count), { device });
  }
  const drawn = permutation(size, { generator: options.generator, device });
  return indexSelect(
    drawn,
    tensor(
      Int32Array.from({ length: count }, (_, i) => i % size),
      { device },
    ),
    0,
  );
}

/** The initialiser of `count` newborn beside `size` neurons. Throws ConfigError for options that make no sense. */
export function newborn(
  op: string,
  count: number,
  size: number,
  options: NewbornOptions,
  keepOutgoing = false,
): Newborn {
  const init = options.init ?? 'zero-out';
  if (!(GROWTH_INITS as readonly string[]).includes(init)) {
    throw new ConfigError(`${op}: expected init to be one of ${GROWTH_INITS.join(', ')}, got '${String(init)}'`);
  }
  if (options.spread !== undefined && options.spread !== 'kaiming' && options.spread !== 'match') {
    throw new ConfigError(`${op}: expected spread to be kaiming or match, got '${String(options.spread)}'`);
  }
  if (options.shares !== undefined && options.shares !== 'random' && options.shares !== 'equal') {
    throw new ConfigError(`${op}: expected shares to be random or equal, got '${String(options.shares)}'`);
  }
  if (options.noise !== undefined && !(options.noise >= 0 && Number.isFinite(options.noise))) {
    throw new ConfigError(`${op}: expected noise to be a number >= 0, got ${String(options.noise)}`);
  }
  if (init === 'paired') return new Paired(count, options);
  if (init === 'variance-transfer') return new VarianceTransfer(count, size, options);
  if (init === 'split') return new Split(chooseDonors(op, count, size, options), size, options);
  if (init === 'orthogonal') return new Orthogonal(count, options, false);
  if (init === 'gradmax') {
    if (!options.directions) throw new ConfigError(`${op}: expected directions with init 'gradmax', got none`);
    return new GradMax(count, options.directions, options);
  }
  return new ZeroOut(count, options, keepOutgoing);
}
