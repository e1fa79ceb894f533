/**
 * Pace keeps the producer of steps a little ahead of the stream, and the event loop free: after every few steps it waits for the
 * fence of the group before. The group's size follows the length of a step, so that waiting costs nothing and stopping is prompt.
 */
import type { Device } from '../device/index.js';

const MOST = 32;
/** A group should take about this long, in milliseconds. */
const TARGET = 10;

export class Pace {
  readonly #device: Device;
  #group = 1;
  #since = 0;
  #fence: Promise<void> | undefined;
  #last = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** To be awaited after each step. At most two groups are in flight. Rejects with the stream's error. */
  async stepped(): Promise<void> {
    if (++this.#since < this.#group) return;
    this.#since = 0;
    const before = this.#fence;
    this.#fence = this.#device.fence();
    // Awaited one group later; until then a rejection has no other handler.
    this.#fence.catch(() => undefined);
    if (!before) return;
    await before;
    const now = performance.now();
    const took = now - this.#last;
    this.#last = now;
    if (took < TARGET / 2) this.#group = Math.min(MOST, this.#group * 2);
    else if (took > TARGET * 2) this.#group = Math.max(1, this.#group >> 1);
  }

  /** Waits until nothing is in flight. Rejects with the stream's error. */
  async drain(): Promise<void> {
    const before = this.#fence;
    this.#fence = undefined;
    this.#since = 0;
    await before;
    await this.#device.fence();
  }
}
