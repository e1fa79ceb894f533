/**
 * What the models of vision transformers and mixers have in common: a feed-forward part with a plastic inner width, residual branches,
 * options.
 */
import { ConfigError } from '../device/index.js';
import { DropPath, GELU, Linear, type LinearOptions, Module, Width } from '../nn/index.js';
import { add, type Generator, reshape } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

/** x [..., C] -> GELU(x W1 + b1) W2 + b2 [..., C]; the width in between is plastic. */
export class FeedForward extends Module {
  readonly first: Linear;
  readonly activation = new GELU();
  readonly second: Linear;

  constructor(channels: number, hidden: Width, options: Pick<LinearOptions, 'init' | 'generator'>) {
    super();
    this.first = new Linear(channels, hidden, options);
    this.second = new Linear(hidden, channels, options);
  }

  override forward(x: Tensor): Tensor {
    return this.second.forward(this.activation.forward(this.first.forward(x)));
  }
}

/** x + dropPath(branch(x)): whole samples skip the branch with probability p in training. */
export class Residual extends Module {
  readonly branch: Module;
  readonly drop: DropPath;

  constructor(branch: Module, p: number, generator: Generator) {
    super();
    this.branch = branch;
    this.drop = new DropPath(p, { generator });
  }

  override forward(x: Tensor): Tensor {
    return add(x, this.drop.forward(this.branch.forward(x)));
  }
}

/** The width itself, or a new one of that size and name. */
export function widthOf(what: string, size: Width | number, name: string): Width {
  if (size instanceof Width) return size;
  if (!Number.isInteger(size) || size < 1)
    throw new ConfigError(`${what}: expected ${name} of at least 1, got ${size}`);
  return new Width(size, { name });
}

/** Throws ConfigError unless every value is a whole number >= 1. */
export function expectSizes(what: string, sizes: Record<string, number>): void {
  for (const [name, value] of Object.entries(sizes)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new ConfigError(`${what}: expected ${name} of at least 1, got ${value}`);
    }
  }
}

/** Rows of a data set [B, H * W * C] as pictures [B, H, W, C]; pictures as they are. */
export function asPictures(x: Tensor, [h, w, c]: readonly [number, number, number]): Tensor {
  return x.rank === 2 ? reshape(x, [x.shape[0], h, w, c]) : x;
}

/** One entry per block: the value itself for all, or the list. */
export function perBlock<T>(what: string, name: string, value: T | readonly T[], depth: number): T[] {
  if (!Array.isArray(value)) return Array.from({ length: depth }, () => value as T);
  if (value.length !== depth) {
    throw new ConfigError(`${what}: expected ${name} for each of ${depth} blocks, got ${value.length}`);
  }
  return [...(value as readonly T[])];
}
