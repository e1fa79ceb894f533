/**
 * Where and how the cycle grows: steered splits, shelter, rates of the newborn, allocation among widths; on convolutions and attention too.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Pictures } from '../../src/models/blocks.js';
import { resnet, vit } from '../../src/models/index.js';
import { Conv2d, GlobalAvgPool2d, Linear, type Module, ReLU, Sequential, Width } from '../../src/nn/index.js';
import { Generator, ones } from '../../src/ops/index.js';
import {
  classTaylor,
  classWeights,
  type CycleOptions,
  type GateCollector,
  lowest,
  shareOut,
  usedDirections,
} from '../../src/plasticity/index.js';
import { Survey } from '../../src/plasticity/survey.js';
import { bits, distance, values } from '../nn/helpers.js';
import { classCounts, type Training, training } from './loop.js';

const usual: CycleOptions = {
  rate: 0.5,
  period: 3,
  grownEpochs: 2,
  warmup: 0.1,
  lastShrink: 0.6,
  lastPhase: 0.6,
  seed: 3,
};

test('steer: split copies the units that the tail needs, none draws them', async () => {
  for (const steer of ['tail', 'none'] as const) {
    const run = training({ ...usual, init: 'split', steer, growthSamples: 7 });
    await run.run(0, 1);
    const [width] = run.widths;
    const collector = width.gate as GateCollector | undefined;
    const rows = () => {
      const flat = values(width.producers[0].weight.value);
      return Array.from({ length: width.size }, (_, j) => flat.slice(8 * j, 8 * j + 8));
    };
    // The sample that the training hands out, seen by hand.
    const sample = run.probe(1, 7);
    let tail: Float64Array | undefined;
    if (collector) {
      const survey = new Survey(run.net, sample, [collector]);
      const [stats] = await survey.stats();
      tail = classTaylor(stats!.perClass, classWeights('inverse', classCounts));
      survey.dispose();
    }
    await run.run(1, 1, true);
    const [old, born] = [rows().slice(0, 6), rows().slice(6)];
    const donors = born.map((row) => old.findIndex((other) => other.join() === row.join()));
    expect(donors.every((donor) => donor >= 0)).toBe(true);
    expect(new Set(donors).size).toBe(3);
    if (steer === 'tail')
      expect(donors).toEqual(
        lowest(
          tail!.map((v) => -v),
          3,
        ),
      );
  }
});

describe('shelter', () => {
  const options: CycleOptions = { ...usual, shelter: 0.4, headClasses: 1, grownEpochs: 2 };
  /** Rows of the own parameters of each unit of a width, by id. */
  const own = (run: Training, i: number) => {
    const width = run.widths[i];
    const parts = run.net
      .parameters()
      .filter(({ array }) => array.axes[0] === width)
      .map(({ array: { active } }) => ({ flat: values(active), per: active.size / width.size }));
    return new Map(
      width.units.map(({ id }, j) => [
        id,
        parts.map(({ flat, per }) => flat.slice(j * per, (j + 1) * per).join()).join(';'),
      ]),
    );
  };
  const moved = (before: Map<number, string>, after: Map<number, string>): number[] =>
    [...after].filter(([id, row]) => before.get(id) !== row).map(([id]) => id);

  test.each(['adamw', 'sgd'] as const)(
    'units the head needs keep every bit while grown, with %s',
    async (optimizer) => {
      const run = training(options, { optimizer });
      await run.run(0, 1);
      await run.run(1, 1, true);
      const start = [own(run, 0), own(run, 1)];
      await run.run(1, 2, false, true);
      for (const i of [0, 1]) {
        const n = Math.ceil(0.4 * [6, 5][i] - 1e-9);
        // All but the sheltered, the newborn among them.
        expect(moved(start[i], own(run, i)).length).toBe(run.widths[i].size - n);
        expect(moved(start[i], own(run, i)).filter((id) => id >= [6, 5][i]).length).toBe(3);
      }
      // Lifted at the end of the phase: everybody moves again.
      await run.run(2, 3);
      const base = [own(run, 0), own(run, 1)];
      await run.run(3, 4);
      for (const i of [0, 1]) expect(moved(base[i], own(run, i)).length).toBe(run.widths[i].size);
    },
  );

  test('a factor slows them down, 1 is no shelter', async () => {
    const plain = training(usual);
    await plain.run(0, 4);
    const free = training({ ...options, shelterFactor: 1 });
    await free.run(0, 4);
    expect(bits(free.net, free.optimizer)).toEqual(bits(plain.net, plain.optimizer));
    const slow = training({ ...options, shelterFactor: 0.5 });
    await slow.run(0, 4);
    expect(bits(slow.net, slow.optimizer)).not.toEqual(bits(plain.net, plain.optimizer));
  });
});

test('newbornRate: the newborn learn faster, nobody else differs at first, 1 changes nothing', async () => {
  const ends = [];
  for (const newbornRate of [undefined, 1, 4]) {
    const run = training({ ...usual, newbornRate }, { optimizer: 'sgd' });
    await run.run(0, 1);
    await run.run(1, 1, true);
    const weight = () => values(run.widths[0].producers[0].weight.value).slice(6 * 8);
    const start = weight();
    await run.run(1, 2, false, true);
    const moved = weight().reduce((sum, x, i) => sum + Math.abs(x - start[i]), 0);
    await run.run(2, 10);
    ends.push({ start, moved, bits: bits(run.net, run.optimizer) });
  }
  const [plain, one, four] = ends;
  expect(one).toEqual(plain);
  expect(four.start).toEqual(plain.start);
  expect(four.moved).toBeGreaterThan(2 * plain.moved);
});

describe('allocation', () => {
  test.each(['proportional', 'even', 'gradient', 'effective-rank'] as const)(
    '%s: as many newborn in every cycle, and back to the base size',
    async (allocation) => {
      const run = training({ ...usual, allocation });
      await run.run(0, 10);
      const born = (epoch: number) =>
        run.cycle.log
          .filter(({ kind, epoch: at }) => kind === 'grow' && at === epoch)
          .flatMap(({ unitIds }) => unitIds);
      expect([born(1).length, born(4).length]).toEqual([6, 6]);
      expect(run.widths.map(({ size }) => size)).toEqual([6, 5]);
      if (allocation === 'even') expect(run.sizes[1]).toEqual([9, 8]);
    },
  );

  test('a width may get none', async () => {
    const run = training({ ...usual, rate: 0.1, widths: ['a', 'b'], allocation: 'gradient' });
    await run.run(0, 10);
    for (const epoch of [1, 4]) {
      const born = run.cycle.log.filter(({ kind, epoch: at }) => kind === 'grow' && at === epoch);
      expect(born.reduce((sum, { unitIds }) => sum + unitIds.length, 0)).toBe(2);
    }
    expect(run.widths.map(({ size }) => size)).toEqual([6, 5]);
  });

  test('shareOut: whole numbers of that sum, none off its share by a unit or more', () => {
    const weights = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 500 }), weights, (total, w) => {
        const out = shareOut(total, w);
        const all = w.reduce((sum, x) => sum + x, 0);
        expect(out.reduce((sum, n) => sum + n, 0)).toBe(total);
        out.forEach((n, i) => {
          expect(Number.isInteger(n) && n >= 0).toBe(true);
          expect(Math.abs(n - (all > 0 ? (total * w[i]) / all : total / w.length))).toBeLessThan(1 + 1e-6);
        });
      }),
    );
    expect(shareOut(7, [1, 1, 1])).toEqual([3, 2, 2]);
    expect(shareOut(5, [NaN, 0])).toEqual([3, 2]);
  });

  test('used directions: effective rank of the incoming weights by the number of units', () => {
    const width = new Width(4, { name: 'w' });
    const layer = new Linear(4, width, { init: 'orthogonal', generator: new Generator(1) });
    expect(usedDirections(width)).toBeCloseTo(1, 5);
    // Two units alike and two without weights: one direction in four.
    const { device, storage } = layer.weight.array.active;
    device.write(storage.handle, 0, Float32Array.from([1, 2, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    expect(usedDirections(width)).toBeCloseTo(0.25, 5);
  });
});

describe('convolutions and attention', () => {
  const image = [2, 4, 1] as const;
  const models: [string, () => Module][] = [
    ['resnet', () => resnet({ depth: 8, width: 4, image, classes: 5, seed: 2 })],
    ['vit', () => vit({ patch: 2, dim: 8, depth: 1, heads: 2, mlp: 6, image, classes: 5, seed: 2 })],
    [
      'vit, cosine',
      () => vit({ patch: 2, dim: 8, depth: 1, heads: 2, mlp: 6, image, classes: 5, classifier: 'cosine' }),
    ],
  ];
  const kinds: CycleOptions[] = [
    { init: 'orthogonal', allocation: 'gradient', shelter: 0.4, newbornRate: 2 },
    { init: 'split', allocation: 'effective-rank', mode: 'grow', shelter: 0.4, shelterFactor: 0.5 },
    { init: 'split', mode: 'replace', shelter: 0.5 },
  ];
  test.each(models.flatMap(([name, make]) => kinds.map((kind) => ({ name, make, kind }))))(
    '$name $kind',
    async ({ make, kind }) => {
      const run = training({ ...usual, ...kind }, { model: make() });
      const sizes = run.widths.map(({ size }) => size);
      const parameters = run.net.parameterCount();
      await run.run(0, 4);
      const born = run.cycle.log.filter((event) => event.kind === 'grow').flatMap(({ unitIds }) => unitIds).length;
      expect(born).toBe(run.cycle.widths.reduce((sum, { name }) => sum + added(name, sizes, run), 0));
      if (kind.mode === 'grow') expect(run.net.parameterCount()).toBeGreaterThan(parameters);
      else {
        expect(run.widths.map(({ size }) => size)).toEqual(sizes);
        expect(run.net.parameterCount()).toBe(parameters);
      }
      expect(values(run.net.forward(ones([2, 8]))).every(Number.isFinite)).toBe(true);
    },
  );
  const added = (name: string, sizes: number[], run: Training): number =>
    Math.ceil(sizes[run.widths.findIndex((width) => width.name === name)] / 2);

  test('gradmax between the linear layers of a transformer', async () => {
    const run = training({ ...usual, init: 'gradmax', widths: ['mlp1'] }, { model: models[1][1]() });
    await run.run(0, 1);
    const x = run.probe(3, 2);
    const before = values(run.net.forward(x.x));
    await run.run(1, 1, true);
    expect(distance(values(run.net.forward(x.x)), before)).toBeLessThan(2e-6);
    expect(run.cycle.log.map(({ layer, width }) => [layer, width])).toEqual([['mlp1', 9]]);
    await run.run(1, 4, false, true);
    expect(run.cycle.log.at(-1)!.width).toBe(6);
  });

  test('gradmax between convolutions', async () => {
    const generator = new Generator(4);
    const width = new Width(4, { name: 'conv', capacity: 6 });
    const model = new Sequential(
      new Pictures([2, 4, 1]),
      new Conv2d(1, width, 3, { padding: 1, generator }),
      new ReLU(),
      new Conv2d(width, 6, 3, { padding: 1, activation: 'relu', generator }),
      new GlobalAvgPool2d(),
      new Linear(6, 5, { generator }),
    );
    const run = training({ ...usual, init: 'gradmax' }, { model });
    await run.run(0, 1);
    const { x } = run.probe(3, 2);
    const before = values(run.net.forward(x));
    await run.run(1, 1, true);
    expect(width.size).toBe(6);
    expect(distance(values(run.net.forward(x)), before)).toBeLessThan(2e-6);
    const newborn = () => values((width.producers[0] as Conv2d).weight.value).slice(4 * 9);
    expect(newborn().every((w) => w === 0)).toBe(true);
    await run.run(1, 2, false, true);
    expect(newborn().every((w) => w !== 0)).toBe(true);
    await run.run(2, 10);
    expect(run.cycle.log.map(({ kind, width: now }) => [kind, now])).toEqual([
      ['grow', 6],
      ['prune', 4],
      ['grow', 6],
      ['prune', 4],
    ]);
  });
});
