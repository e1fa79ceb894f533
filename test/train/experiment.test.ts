/**
 * Grid, hash, table and statistics of an experiment; running it is tested from the command line.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError, FormatError, IOError } from '../../src/device/index.js';
import {
  configHash,
  CSV_COLUMNS,
  ExperimentCache,
  type ExperimentInput,
  expandGrid,
  experimentResult,
  mergeConfigs,
  type NamedRecord,
  pairsOf,
  parseExperiment,
  readRuns,
  summarize,
  toCsv,
} from '../../src/train/experiment/index.js';
import { renderExperimentReport } from '../../src/train/experiment/report.js';
import { parseConfig } from '../../src/train/index.js';
import { interval, significance } from '../../src/train/report-summary.js';
import { temporaryFolder } from './support.js';

const grid: ExperimentInput = {
  base: { epochs: 10, dataset: { name: 'mnist' } },
  models: { small: { model: { hidden: [8] } }, large: { model: { hidden: [64, 32] }, batchSize: 64 } },
  datasets: { a: {}, b: { dataset: { normalize: true } } },
  imbalanceFactors: [10, null],
  methods: {
    fixed: {},
    cycle: { plasticity: { rate: 0.5, period: 2, grownEpochs: 1 } },
    'fixed+bs': null,
    both: ['cycle', 'bs'],
  },
  parts: { bs: { loss: { name: 'balanced-softmax' } } },
  seeds: '0-1',
};
const ids = (input: ExperimentInput): string[] => expandGrid(parseExperiment(input, 'grid')).map(({ id }) => id);
const refused = (input: object): string => {
  try {
    expandGrid(parseExperiment(input, 'grid'));
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('expected a ConfigError');
};

describe('the grid', () => {
  it('is every model with every data set, factor, method and seed, by seed first', () => {
    const all = ids(grid);
    expect(all).toHaveLength(2 * 2 * 2 * 4 * 2);
    expect(new Set(all).size).toBe(all.length);
    expect(all.slice(0, 5)).toEqual([
      'a/small/if10/fixed/seed0',
      'a/small/if10/cycle/seed0',
      'a/small/if10/fixed+bs/seed0',
      'a/small/if10/both/seed0',
      'a/large/if10/fixed/seed0',
    ]);
    expect(all.findIndex((id) => id.endsWith('seed1'))).toBe(all.length / 2);
    expect(all).toContain('b/large/natural/both/seed1');
  });

  it('puts each configuration together from its parts', () => {
    const cells = expandGrid(parseExperiment(grid, 'grid'));
    const config = (id: string) => cells.find((cell) => cell.id === id)!.config;
    const both = config('b/large/if10/both/seed1');
    expect(both).toMatchObject({ epochs: 10, batchSize: 64, seed: 1, plasticity: { rate: 0.5, period: 2 } });
    expect(both).toMatchObject({
      loss: { name: 'balanced-softmax' },
      dataset: { normalize: true, imbalanceFactor: 10 },
    });
    expect(config('a/small/natural/fixed+bs/seed0')).toMatchObject({
      loss: { name: 'balanced-softmax' },
      plasticity: null,
      dataset: { normalize: false, imbalanceFactor: null },
    });
  });

  it('lays objects over each other and replaces everything else', () => {
    const merged = mergeConfigs(
      { a: { x: 1, y: [1, 2] }, b: null },
      { a: { y: [3] }, b: { z: 1 } },
      { c: { d: null } },
    );
    expect(merged).toEqual({ a: { x: 1, y: [3] }, b: { z: 1 }, c: { d: null } });
    expect(mergeConfigs({ a: { x: 1 } }, { a: null })).toEqual({ a: null });
    const evil = mergeConfigs({}, JSON.parse('{"__proto__": {"polluted": 1}}') as Record<string, unknown>);
    expect([({} as { polluted?: number }).polluted, Object.getPrototypeOf(evil)]).toEqual([
      undefined,
      Object.prototype,
    ]);
  });

  it('leaves what the filters leave, and overrides what they choose', () => {
    expect(ids({ ...grid, include: [{ model: 'sm*', method: ['fixed', 'both'], if: 10, seed: 1 }] })).toEqual([
      'a/small/if10/fixed/seed1',
      'a/small/if10/both/seed1',
      'b/small/if10/fixed/seed1',
      'b/small/if10/both/seed1',
    ]);
    const without = ids({ ...grid, exclude: [{ dataset: 'b', model: 'large' }, { if: null }] });
    expect(without).toHaveLength(2 * 3 * 4);
    expect(without.some((id) => id.startsWith('b/large') || id.includes('natural'))).toBe(false);
    const cells = expandGrid(
      parseExperiment({
        ...grid,
        overrides: [
          { model: 'large', config: { epochs: 20 } },
          { model: 'large', dataset: 'b', config: { epochs: 30 } },
        ],
      }),
    );
    const epochs = (prefix: string) =>
      new Set(cells.filter(({ id }) => id.startsWith(prefix)).map((c) => c.config.epochs));
    expect([epochs('a/small'), epochs('a/large'), epochs('b/large')]).toEqual([10, 20, 30].map((n) => new Set([n])));
  });

  it('multiplies epochs', () => {
    const methods = { fixed: {}, longer: { epochsFactor: 1.26 }, both: ['cycle', 'longer'], cycle: { plasticity: {} } };
    const cells = expandGrid(
      parseExperiment({ ...grid, methods, overrides: [{ model: 'large', config: { epochs: 50 } }] }),
    );
    const epochs = cells.slice(0, 2 * 4).map(({ id, config }) => `${id} ${config.epochs}`);
    expect(epochs).toContain('a/small/if10/longer/seed0 13');
    expect(epochs).toContain('a/large/if10/both/seed0 63');
    expect(epochs).toContain('a/large/if10/cycle/seed0 50');
  });

  it('takes the factor of the configuration where the file names none', () => {
    const { imbalanceFactors: _, ...rest } = grid;
    expect(ids(rest)[0]).toBe('a/small/if100/fixed/seed0');
    expect(ids({ ...rest, base: { dataset: { imbalanceFactor: 50 } } })[0]).toBe('a/small/if50/fixed/seed0');
  });

  it.each([
    ['an unknown key', { ...grid, modls: {} }, "grid: unknown key 'modls'; did you mean 'models'?"],
    ['no model', { ...grid, models: {} }, "grid: 'models': expected at least one, got none"],
    ['a name with a comma', { ...grid, models: { 'a,b': {} } }, 'expected a name of letters, digits'],
    ['bad seeds', { ...grid, seeds: '4-0' }, "'seeds': expected a rising range"],
    ['a seed twice', { ...grid, seeds: [1, 1] }, "'seeds': expected each seed once"],
    [
      'an unknown baseline',
      { ...grid, baseline: 'fxed' },
      "expected one of the methods fixed, cycle, fixed+bs, both, got 'fxed'",
    ],
    ['an unknown method to compare', { ...grid, compare: [['cycle', 'none']] }, "got 'none'"],
    [
      'an unknown part',
      { ...grid, methods: { x: ['nothing'] } },
      "method 'x': expected methods and parts (x, bs), got 'nothing'",
    ],
    ['a method of itself', { ...grid, methods: { x: ['y'], y: ['x'] } }, 'expected parts, got itself: x > y > x'],
    [
      'a filter on nothing',
      { ...grid, exclude: [{ model: 'smal' }] },
      `exclude[0]: 'model': expected one of small, large, got "smal"; did you mean 'small'?`,
    ],
    [
      'filters that leave nothing',
      { ...grid, exclude: [{ model: '*' }] },
      'expected cells, but the filters leave none',
    ],
    [
      'a field that is wrong in a few cells',
      { ...grid, models: { ...grid.models, odd: { batchSize: 0 } } },
      "cell a/odd/if10/fixed/seed0 and 31 more: 'batchSize'",
    ],
    [
      'a factor of zero',
      { ...grid, methods: { x: { epochsFactor: 0 } } },
      "'epochsFactor': expected a number above 0, got 0",
    ],
    ['models as a list', { ...grid, models: ['a'] }, `grid: 'models': expected an object of fields, got ["a"]`],
    [
      'an unknown data set',
      { ...grid, datasets: { a: { dataset: { name: 'mnits' } } } },
      "'dataset.name': expected one of auto, fashion-mnist",
    ],
    ['a field that is unknown', { ...grid, base: { epohcs: 3 } }, "unknown key 'epohcs'; did you mean 'epochs'?"],
  ])('refuses %s', (_name, input, message) => {
    expect(refused(input)).toContain(message);
  });
});

describe('the hash', () => {
  const config = parseConfig({ model: { hidden: [8] }, epochs: 3, dataset: { name: 'mnist' } });

  it('changes with what changes results', () => {
    const others = [
      { ...config, seed: 1 },
      { ...config, epochs: 4 },
      { ...config, plasticity: parseConfig({ plasticity: {} }).plasticity },
    ];
    expect(new Set([config, ...others].map((other) => configHash(other))).size).toBe(4);
  });

  it('does not depend on threads, evaluations, checkpoints, the order of keys, or fields that are off', () => {
    const same = { ...config, threads: 7, evalEvery: 3, checkpoint: { path: 'x', every: 2, seconds: 1 } };
    const backwards = Object.fromEntries(Object.entries(same).reverse()) as typeof config;
    expect(configHash(backwards)).toBe(configHash(config));
    expect(configHash({ ...config, ...{ later: null } })).toBe(configHash(config));
  });

  it('of own data changes with what its files hold, and not with where they lie', () => {
    const dir = temporaryFolder();
    const table = (folder: string, rows: string): string => {
      mkdirSync(join(dir, folder), { recursive: true });
      writeFileSync(join(dir, folder, 'train.csv'), rows);
      writeFileSync(join(dir, folder, 'test.csv'), '1,a\n2,b\n');
      return folder;
    };
    const hashOf = (folder: string): string => {
      const [train, test] = ['train.csv', 'test.csv'].map((name) => join(dir, folder, name));
      const input = { ...grid, imbalanceFactors: [10], datasets: { own: { dataset: { train, test } } } };
      return expandGrid(parseExperiment(input, 'grid'))[0].hash;
    };
    const first = hashOf(table('here', '1,a\n2,b\n'));
    expect(hashOf('here')).toBe(first);
    expect(hashOf(table('there', '1,a\n2,b\n'))).toBe(first);
    expect(hashOf(table('here', '1,a\n2,a\n'))).not.toBe(first);
    expect(hashOf(table('here', '1,a\n2,b\n'))).toBe(first);
    expect(() => hashOf('nowhere')).toThrow(IOError);
    expect(() => hashOf('nowhere')).toThrow(/dataset: .*nowhere\/train.csv can't be read/);
  });

  it('is the same on every machine and in every version that gives the same results', () => {
    expect(configHash(JSON.parse(LITERAL) as typeof config)).toBe(
      '6c830cdcb097d862c6520f28dd74cac59f5251c9ec5d8cc433614fd1f1251e89',
    );
  });
});

/**
 * A configuration as it was parsed once; whatever fields come later, its hash stays. It is `sha256sum` of
 * {"config":{"dataset":{"imbalanceFactor":100,"name":"mnist"},"epochs":3,"loss":{"name":"ce"},"model":{"hidden":[8]},"seed":0},"version":1}
 */
const LITERAL =
  '{"dataset":{"name":"mnist","imbalanceFactor":100},"model":{"hidden":[8]},"loss":{"name":"ce"},"augment":null,"epochs":3,"seed":0,"threads":2,"evalEvery":1,"checkpoint":null}';

const record = (method: string, seed: number, meanRecall: number, extra: Partial<NamedRecord> = {}): NamedRecord => ({
  dataset: 'a',
  model: 'm',
  if: 100,
  method,
  seed,
  hash: 'ab'.repeat(32),
  top1: meanRecall,
  meanRecall,
  head: 0.9,
  mid: 0.5,
  tail: meanRecall - 0.2,
  params: 1234,
  madds: 1200,
  trainingMadds: 3e6,
  seconds: 12.345,
  epochs: 3,
  loss: 1,
  ece: 0.1,
  perClass: [0.9, meanRecall],
  classCounts: [10, 1],
  classNames: ['x', 'y'],
  units: { grow: 1, prune: 1, reset: 0 },
  isa: 'avx2',
  cpu: 'cpu',
  ...extra,
});

describe('the results', () => {
  it('as CSV: one row per run, these columns', () => {
    expect(CSV_COLUMNS.join(',')).toBe(
      'dataset,model,if,method,seed,top1,mean_recall,head,mid,tail,params,madds,seconds',
    );
    expect(toCsv([record('fixed', 0, 0.5), record('cycle+bs', 3, 2 / 3, { if: null, madds: 5000 })])).toBe(
      'dataset,model,if,method,seed,top1,mean_recall,head,mid,tail,params,madds,seconds\n' +
        'a,m,100,fixed,0,0.500000,0.500000,0.900000,0.500000,0.300000,1234,1200,12.3\n' +
        'a,m,natural,cycle+bs,3,0.666667,0.666667,0.900000,0.500000,0.466667,1234,5000,12.3\n',
    );
  });

  it('intervals are Student’s: differences 1, 2, 4 have mean 7/3 and half-width 4.303 sqrt(7/3 / 3)', () => {
    const { mean, halfWidth, pairs } = interval([1, 2, 4]);
    expect([mean, halfWidth, pairs]).toEqual([expect.closeTo(7 / 3, 12), expect.closeTo(3.7949, 4), 3]);
    expect(significance(interval([1, 2, 4]))).toBe(0);
    expect(significance(interval([2, 2.1, 2.2]))).toBe(1);
    expect(significance(interval([-2, -2.1, -2.2]))).toBe(-1);
    expect([interval([3]).halfWidth, significance(interval([3]))]).toEqual([undefined, 0]);
  });

  it('pairs by seed, cell by cell, and counts the clear ones', () => {
    const runs = [
      ...[0.5, 0.6, 0.7].map((recall, seed) => record('fixed', seed, recall)),
      ...[0.55, 0.66, 0.74].map((recall, seed) => record('cycle', seed, recall)),
      record('cycle', 9, 0.1),
      ...[0.5, 0.6].map((recall, seed) => record('fixed', seed, recall, { model: 'n' })),
      ...[0.4, 0.7].map((recall, seed) => record('cycle', seed, recall, { model: 'n' })),
      record('cycle', 0, 1, { model: 'alone' }),
    ];
    const [pair] = summarize(runs, [
      ['cycle', 'fixed'],
      ['random', 'fixed'],
    ]);
    expect(pair.cells.map(({ model, pairs }) => [model, pairs])).toEqual([
      ['m', 3],
      ['n', 2],
    ]);
    const [m, n] = pair.cells;
    expect(m.differences.meanRecall.mean).toBeCloseTo(0.05, 12);
    // Deviation of 0.05, 0.06, 0.04 is 0.01.
    expect(m.differences.meanRecall.halfWidth).toBeCloseTo((4.303 * 0.01) / Math.sqrt(3), 9);
    expect(m.perClass.map(({ mean }) => mean)).toEqual([0, expect.closeTo(0.05, 12)]);
    expect(n.differences.meanRecall.mean).toBeCloseTo(0, 12);
    expect([pair.above, pair.below]).toEqual([1, 0]);
    expect(pair.overall.meanRecall.mean).toBeCloseTo(0.025, 12);
    expect(summarize(runs, [['random', 'fixed']])).toEqual([]);
  });

  it('compares with the baseline, and what is combined with what it is combined with', () => {
    const methods = { fixed: {}, cycle: {}, 'fixed+bs': null, 'cycle+bs': null };
    expect(pairsOf({ methods })).toEqual([
      ['cycle', 'fixed'],
      ['fixed+bs', 'fixed'],
      ['cycle+bs', 'fixed'],
      ['cycle+bs', 'fixed+bs'],
    ]);
    expect(pairsOf({ methods, baseline: 'cycle' })[0]).toEqual(['fixed', 'cycle']);
    expect(pairsOf({ methods, compare: [['cycle', 'fixed']] })).toEqual([['cycle', 'fixed']]);
  });
});

describe('the report', () => {
  const runs = ['m', '<n>'].flatMap((model) =>
    [0.5, 0.6, 0.7].flatMap((recall, seed) => [
      record('fixed', seed, recall, { model }),
      record('cycle', seed, recall + 0.05 + 0.01 * seed, { model, params: 999 }),
    ]),
  );
  const experiment = parseExperiment(
    { ...grid, description: 'What <it> is', methods: { fixed: {}, cycle: {} } },
    'grid',
  );
  const result = {
    ...experimentResult(experiment, { finished: [], failed: [], total: 14 }, 'npx gyrus experiment grid.yaml'),
    runs,
    failed: [{ id: 'a/b', message: 'it <broke>' }],
  };

  it('says what came out, with every part, and loads nothing', async () => {
    const html = await renderExperimentReport(result);
    expect(html).toContain('“cycle” against “fixed”: +6.0 points of mean class recall in the mean, above zero');
    expect(html).toContain('in 2 of 2; tail +6.0, head ±0.0.');
    expect(html).toContain('2 runs are not done yet');
    for (const part of [
      'Differences',
      'model by model',
      'Recall of each class',
      'Parameters',
      'Multiply-adds of the training',
    ]) {
      expect(html).toContain(part);
    }
    // A forest, a class chart and three costs.
    expect(html.match(/<svg role="img"/g)).toHaveLength(5);
    expect(html).toContain('a m if100: 6.0 (3.5 to 8.5); a &lt;n&gt; if100: 6.0');
    expect(html).toContain('it &lt;broke&gt;');
    expect(html).not.toMatch(/<script|<link|src=|href="(?!#)|<n>|<it>|<broke>/);
  });

  it('marks what is above zero as good and what is below as bad', async () => {
    const swapped = await renderExperimentReport({ ...result, compare: [['fixed', 'cycle']] });
    const colors = (html: string): string[] => [...new Set(html.match(/fill="var\(--(good|bad|soft)\)"/g))];
    const forest = (html: string): string => html.slice(html.indexOf('id="forest"'), html.indexOf('id="classes"'));
    expect(colors(forest(await renderExperimentReport(result)))).toContain('fill="var(--good)"');
    expect(colors(forest(await renderExperimentReport(result)))).not.toContain('fill="var(--bad)"');
    expect(colors(forest(swapped))).toContain('fill="var(--bad)"');
    expect(colors(forest(swapped))).not.toContain('fill="var(--good)"');
  });

  it('of nothing yet says so', async () => {
    const html = await renderExperimentReport({ ...result, runs: runs.slice(0, 1) });
    expect(html).toContain('No pair of methods has a seed in common yet.');
    expect(await renderExperimentReport({ ...result, runs: [] })).toContain('14 runs are not done yet');
  });
});

describe('the cache', () => {
  const dir = temporaryFolder();
  const run = record('fixed', 0, 0.5);

  it('keeps a run under its hash, and takes damaged files for none', async () => {
    const cache = new ExperimentCache(join(dir, 'cache'));
    expect(cache.read(run.hash)).toBeUndefined();
    await cache.write(run, {});
    expect(cache.read(run.hash)).toMatchObject({ meanRecall: 0.5, perClass: [0.9, 0.5] });
    for (const text of [
      '{"format": "gyrus-exp',
      '{"format": "other"}',
      JSON.stringify({ format: 'gyrus-experiment-run', version: 1, record: { ...run, hash: 'cd'.repeat(32) } }),
    ]) {
      writeFileSync(cache.pathOf(run.hash), text);
      expect(cache.read(run.hash)).toBeUndefined();
    }
  });

  it('takes runs of a results file; refuses other files', () => {
    mkdirSync(dir, { recursive: true });
    const path = join(dir, 'results.json');
    writeFileSync(path, JSON.stringify({ format: 'gyrus-experiment', version: 1, runs: [run] }));
    expect(readRuns(path)).toHaveLength(1);
    expect(new ExperimentCache(join(dir, 'none'), [path]).read(run.hash)?.meanRecall).toBe(0.5);
    writeFileSync(path, JSON.stringify({ format: 'gyrus-results', version: 1, runs: [] }));
    expect(() => readRuns(path)).toThrow(FormatError);
    expect(() => readRuns(path)).toThrow(/is no results file of an experiment: 'format'/);
    expect(() => readRuns(join(dir, 'nowhere.json'))).toThrow(/nowhere.json can't be read/);
  });
});
