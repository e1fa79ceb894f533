import { describe, expect, it } from 'vitest';
import { createDataset } from '../../src/data/index.js';
import { ConfigError } from '../../src/device/index.js';
import { createLoss } from '../../src/longtail/index.js';
import { mlp } from '../../src/models/index.js';
import { compare, compareResult, Evaluator, longTailed, train } from '../../src/train/index.js';
import { bumps, plastic, smallData } from './support.js';

const pair = { name: 'bumps', source: 'test', train: bumps('train', 60), test: bumps('test', 20) };

describe('longTailed', () => {
  it('cuts the profile out of what there is', () => {
    const data = longTailed(pair, { imbalanceFactor: 10, profile: 'exponential', subsetSeed: 0 });
    expect(data.counts).toEqual([60, 27, 12, 6]);
    expect([data.train.rows, data.test.rows, data.imbalanceFactor]).toEqual([105, 80, 10]);
    expect(data.classNames).toEqual(['0', '1', '2', '3']);
    expect(longTailed(pair, { imbalanceFactor: 10, profile: 'step', subsetSeed: 0 }).counts).toEqual([60, 60, 6, 6]);
  });

  it('makes room where a frequent class has few rows', () => {
    const rows = [...Array(60)].map((_, i) => (i < 10 ? 0 : 1));
    const train = createDataset({ name: 't', data: new Float32Array(60), labels: rows, shape: [1] });
    expect(
      longTailed({ ...pair, train }, { imbalanceFactor: 2, profile: 'exponential', subsetSeed: 0 }).counts,
    ).toEqual([10, 5]);
  });

  it('numbers the classes of natural data by frequency', () => {
    const set = createDataset({
      name: 't',
      data: Float32Array.of(1, 2, 3, 4, 5),
      labels: [0, 1, 1, 2, 1],
      shape: [1],
      classNames: ['a', 'b', 'c'],
    });
    const data = longTailed(
      { ...pair, train: set, test: set },
      { imbalanceFactor: null, profile: 'exponential', subsetSeed: 0 },
    );
    expect(data.counts).toEqual([3, 1, 1]);
    expect(data.classNames).toEqual(['b', 'a', 'c']);
    expect([...data.train.labels]).toEqual([1, 0, 0, 2, 0]);
    expect([...data.test.labels]).toEqual([1, 0, 0, 2, 0]);
  });

  it('refuses sets without samples of a class', () => {
    const empty = createDataset({ name: 't', data: new Float32Array(2), labels: [0, 2], shape: [1] });
    const run = (imbalanceFactor: number | null) => () =>
      longTailed({ ...pair, train: empty }, { imbalanceFactor, profile: 'exponential', subsetSeed: 0 });
    expect(run(null)).toThrow(/samples of every class/);
    expect(run(5)).toThrow(/samples of every class, got \[1, 0, 1\]/);
  });
});

describe('Evaluator', () => {
  it('agrees with a plain forward pass, whatever the batch size, and keeps the mode', async () => {
    const model = mlp({ inputs: 6, hidden: [5], classes: 4, dropout: 0.5, norm: 'batch', seed: 2 });
    const loss = createLoss({ name: 'ce' }, [4, 3, 2, 1]);
    const results = [];
    for (const size of [7, 80, 1000]) {
      const evaluator = new Evaluator(model, loss, pair.test, [4, 3, 2, 1], size);
      results.push(await evaluator.evaluate());
      expect(await evaluator.evaluate()).toEqual(results.at(-1));
      evaluator.dispose();
    }
    expect(model.training).toBe(true);
    expect(results[1].confusion).toEqual(results[0].confusion);
    expect(results[1].loss).toBeCloseTo(results[0].loss, 6);
    expect(results[2]).toEqual(results[1]);
    expect(results[0].top1).toBeCloseTo(results[0].meanRecall, 12);
    model.dispose();
    loss.dispose();
  });
});

describe('compare', () => {
  it('refuses nothing to do, and two of one name', async () => {
    await expect(compare([])).rejects.toThrow(ConfigError);
    await expect(
      compare([
        { name: 'a', config: {} },
        { name: 'a', config: {} },
      ]),
    ).rejects.toThrow(/distinct names, got 'a' twice/);
    await expect(compare([{ name: 'a', config: { epochs: -1 } }])).rejects.toThrow(/^a: 'epochs'/);
  });

  it('gives what the report reads', async () => {
    const runs = [
      await train(
        { ...plastic, epochs: 4, plasticity: { period: 2, grownEpochs: 1 } },
        { data: smallData(), name: 'p' },
      ),
    ];
    const result = compareResult(runs);
    expect(JSON.parse(JSON.stringify(result))).toMatchObject({
      format: 'gyrus-results',
      version: 1,
      runs: [{ name: 'p', seed: 3 }],
    });
    expect(result.machine.threads).toBeGreaterThan(0);
  });
});
