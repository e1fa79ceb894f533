/**
 * DataLoader: batches of a dataset as tensors. They are assembled natively, on a thread of their own and ahead of their use.
 */
import { ConfigError, type Device, DisposedError, expectKeys, type NativeLoader } from '../device/index.js';
import { type DType, Philox, resolveDevice, Storage, Tensor } from '../tensor/index.js';
import { affineOf, type Dataset } from './dataset.js';
import { type LoaderMix, mixRecord } from './mix.js';

export interface LoaderOptions {
  /** Rows per batch. Default 128. */
  batchSize?: number;
  /** Leave out a last batch that isn't full. Default false. */
  dropLast?: boolean;
  /** Batches assembled ahead. Default 4. */
  prefetch?: number;
  /** Gives the rows of each epoch; default: all rows in their own order. */
  sampler?: { epoch(e: number): Int32Array };
  /** Random augmentation of pictures; default: none. */
  augment?: LoaderAugmentation;
  /** Mixing of the rows of a batch, after their augmentation; default: none. */
  mix?: LoaderMix;
  device?: Device | string;
}

/** Augmentation by a {@link DataLoader}: rows are pictures [height, width, channels]. */
export interface LoaderAugmentation {
  /** Largest shift in pixels along each axis; what comes in from outside is 0 before scale and shift. Default 0. */
  padding?: number;
  /** Probability of mirroring left and right, 0 to 1. Default 0. */
  flip?: number;
  /** What a row draws follows from the seed, the epoch and the row's place in the epoch alone. Default 0. */
  seed?: number;
}

/** The augmentation as the device takes it. */
function augmentation({ name, shape }: Dataset, options: LoaderAugmentation | undefined): number[] {
  if (options === undefined) return [];
  expectKeys('DataLoader: augment', options, ['padding', 'flip', 'seed']);
  const { padding = 0, flip = 0, seed = 0 } = options;
  if (!Number.isInteger(padding) || padding < 0 || padding > 65535) {
    throw new ConfigError(`DataLoader: augment: expected padding to be a whole number in 0..65535, got ${padding}`);
  }
  if (!(flip >= 0 && flip <= 1)) throw new ConfigError(`DataLoader: augment: expected flip in 0..1, got ${flip}`);
  if (shape.length !== 3) {
    throw new ConfigError(
      `DataLoader: augment: expected rows that are pictures [height,width,channels], got [${shape.join(',')}] of ${name}`,
    );
  }
  const random = new Philox(seed, 'augment');
  return [...shape, padding, flip, random.u32(), random.u32()];
}

/** Inputs f32 [rows, features] and labels i32 [rows]. Whoever takes a batch disposes of it. */
export interface Batch {
  x: Tensor;
  y: Tensor;
  rows: number;
  /** With `mix`: labels of the second parts i32 [rows], and shares of the first, whose labels are y, f32 [rows], 0.5..1. */
  mixed?: { labels: Tensor; share: Tensor };
}

/** Frees a batch. */
export function disposeBatch({ x, y, mixed }: Batch): void {
  x.dispose();
  y.dispose();
  mixed?.labels.dispose();
  mixed?.share.dispose();
}

export class DataLoader implements AsyncIterable<Batch> {
  readonly dataset: Dataset;
  readonly batchSize: number;
  readonly dropLast: boolean;
  readonly device: Device;
  readonly #sampler: LoaderOptions['sampler'];
  readonly #native: NativeLoader;
  #batches = 0;
  #epoch = -1;
  #disposed = false;

  /** Throws ConfigError for a batch size or prefetch below 1, for an augmentation of rows that are no pictures, and as {@link mixRecord}. */
  constructor(dataset: Dataset, options: LoaderOptions = {}) {
    const { batchSize = 128, dropLast = false, prefetch = 4 } = options;
    for (const [name, value] of [
      ['batch size', batchSize],
      ['prefetch', prefetch],
    ] as const) {
      if (!Number.isInteger(value) || value < 1) {
        throw new ConfigError(`DataLoader: expected a ${name} of at least 1, got ${value}`);
      }
    }
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.dropLast = dropLast;
    this.device = resolveDevice(options.device);
    this.#sampler = options.sampler;
    const { data, labels, features } = dataset;
    const { scale, shift } = affineOf(dataset);
    const augment = augmentation(dataset, options.augment);
    const mix = mixRecord(dataset, options.mix);
    this.#native = this.device.createLoader(data, labels, features, scale, shift, prefetch, augment, mix);
  }

  /** Batches of the epoch that was started. */
  get batches(): number {
    return this.#batches;
  }
  /** The epoch that was started, -1 before. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Begins epoch e (from 0), leaving out its first `skip` batches. What was prefetched of another is dropped. */
  start(e: number, skip = 0): void {
    if (this.#disposed) throw new DisposedError('DataLoader: it was disposed of');
    const order = this.#sampler?.epoch(e) ?? Int32Array.from({ length: this.dataset.rows }, (_, i) => i);
    this.#batches = this.dropLast
      ? Math.floor(order.length / this.batchSize)
      : Math.ceil(order.length / this.batchSize);
    const first = Math.min(skip * this.batchSize, order.length);
    this.#native.start(order.slice(first), this.batchSize, this.dropLast, e, first);
    this.#epoch = e;
  }

  /** The next batch, or undefined at the end of the epoch. Doesn't wait for the rows: they come in stream order. */
  next(): Batch | undefined {
    if (this.#disposed) throw new DisposedError('DataLoader: it was disposed of');
    if (this.#epoch < 0) throw new ConfigError('DataLoader.next: expected start() before, got no epoch');
    const batch = this.#native.next();
    if (!batch) return undefined;
    const [x, y, rows, other, share] = batch;
    const { features } = this.dataset;
    const column = (handle: number, dtype: DType): Tensor =>
      new Tensor(new Storage(this.device, handle, 4 * rows), dtype, [rows]);
    const out: Batch = {
      x: new Tensor(new Storage(this.device, x, 4 * rows * features), 'f32', [rows, features]),
      y: column(y, 'i32'),
      rows,
    };
    if (other !== undefined && share !== undefined) {
      out.mixed = { labels: column(other, 'i32'), share: column(share, 'f32') };
    }
    return out;
  }

  /** The batches of the next epoch (the first iteration is epoch 0). Each batch is disposed of when the loop goes on. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Batch> {
    this.start(this.#epoch + 1);
    const epoch = this.#epoch;
    for (let batch = this.next(); batch; batch = this.next()) {
      try {
        // One at a time: a consumer that only enqueues work must not run ahead of the stream for a whole epoch.
        await this.device.fence();
        yield batch;
      } finally {
        disposeBatch(batch);
      }
      if (this.#epoch !== epoch) throw new ConfigError('DataLoader: start() was called while iterating');
    }
  }

  /** Stops the thread and lets go of its copy of the data. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
