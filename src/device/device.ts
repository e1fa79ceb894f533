/**
 * The contract between TypeScript and whatever computes: memory, an in-order stream of calls, captured graphs.
 * The devices of the native addon (addon-device.ts) are behind it; a device in TypeScript (WebGPU) can implement it as well.
 */
import type { MemoryInfo, NativeLoader } from './native.js';
import type { OpName } from './ops.js';

/** What a call sees of a tensor: a strided window on a buffer. Offset and strides count elements. */
export interface TensorView {
  /** The buffer; 0 on an output asks the device for a fresh one. */
  handle: number;
  /** Wire number of the element type, see tensor/dtype.ts. */
  dtype: number;
  offset: number;
  shape: readonly number[];
  strides: readonly number[];
}

/** A recorded sequence of calls over fixed buffers. */
export interface Graph {
  /** Runs the calls again with these buffers in place of the ones given to beginCapture. One native call. */
  replay(inputs: readonly number[]): void;
  readonly calls: number;
  dispose(): void;
}

export interface Device {
  /** 'cpu', 'cuda:0', ... */
  readonly name: string;
  readonly disposed: boolean;

  /** A buffer of that many bytes, contents undefined. Throws OutOfMemoryError. */
  allocate(bytes: number): number;
  /** Gives a buffer back, in stream order. A handle that isn't one is refused here or by the next call. */
  release(handle: number): void;
  /** Copies host data into a buffer, in stream order. */
  write(handle: number, byteOffset: number, data: NodeJS.TypedArray): void;
  /** Fills `into` when the stream gets there. Rejects with the stream's sticky error. */
  read(handle: number, byteOffset: number, into: NodeJS.TypedArray): Promise<void>;
  /** The same at once: the calling thread runs what is queued. */
  readSync(handle: number, byteOffset: number, into: NodeJS.TypedArray): void;

  /**
   * Enqueues one op. `record` holds its parameters in the order of native/kernels/params.h.
   * Returns nothing; outputs that came with handle 0 have their new handle filled in.
   */
  enqueue(op: OpName, outputs: readonly TensorView[], inputs: readonly TensorView[], record: readonly number[]): void;

  /** Resolves when everything enqueued so far has run. */
  fence(): Promise<void>;
  /** Runs everything enqueued so far, on the calling thread. */
  sync(): void;

  /** Between these two, calls run and are recorded. */
  beginCapture(inputs: readonly number[]): void;
  endCapture(): Graph;
  abortCapture(): void;

  memory(): MemoryInfo;
  /** Gives cached memory back to the system. */
  trim(): void;
  /** Assembles batches of rows ahead of their use, off the main thread. See NativeLoader. */
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
  dispose(): void;
}
