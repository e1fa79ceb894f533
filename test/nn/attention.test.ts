/**
 * Attention heads as units of a Width, arrays whose units own several elements, and the small modules of vision models.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { ConfigError, device, GyrusError, ShapeError } from '../../src/device/index.js';
import {
  CarriedArray,
  ClassToken,
  DropPath,
  Embedding,
  GroupNorm,
  Linear,
  MultiHeadAttention,
  PatchEmbedding,
  PositionEmbedding,
  Sequential,
  Width,
} from '../../src/nn/index.js';
import * as ops from '../../src/ops/index.js';
import { AdamW } from '../../src/optim/index.js';
import { foldMeans, GateCollector, scoreUnits } from '../../src/plasticity/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { distance, values } from './helpers.js';

const seeded = (seed: number): ops.Generator => new ops.Generator(seed);
const x = ops.normal([2, 5, 12], { generator: seeded(1) });

function make(heads: Width): MultiHeadAttention {
  return new MultiHeadAttention(12, heads, { headDim: 4, generator: seeded(2) });
}
const run = (net: { forward(x: Tensor): Tensor }, input: Tensor = x): number[] =>
  tidy(() => values(net.forward(input)));

describe('CarriedArray of units with several elements', () => {
  it('moves the elements of a unit together', () => {
    const width = new Width(3, { capacity: 4 });
    const initial = tensor(
      Float32Array.from({ length: 12 }, (_, i) => i),
      { shape: [6, 2] },
    );
    const array = new CarriedArray([width, 2], { span: [2, 1], initial, fill: 9 });
    expect(array.shape).toEqual([6, 2]);
    expect(array.full.shape).toEqual([8, 2]);
    width.prune([1]);
    expect(values(array.active)).toEqual([0, 1, 2, 3, 8, 9, 10, 11]);
    width.grow(3);
    expect(array.shape).toEqual([10, 2]);
    expect(values(array.active)).toEqual([0, 1, 2, 3, 8, 9, 10, 11, ...Array<number>(12).fill(9)]);
    width.permute([1, 0, 2, 3, 4]);
    expect(values(array.active).slice(0, 8)).toEqual([8, 9, 10, 11, 0, 1, 2, 3]);
    expect(array.like().shape).toEqual([10, 2]);
    expect(array.along(0).shape).toEqual([10]);
    initial.dispose();
  });

  it('refuses spans that are no whole numbers or too few', () => {
    expect(() => new CarriedArray([3, 2], { span: [1] })).toThrow(ConfigError);
    expect(() => new CarriedArray([3], { span: 0.5 })).toThrow(/spans that are whole numbers/);
  });
});

describe('MultiHeadAttention', () => {
  it('is attention of its projections', () => {
    const heads = new Width(3);
    const net = make(heads);
    const got = run(net);
    const want = tidy(() => {
      const qkv = ops.reshape(ops.linear(x, net.qkv.weight.value, net.qkv.bias!.value), [2, 5, 3, 3, 4]);
      const [q, k, v] = ops.split(qkv, 3, 3).map((part) => ops.transpose(ops.squeeze(part, 3), [0, 2, 1, 3]));
      const weights = ops.softmax(ops.div(ops.matmul(q, ops.swapAxes(k, 2, 3)), 2), -1);
      const y = ops.reshape(ops.transpose(ops.matmul(weights, v), [0, 2, 1, 3]), [2, 5, 12]);
      return values(ops.linear(y, net.out.weight.value, net.out.bias!.value));
    });
    expect(distance(got, want)).toBeLessThan(1e-5);
    expect(net.parameterCount()).toBe(36 * 12 + 36 + 12 * 12 + 12);
    expect(net.widths()).toEqual([heads]);
    net.dispose();
  });

  it('takes keys and values from a context of another length', () => {
    const net = make(new Width(3));
    expect(
      distance(
        tidy(() => values(net.forward(x, x))),
        run(net),
      ),
    ).toBeLessThan(1e-5);
    const context = ops.normal([2, 9, 12], { generator: seeded(3) });
    expect(tidy(() => net.forward(x, context).shape)).toEqual([2, 5, 12]);
    net.dispose();
    context.dispose();
  });

  for (const capacity of [2, 8]) {
    for (const init of ['zero-out', 'paired', 'split', 'orthogonal'] as const) {
      it(`keeps its function when heads grow by ${init}, capacity ${capacity}`, () => {
        const heads = new Width(2, { capacity });
        const net = make(heads);
        const before = run(net);
        heads.grow(3, { init, generator: seeded(4) });
        expect(net.qkv.weight.shape).toEqual([5 * 12, 12]);
        expect(net.out.weight.shape).toEqual([12, 5 * 4]);
        expect(distance(run(net), before)).toBeLessThan(init === 'zero-out' ? 1e-6 : 1e-5);
        net.dispose();
      });
    }
  }

  it('keeps the bits of the surviving heads when others are pruned, optimiser state included', () => {
    const heads = new Width(4, { capacity: 6 });
    const net = make(heads);
    const optimizer = new AdamW(net.parameters(), { lr: 0.01 });
    const step = (): void => {
      optimizer.zeroGrad();
      tidy(() => ops.sum(ops.square(net.forward(x))).backward());
      optimizer.step();
    };
    step();
    step();
    const rows = (t: Tensor, axis: number, span: number, keep: number[]): number[] =>
      tidy(() =>
        values(
          ops.indexSelect(
            t,
            tensor(Int32Array.from(keep.flatMap((h) => Array.from({ length: span }, (_, i) => h * span + i)))),
            axis,
          ),
        ),
      );
    const keep = [0, 2];
    const state = new Map([...optimizer.stateDict()].map(([name, t]) => [name, t.clone()]));
    const want = {
      qkv: rows(net.qkv.weight.value, 0, 12, keep),
      bias: rows(net.qkv.bias!.value, 0, 12, keep),
      out: rows(net.out.weight.value, 1, 4, keep),
    };
    heads.prune([3, 1]);
    expect(values(net.qkv.weight.value)).toEqual(want.qkv);
    expect(values(net.qkv.bias!.value)).toEqual(want.bias);
    expect(values(net.out.weight.value)).toEqual(want.out);
    for (const [name, t] of optimizer.stateDict()) {
      const old = state.get(name)!;
      const axis = t.shape.findIndex((extent, i) => extent !== old.shape[i]);
      if (axis < 0) expect(values(t), name).toEqual(values(old));
      else expect(values(t), name).toEqual(rows(old, axis, t.shape[axis] / 2, keep));
      old.dispose();
    }
    // A newborn head has its own step count, also where it is a block of columns.
    heads.grow(1);
    step();
    const counters = [...optimizer.stateDict()].filter(([name, t]) => name.startsWith('colSteps') && t.shape[0] === 12);
    expect(
      counters.some(
        ([, t]) =>
          values(t)
            .slice(8)
            .every((n) => n === 1) &&
          values(t)
            .slice(0, 8)
            .every((n) => n === 3),
      ),
    ).toBe(true);
    optimizer.dispose();
    net.dispose();
  });

  it('scores heads: by their weights, and by a gate that sums over channels and positions', async () => {
    const heads = new Width(3, { name: 'heads' });
    const net = make(heads);
    const w = values(net.qkv.weight.value);
    const l1 = await scoreUnits(heads, 'l1');
    const want = [0, 1, 2].map((h) => w.slice(h * 144, (h + 1) * 144).reduce((sum, v) => sum + Math.abs(v), 0));
    expect(distance([...l1], want)).toBeLessThan(1e-5);

    const collector = GateCollector.attach(heads, 2);
    collector.active = true;
    const labels = tensor(Int32Array.of(1, 0));
    collector.setLabels(labels);
    collector.scale = 1;
    const stats = tidy(() => {
      ops.sum(ops.square(net.forward(x))).backward();
      return collector.readSync();
    });
    const direct = tidy(() => {
      const qkv = ops.reshape(ops.linear(x, net.qkv.weight.value, net.qkv.bias!.value), [2, 5, 3, 3, 4]);
      const y = ops.selfAttention(qkv).detach();
      y.requiresGrad = true;
      const out = ops.linear(ops.reshape(y, [2, 5, 12]), net.out.weight.value, net.out.bias!.value);
      const [g] = gradients(ops.sum(ops.square(out)), [y]);
      return values(ops.abs(ops.sum(ops.mul(y, g!), [1, 3])));
    });
    expect(distance([...stats.perClass[1]], direct.slice(0, 3))).toBeLessThan(1e-4);
    expect(distance([...stats.perClass[0]], direct.slice(3))).toBeLessThan(1e-4);
    for (const parameter of net.parameters()) parameter.grad = null;
    expect(foldMeans(heads, [0], [0.1, 0.2, 0.3])).toBe(false);
    collector.dispose();
    labels.dispose();
    net.dispose();
  });

  it('refuses what makes no sense', () => {
    expect(() => new MultiHeadAttention(10, 3)).toThrow(/whole headDim >= 1, got 3.33/);
    expect(() => new MultiHeadAttention(12, 3, { scale: NaN })).toThrow(ConfigError);
    expect(() => new MultiHeadAttention(12, 3, { heads: 2 } as object)).toThrow(ConfigError);
    const net = make(new Width(3));
    expect(() => net.forward(ops.zeros([2, 12]))).toThrow(ShapeError);
    net.dispose();
  });
});

describe('embeddings', () => {
  it('looks up rows, sums the gradients of equal ones, and gives zeros for -1', () => {
    const net = new Embedding(4, 3, { generator: seeded(1) });
    const index = tensor(Int32Array.of(2, 0, 2, -1), { shape: [2, 2] });
    tidy(() => {
      const y = net.forward(index);
      expect(y.shape).toEqual([2, 2, 3]);
      const rows = values(net.weight.value);
      expect(values(y)).toEqual([...rows.slice(6, 9), ...rows.slice(0, 3), ...rows.slice(6, 9), 0, 0, 0]);
      ops.sum(y).backward();
    });
    expect(values(net.weight.grad!)).toEqual([1, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0]);
    index.dispose();
    net.dispose();
  });

  it('throws a typed error for an index out of range', async () => {
    const net = new Embedding(4, 3);
    const index = tensor(Int32Array.of(4));
    const y = net.forward(index);
    await expect(y.data()).rejects.toThrow(GyrusError);
    for (const t of [y, index]) t.dispose();
    net.dispose();
  });

  it('grows with the width that it produces', () => {
    const width = new Width(3);
    const net = new Sequential(new Embedding(4, width, { generator: seeded(1) }), new Linear(width, 2));
    const index = tensor(Int32Array.of(1, 3));
    const before = run(net, index);
    width.grow(2);
    expect(run(net, index)).toEqual(before);
    index.dispose();
    net.dispose();
  });

  it('cuts pictures into squares', () => {
    const net = new PatchEmbedding(2, 3, 5, { generator: seeded(1) });
    const picture = ops.normal([2, 4, 6, 3], { generator: seeded(2) });
    tidy(() => {
      const y = net.forward(picture);
      expect(y.shape).toEqual([2, 6, 5]);
      const square = ops.reshape(ops.slice(picture, [1, 2, 4, 0], [2, 4, 6, 3]), [1, 12]);
      const want = ops.linear(square, net.projection.weight.value, net.projection.bias!.value);
      expect(distance(values(y).slice((6 + 5) * 5), values(want))).toBeLessThan(1e-5);
      expect(() => net.forward(ops.zeros([1, 4, 5, 3]))).toThrow(/multiples of 2, got \[1,4,5,3\]/);
    });
    picture.dispose();
    net.dispose();
  });

  it('adds positions and a class token', () => {
    const positions = new PositionEmbedding([5, 12], { generator: seeded(1) });
    const token = new ClassToken(12, { generator: seeded(2) });
    tidy(() => {
      expect(run(positions)).toEqual(values(ops.add(x, positions.weight.value)));
      const y = token.forward(x);
      expect(y.shape).toEqual([2, 6, 12]);
      expect(values(y).slice(72, 84)).toEqual(values(token.weight.value));
      expect(() => token.forward(ops.zeros([2, 5, 3]))).toThrow(ShapeError);
    });
    expect(positions.weight.decay || token.weight.decay).toBe(false);
    positions.dispose();
    token.dispose();
  });
});

describe('GroupNorm and DropPath', () => {
  it('normalises groups of channels', () => {
    const net = new GroupNorm(3, 12);
    expect(run(net)).toEqual(tidy(() => values(ops.groupNorm(x, 3))));
    expect(() => new GroupNorm(5, 12)).toThrow(ConfigError);
    const width = new Width(4);
    const other = new GroupNorm(2, width);
    expect(width.mixers).toHaveLength(1);
    other.dispose();
    expect(width.mixers).toHaveLength(0);
    net.dispose();
  });

  it('drops samples in training only', () => {
    const net = new DropPath(0.5, { generator: seeded(1) });
    const many = ops.ones([50, 2]);
    expect(new Set(run(net, many))).toEqual(new Set([0, 2]));
    net.eval();
    expect(new Set(run(net, many))).toEqual(new Set([1]));
    expect(() => new DropPath(1)).toThrow(ConfigError);
    many.dispose();
  });
});

afterEach(() => device().sync());
