/**
 * The whole cycle: sizes, events, maturity, retention, probes, captured steps, checkpoints in its middle.
 */
import { describe, expect, test } from 'vitest';
import { addon, ConfigError } from '../../src/device/index.js';
import { mlp } from '../../src/models/index.js';
import { LayerNorm, Linear, Sequential, Width } from '../../src/nn/index.js';
import { ones } from '../../src/ops/index.js';
import { cyclePhases, type CycleOptions, PlasticityCycle, scoreNames } from '../../src/plasticity/index.js';
import { bits, values } from '../nn/helpers.js';
import { training } from './loop.js';

const usual: CycleOptions = {
  rate: 0.5,
  period: 3,
  grownEpochs: 2,
  warmup: 0.1,
  lastShrink: 0.6,
  lastPhase: 0.6,
  seed: 3,
};

test('sizes over time, events, ids, ages and parameter count', async () => {
  const run = training(usual);
  const parameters = run.net.parameterCount();
  await run.run(0, 10);
  // Growth at epochs 1 and 4, shrink after 2 grown epochs; 7 + 2 > 8, so no third cycle.
  const [small, large] = [
    [6, 5],
    [9, 8],
  ];
  expect(run.sizes).toEqual([small, large, small, small, large, small, small, small, small, small]);
  expect(run.net.parameterCount()).toBe(parameters);
  expect(run.cycle.grown).toBe(false);
  const steps = 6;
  expect(run.cycle.log.map(({ kind, layer, step, epoch, width }) => [kind, layer, step, epoch, width])).toEqual([
    ['grow', 'a', steps, 1, 9],
    ['grow', 'b', steps, 1, 8],
    ['prune', 'a', 3 * steps, 3, 6],
    ['prune', 'b', 3 * steps, 3, 5],
    ['grow', 'a', 4 * steps, 4, 9],
    ['grow', 'b', 4 * steps, 4, 8],
    ['prune', 'a', 6 * steps, 6, 6],
    ['prune', 'b', 6 * steps, 6, 5],
  ]);
  expect(run.cycle.log[0].unitIds).toEqual([6, 7, 8]);
  const first = run.cycle.log[2];
  expect(first.scores!.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  const sorted = [...first.scores!].sort((p, q) => p.score - q.score || p.id - q.id);
  expect([...first.unitIds].sort()).toEqual(
    sorted
      .slice(0, 3)
      .map(({ id }) => id)
      .sort(),
  );
  expect(first.scores!.reduce((s, { score }) => s + score, 0)).toBeCloseTo(1, 6);
  const alive = new Set(run.widths[0].units.map(({ id }) => id));
  for (const id of first.unitIds) expect(alive.has(id)).toBe(false);
  expect(run.widths[0].now).toBe(60);
  // Recorded once per state of the widths and of the collectors.
  expect(run.recordings()).toBe(7);
});

const choices: [string, CycleOptions][] = [
  ...scoreNames.map((score): [string, CycleOptions] => [`score ${score}`, { score }]),
  ['paired', { init: 'paired' }],
  ['variance transfer', { init: 'variance-transfer' }],
  ['split', { init: 'split', noise: 0.01 }],
  ['match', { spread: 'match' }],
  ['split, steered by effective numbers', { init: 'split', steerWeighting: 'effective' }],
  ['split, drawn donors', { init: 'split', steer: 'none' }],
  ['orthogonal', { init: 'orthogonal' }],
  ['gradmax', { init: 'gradmax', widths: ['b'] }],
  ['shelter', { shelter: 0.5 }],
  ['shelter without any other statistics', { shelter: 0.3, score: 'l2', foldMean: false }],
  ['by gradient', { allocation: 'gradient', score: 'l2', foldMean: false }],
  ['by effective rank', { allocation: 'effective-rank' }],
  ['maturity beyond the training', { maturity: 1_000_000 }],
  ['retain everything', { retain: 1, headClasses: 5 }],
  ['retain', { retain: 0.5 }],
  ['no folding', { foldMean: false }],
  ['probe', { probe: { samplesPerClass: 4 } }],
  ['probe with gradients of weights', { probe: { samplesPerClass: 4 }, score: 'taylor-weight' }],
  ['inverse', { classWeighting: 'inverse' }],
  ['effective', { classWeighting: 'effective', effectiveBeta: 0.99 }],
  ['all grown epochs scored', { scoreEpochs: null }],
  ['period all grown', { period: 1, grownEpochs: 1 }],
  ['large rate', { rate: 3 }],
  ['late', { warmup: 0, lastShrink: 1 }],
  ['one width', { widths: ['b'] }],
];
test.each(choices)('the final size is the first, the last shrink in time: %s', async (_name, options) => {
  const run = training({ ...usual, ...options });
  const parameters = run.net.parameterCount();
  await run.run(0, 10);
  expect(run.widths.map(({ size }) => size)).toEqual([6, 5]);
  expect(run.net.parameterCount()).toBe(parameters);
  const last = run.cycle.log.at(-1)!;
  expect(last.kind).toBe('prune');
  expect(last.epoch).toBeLessThanOrEqual(10 * (options.lastShrink ?? usual.lastShrink!));
  for (const { kind, scores, unitIds } of run.cycle.log) {
    if (kind === 'prune') expect(scores!.every(({ score }) => Number.isFinite(score))).toBe(true);
    expect(unitIds.length).toBeGreaterThan(0);
  }
  if (options.widths) expect(run.cycle.log.every(({ layer }) => layer === 'b')).toBe(true);
  expect(values(run.net.forward(ones([2, 8]))).every(Number.isFinite)).toBe(true);
});

test('variance transfer: a shrink scales outgoing weights back to the base size, other starts leave them', async () => {
  for (const [init, factor] of [
    ['variance-transfer', Math.sqrt(8 / 5)],
    ['paired', 1],
  ] as const) {
    const run = training({ ...usual, init });
    const [, width] = run.widths;
    const outgoing = (): number[] => values(width.consumers[0].weight.value);
    let atPrune: number[] = [];
    width.onChange(({ kind }) => {
      if (kind === 'prune') atPrune = outgoing();
    });
    await run.run(0, 3);
    expect(width.size).toBe(5);
    expect(atPrune).toHaveLength(25);
    outgoing().forEach((w, i) => expect(w).toBeCloseTo(factor * atPrune[i], 6));
  }
});

describe('controls', () => {
  test('grow: grown once, never shrunk; the phases of the cycle go on', async () => {
    const heard: string[] = [];
    const run = training({
      ...usual,
      mode: 'grow',
      adjust: (phase, { epoch }) => void heard.push(`${phase} ${epoch}`),
    });
    await run.run(0, 10);
    const [small, large] = [
      [6, 5],
      [9, 8],
    ];
    expect(run.sizes).toEqual([small, ...new Array<number[]>(9).fill(large)]);
    expect(run.cycle.log.map(({ kind, layer, epoch, width }) => [kind, layer, epoch, width])).toEqual([
      ['grow', 'a', 1, 9],
      ['grow', 'b', 1, 8],
    ]);
    expect(heard).toEqual(['grown 1', 'base 2', 'grown 4', 'base 5']);
    // Nothing is scored: recorded once per state of the widths.
    expect(run.recordings()).toBe(2);
  });

  test.each(['zero-out', 'paired', 'split'] as const)(
    'replace: never grown, as many units replaced: %s',
    async (init) => {
      const run = training({ ...usual, mode: 'replace', init });
      await run.run(0, 10);
      expect(run.sizes).toEqual(new Array<number[]>(10).fill([6, 5]));
      const events = run.cycle.log.map(({ kind, layer, epoch, width, unitIds }) => [
        kind,
        layer,
        epoch,
        width,
        unitIds.length,
      ]);
      const once = (epoch: number) => [
        ['prune', 'a', epoch, 3, 3],
        ['prune', 'b', epoch, 2, 3],
        ['grow', 'a', epoch, 6, 3],
        ['grow', 'b', epoch, 5, 3],
      ];
      expect(events).toEqual([...once(3), ...once(6)]);
      const first = run.cycle.log[0];
      const sorted = [...first.scores!].sort((p, q) => p.score - q.score || p.id - q.id);
      expect(new Set(first.unitIds)).toEqual(new Set(sorted.slice(0, 3).map(({ id }) => id)));
      // Fresh slots: born at the second replacement, after 36 steps of 60.
      const { log } = run.cycle;
      expect(run.widths[0].units.slice(3).map(({ id, birth }) => [id, birth])).toEqual(
        log[6].unitIds.map((id) => [id, 36]),
      );
      const steps = values(run.optimizer.stateDict().get('rowSteps.0')!);
      expect(steps.slice(3)).toEqual([24, 24, 24]);
      expect(steps[0]).toBe(60);
    },
  );

  test('phases: no unit is born or removed, and nothing is scored', async () => {
    const heard: string[] = [];
    const run = training({
      ...usual,
      mode: 'phases',
      adjust: (phase, { epoch }) => void heard.push(`${phase} ${epoch}`),
    });
    const { ids } = run.widths[0].state();
    await run.run(0, 10);
    expect(run.sizes).toEqual(new Array<number[]>(10).fill([6, 5]));
    expect(run.widths[0].state().ids).toEqual(ids);
    expect(run.cycle.log).toEqual([]);
    expect(heard).toEqual(['grown 1', 'base 2', 'grown 4', 'base 5']);
    expect(run.recordings()).toBe(1);
  });

  test('replace leaves one unit at least, whatever the rate', async () => {
    const run = training({ ...usual, mode: 'replace', rate: 2, score: 'random' });
    await run.run(0, 4);
    expect(run.cycle.log.map(({ kind, width, unitIds }) => [kind, width, unitIds.length])).toEqual([
      ['prune', 1, 5],
      ['prune', 1, 4],
      ['grow', 6, 5],
      ['grow', 5, 4],
    ]);
  });
});

test('maturity: the newborn stay as long as enough older ones are left', async () => {
  const run = training({ ...usual, maturity: 13 });
  await run.run(0, 3);
  // Newborn are 12 steps old at the first shrink.
  for (const { kind, unitIds } of run.cycle.log) if (kind === 'prune') expect(unitIds.every((id) => id < 6)).toBe(true);
});

test('retain: no unit in the top half of a head class goes while others are left', async () => {
  // A random score, so that without the rule any unit could go.
  const run = training({ ...usual, retain: 0.5, headClasses: 1, score: 'random' });
  await run.run(0, 2);
  const collector = run.widths[0].gate as unknown as { readSync(): { perClass: Float64Array[] } };
  const top = [...collector.readSync().perClass[0]].map((v, slot) => ({ v, id: run.widths[0].units[slot].id }));
  top.sort((p, q) => q.v - p.v);
  const kept = new Set(top.slice(0, 5).map(({ id }) => id));
  await run.cycle.onEpochEnd({
    model: run.net,
    optimizer: run.optimizer,
    epochs: 10,
    epoch: 2,
    step: 18,
    stepsPerEpoch: 6,
    classCounts: [48, 24, 12, 8, 4],
  });
  const { unitIds } = run.cycle.log.find(({ kind, layer }) => kind === 'prune' && layer === 'a')!;
  // 9 units, 5 kept: 3 of the other 4 go.
  expect(unitIds.length).toBe(3);
  expect(unitIds.some((id) => kept.has(id))).toBe(false);
});

test('captured steps equal eager ones through the whole cycle', async () => {
  const [captured, eager] = [training(usual), training(usual, { eager: true })];
  await captured.run(0, 10);
  await eager.run(0, 10);
  expect(bits(captured.net, captured.optimizer)).toEqual(bits(eager.net, eager.optimizer));
  expect(captured.cycle.log).toEqual(eager.cycle.log);
});

test('one and two threads give the same bits', async () => {
  const native = addon();
  const before = native.threads();
  const runs = [];
  for (const threads of [1, 2]) {
    native.setThreads(threads);
    const run = training(usual);
    await run.run(0, 10);
    runs.push({ bits: bits(run.net, run.optimizer), log: run.cycle.log });
  }
  native.setThreads(before);
  expect(runs[0]).toEqual(runs[1]);
});

test.each([1, 2, 3, 5])('a checkpoint after epoch %i resumes bit for bit', async (at) => {
  const kinds: CycleOptions[] = [
    {},
    { init: 'split' },
    { mode: 'grow', shelter: 0.3, shelterFactor: 0.1 },
    { mode: 'replace', init: 'orthogonal' },
    { shelter: 0.5, grownEpochs: 3, newbornRate: 2 },
    { init: 'gradmax', widths: ['b'], allocation: 'gradient' },
  ];
  for (const kind of kinds) {
    const options = { ...usual, scoreEpochs: null, score: 'random' as const, retain: 0.3, ...kind };
    const whole = training(options);
    await whole.run(0, 10);
    const one = training(options);
    await one.run(0, at);
    const state = one.cycle.state();
    const saved = {
      widths: JSON.parse(JSON.stringify(one.net.widths().map((width) => width.state()))),
      net: new Map([...one.net.stateDict()].map(([name, t]) => [name, t.clone()])),
      optimizer: one.optimizer.stateDict(),
      cycle: { meta: JSON.parse(JSON.stringify(state.meta)), tensors: state.tensors },
    };
    const two = training(options);
    two.net.widths().forEach((width, i) => width.load(saved.widths[i]));
    two.net.loadStateDict(saved.net);
    two.optimizer.loadStateDict(saved.optimizer);
    two.cycle.load(saved.cycle);
    await two.run(at, 10);
    expect(bits(two.net, two.optimizer)).toEqual(bits(whole.net, whole.optimizer));
    expect(two.cycle.log).toEqual(whole.cycle.log);
    expect(two.widths.map(({ size }) => size)).toEqual(kind.mode === 'grow' ? [9, 8] : [6, 5]);
  }
});

test('hooks: adjust at every change of phase, onEvent for every event', async () => {
  const heard: string[] = [];
  const run = training({ ...usual, adjust: (phase, { epoch }) => void heard.push(`${phase} ${epoch}`) });
  run.cycle.onEvent = ({ kind, layer }) => heard.push(`${kind} ${layer}`);
  await run.run(0, 4);
  expect(heard).toEqual(['grow a', 'grow b', 'grown 1', 'prune a', 'prune b', 'base 2']);
});

describe('memory', () => {
  const short: CycleOptions = { ...usual, period: 1, grownEpochs: 1, warmup: 0, lastShrink: 1 };
  test.each<CycleOptions>([
    {},
    { shelter: 0.5, init: 'split', mode: 'replace' },
    { shelter: 0.5, init: 'gradmax', widths: ['b'], allocation: 'effective-rank' },
  ])('is flat over many cycles: %j', async (kind) => {
    const run = training({ ...short, ...kind }, { epochs: 60 });
    const { device } = run.net.parameters()[0].value;
    await run.run(0, 20);
    device.sync();
    const { buffers, bytesInUse } = device.memory();
    await run.run(20, 60);
    device.sync();
    expect(device.memory().buffers).toBeLessThanOrEqual(buffers + 2);
    expect(device.memory().bytesInUse).toBeLessThanOrEqual(bytesInUse * 1.02);
  });
});

test('the width before a cosine classifier is plastic', () => {
  const model = mlp({ inputs: 8, hidden: [4, 3], classes: 5, classifier: 'cosine' });
  const cycle = new PlasticityCycle(usual);
  const optimizer = training(usual).optimizer;
  cycle.onTrainStart({
    model,
    optimizer,
    epochs: 10,
    epoch: 0,
    step: 0,
    stepsPerEpoch: 6,
    classCounts: [5, 4, 3, 2, 1],
  });
  expect(cycle.widths.map(({ name }) => name)).toEqual(['hidden1', 'hidden2']);
  cycle.dispose();
});

describe('refusals', () => {
  const context = {
    model: training(usual).net,
    optimizer: training(usual).optimizer,
    epochs: 10,
    epoch: 0,
    step: 0,
    stepsPerEpoch: 6,
  };
  const options: [CycleOptions, RegExp][] = [
    [{ rates: 0.5 } as never, /Unrecognized key: "rates"/],
    [{ rate: 0 }, /'rate': .*>0, got 0/],
    [{ rate: NaN }, /'rate'/],
    [{ period: 1.5 }, /'period'/],
    [{ grownEpochs: 5, period: 3 }, /'grownEpochs': expected at most the period \(3\), got 5/],
    [{ init: 'magic' as never }, /'init'/],
    [{ score: 'magic' as never }, /'score'/],
    [{ retain: 2 }, /'retain'/],
    [{ probe: { samplesPerClass: 0 } }, /'probe.samplesPerClass': .*>=1, got 0/],
    [{ maturity: -1 }, /'maturity'/],
    [{ widths: [] }, /'widths'/],
    [{ adjust: 3 as never }, /'adjust'/],
    [{ mode: 'shrink' as never }, /'mode'/],
    [{ shelter: 1.5 }, /'shelter'/],
    [{ newbornRate: 0 }, /'newbornRate'/],
    [{ mode: 'replace', allocation: 'even' }, /'allocation': expected proportional in mode replace, got even/],
  ];
  test.each(options)('%j', (wrong, message) => {
    expect(() => new PlasticityCycle(wrong)).toThrow(ConfigError);
    expect(() => new PlasticityCycle(wrong)).toThrow(message);
  });
  test('what the training cannot give', () => {
    const start =
      (o: CycleOptions, more: object = {}) =>
      () =>
        new PlasticityCycle(o).onTrainStart({ ...context, classCounts: [3, 2, 1, 1, 1], ...more });
    expect(start(usual, { epochs: 2 })).toThrow(
      /no cycle fits: 2 epochs with warmup 0.1, grownEpochs 2 and lastPhase 0.6/,
    );
    expect(start(usual, { classCounts: undefined })).toThrow(/expected classCounts/);
    expect(start({ ...usual, probe: { samplesPerClass: 2 } })).toThrow(/probe: expected a training that can draw/);
    expect(start({ ...usual, shelter: 0.5 })).toThrow(/shelter: expected a training that can draw/);
    expect(start({ ...usual, init: 'split' })).toThrow(/init split: expected a training that can draw/);
    expect(start({ ...usual, allocation: 'gradient' })).toThrow(/allocation gradient: expected a training/);
    const draws = { probe: () => ({ x: ones([1, 8]), y: ones([1]) }) };
    expect(start({ ...usual, init: 'gradmax' }, draws)).toThrow(/gradmax 'a': expected no batch norm/);
    expect(start({ ...usual, widths: ['nope'] })).toThrow(/no width 'nope' \(it has 'a', 'b'\)/);
    expect(start(usual, { model: new Sequential(new Linear(3, 3)) })).toThrow(/no width that can be plastic/);
    const width = new Width(4, { name: 'w' });
    const mixed = new Sequential(new Linear(3, width), new LayerNorm(width), new Linear(width, 2));
    expect(start(usual, { model: mixed })).toThrow(/no width that can be plastic/);
    expect(start({ ...usual, widths: [width] }, { model: mixed })).toThrow(
      /'w' can't be plastic: a layer norm mixes its units/,
    );
    const twins = [new Width(4, { name: 'w' }), new Width(4, { name: 'w' })];
    const same = new Sequential(new Linear(3, twins[0]), new Linear(twins[0], twins[1]), new Linear(twins[1], 2));
    expect(start(usual, { model: same })).toThrow(/expected distinct names, got w, w/);
    const cycle = new PlasticityCycle(usual);
    cycle.onTrainStart({ ...context, classCounts: [1, 1, 1, 1, 1] });
    expect(() => cycle.onTrainStart({ ...context, classCounts: [1, 1, 1, 1, 1] })).toThrow(
      /one training per cycle object/,
    );
    cycle.dispose();
  });
});

test('phases are counted back from the end of the last', () => {
  const { settings } = new PlasticityCycle({ warmup: 0.1, period: 4, grownEpochs: 2, lastShrink: 0.9, lastPhase: 0.9 });
  const starts = (epochs: number, more: Partial<typeof settings> = {}): number[] =>
    cyclePhases({ ...settings, ...more }, epochs).map(({ from, to }) => {
      expect(to).toBe(from + 2);
      return from;
    });
  expect(starts(40)).toEqual([6, 10, 14, 18, 22, 26, 30, 34]);
  expect(starts(20)).toEqual([4, 8, 12, 16]);
  expect(starts(20, { lastShrink: 1 })).toEqual([2, 6, 10, 14, 18]);
  expect(starts(4)).toEqual([1]);
  expect(starts(2)).toEqual([]);
  const late = cyclePhases({ ...settings, lastShrink: 0.6, lastPhase: 0.9 }, 20);
  expect(late.map(({ from, neurons }) => [from, neurons])).toEqual([
    [4, true],
    [8, true],
    [12, false],
    [16, false],
  ]);
  const short = cyclePhases({ ...settings, lastShrink: 0.5, lastPhase: 0.9 }, 4);
  expect(short).toEqual([{ from: 1, to: 3, neurons: true }]);
});

test('phases after the last shrink leave the neurons alone and adjust what the others do', async () => {
  const phases: [string, number][] = [];
  const run = training({
    ...usual,
    period: 2,
    grownEpochs: 1,
    lastShrink: 0.5,
    lastPhase: 0.9,
    adjust: (phase, { epoch }) => void phases.push([phase, epoch]),
  });
  await run.run(0, 10);
  const grown = [2, 4, 6, 8];
  expect(phases).toEqual(grown.flatMap((epoch) => [['grown', epoch], ['base', epoch]])); // prettier-ignore
  expect([...new Set(run.cycle.log.map(({ kind, epoch }) => `${kind} ${epoch}`))]).toEqual([
    'grow 2',
    'prune 3',
    'grow 4',
    'prune 5',
  ]);
  expect(run.widths.map(({ size }) => size)).toEqual([6, 5]);
});
