/**
 * ViT and MLP-Mixer: parameters, training, captured training, and every plastic width grown and pruned.
 */
import { describe, expect, it } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import { mixer, vit } from '../../src/models/index.js';
import { type Module, Width } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { AdamW } from '../../src/optim/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { distance, stepOf, values } from '../nn/helpers.js';

const x = normal([6, 8, 8, 3], { generator: new Generator(1) });
const y = tensor(Int32Array.from({ length: 6 }, (_, i) => i % 3));
const small = { image: [8, 8, 3] as const, classes: 3, patch: 4, dim: 16, depth: 2, seed: 3 };

const models: [string, (options?: object) => Module, number, string[]][] = [
  [
    'vit',
    (options) => vit({ ...small, heads: 2, mlp: 24, ...options }),
    // patches, token, positions, 2 blocks of (norm, qkv, out, norm, mlp), norm, head
    48 * 16 +
      16 +
      16 +
      5 * 16 +
      2 * (32 + (48 * 16 + 48) + (16 * 16 + 16) + 32 + (24 * 16 + 24) + (16 * 24 + 16)) +
      32 +
      51,
    ['heads1', 'mlp1', 'heads2', 'mlp2'],
  ],
  [
    'mixer',
    (options) => mixer({ ...small, tokens: 6, channels: 24, ...options }),
    48 * 16 + 16 + 2 * (32 + (6 * 4 + 6) + (4 * 6 + 4) + 32 + (24 * 16 + 24) + (16 * 24 + 16)) + 32 + 51,
    ['tokens1', 'channels1', 'tokens2', 'channels2'],
  ],
];

function trainer(net: Module): { step: (a: Tensor, b: Tensor) => Tensor; dispose: () => void } {
  const optimizer = new AdamW(net.parameters(), { lr: 3e-3 });
  return { step: stepOf(net, optimizer), dispose: () => optimizer.dispose() };
}

describe.each(models)('%s', (_, make, parameters, names) => {
  it('has the parameters and widths asked for', () => {
    const net = make();
    expect(net.parameterCount()).toBe(parameters);
    expect(net.widths().map((width) => width.name)).toEqual(names);
    expect(tidy(() => net.forward(x).shape)).toEqual([6, 3]);
    tidy(() => {
      const flat = x.reshape([6, 192]);
      expect(values(net.forward(flat))).toEqual(values(net.forward(x)));
    });
    net.dispose();
  });

  it('learns in three steps, the same eagerly and replayed', () => {
    const losses = (captured: boolean): number[] => {
      const net = make({ dropPath: 0.1 });
      const { step, dispose } = trainer(net);
      const go = captured ? capture(step) : undefined;
      const out = Array.from({ length: 4 }, () => tidy(() => (go ?? step)(x, y).itemSync()));
      go?.dispose();
      dispose();
      net.dispose();
      return out;
    };
    const eager = losses(false);
    expect(eager[3]).toBeLessThan(eager[0]);
    expect(losses(true)).toEqual(eager);
  });

  it('keeps its function when any width grows, survives pruning, and goes on training captured', () => {
    const net = make();
    const { step, dispose } = trainer(net);
    const go = capture(step);
    const loss = (): number => tidy(() => go(x, y).itemSync());
    let last = loss();
    for (const width of net.widths()) {
      const count = net.parameterCount();
      const before = tidy(() => values(net.forward(x)));
      width.grow(3, { generator: new Generator(4) });
      expect(
        tidy(() => values(net.forward(x))),
        width.name,
      ).toEqual(before);
      expect(net.parameterCount()).toBeGreaterThan(count);
      // The newborn are behind the others and contribute nothing yet: without them it is the same function again.
      width.prune([0, 1, 2].map((i) => width.size - 1 - i));
      expect(net.parameterCount()).toBe(count);
      expect(
        distance(
          tidy(() => values(net.forward(x))),
          before,
        ),
        width.name,
      ).toBeLessThan(1e-6);
      width.grow(1);
      width.prune([0]);
      last = loss();
      expect(Number.isFinite(last)).toBe(true);
    }
    for (let i = 0; i < 30; i++) last = loss();
    expect(last).toBeLessThan(0.5);
    go.dispose();
    dispose();
    net.dispose();
  });

  it('refuses sizes that make no sense', () => {
    expect(() => make({ classes: 0 })).toThrow(ConfigError);
    expect(() => make({ patch: 3 })).toThrow(/squares of 3 tile, got 8 x 8/);
    expect(() => make({ depth: 0 })).toThrow(/depth of at least 1, got 0/);
  });
});

it('vit takes lists, Widths and the mean of all tokens', () => {
  const mine = new Width(5, { name: 'mine' });
  const net = vit({ ...small, heads: [2, 4], headDim: 8, mlp: [mine, 7], pool: 'mean' });
  expect(net.widths().map(({ name, size }) => [name, size])).toEqual([
    ['heads1', 2],
    ['mine', 5],
    ['heads2', 4],
    ['mlp2', 7],
  ]);
  expect(net.parameterCount()).toBe(
    48 * 16 +
      16 +
      4 * 16 +
      32 +
      51 +
      [
        [2, 5],
        [4, 7],
      ].reduce((sum, [h, m]) => sum + 64 + h * 24 * 17 + (16 * h * 8 + 16) + m * 17 + 16 * m + 16, 0),
  );
  expect(tidy(() => net.forward(x).shape)).toEqual([6, 3]);
  net.dispose();
  expect(() => vit({ ...small, heads: [2] })).toThrow(/each of 2 blocks, got 1/);
  expect(() => vit({ ...small, heads: 3 })).toThrow(ConfigError);
  expect(() => vit({ ...small, pool: 'max' as 'mean' })).toThrow(/class or mean/);
});

it('the sizes of the benchmark', () => {
  const net = vit({ classes: 10 });
  expect(net.parameterCount()).toBe(
    48 * 128 + 128 + 128 + 65 * 128 + 4 * (4 * 128 + 384 * 129 + 128 * 129 + 512 * 129 + 128 * 513) + 256 + 1290,
  );
  net.dispose();
});
