/**
 * Every score against a direct f64 computation, the collector across width changes, and mean folding.
 */
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, ShapeError } from '../../src/device/index.js';
import {
  BatchNorm,
  CarriedArray,
  LeakyReLU,
  Linear,
  Parameter,
  ReLU,
  type Role,
  Sequential,
  UnitGate,
  Width,
} from '../../src/nn/index.js';
import { add, crossEntropy, full, Generator, normal, zeros } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import {
  classTaylor,
  classWeights,
  foldMeans,
  GateCollector,
  l2AndTaylor,
  lowest,
  scoreNames,
  scoreUnits,
  UnitUtility,
} from '../../src/plasticity/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { distance, makeBatch, values } from '../nn/helpers.js';

interface Observed {
  a: number[][];
  /** dL/da per sample, L the sum over samples of the cross-entropy. */
  g: number[][];
  labels: number[];
}

/** Activations and their gradients of a net 6 - H - 4 (linear, ReLU, linear), in f64. */
function observe(net: Sequential, units: number, x: Tensor, y: Tensor): Observed {
  const state = new Map([...net.stateDict()].map(([name, t]) => [name, values(t)]));
  const [w, b, v, c] = ['0.weight', '0.bias', '2.weight', '2.bias'].map((name) => state.get(name)!);
  const input = values(x);
  const labels = values(y);
  const out: Observed = { a: [], g: [], labels };
  labels.forEach((label, m) => {
    const a = Array.from({ length: units }, (_, j) => {
      let sum = b[j];
      for (let k = 0; k < 6; k++) sum += input[m * 6 + k] * w[j * 6 + k];
      return Math.max(0, sum);
    });
    const z = c.map((bias, i) => bias + a.reduce((s, value, j) => s + value * v[i * units + j], 0));
    const top = Math.max(...z);
    const total = z.reduce((s, value) => s + Math.exp(value - top), 0);
    const dz = z.map((value, i) => Math.exp(value - top) / total - (i === label ? 1 : 0));
    out.a.push(a);
    out.g.push(a.map((_, j) => dz.reduce((s, d, i) => s + d * v[i * units + j], 0)));
  });
  return out;
}

function makeSmall(units = 9, options: { gate?: boolean } = {}) {
  const generator = new Generator(21);
  const width = new Width(units, { name: 'hidden', capacity: units + 4 });
  const layers = [new Linear(6, width, { generator }), new ReLU(), new Linear(width, 4, { generator })];
  if (options.gate) layers.splice(2, 0, new UnitGate(width));
  const net = new Sequential(...layers);
  const bias = net.parameters()[1].array.active;
  bias.device.write(
    bias.storage.handle,
    0,
    Float32Array.from({ length: units }, (_, j) => 0.3 - 0.2 * j),
  );
  return { net, width };
}

function pass(net: Sequential, collector: GateCollector, { x, y }: { x: Tensor; y: Tensor }): void {
  tidy(() => {
    collector.setLabels(y);
    crossEntropy(net.forward(x), y).backward();
  });
}

const mean = (list: number[]): number => list.reduce((s, v) => s + v, 0) / list.length;

describe('scores against f64', () => {
  const { net, width } = makeSmall();
  const collector = new GateCollector(width, 4);
  collector.active = true;
  const batches = [makeBatch(16, 1), makeBatch(9, 2)];
  const seen = batches.map(({ x, y }) => observe(net, 9, x, y));
  for (const batch of batches) pass(net, collector, batch);
  const stats = collector.readSync();
  const all: Observed = {
    a: seen.flatMap(({ a }) => a),
    g: seen.flatMap(({ g }) => g),
    labels: seen.flatMap(({ labels }) => labels),
  };
  const perUnit = (f: (a: number, g: number, m: number) => number): number[] =>
    Array.from({ length: 9 }, (_, j) => mean(all.a.map((row, m) => f(row[j], all.g[m][j], m))));
  const perClass = [0, 1, 2, 3].map((c) =>
    Array.from({ length: 9 }, (_, j) =>
      mean(all.a.flatMap((row, m) => (all.labels[m] === c ? [Math.abs(row[j] * all.g[m][j])] : []))),
    ),
  );
  const weights = [0.1, 0.2, 0.3, 0.4];
  const incoming = values(net.parameters()[0].value);
  const grad = values(net.parameters()[0].grad!);
  const rows = (f: (w: number, g: number) => number): number[] =>
    Array.from({ length: 9 }, (_, j) =>
      incoming.slice(j * 6, j * 6 + 6).reduce((s, w, k) => s + f(w, grad[j * 6 + k]), 0),
    );

  const readers = values(net.parameters()[2].value); // [4, 9]
  const outgoing = Array.from({ length: 9 }, (_, j) =>
    [0, 1, 2, 3].reduce((t, k) => t + Math.abs(readers[k * 9 + j]), 0),
  );

  const expected: Record<string, () => number[]> = {
    l1: () => rows((w) => Math.abs(w)),
    l2: () => rows((w) => w * w).map(Math.sqrt),
    'taylor-weight': () => rows((w, g) => (w * g) ** 2),
    'taylor-abs-sum': () => rows((w, g) => w * g).map(Math.abs),
    'taylor-sum-abs': () => rows((w, g) => Math.abs(w * g)),
    'taylor-gate': () => perUnit((a, g) => Math.abs(a * g)),
    fisher: () => perUnit((a, g) => (a * g) ** 2),
    'class-taylor': () =>
      Array.from({ length: 9 }, (_, j) =>
        perClass.reduce((s, row, c) => s + (weights[c] * row[j]) / row.reduce((t, v) => t + v, 0), 0),
      ),
    activation: () => perUnit((a) => Math.abs(a)),
    apoz: () => perUnit((a) => (a === 0 ? 0 : 1)),
    dormant: () => {
      const abs = perUnit((a) => Math.abs(a));
      return abs.map((v) => v / mean(abs));
    },
    grama: () => {
      const means = rows((_w, g) => Math.abs(g) / 6);
      return means.map((v) => v / mean(means));
    },
    cbp: () => perUnit((a) => Math.abs(a)).map((v, j) => v * outgoing[j]),
  };

  test.each(Object.keys(expected))('%s', async (name) => {
    const scores = await scoreUnits(width, name as never, { stats, classWeights: weights });
    expect(scores.length).toBe(9);
    expect(distance(scores, expected[name]())).toBeLessThan(2e-5);
  });
  test('l2 and taylor-weight in one pass', async () => {
    const both = await l2AndTaylor(width);
    expect(distance(both.l2, await scoreUnits(width, 'l2'))).toBeLessThan(1e-6);
    expect(distance(both.taylor, await scoreUnits(width, 'taylor-weight'))).toBeLessThan(1e-6);
  });
  test('UnitUtility: decay, and the age correction also for the newborn', () => {
    const small = makeSmall(9);
    const utility = new UnitUtility(small.width, { decay: 0.9 });
    const v = values(small.net.parameters()[2].value);
    const sums = Array.from({ length: 9 }, (_, j) => [0, 1, 2, 3].reduce((t, k) => t + Math.abs(v[k * 9 + j]), 0));
    const step = (a: number, units: number): number[] => tidy(() => [...values(utility.update(full([5, units], -a)))]);
    expect(
      distance(
        step(2, 9),
        sums.map((s) => 2 * s),
      ),
    ).toBeLessThan(1e-5);
    const second = step(4, 9);
    expect(
      distance(
        second,
        sums.map((s) => ((0.9 * 0.1 * 2 + 0.1 * 4) / (1 - 0.81)) * s),
      ),
    ).toBeLessThan(1e-5);
    small.width.grow(1, { init: 'paired' });
    expect(step(3, 10).every(Number.isFinite)).toBe(true);
    utility.dispose();
    expect(() => new UnitUtility(small.width, { decay: 1 })).toThrow(ConfigError);
  });
  test('random: uniform numbers of its generator', async () => {
    const one = await scoreUnits(width, 'random', { generator: new Generator(1) });
    expect(await scoreUnits(width, 'random', { generator: new Generator(1) })).toEqual(one);
    expect(new Set(one).size).toBe(9);
    expect(one.every((v) => v >= 0 && v < 1)).toBe(true);
  });
  test('all names are covered', () => {
    expect([...Object.keys(expected), 'random'].sort()).toEqual([...scoreNames].sort());
  });
  test('statistics: counts, means and zeros', () => {
    expect(stats.samples).toBe(25);
    expect(stats.counts).toEqual([0, 1, 2, 3].map((c) => all.labels.filter((l) => l === c).length));
    expect(
      distance(
        stats.mean,
        perUnit((a) => a),
      ),
    ).toBeLessThan(1e-5);
    expect(
      distance(
        stats.zeros,
        perUnit((a) => +(a === 0)),
      ),
    ).toBeLessThan(1e-6);
    stats.perClass.forEach((row, c) => expect(distance(row, perClass[c])).toBeLessThan(2e-5));
  });
  test('what is missing is named', async () => {
    await expect(scoreUnits(width, 'apoz')).rejects.toThrow(
      /apoz: expected statistics of a GateCollector on width 'hidden'/,
    );
    await expect(scoreUnits(width, 'magic' as never)).rejects.toThrow(/expected one of class-taylor, .*got 'magic'/);
    net.zeroGrad();
    await expect(scoreUnits(width, 'taylor-weight')).rejects.toThrow(
      /expected a gradient of the weights of width 'hidden'/,
    );
    const empty = { ...stats, samples: 0 };
    await expect(scoreUnits(width, 'activation', { stats: empty })).rejects.toThrow(/has seen no sample/);
    await expect(scoreUnits(new Width(2), 'l1')).rejects.toThrow(ConfigError);
  });
});

test('several producers: weight scores add up', async () => {
  const width = new Width(3);
  const [a, b] = [new Linear(2, width), new Linear(5, width)];
  const w = [values(a.weight.value), values(b.weight.value)];
  const sums = (f: (v: number) => number): number[] =>
    [0, 1, 2].map((j) =>
      [...w[0].slice(j * 2, j * 2 + 2), ...w[1].slice(j * 5, j * 5 + 5)].reduce((s, v) => s + f(v), 0),
    );
  expect(distance(await scoreUnits(width, 'l1'), sums(Math.abs))).toBeLessThan(1e-6);
  expect(distance(await scoreUnits(width, 'l2'), sums((v) => v * v).map(Math.sqrt))).toBeLessThan(1e-6);
});

test('a UnitGate sees the whole gradient where several layers read the neurons', () => {
  const generator = new Generator(2);
  const width = new Width(5, { name: 'shared' });
  const head = new Sequential(new Linear(6, width, { generator }), new ReLU());
  const [left, right] = [new Linear(width, 4, { generator }), new Linear(width, 4, { generator })];
  expect(() => new GateCollector(width, 4)).toThrow(
    /exactly one layer that reads width 'shared', got 2; put a UnitGate/,
  );
  const gate = new UnitGate(width);
  const collector = new GateCollector(width, 4);
  collector.active = true;
  const { x, y } = makeBatch(12);
  collector.setLabels(y);
  const a = gate.forward(head.forward(x));
  crossEntropy(add(left.forward(a), right.forward(a)), y).backward();
  const got = collector.readSync();
  // The two readers together are one layer with the sum of their weights.
  const whole = new Sequential(head.layers[0], head.layers[1], new Linear(5, 4));
  const sum = add(left.weight.array.active, right.weight.array.active);
  whole.loadStateDict(new Map([...whole.stateDict()].map(([n, t]) => [n, n === '2.weight' ? sum : t])));
  const { a: acts, g } = observe(whole, 5, x, y);
  const expected = Array.from({ length: 5 }, (_, j) => mean(acts.map((row, m) => Math.abs(row[j] * g[m][j]))));
  const taylor = Array.from({ length: 5 }, (_, j) =>
    got.perClass.reduce((s, row, c) => s + (row[j] * got.counts[c]) / 12, 0),
  );
  expect(distance(taylor, expected)).toBeLessThan(2e-5);
});

test('a UnitGate gives the same sums as the fused epilogue', () => {
  const [fused, apart] = [makeSmall(), makeSmall(9, { gate: true })];
  const [one, two] = [new GateCollector(fused.width, 4), new GateCollector(apart.width, 4)];
  for (const [collector, { net }] of [
    [one, fused],
    [two, apart],
  ] as const) {
    collector.active = true;
    pass(net, collector, makeBatch());
  }
  expect(distance(two.readSync().perClass[1], one.readSync().perClass[1])).toBeLessThan(1e-6);
  // On a CUDA device tiles and passes add the samples in different orders.
  expect(distance(two.readSync().mean, one.readSync().mean)).toBeLessThan(1e-6);
});

test('collector: inactive costs and adds nothing, reset forgets, sums follow the neurons', () => {
  const { net, width } = makeSmall();
  const collector = new GateCollector(width, 4);
  const batch = makeBatch();
  pass(net, collector, batch);
  expect(collector.readSync().samples).toBe(0);
  collector.active = true;
  pass(net, collector, batch);
  const before = collector.readSync();
  width.grow(2);
  expect([...collector.readSync().meanAbs]).toEqual([...before.meanAbs, 0, 0]);
  width.prune([0, 9, 10]);
  expect([...collector.readSync().meanAbs]).toEqual([...before.meanAbs.slice(1)]);
  // Labels are gone with the scope of the step: a pass without new ones adds nothing.
  const owned = tensor(batch.y.dataSync());
  collector.setLabels(owned);
  owned.dispose();
  crossEntropy(net.forward(batch.x), batch.y).backward();
  expect([...collector.readSync().meanAbs].map((v) => v * 32)).toEqual([...before.meanAbs.slice(1)].map((v) => v * 16));
  collector.reset();
  expect(collector.readSync()).toMatchObject({ samples: 0, counts: [0, 0, 0, 0] });
  const state = collector.state();
  expect([...state.keys()]).toEqual(['sums', 'counts']);
  expect(() => collector.load(new Map([['sums', zeros([2, 2])]]))).toThrow(ShapeError);
  expect(() => collector.load(new Map())).toThrow(/'sums': missing/);
  collector.dispose();
  expect(width.gate).toBeUndefined();
  expect(() => new GateCollector(width, 0)).toThrow(ConfigError);
  for (const junk of [undefined, null, 1, 'yes']) {
    expect(() => (collector.active = junk as unknown as boolean)).toThrow(ConfigError);
  }
  expect(() => collector.setLabels(zeros([2, 2], { dtype: 'i32' }))).toThrow(ShapeError);
});

test('collector inside a captured step equals eager steps, across a width change', () => {
  const runs = [true, false].map((captured) => {
    const { net, width } = makeSmall();
    const collector = new GateCollector(width, 4);
    const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
    const body = (x: Tensor, y: Tensor): void => {
      optimizer.zeroGrad();
      collector.setLabels(y);
      crossEntropy(net.forward(x), y).backward();
      optimizer.step();
    };
    const recorded = capture(body);
    const step = captured ? recorded : (x: Tensor, y: Tensor) => tidy(() => body(x, y));
    const batches = [1, 2, 3].map((seed) => makeBatch(16, seed));
    const round = (): void => batches.forEach(({ x, y }) => step(x, y));
    round();
    collector.active = true;
    round();
    width.grow(3, { generator: new Generator(4) });
    round();
    width.prune([2]);
    round();
    collector.active = false;
    round();
    if (captured) expect(recorded.recordings).toBe(5);
    const stats = collector.readSync();
    expect(stats.samples).toBe(9 * 16);
    return [JSON.stringify(stats), ...values(net.parameters()[0].value)];
  });
  expect(runs[0]).toEqual(runs[1]);
});

describe('class weights', () => {
  test('uniform, inverse, effective', () => {
    expect([...classWeights('uniform', [5, 1, 0, 2])]).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(distance(classWeights('inverse', [4, 1, 0]), [0.2, 0.8, 0])).toBeLessThan(1e-12);
    const raw = [100, 10].map((n) => (1 - 0.9) / (1 - 0.9 ** n));
    expect(
      distance(
        classWeights('effective', [100, 10], 0.9),
        raw.map((w) => w / (raw[0] + raw[1])),
      ),
    ).toBeLessThan(1e-12);
    for (const counts of [[], [0, 0], [-1, 2], [1.5]])
      expect(() => classWeights('inverse', counts)).toThrow(ConfigError);
  });
  test('class-taylor leaves out classes that were not seen', () => {
    expect([
      ...classTaylor([
        [1, 3],
        [0, 0],
      ]),
    ]).toEqual([0.125, 0.375]);
  });
  test('lowest: ties by slot, NaN first, candidates', () => {
    expect(lowest([3, 1, NaN, 1, 2], 3)).toEqual([2, 1, 3]);
    expect(lowest([3, 1, 2], 2, [0, 2])).toEqual([2, 0]);
    expect(lowest([-Infinity, NaN, Infinity], 3)).toEqual([0, 1, 2]);
  });
});

describe('mean folding', () => {
  /** A net in which unit 2 of `first` is constant. */
  function constant(norm: boolean, bias: boolean) {
    const generator = new Generator(31);
    const first = new Width(6, { name: 'first', capacity: 8 });
    const second = new Width(5, { name: 'second' });
    const net = new Sequential(
      new Linear(6, first, { generator }),
      new LeakyReLU(),
      new Linear(first, second, { generator, bias }),
      ...(norm ? [new BatchNorm(second)] : []),
      new ReLU(),
      new Linear(second, 4, { generator }),
    );
    const w = net.parameters()[0].array.active;
    const b = net.parameters()[1].array.active;
    const rows = values(w).map((v, i) => (Math.floor(i / 6) === 2 ? 0 : v));
    w.device.write(w.storage.handle, 0, Float32Array.from(rows));
    b.device.write(b.storage.handle, 0, Float32Array.of(0, 0, 1.75, 0, 0, 0));
    if (norm) net.forward(makeBatch(64, 5).x);
    net.eval();
    return { net, first, second };
  }
  test.each([
    [false, true],
    [true, true],
    [true, false],
  ])('a constant unit goes without a trace; batch norm %s, bias %s', (norm, bias) => {
    const { net, first } = constant(norm, bias);
    const { x, y } = makeBatch(32);
    const collector = new GateCollector(first, 4);
    collector.active = true;
    pass(net, collector, { x, y });
    const before = values(net.forward(x));
    const { mean: means } = collector.readSync();
    expect(means[2]).toBeCloseTo(1.75, 6);
    expect(foldMeans(first, [2], means)).toBe(true);
    first.prune([2]);
    expect(distance(values(net.forward(x)), before)).toBeLessThan(2e-6);
  });
  test('without folding it is missed', () => {
    const { net, first } = constant(false, true);
    const { x } = makeBatch(32);
    const before = values(net.forward(x));
    first.prune([2]);
    expect(distance(values(net.forward(x)), before)).toBeGreaterThan(1e-2);
  });
  test('a consumer that cannot take it is reported', () => {
    const { first } = constant(false, false);
    expect(foldMeans(first, [2], new Float64Array(6))).toBe(false);
    expect(foldMeans(first, [], new Float64Array(6))).toBe(true);
  });
  test('bad means', () => {
    const { first } = constant(false, true);
    expect(() => foldMeans(first, [0], [1])).toThrow(/expected 6 means, got 1/);
    expect(() => foldMeans(first, [0], [NaN, 0, 0, 0, 0, 0])).toThrow(ConfigError);
  });
});

test('conv-like weights score and fold over their inner axes', async () => {
  const generator = new Generator(6);
  const width = new Width(3, { name: 'channels' });
  const parameter = (axes: (Width | number)[], role: Role | Role[]): Parameter => {
    const initial = normal(
      axes.map((axis) => (axis instanceof Width ? axis.size : axis)),
      { generator },
    );
    return new Parameter(new CarriedArray(axes, { role, initial }));
  };
  const weight = parameter([width, 2, 2, 5], ['incoming', 'slot', 'slot', 'slot']);
  width.producers.push({ weight, bias: undefined });
  const next = parameter([4, 2, 2, width], ['slot', 'slot', 'slot', 'outgoing']);
  const bias = parameter([4], 'bias');
  width.consumers.push({ weight: next, bias, output: 4, activation: 'none' });
  const w = values(weight.value);
  const sums = [0, 1, 2].map((j) => w.slice(j * 20, j * 20 + 20).reduce((s, v) => s + Math.abs(v), 0));
  expect(distance(await scoreUnits(width, 'l1'), sums)).toBeLessThan(1e-6);
  const b = values(bias.value);
  const v = values(next.value);
  foldMeans(width, [1], [0, 2, 0]);
  const expected = b.map((value, i) => value + 2 * [0, 1, 2, 3].reduce((s, k) => s + v[(i * 4 + k) * 3 + 1], 0));
  expect(distance(values(bias.value), expected)).toBeLessThan(1e-6);
});
