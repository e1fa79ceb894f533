/**
 * Small networks with plastic widths and ways to compare every bit that belongs to them.
 */
import '../../src/autograd/index.js';
import { BatchNorm, Linear, type Module, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { crossEntropy, Generator, normal } from '../../src/ops/index.js';
import type { Optimizer } from '../../src/optim/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';

export interface Net {
  net: Sequential;
  first: Width;
  second: Width;
}

/** 6 - first(8) - second(7) - 4 classes. */
export function makeNet(options: { norm?: boolean; capacity?: number; seed?: number; bias?: boolean } = {}): Net {
  const { norm = false, capacity, seed = 1, bias = true } = options;
  const generator = new Generator(seed);
  const first = new Width(8, { capacity, name: 'first' });
  const second = new Width(7, { capacity, name: 'second' });
  const net = new Sequential(
    new Linear(6, first, { generator, bias }),
    ...(norm ? [new BatchNorm(first)] : []),
    new ReLU(),
    new Linear(first, second, { generator, bias }),
    ...(norm ? [new BatchNorm(second)] : []),
    new ReLU(),
    new Linear(second, 4, { generator }),
  );
  return { net, first, second };
}

export interface Batch {
  x: Tensor;
  y: Tensor;
}

export function makeBatch(rows = 16, seed = 7): Batch {
  const x = normal([rows, 6], { generator: new Generator(seed) });
  const y = tensor(Int32Array.from({ length: rows }, (_, i) => (i * 7 + (i >> 2)) % 4));
  return { x, y };
}

/** A step as it may be captured, or be called in a tidy: zeroed gradients, cross-entropy, backward, update. Returns the loss. */
export function stepOf(net: Module, optimizer: Optimizer): (x: Tensor, y: Tensor) => Tensor {
  return (x, y) => {
    optimizer.zeroGrad();
    const loss = crossEntropy(net.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss.detach();
  };
}

/** One eager step; returns nothing so that it can be part of a captured function. */
export function trainStep(net: Module, optimizer: Optimizer, { x, y }: Batch): void {
  optimizer.zeroGrad();
  tidy(() => crossEntropy(net.forward(x), y).backward());
  optimizer.step();
}

/** Bits of every array that any width carries, and of the module's and optimiser's other state. */
export function bits(net: Module, optimizer?: Optimizer): Map<string, string> {
  const out = new Map<string, string>();
  const put = (name: string, t: Tensor): void => {
    const host = t.dataSync();
    out.set(name, `${t.shape.join('x')} ${Buffer.from(host.buffer, host.byteOffset, host.byteLength).toString('hex')}`);
  };
  for (const [name, t] of net.stateDict()) put(`net ${name}`, t);
  for (const [name, t] of optimizer?.stateDict() ?? []) put(`optimizer ${name}`, t);
  for (const width of net.widths()) {
    width.arrays.forEach((array, i) => put(`${width.name} ${i}`, array.active));
    out.set(`${width.name} units`, JSON.stringify(width.units));
  }
  return out;
}

export function values(t: Tensor): number[] {
  return [...t.dataSync()];
}

/** Largest difference relative to the largest magnitude of `b`. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Infinity;
  let scale = 1e-30;
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i] - b[i]));
    scale = Math.max(scale, Math.abs(b[i]));
  }
  return worst / scale;
}
