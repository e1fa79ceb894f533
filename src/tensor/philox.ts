/**
 * Random numbers on the host, for shuffles, subsets and other choices made in TypeScript: Philox4x32-10 from the addon, a pure
 * function of (seed, stream, position), so that results don't depend on platform or threads and a state is three values.
 */
import { addon, ConfigError } from '../device/index.js';

/** What {@link Philox.state} returns; plain JSON. */
export interface PhiloxState {
  seed: number;
  stream: string;
  /** 32-bit words drawn so far. */
  position: number;
}

const BLOCKS = 64;

/** FNV-1a over UTF-16 code units. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Throws ConfigError unless seed is a whole number in 0..2^53-1. */
export function checkSeed(op: string, seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new ConfigError(`${op}: expected a seed that is a whole number from 0 to 2^53 - 1, got ${seed}`);
  }
}

/** A stream of random numbers. Streams of the same seed with different names are independent. */
export class Philox {
  readonly seed: number;
  readonly stream: string;
  #position = 0;
  #block = -1;
  #words = new Uint32Array(4 * BLOCKS);

  /**
   * @param seed whole number from 0 to 2^53 - 1
   * @param stream name of the purpose, e.g. 'sampler/3'; default ''
   * @throws ConfigError for other seeds
   */
  constructor(seed: number, stream = '') {
    checkSeed('Philox', seed);
    this.seed = seed;
    this.stream = stream;
  }

  /** A whole number in 0..2^32-1. */
  u32(): number {
    const block = Math.floor(this.#position / this.#words.length);
    if (block !== this.#block) {
      const high = (Math.floor(this.seed / 2 ** 32) ^ (this.stream === '' ? 0 : hash(this.stream))) >>> 0;
      addon().philox(this.seed >>> 0, high, block * BLOCKS, this.#words);
      this.#block = block;
    }
    return this.#words[this.#position++ % this.#words.length];
  }

  /** A number in [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.u32() >>> 5;
    return (high * 2 ** 26 + (this.u32() >>> 6)) / 2 ** 53;
  }

  /** A whole number in 0..n-1, every one equally likely. Throws ConfigError unless 1 <= n <= 2^32. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new ConfigError(`Philox.below: expected a whole number from 1 to 2^32, got ${n}`);
    }
    const limit = 2 ** 32 - (2 ** 32 % n);
    let word = this.u32();
    while (word >= limit) word = this.u32();
    return word % n;
  }

  /** A normal number (Box-Muller), mean 0, standard deviation 1. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles in place (Fisher-Yates) and returns the same array. */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const item = items[i];
      items[i] = items[j];
      items[j] = item;
    }
    return items;
  }

  /** 0..n-1 in random order. */
  permutation(n: number): Int32Array {
    return this.shuffle(Int32Array.from({ length: n }, (_, i) => i));
  }

  state(): PhiloxState {
    return { seed: this.seed, stream: this.stream, position: this.#position };
  }

  /** The generator at a saved position. */
  static from(state: PhiloxState): Philox {
    const out = new Philox(state.seed, state.stream);
    out.#position = state.position;
    return out;
  }
}
