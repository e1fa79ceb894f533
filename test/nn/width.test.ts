/**
 * Growing, pruning, resetting and reordering neurons: what must stay stays, bit for bit.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { GROWTH_INITS, Linear, type NewbornOptions, transferVariance, Width } from '../../src/nn/index.js';
import { Generator } from '../../src/ops/index.js';
import { Adam, SGD } from '../../src/optim/index.js';
import { bits, distance, makeBatch, makeNet, trainStep, values } from './helpers.js';

const batch = makeBatch();

function trained(norm: boolean, capacity?: number) {
  const made = makeNet({ norm, capacity });
  const optimizer = new Adam(made.net.parameters(), { lr: 0.01, weightDecay: 0.01 });
  for (let i = 0; i < 4; i++) trainStep(made.net, optimizer, batch);
  return { ...made, optimizer };
}

/** The numbers, and zeros behind them. */
const axis = (numbers: number[], length: number): number[] => Array.from({ length }, (_, i) => numbers[i] ?? 0);

describe.each([false, true])('function preserved at grow, batch norm: %s', (norm) => {
  test.each(GROWTH_INITS.filter((init) => init !== 'variance-transfer'))('%s', (init) => {
    const options: NewbornOptions[] = [
      {},
      { spread: 'match' },
      { shares: 'equal' },
      { scores: [3, 1, 4, 1, 5, 9, 2, 6] },
    ];
    for (const extra of options) {
      for (const count of [1, 2, 5, 11]) {
        for (const training of [false, true]) {
          const { net, first, second } = trained(norm, 10);
          // Running statistics move in training mode; outputs are compared, so that's no harm.
          net.train(training);
          const before = values(net.forward(batch.x));
          const aimed = (outputs: number) => ({
            ...extra,
            ...(init === 'gradmax'
              ? {
                  directions: [
                    [1, 2],
                    [0, 1, -1],
                  ].map((u) => axis(u, outputs)),
                }
              : {}),
          });
          first.grow(count, { init, ...aimed(7), generator: new Generator(3) });
          second.grow(count, { init, ...aimed(4), scores: undefined, generator: new Generator(4) });
          const after = values(net.forward(batch.x));
          // A product may sum a longer line in another order, so even zeros added to it can move the last bit.
          expect(distance(after, before)).toBeLessThan(2e-6);
          expect(first.size).toBe(8 + count);
          expect(net.parameterCount()).toBe(
            (6 + 1) * first.size +
              (first.size + 1) * second.size +
              (second.size + 1) * 4 +
              (norm ? 2 * (first.size + second.size) : 0),
          );
        }
      }
    }
  });
});

describe('variance transfer', () => {
  const options = { init: 'variance-transfer', generator: new Generator(5) } as const;

  test('what reads the neurons computes sqrt(n / m) of what it did, and everything again when the newborn go', () => {
    for (const count of [1, 4, 7]) {
      const { net, first } = trained(false);
      const reader = first.consumers[0] as Linear;
      const products = (): number[] => {
        const bias = values(reader.bias!.value);
        const hidden = net.layers.slice(0, 2).reduce((x, layer) => layer.forward(x), batch.x);
        return values(reader.forward(hidden)).map((y, i) => y - bias[i % bias.length]);
      };
      const [before, weights, incoming] = [
        products(),
        values(reader.weight.value),
        values(first.producers[0].weight.value),
      ];
      first.grow(count, options);
      const factor = Math.sqrt(8 / (8 + count));
      expect(
        distance(
          products(),
          before.map((y) => factor * y),
        ),
      ).toBeLessThan(2e-6);
      const wide = values(reader.weight.value);
      const old = weights.map((w, i) => Math.abs(wide[Math.floor(i / 8) * (8 + count) + (i % 8)] - factor * w));
      expect(Math.max(...old)).toBeLessThan(1e-7);
      // The producer and its old rows are as they were.
      expect(values(first.producers[0].weight.value).slice(0, incoming.length)).toEqual(incoming);
      first.prune(Array.from({ length: count }, (_, i) => 8 + i));
      transferVariance(first, 8 + count);
      expect(distance(values(reader.weight.value), weights)).toBeLessThan(1e-6);
      expect(distance(products(), before)).toBeLessThan(2e-6);
    }
  });

  test('newborn weights have the variance of a layer made at the grown width, twins cancel', () => {
    const width = new Width(200, { name: 'w' });
    const generator = new Generator(2);
    const layers = [new Linear(50, width, { generator }), new Linear(width, 300, { generator })] as const;
    width.grow(200, options);
    const flat = values(layers[1].weight.value);
    const spread = (from: number, to: number): number => {
      const part = flat.filter((_, i) => i % 400 >= from && i % 400 < to);
      return part.reduce((s, w) => s + w * w, 0) / part.length;
    };
    // U(+-sqrt(6 / fan-in)) has variance 2 / fan-in; 60000 weights, half of them drawn: within 2 %.
    for (const part of [spread(0, 200), spread(200, 400)]) expect((part * 400) / 2).toBeCloseTo(1, 1);
    for (let i = 0; i < 300; i++) expect(flat[i * 400 + 201]).toBe(-flat[i * 400 + 200]);
  });

  test('behind batch norm the function stays in training', () => {
    // The classifier that reads the second width has no batch norm behind it.
    const { net, first } = trained(true);
    net.train();
    const before = values(net.forward(batch.x));
    first.grow(4, options);
    expect(distance(values(net.forward(batch.x)), before)).toBeLessThan(1e-3);
    net.eval();
    const { net: other, first: same } = trained(true);
    other.eval();
    const evaluated = values(other.forward(batch.x));
    same.grow(4, options);
    expect(distance(values(other.forward(batch.x)), evaluated)).toBeGreaterThan(0.01);
  });
});

test('newborn incoming weights are not zero; paired ones are twins with opposite outgoing weights', () => {
  const { net, first, second } = trained(false);
  first.grow(5, { init: 'paired', generator: new Generator(5) });
  const incoming = net.stateDict().get('0.weight')!;
  const outgoing = net.stateDict().get('2.weight')!;
  const w = values(incoming);
  const v = values(outgoing);
  const row = (j: number): number[] => w.slice(j * 6, j * 6 + 6);
  const column = (j: number): number[] => Array.from({ length: second.size }, (_, i) => v[i * first.size + j]);
  for (const j of [8, 10]) {
    expect(row(j).every((x) => x !== 0)).toBe(true);
    expect(row(j + 1)).toEqual(row(j));
    expect(column(j).every((x) => x !== 0)).toBe(true);
    expect(column(j + 1)).toEqual(column(j).map((x) => -x));
  }
  expect(row(12).every((x) => x !== 0)).toBe(true);
  expect(column(12).every((x) => x === 0)).toBe(true);
  expect(row(8)).not.toEqual(row(10));
});

test('kaiming and match bounds of newborn weights', () => {
  for (const spread of ['kaiming', 'match'] as const) {
    const { net, first } = trained(false);
    const old = values(net.stateDict().get('0.weight')!);
    const mean = old.reduce((s, x) => s + x, 0) / old.length;
    const std = Math.sqrt(old.reduce((s, x) => s + (x - mean) ** 2, 0) / old.length);
    first.grow(200, { spread, generator: new Generator(8) });
    const born = values(net.stateDict().get('0.weight')!).slice(8 * 6);
    const bound = spread === 'kaiming' ? 1 : Math.sqrt(3) * std;
    expect(Math.max(...born.map(Math.abs))).toBeLessThanOrEqual(bound * (1 + 1e-6));
    expect(Math.max(...born.map(Math.abs))).toBeGreaterThan(bound * 0.98);
  }
});

test('split copies the donors of highest score and shares out their outgoing weights unevenly', () => {
  const { net, first, second } = trained(true);
  const before = new Map([...net.stateDict()].map(([name, t]) => [name, values(t)]));
  first.grow(2, { init: 'split', scores: [0, 0, 7, 0, 0, 9, 0, 0], generator: new Generator(5) });
  const after = new Map([...net.stateDict()].map(([name, t]) => [name, values(t)]));
  const donors = [5, 2];
  donors.forEach((donor, k) => {
    const slot = 8 + k;
    expect(after.get('0.weight')!.slice(slot * 6, slot * 6 + 6)).toEqual(
      before.get('0.weight')!.slice(donor * 6, donor * 6 + 6),
    );
    for (const name of ['0.bias', '1.gamma', '1.beta', '1.runningMean', '1.runningVar']) {
      expect(after.get(name)![slot]).toBe(before.get(name)![donor]);
    }
    for (let i = 0; i < second.size; i++) {
      const whole = before.get('3.weight')![i * 8 + donor];
      const kept = after.get('3.weight')![i * 10 + donor];
      const given = after.get('3.weight')![i * 10 + slot];
      expect(kept + given).toBeCloseTo(whole, 6);
      expect(Math.abs(kept - given)).toBeGreaterThan(1e-4 * Math.abs(whole));
    }
  });
  // Who wasn't split keeps every bit.
  for (const slot of [0, 1, 3, 4, 6, 7]) {
    for (let i = 0; i < second.size; i++)
      expect(after.get('3.weight')![i * 10 + slot]).toBe(before.get('3.weight')![i * 8 + slot]);
  }
});

test('split with noise moves only the copies', () => {
  const { net, first } = trained(false);
  const before = values(net.stateDict().get('0.weight')!);
  first.grow(3, { init: 'split', donors: [1, 1, 4], noise: 0.1, generator: new Generator(5) });
  const after = values(net.stateDict().get('0.weight')!);
  expect(after.slice(0, 48)).toEqual(before);
  expect(distance(after.slice(48, 54), before.slice(6, 12))).toBeGreaterThan(1e-3);
  expect(distance(after.slice(48, 54), before.slice(6, 12))).toBeLessThan(1);
});

describe.each([8, 64])('grow then prune, capacity %i', (capacity) => {
  test.each(['zero-out', 'paired', 'orthogonal'] as const)('%s restores every bit', (init) => {
    const { net, first, second, optimizer } = trained(true, capacity);
    const before = bits(net, optimizer);
    const born = first.grow(5, { init, generator: new Generator(2) });
    const more = second.grow(3, { init, generator: new Generator(2) });
    expect(born).toEqual([8, 9, 10, 11, 12]);
    expect(first.prune([8, 9, 10, 11, 12])).toEqual(born);
    expect(second.prune([9, 7, 8])).toEqual([more[2], more[0], more[1]]);
    expect(bits(net, optimizer)).toEqual(before);
  });
});

test('survivors keep moments and step counts through growth, training and pruning; the newborn start at 0', () => {
  const { first, net, optimizer } = trained(true);
  const slotsOf = (name: string): number[] => values(optimizer.stateDict().get(name)!);
  const steps = slotsOf('rowSteps.0');
  const m = slotsOf('m.0');
  expect(steps).toEqual(new Array(8).fill(4));
  first.grow(2, { generator: new Generator(2) });
  expect(slotsOf('rowSteps.0')).toEqual([...steps, 0, 0]);
  expect(slotsOf('m.0')).toEqual([...m, ...new Array(12).fill(0)]);
  trainStep(net, optimizer, batch);
  expect(slotsOf('rowSteps.0')).toEqual([5, 5, 5, 5, 5, 5, 5, 5, 1, 1]);
  const v = slotsOf('v.0');
  first.prune([0, 3]);
  expect(slotsOf('v.0')).toEqual([...v.slice(6, 18), ...v.slice(24)]);
  expect(first.units.map(({ id }) => id)).toEqual([1, 2, 4, 5, 6, 7, 8, 9]);
});

test('ids and ages', () => {
  const width = new Width(3, { name: 'w' });
  width.tick(5);
  expect(width.grow(2)).toEqual([3, 4]);
  width.tick();
  expect(width.units).toEqual([
    { id: 0, birth: 0, age: 6 },
    { id: 1, birth: 0, age: 6 },
    { id: 2, birth: 0, age: 6 },
    { id: 3, birth: 5, age: 1 },
    { id: 4, birth: 5, age: 1 },
  ]);
  expect(width.prune([1, 3])).toEqual([1, 3]);
  expect(width.grow(1)).toEqual([5]);
  expect(width.reset([0])).toEqual([0]);
  expect(width.units.map(({ id, age }) => [id, age])).toEqual([
    [0, 0],
    [2, 6],
    [4, 1],
    [5, 0],
  ]);
  width.permute([3, 2, 1, 0]);
  expect(width.units.map(({ id }) => id)).toEqual([5, 4, 2, 0]);
});

test('reset draws incoming weights, clears outgoing ones and all state of the unit, and nothing else', () => {
  const { net, first, second, optimizer } = trained(true);
  const before = new Map([...net.stateDict(), ...optimizer.stateDict()].map(([name, t]) => [name, values(t)]));
  first.reset([6, 2], { generator: new Generator(9) });
  const after = new Map([...net.stateDict(), ...optimizer.stateDict()].map(([name, t]) => [name, values(t)]));
  const fills: Record<string, number> = {
    '0.bias': 0,
    '1.gamma': 1,
    '1.beta': 0,
    '1.runningMean': 0,
    '1.runningVar': 1,
    'rowSteps.0': 0,
  };
  for (const [name, fill] of Object.entries(fills)) {
    expect(after.get(name)).toEqual(before.get(name)!.map((x, j) => (j === 2 || j === 6 ? fill : x)));
  }
  for (const name of ['0.weight', 'm.0', 'v.0']) {
    const rows = before.get(name)!;
    const now = after.get(name)!;
    rows.forEach((x, i) => {
      const reborn = Math.floor(i / 6) === 2 || Math.floor(i / 6) === 6;
      if (!reborn) expect(now[i]).toBe(x);
      else if (name === '0.weight') expect(now[i]).not.toBe(x);
      else expect(now[i]).toBe(0);
    });
  }
  for (let i = 0; i < second.size * 8; i++) {
    expect(after.get('3.weight')![i]).toBe(i % 8 === 2 || i % 8 === 6 ? 0 : before.get('3.weight')![i]);
  }
});

test('reset can keep the outgoing weights', () => {
  const { net, first } = trained(false);
  const before = values(net.stateDict().get('2.weight')!);
  first.reset([1], { keepOutgoing: true });
  expect(values(net.stateDict().get('2.weight')!)).toEqual(before);
});

test('permute keeps the function and comes back', () => {
  const { net, first, optimizer } = trained(true);
  net.eval();
  const before = bits(net, optimizer);
  const y = values(net.forward(batch.x));
  first.permute([7, 6, 5, 4, 0, 1, 2, 3]);
  expect(distance(values(net.forward(batch.x)), y)).toBeLessThan(1e-6);
  first.permute([4, 5, 6, 7, 3, 2, 1, 0]);
  expect(bits(net, optimizer)).toEqual(before);
});

test('growing past the capacity is amortised and moves the arrays', () => {
  const { net, first } = makeNet({ capacity: 10 });
  first.grow(2);
  expect(first.capacity).toBe(10);
  first.grow(1);
  expect(first.capacity).toBe(15);
  first.grow(30);
  expect(first.capacity).toBe(41);
  expect(net.parameters()[0].array.full.shape).toEqual([41, 6]);
  expect(net.parameters()[0].value.strides).toEqual([6, 1]);
  expect(net.parameters()[2].value.strides).toEqual([41, 1]);
});

test('state and load bring sizes, ids and ages to another object', () => {
  const one = trained(true, 9);
  one.first.tick(4);
  one.first.grow(4, { generator: new Generator(1) });
  one.second.prune([2, 3]);
  trainStep(one.net, one.optimizer, batch);
  const two = trained(true);
  two.first.load(JSON.parse(JSON.stringify(one.first.state())));
  two.second.load(JSON.parse(JSON.stringify(one.second.state())));
  two.net.loadStateDict(one.net.stateDict());
  two.optimizer.loadStateDict(one.optimizer.stateDict());
  expect(bits(two.net, two.optimizer)).toEqual(bits(one.net, one.optimizer));
  for (const { net, optimizer } of [one, two]) for (let i = 0; i < 3; i++) trainStep(net, optimizer, batch);
  expect(bits(two.net, two.optimizer)).toEqual(bits(one.net, one.optimizer));
  expect(two.first.grow(1)).toEqual(one.first.grow(1));
});

test('a width change drops the gradients of its parameters only and disposes of the old leaves', () => {
  const { net, first, second } = trained(false);
  const [w1, , w2, , w3] = net.parameters();
  const [old, kept] = [w1.value, w3.value];
  expect(w1.grad).not.toBeNull();
  first.grow(1);
  expect([w1.grad, w2.grad]).toEqual([null, null]);
  expect(w3.grad).not.toBeNull();
  expect(old.disposed).toBe(true);
  expect(w3.value).toBe(kept);
  second.grow(1);
  expect(w3.grad).toBeNull();
});

test('listeners hear of every change until they leave', () => {
  const width = new Width(4, { name: 'w' });
  const heard: string[] = [];
  const leave = width.onChange(({ kind, ids }) => heard.push(`${kind} ${ids.join()}`));
  width.grow(1);
  width.prune([0]);
  width.reset([0]);
  width.permute([1, 0, 2, 3]);
  leave();
  width.grow(1);
  expect(heard).toEqual(['grow 4', 'prune 0', 'reset 1', 'permute ']);
});

test('bad arguments are ConfigErrors that name the width, and change nothing', () => {
  const { net, first, optimizer } = trained(false);
  const before = bits(net, optimizer);
  const bad: [() => unknown, RegExp][] = [
    [() => first.grow(0), /grow 'first': expected a whole number >= 1, got 0/],
    [() => first.grow(-3), /got -3/],
    [() => first.grow(1.5), /got 1.5/],
    [() => first.grow(NaN), /got NaN/],
    [() => first.grow('2' as never), /got '2'/],
    [
      () => first.grow(2, { init: 'magic' as never }),
      /expected init to be one of zero-out, paired, split, orthogonal, gradmax, variance-transfer, got 'magic'/,
    ],
    [() => first.grow(2, { init: 'split', scores: [1, 2] }), /expected 8 scores, one per active neuron, got 2/],
    [() => first.grow(2, { init: 'split', donors: [0, 8] }), /expected 2 donors among slots 0..7/],
    [() => first.grow(2, { init: 'split', noise: -1 }), /expected noise to be a number >= 0, got -1/],
    [() => first.grow(2, { spread: 'wide' as never }), /expected spread/],
    [() => first.grow(2, { init: 'split', shares: 'half' as never }), /expected shares/],
    [() => first.grow(2, { init: 'gradmax' }), /expected directions with init 'gradmax', got none/],
    [() => first.grow(2, { init: 'gradmax', directions: [[1, 0]] }), /directions of its 7 weights, got 2/],
    [() => first.reset([1], { init: 'orthogonal' }), /expected init zero-out or paired, got 'orthogonal'/],
    [() => first.prune([0, 0]), /prune 'first': expected distinct slots, got \[0,0\]/],
    [() => first.prune([8]), /expected slots in 0..7, got 8/],
    [() => first.prune([-1]), /got -1/],
    [() => first.prune([0.5]), /got 0.5/],
    [() => first.prune([0, 1, 2, 3, 4, 5, 6, 7]), /expected at least one neuron to be left, got all 8 slots/],
    [() => first.reset([9]), /reset 'first'/],
    [() => first.reset([1], { init: 'split' }), /expected init zero-out or paired/],
    [() => first.permute([0, 1]), /expected every one of 8 slots once, got 2/],
    [() => first.tick(-1), /tick: expected a whole number >= 0/],
    [() => first.load({ ...first.state(), size: 3 }), /expected 3 distinct ids/],
    [() => new Width(0), /size: expected a whole number >= 1, got 0/],
    [() => new Width(4, { capacity: 3 }), /capacity: expected a whole number >= 4, got 3/],
  ];
  for (const [run, message] of bad) {
    expect(run).toThrow(ConfigError);
    expect(run).toThrow(message);
  }
  expect(bits(net, optimizer)).toEqual(before);
  expect(first.prune([])).toEqual([]);
});

test('any sequence of changes keeps ids, sizes and weights together', () => {
  const command = fc.oneof(
    fc.record({ kind: fc.constant('grow' as const), n: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ kind: fc.constant('prune' as const), n: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ kind: fc.constant('permute' as const), n: fc.integer({ min: 0, max: 1000 }) }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 12 }), (commands) => {
      const { net, first } = makeNet();
      const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
      const generator = new Generator(1);
      // Every unit's bias becomes its id, so that a mix-up shows.
      const mark = (): void => {
        const bias = net.parameters()[1].array.active;
        bias.device.write(
          bias.storage.handle,
          0,
          Float32Array.from(first.units, ({ id }) => id),
        );
      };
      mark();
      for (const { kind, n } of commands) {
        if (kind === 'grow') first.grow(n, { generator });
        else if (kind === 'prune')
          first.prune(
            Array.from({ length: Math.min(n, first.size - 1) }, (_, i) => (i * 5) % first.size).filter(
              (s, i, a) => a.indexOf(s) === i,
            ),
          );
        else first.permute(Array.from({ length: first.size }, (_, i) => (i + n) % first.size));
        const known = values(net.parameters()[1].array.active);
        first.units.forEach(({ id }, slot) => expect([id, 0]).toContain(known[slot]));
        mark();
      }
      trainStep(net, optimizer, batch);
      expect(values(net.forward(batch.x)).every(Number.isFinite)).toBe(true);
      optimizer.dispose();
      net.dispose();
      expect(first.arrays.length).toBe(0);
    }),
    { numRuns: 40 },
  );
});

test('load refuses a state without capacity or next id', () => {
  const width = new Width(2);
  const state = width.state();
  for (const change of [{ capacity: NaN }, { capacity: 1 }, { nextId: undefined as unknown as number }]) {
    expect(() => width.load({ ...state, ...change })).toThrow(ConfigError);
  }
  expect(width.units.map(({ id }) => id)).toEqual([0, 1]);
});
