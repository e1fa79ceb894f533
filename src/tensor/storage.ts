/**
 * A counted reference to a device buffer. Views, saved tensors and parameters share one; the buffer goes back to the device when
 * the last of them lets go. `version` counts in-place writes, so that backward can tell that a saved tensor was overwritten.
 */
import { type Device, DisposedError } from '../device/index.js';

export class Storage {
  readonly device: Device;
  readonly handle: number;
  readonly bytes: number;
  version = 0;
  #references = 0;

  constructor(device: Device, handle: number, bytes: number) {
    this.device = device;
    this.handle = handle;
    this.bytes = bytes;
  }

  get released(): boolean {
    return this.#references < 0;
  }
  /** Tensors that share the buffer. */
  get references(): number {
    return Math.max(0, this.#references);
  }

  retain(): this {
    if (this.#references < 0) throw new DisposedError('storage: its buffer was given back already');
    this.#references++;
    return this;
  }

  release(): void {
    if (this.#references > 0 && --this.#references === 0) {
      this.#references = -1;
      this.device.release(this.handle);
    }
  }
}
