/**
 * The face of the native addon, as native/addon/ implements it. Nothing above src/device/ sees it.
 *
 * Wire format of a call: numbers in one shared Float64Array, so that enqueueing costs one native call with one argument.
 *   [op, outputs, inputs, numbers, tensor..., number...]     tensors: outputs first
 *   tensor = [handle, dtype, offset, rank, ...shape, ...strides]     offset and strides in elements
 * A handle of 0 on an output asks for a fresh buffer of the view's size; the new handle is written back in its place.
 */

/** Bytes, counted by the device's caching allocator. */
export interface MemoryInfo {
  /** Bytes in buffers that are alive. */
  bytesInUse: number;
  /** Highest value of bytesInUse so far. */
  peakBytes: number;
  /** Bytes held from the system, cached blocks included. */
  bytesReserved: number;
  /** Buffers alive. */
  buffers: number;
  /** Bytes owned by captured graphs. */
  graphBytes: number;
  /** Calls enqueued and not yet run. */
  queued: number;
}

/** A recorded sequence of calls. */
export interface NativeGraph {
  /** Runs the recorded calls again. `inputs` takes the place of the handles given to beginCapture, in order. */
  replay(inputs: number[]): void;
  /** Number of recorded calls. */
  readonly calls: number;
  /** Gives the graph's buffers back. Later replays throw DISPOSED. */
  dispose(): void;
}

/** Batches assembled on a thread of its own, ahead of their use. */
export interface NativeLoader {
  /**
   * Sets the order of the coming epoch: row numbers, in sequence; rows beyond are an error of code CONFIG. Drops what was prefetched.
   * `epoch` and `first`, the place of order[0] in it, choose augmentation and mixing.
   */
  start(order: Int32Array, batchSize: number, dropLast: boolean, epoch: number, first: number): void;
  /**
   * Enqueues the hand-over of the next batch into two fresh buffers: f32 [rows, features] and i32 [rows].
   * Returns [handle x, handle y, rows], or null at the end of the epoch. Where rows are mixed two more follow, of the second labels
   * i32 [rows] and the shares of the first f32 [rows].
   */
  next(): [x: number, y: number, rows: number, other?: number, share?: number] | null;
  /** Stops the thread and lets go of the data. */
  dispose(): void;
}

export interface NativeDevice {
  /** Where calls are written before enqueue. */
  readonly command: Float64Array;
  /** Ops that the device has no kernel for; enqueueing one is an error of code DEVICE. */
  readonly missing: readonly string[];
  /** Where handles of buffers to release are written before enqueue or releaseMany. */
  readonly released: Float64Array;
  alloc(bytes: number): number;
  release(handle: number): void;
  /** Copies host data into a buffer, in stream order. */
  write(handle: number, byteOffset: number, data: NodeJS.TypedArray): void;
  /** Resolves when the stream has reached this point and `into` is filled; rejects with the sticky error. */
  read(handle: number, byteOffset: number, into: NodeJS.TypedArray): Promise<void>;
  /** The same on the calling thread, which runs what is queued itself. */
  readSync(handle: number, byteOffset: number, into: NodeJS.TypedArray): void;
  /** Releases the first `count` buffers of `released`, in stream order; then enqueues the call in the first `length` numbers of `command`. */
  enqueue(length: number, count?: number): void;
  /** Releases the first `count` buffers of `released`. */
  releaseMany(count: number): void;
  /** Resolves when everything enqueued so far has run; rejects with the sticky error. */
  fence(): Promise<void>;
  /** Runs everything enqueued so far, on the calling thread; throws the sticky error. */
  sync(): void;
  /** Starts recording. Buffers of `inputs` are rebound at each replay. Calls go on running while they are recorded. */
  beginCapture(inputs: number[]): void;
  /** Ends recording. Buffers allocated since beginCapture belong to the graph, released or not. */
  endCapture(): NativeGraph;
  /** Ends recording and drops what was recorded (after an exception in the captured function). */
  abortCapture(): void;
  memory(): MemoryInfo;
  /** Gives cached blocks back to the system. */
  trim(): void;
  /**
   * features: numbers per row. The data arrays are copied. scale and shift: x * scale + shift on the way out, one of each or one per
   * channel, the last axis of a row. augment: nothing, or [height, width, channels, padding, flip, key, key] for rows that are
   * pictures: shifted by up to `padding` pixels, what comes in being 0 before scale and shift, and mirrored with probability
   * `flip`, by the random stream of the key (two 32-bit words). mix: nothing, or [kind, alpha, probability, kappa, tau, epochs,
   * height, width, channels, key, key]: 0 mixup, 1 Remix, 2 CutMix (of pictures), in that many epochs from 0 on.
   */
  createLoader(
    data: Uint8Array | Float32Array,
    labels: Int32Array,
    features: number,
    scale: Float32Array,
    shift: Float32Array,
    prefetch: number,
    augment: number[],
    mix: number[],
  ): NativeLoader;
  /** Stops the stream and frees everything; every later call throws DISPOSED. */
  dispose(): void;
}

/** A CUDA device of this machine. */
export interface CudaDeviceInfo {
  /** 'cuda:0', ... */
  name: string;
  /** As the vendor calls it. */
  model: string;
  /** Compute capability, e.g. '9.0'. */
  capability: string;
  /** All its memory, in bytes. */
  memory: number;
  multiprocessors: number;
}

export interface NativeModule {
  /** Instruction set in use: naive, scalar, avx2, avx512 or neon. */
  readonly isa: string;
  /** Instruction sets this binary and this CPU have, best last. */
  readonly isas: string[];
  /** The value of GYRUS_ISA, or an empty string. */
  readonly forcedIsa: string;
  readonly cpu: { vendor: string; brand: string; cores: number; features: string[] };
  readonly napiVersion: number;
  readonly compiler: string;
  /** Names in wire order; src/device/ops.ts compares them with its own. */
  readonly ops: string[];
  readonly kinds: Record<'unary' | 'binary' | 'reduce' | 'arg' | 'activation' | 'random' | 'score', string[]>;
  threads(): number;
  setThreads(n: number): void;
  /** Philox4x32-10 on the host: fills with 32-bit words of the stream (seed, counter...). For shuffles and initialisers in TypeScript. */
  philox(seedLow: number, seedHigh: number, counter: number, into: Uint32Array): void;
  /** Looks for them at each call. `status`: why there is none, or an empty string. */
  cudaDevices(): { devices: CudaDeviceInfo[]; status: string };
  /** `device`: 'cpu' (default) or the name of a CUDA device. */
  createDevice(options?: {
    device?: string;
    precision?: string;
    maxQueuedCalls?: number;
    maxQueuedBytes?: number;
  }): NativeDevice;
}
/** Errors thrown by the addon carry code SHAPE, DTYPE, DEVICE, DISPOSED, OUT_OF_MEMORY, FORMAT, CONFIG or INTERNAL. */
