/**
 * What the models have in common: a feed-forward part with a plastic inner width, residual branches, pictures, widths, options.
 */
import { ConfigError, shown } from '../device/index.js';
import { DropPath, GELU, Linear, type LinearOptions, Module, Width } from '../nn/index.js';
import { add, type Generator, pad, reshape } from '../ops/index.js';
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

/** Rows as pictures (see {@link asPictures}), with a rim of zeros that makes height and width multiples of a number. */
export class Pictures extends Module {
  /** Height, width, channels. */
  readonly image: readonly [number, number, number];
  /** Default 1: no rim. */
  readonly multiple: number;

  constructor(image: readonly [number, number, number], multiple = 1) {
    super();
    this.image = image;
    this.multiple = multiple;
  }

  /** Height and width with the rim. */
  padded([h, w]: readonly number[]): [number, number] {
    const { multiple } = this;
    return [Math.ceil(h / multiple) * multiple, Math.ceil(w / multiple) * multiple];
  }

  override forward(x: Tensor): Tensor {
    const pictures = asPictures(x, this.image);
    const [, h, w] = pictures.shape;
    const [height, width] = this.padded([h, w]);
    if (height === h && width === w) return pictures;
    const around = (more: number): [number, number] => [more >> 1, (more + 1) >> 1];
    return pad(pictures, [[0, 0], around(height - h), around(width - w), [0, 0]]);
  }
}

/** The width itself, or a new one of that size and name with room for `capacity` times its size. */
export function widthOf(what: string, size: Width | number, name: string, capacity = 1): Width {
  if (size instanceof Width) return size;
  expectSizes(what, { [name]: size });
  if (!(capacity >= 1 && capacity <= 64)) {
    throw new ConfigError(`${what}: expected a capacity from 1 to 64, got ${shown(capacity)}`);
  }
  return new Width(size, { name, capacity: Math.ceil(size * capacity - 1e-9) });
}

/** Throws ConfigError unless every value is a whole number >= 1. */
export function expectSizes(what: string, sizes: Record<string, number>): void {
  for (const [name, value] of Object.entries(sizes)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new ConfigError(`${what}: expected ${name} of at least 1, got ${shown(value)}`);
    }
  }
}

/** Throws ConfigError unless classes, height, width and channels are whole numbers >= 1. */
export function expectImage(what: string, classes: number, [h, w, c]: readonly [number, number, number]): void {
  expectSizes(what, { classes, 'image height': h, 'image width': w, 'image channels': c });
}

/** Of stochastic depth: the i-th of n branches is skipped with probability p i / (n - 1). Source: Huang et al. 2016, arXiv 1603.09382. */
export function dropRate(p: number, i: number, n: number): number {
  return n > 1 ? (p * i) / (n - 1) : p;
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
