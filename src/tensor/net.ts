/**
 * The safety net: what nobody disposed of is freed when the garbage collector finds it. Watching an object costs more than a small
 * kernel, and most objects are disposed of soon, so newcomers wait in a short list first and are only watched if they outlive it.
 */

/** At most so many objects, and so many bytes behind them, wait. */
const MOST = 256;
const MOST_BYTES = 1 << 20;

/** An object that a {@link SafetyNet} may watch. The net alone writes `watch`. */
export interface Watched<T> {
  watch: 'no' | 'waiting' | 'watched';
  /** What has to be freed once the object is gone. It must not refer to the object. */
  readonly leftover: T;
}

export class SafetyNet<T> {
  readonly #registry: FinalizationRegistry<T>;
  readonly #waiting: Watched<T>[] = [];
  #bytes = 0;
  #scheduled = false;

  constructor(free: (leftover: T) => void) {
    this.#registry = new FinalizationRegistry(free);
  }

  /** Has the object's leftover freed if it is collected without having been removed. `bytes`: memory that hangs on it. */
  add(object: Watched<T>, bytes: number): void {
    if (object.watch !== 'no') return;
    object.watch = 'waiting';
    this.#bytes += bytes;
    if (this.#waiting.push(object) >= MOST || this.#bytes > MOST_BYTES) this.#flush();
    else if (!this.#scheduled) this.#schedule();
  }

  /** Forgets the object: it was disposed of, or somebody else takes care of it. */
  remove(object: Watched<T>): void {
    if (object.watch === 'watched') this.#registry.unregister(object);
    else if (this.#waiting[this.#waiting.length - 1] === object) this.#waiting.pop();
    object.watch = 'no';
  }

  /** The last newcomers are held no longer than until the event loop turns. */
  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    }).unref();
  }

  #flush(): void {
    const waiting = this.#waiting;
    for (let i = 0; i < waiting.length; i++) {
      const object = waiting[i];
      // Removed ones are still listed, and one that came back is listed twice.
      if (object.watch !== 'waiting') continue;
      object.watch = 'watched';
      this.#registry.register(object, object.leftover, object);
    }
    waiting.length = 0;
    this.#bytes = 0;
  }
}
