/**
 * The devices of the native addon, CPU and CUDA, behind the Device interface. A call is written as numbers into the array
 * that the addon shares with us and enqueued by one native call.
 */
import { addon } from './addon.js';
import type { Device, Graph, TensorView } from './device.js';
import { ConfigError, DisposedError, typed } from './errors.js';
import type { MemoryInfo, NativeDevice, NativeLoader } from './native.js';
import { OP_CODE, type OpName } from './ops.js';

/** Options of {@link AddonDevice}. */
export interface DeviceOptions {
  /**
   * Of the factors of f32 products (matmul, linear layers, 1x1 convolutions of stride 1) on a CUDA device, on tensor cores; sums are f32
   * in any case. Default: GYRUS_PRECISION, or f32. The CPU has f32 only.
   */
  precision?: 'f32' | 'tf32' | 'bf16';
  /** Calls that may wait in the queue before the producer has to wait. Default 4096. */
  maxQueuedCalls?: number;
  /** Bytes of host data that may wait in the queue. Default 256 MiB. */
  maxQueuedBytes?: number;
}

function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw typed(error);
  }
}

async function guardedAsync<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw typed(error);
  }
}

/** Writes one view; past the end of the array the numbers are dropped, and enqueue refuses the call by its length. */
function put(command: Float64Array, at: number, view: TensorView): number {
  const { shape, strides } = view;
  const rank = shape.length;
  command[at] = view.handle;
  command[at + 1] = view.dtype;
  command[at + 2] = view.offset;
  command[at + 3] = rank;
  at += 4;
  for (let i = 0; i < rank; i++) command[at + i] = shape[i];
  at += rank;
  for (let i = 0; i < rank; i++) command[at + i] = strides[i];
  return at + rank;
}

/** A device with memory and a stream of its own; `device(name)` gives the one that is shared. */
export class AddonDevice implements Device {
  readonly name: string;
  #native: NativeDevice;
  #command: Float64Array;
  #released: Float64Array;
  /** Handles in #released. They go along with the next native call: one of their own costs as much as a small kernel. */
  #waiting = 0;
  #disposed = false;

  /** Throws DeviceError, saying what was looked for, when there is no device of that name. */
  constructor(name = 'cpu', options: DeviceOptions = {}) {
    this.name = name;
    this.#native = guarded(() => addon().createDevice({ ...options, device: name }));
    this.#command = this.#native.command;
    this.#released = this.#native.released;
  }

  /** Ops that this device has no kernel for: to enqueue one throws DeviceError. */
  get missing(): readonly string[] {
    return this.#native.missing;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  allocate(bytes: number): number {
    return guarded(() => this.#current().alloc(bytes));
  }

  release(handle: number): void {
    if (this.#disposed) return;
    this.#released[this.#waiting++] = handle;
    if (this.#waiting === this.#released.length) this.#current();
  }

  /** The native device, once it has got the buffers that were released. */
  #current(): NativeDevice {
    const count = this.#waiting;
    this.#waiting = 0;
    if (count > 0 && !this.#disposed) guarded(() => this.#native.releaseMany(count));
    return this.#native;
  }

  write(handle: number, byteOffset: number, data: NodeJS.TypedArray): void {
    guarded(() => this.#current().write(handle, byteOffset, data));
  }

  read(handle: number, byteOffset: number, into: NodeJS.TypedArray): Promise<void> {
    return guardedAsync(guarded(() => this.#current().read(handle, byteOffset, into)));
  }

  readSync(handle: number, byteOffset: number, into: NodeJS.TypedArray): void {
    guarded(() => this.#current().readSync(handle, byteOffset, into));
  }

  enqueue(op: OpName, outputs: readonly TensorView[], inputs: readonly TensorView[], record: readonly number[]): void {
    if (this.#disposed) throw new DisposedError(`${op}: the device was disposed of`);
    const command = this.#command;
    command[0] = OP_CODE[op];
    command[1] = outputs.length;
    command[2] = inputs.length;
    command[3] = record.length;
    let at = 4;
    for (let i = 0; i < outputs.length; i++) at = put(command, at, outputs[i]);
    for (let i = 0; i < inputs.length; i++) at = put(command, at, inputs[i]);
    if (at + record.length > command.length) {
      throw new ConfigError(`${op}: a call of ${at + record.length} numbers; at most ${command.length} fit`);
    }
    for (let i = 0; i < record.length; i++) command[at++] = record[i];
    const count = this.#waiting;
    this.#waiting = 0;
    try {
      this.#native.enqueue(at, count);
    } catch (error) {
      throw typed(error);
    }
    at = 4;
    for (let i = 0; i < outputs.length; i++) {
      const view = outputs[i];
      if (view.handle === 0) view.handle = command[at];
      at += 4 + 2 * view.shape.length;
    }
  }

  fence(): Promise<void> {
    return guardedAsync(guarded(() => this.#current().fence()));
  }

  sync(): void {
    guarded(() => this.#current().sync());
  }

  beginCapture(inputs: readonly number[]): void {
    guarded(() => this.#current().beginCapture([...inputs]));
  }

  endCapture(): Graph {
    const graph = guarded(() => this.#current().endCapture());
    return {
      calls: graph.calls,
      replay: (inputs) => guarded(() => graph.replay(inputs as number[])),
      dispose: () => {
        if (!this.#disposed) guarded(() => graph.dispose());
      },
    };
  }

  abortCapture(): void {
    guarded(() => this.#current().abortCapture());
  }

  memory(): MemoryInfo {
    return guarded(() => this.#current().memory());
  }

  trim(): void {
    guarded(() => this.#current().trim());
  }

  createLoader(
    data: Uint8Array | Float32Array,
    labels: Int32Array,
    features: number,
    scale: Float32Array,
    shift: Float32Array,
    prefetch: number,
    augment: number[],
    mix: number[],
  ): NativeLoader {
    const loader = guarded(() =>
      this.#current().createLoader(data, labels, features, scale, shift, prefetch, augment, mix),
    );
    return {
      start: (order, batchSize, dropLast, epoch, first) =>
        guarded(() => loader.start(order, batchSize, dropLast, epoch, first)),
      next: () => {
        this.#current();
        return guarded(() => loader.next());
      },
      dispose: () => {
        if (!this.#disposed) guarded(() => loader.dispose());
      },
    };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.dispose();
  }
}
