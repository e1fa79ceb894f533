/**
 * What each reset does to weights, optimiser slots and ids; when it happens; rates over many steps.
 */
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, ShapeError } from '../../src/device/index.js';
import { CosineLinear, Linear, type Module, ReLU, Sequential, UnitGate, Width } from '../../src/nn/index.js';
import { add, assign, Generator } from '../../src/ops/index.js';
import { AdamW, SGD } from '../../src/optim/index.js';
import {
  createResets,
  parseResetOptions,
  type PlasticityContext,
  type ResetCallback,
  type ResetOptionsInput,
} from '../../src/plasticity/index.js';
import { noGrad, type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { makeBatch, stepOf, values } from '../nn/helpers.js';

const UNITS = 8;
const x = (): Tensor => makeBatch().x;

/** 6 - 8 - 4 with a captured step of SGD with momentum. */
function training(options: ResetOptionsInput, settings: { lr?: number; adam?: boolean } = {}) {
  const width = new Width(UNITS, { name: 'h' });
  const generator = new Generator(5);
  const net = new Sequential(
    new Linear(6, width, { generator, activation: 'relu' }),
    new Linear(width, 4, { generator }),
  );
  const { lr = 0.05 } = settings;
  const optimizer = settings.adam
    ? new AdamW(net.parameters(), { lr })
    : new SGD(net.parameters(), { lr, momentum: 0.9 });
  const resets = createResets(options, net, { seed: 3 });
  const batch = makeBatch();
  const step = capture(stepOf(net, optimizer));
  let steps = 0;
  const stepsPerEpoch = 10;
  const context = (): PlasticityContext => ({
    model: net,
    optimizer,
    epochs: 1000,
    epoch: Math.floor(steps / stepsPerEpoch),
    step: steps,
    stepsPerEpoch,
    classCounts: [20, 10, 5, 2],
  });
  let started = false;
  async function run(count: number): Promise<void> {
    if (!started) resets.onTrainStart(context());
    started = true;
    for (let i = 0; i < count; i++) {
      if (steps % stepsPerEpoch === 0) await resets.onEpochStart(context());
      step(batch.x, batch.y);
      steps++;
      await resets.onStepEnd(context());
    }
  }
  return { width, net, optimizer, resets, run, batch, step };
}

const named = (net: Module): Map<string, Float64Array> =>
  new Map([...net.stateDict()].map(([name, t]) => [name, Float64Array.from(values(t))]));

/** Makes these units silent: incoming weights 0, bias far below. */
function kill(net: Module, slots: number[]): void {
  const state = net.stateDict();
  const w = Float32Array.from(values(state.get('0.weight')!));
  const b = Float32Array.from(values(state.get('0.bias')!));
  for (const slot of slots) {
    w.fill(0, slot * 6, slot * 6 + 6);
    b[slot] = -100;
  }
  noGrad(() => {
    assign(state.get('0.weight')!, tensor(w, { shape: [UNITS, 6] }));
    assign(state.get('0.bias')!, tensor(b));
  });
}

describe('Width.observe', () => {
  test('hands over what the next layer reads, in captured steps too, until it is ended', () => {
    const { width, net, step, batch } = training({});
    const seen: number[][] = [];
    const stop = width.observe((a) => seen.push([...a.shape]));
    tidy(() => net.forward(x()));
    expect(seen).toEqual([[batch.x.shape[0], UNITS]]);
    step(batch.x, batch.y);
    step(batch.x, batch.y);
    expect(seen).toHaveLength(2);
    stop();
    step(batch.x, batch.y);
    expect(seen).toHaveLength(2);
    expect(step.recordings).toBe(2);
  });

  test('reports at a UnitGate where several layers read, and nothing while units are silenced', () => {
    const width = new Width(4, { name: 'h' });
    const [a, b] = [new Linear(width, 3), new Linear(width, 3)];
    const front = new Sequential(new Linear(6, width), new ReLU(), new UnitGate(width));
    let calls = 0;
    width.observe(() => calls++);
    tidy(() => {
      const h = front.forward(x());
      add(a.forward(h), b.forward(h));
    });
    expect(calls).toBe(1);
    const single = training({});
    single.width.observe(() => calls++);
    single.width.silence([0]);
    tidy(() => single.net.forward(x()));
    expect(calls).toBe(1);
  });
});

describe('ReDo', () => {
  test('starts dormant units afresh, and nobody else', async () => {
    const { width, net, optimizer, resets, run } = training({ period: 20, tau: 0, window: 4 });
    await run(19);
    kill(net, [2, 5]);
    // The batches in the window saw them alive: killed units only count once the whole window has seen them.
    await run(1);
    expect(resets.log).toEqual([]);
    await run(19);
    const momentum = values(optimizer.stateDict().get('momentum.0')!);
    expect(momentum.slice(12, 18).some((m) => m !== 0)).toBe(true);
    await run(1);
    expect(resets.log).toHaveLength(1);
    const [event] = resets.log;
    expect(event).toMatchObject({ kind: 'reset', layer: 'h', unitIds: [2, 5], width: UNITS, step: 40, epoch: 4 });
    expect(event.scores?.map(({ score }) => score === 0)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((i) => i === 2 || i === 5),
    );
    const mean = event.scores!.reduce((sum, { score }) => sum + score, 0) / UNITS;
    expect(mean).toBeCloseTo(1, 6);
    const after = named(net);
    const bound = Math.sqrt(6 / 6);
    const w = after.get('0.weight')!;
    for (const slot of [2, 5]) {
      const row = w.slice(slot * 6, slot * 6 + 6);
      expect(row.every((v) => v !== 0 && Math.abs(v) <= bound)).toBe(true);
      expect(after.get('0.bias')![slot]).toBe(0);
      for (let k = 0; k < 4; k++) expect(after.get('1.weight')![k * UNITS + slot]).toBe(0);
      for (const name of ['momentum.0', 'momentum.1', 'momentum.2']) {
        const slots = values(optimizer.stateDict().get(name)!);
        const own =
          name === 'momentum.0'
            ? slots.slice(slot * 6, slot * 6 + 6)
            : name === 'momentum.1'
              ? [slots[slot]]
              : [0, 1, 2, 3].map((k) => slots[k * UNITS + slot]);
        expect([...own].every((v) => v === 0)).toBe(true);
      }
    }
    expect(width.units.map(({ id }) => id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(width.units.map(({ age }) => age)).toEqual([40, 40, 0, 40, 40, 0, 40, 40]);
  });

  test('leaves the survivors bit for bit', async () => {
    const { net, resets, run } = training({ period: 20, tau: 0, window: 4 }, { lr: 0 });
    kill(net, [1]);
    const before = named(net);
    await run(20);
    expect(resets.log.map(({ unitIds }) => unitIds)).toEqual([[1]]);
    const after = named(net);
    for (const slot of [0, 2, 3, 4, 5, 6, 7]) {
      expect(after.get('0.weight')!.slice(slot * 6, slot * 6 + 6)).toEqual(
        before.get('0.weight')!.slice(slot * 6, slot * 6 + 6),
      );
      for (let k = 0; k < 4; k++)
        expect(after.get('1.weight')![k * UNITS + slot]).toBe(before.get('1.weight')![k * UNITS + slot]);
    }
  });

  test('scores are mean |h| over the window by their mean, and tau is inclusive', async () => {
    const { net, resets, run, batch } = training({ period: 10, tau: 1, window: 3 }, { lr: 0 });
    const state = named(net);
    const input = values(batch.x);
    const rows = batch.x.shape[0];
    const h = Array.from({ length: UNITS }, (_, j) => {
      let total = 0;
      for (let m = 0; m < rows; m++) {
        let z = state.get('0.bias')![j];
        for (let k = 0; k < 6; k++) z += input[m * 6 + k] * state.get('0.weight')![j * 6 + k];
        total += Math.max(0, z);
      }
      return total / rows;
    });
    const mean = h.reduce((a, b) => a + b) / UNITS;
    await run(10);
    const [event] = resets.log;
    event.scores!.forEach(({ score }, j) => expect(score).toBeCloseTo(h[j] / mean, 5));
    expect(event.unitIds).toEqual([0, 1, 2, 3, 4, 5, 6, 7].filter((j) => h[j] <= mean));
  });

  test('looks only in the window: recordings change with it', async () => {
    const { run, step } = training({ period: 20, tau: 0, window: 4 });
    await run(16);
    expect(step.recordings).toBe(1);
    await run(1);
    expect(step.recordings).toBe(2);
    await run(3);
    await run(1);
    expect(step.recordings).toBe(3);
  });

  test('counts epochs where it is told to, at their start, and ends by `until`', async () => {
    const { resets, run } = training({ period: 2, unit: 'epochs', tau: 1, until: 0.005 });
    await run(20);
    expect(resets.log).toHaveLength(0);
    await run(1);
    expect(resets.log.map(({ step, epoch }) => [step, epoch])).toEqual([[20, 2]]);
    await run(29);
    await run(30);
    // 0.005 of 10000 steps are 50: the reset at 40 is the last.
    expect(resets.log.map(({ step }) => step)).toEqual([20, 40]);
  });
});

describe('ReGraMa', () => {
  test('resets units without gradient: incoming weights drawn, outgoing kept', async () => {
    const { net, optimizer, resets, run } = training({ method: 'regrama', period: 10, tau: 0, window: 5 }, { lr: 0 });
    kill(net, [3]);
    const before = named(net);
    await run(10);
    expect(resets.log.map(({ unitIds }) => unitIds)).toEqual([[3]]);
    const after = named(net);
    expect(after.get('1.weight')).toEqual(before.get('1.weight'));
    expect(
      after
        .get('0.weight')!
        .slice(18, 24)
        .every((v) => v !== 0),
    ).toBe(true);
    expect(after.get('0.bias')![3]).toBe(0);
    expect([...values(optimizer.stateDict().get('momentum.0')!).slice(18, 24)]).toEqual([0, 0, 0, 0, 0, 0]);
    // mean |g_j| by the mean of it; the batch is always the same, so the last gradient is the mean over the window.
    const scores = resets.log[0].scores!.map(({ score }) => score);
    expect(scores.reduce((a, b) => a + b) / UNITS).toBeCloseTo(1, 6);
    expect(scores[3]).toBe(0);
  });
});

describe('continual backpropagation', () => {
  test.each([
    [0.01, 20],
    [1e-3, 0],
    [0.37, 5],
  ])('replaces exactly rate %f of the mature, from %i steps on', async (rate, maturity) => {
    const { resets, run } = training({ method: 'cbp', rate, maturity });
    const steps = 200;
    // The bookkeeping by hand: ages, an exact sum, the floor of it.
    let ages = new Array<number>(UNITS).fill(0);
    let owed = 0;
    let replaced = 0;
    for (let i = 0; i < steps; i++) {
      await run(1);
      ages = ages.map((age) => age + 1);
      const mature = ages.filter((age) => age >= maturity).length;
      owed += mature;
      const n = Math.min(mature, Math.floor(rate * owed + 1e-9) - replaced);
      const now = resets.log.reduce((sum, { unitIds }) => sum + unitIds.length, 0);
      expect(now - replaced).toBe(n);
      replaced = now;
      for (const event of resets.log.filter(({ step }) => step === i + 1))
        for (const id of event.unitIds) {
          expect(ages[id]).toBeGreaterThanOrEqual(maturity);
          ages[id] = 0;
        }
    }
    if (maturity === 0) expect(replaced).toBe(Math.floor(rate * UNITS * steps + 1e-9));
  });

  test('replaces the least useful, folds its mean, and starts its statistics at 0', async () => {
    // 8 units at rate 1 / 80: one is owed after ten steps.
    const { net, resets, run, batch } = training({ method: 'cbp', rate: 1 / 80, maturity: 0, decay: 0.9 }, { lr: 0 });
    const before = named(net);
    const input = values(batch.x);
    const rows = batch.x.shape[0];
    const h = Array.from({ length: UNITS }, (_, j) => {
      let total = 0;
      for (let m = 0; m < rows; m++) {
        let z = before.get('0.bias')![j];
        for (let k = 0; k < 6; k++) z += input[m * 6 + k] * before.get('0.weight')![j * 6 + k];
        total += Math.max(0, z);
      }
      return total / rows;
    });
    const out = (j: number): number[] => [0, 1, 2, 3].map((k) => before.get('1.weight')![k * UNITS + j]);
    const utility = h.map((a, j) => a * out(j).reduce((sum, w) => sum + Math.abs(w), 0));
    await run(10);
    expect(resets.log).toHaveLength(1);
    const [event] = resets.log;
    const least = utility.indexOf(Math.min(...utility));
    expect(event.unitIds).toEqual([least]);
    // With learning rate 0 the utility is constant, and the correction by age makes the running mean equal to it.
    event.scores!.forEach(({ score }, j) => expect(score).toBeCloseTo(utility[j], 5));
    const after = named(net);
    out(least).forEach((w, k) =>
      expect(after.get('1.bias')![k]).toBeCloseTo(before.get('1.bias')![k] + w * h[least], 5),
    );
    expect([0, 1, 2, 3].map((k) => after.get('1.weight')![k * UNITS + least])).toEqual([0, 0, 0, 0]);
    const { tensors } = resets.state();
    for (const name of ['h/utility', 'h/age', 'h/mean']) {
      expect(values(tensors.get(name)!)[least]).toBe(0);
      expect(values(tensors.get(name)!)[(least + 1) % UNITS]).not.toBe(0);
    }
  });
});

describe('zapping', () => {
  test('draws the last layer anew at the start of each epoch, slots included', async () => {
    const { net, optimizer, resets, run, batch } = training({ method: 'zap' }, { adam: true, lr: 0.01 });
    await run(10);
    expect(resets.log).toHaveLength(0);
    const before = named(net);
    await resets.onEpochStart({
      model: net,
      optimizer,
      epochs: 5,
      epoch: 1,
      step: 10,
      stepsPerEpoch: 10,
      classCounts: [4, 3, 2, 1],
    });
    const after = named(net);
    expect(after.get('0.weight')).toEqual(before.get('0.weight'));
    after.get('1.weight')!.forEach((v, i) => expect(v).not.toBe(before.get('1.weight')![i]));
    expect([...after.get('1.bias')!]).toEqual([0, 0, 0, 0]);
    const state = optimizer.stateDict();
    const names = [...state.keys()].filter((name) => /^(?!row|col).*\.[23]$/.test(name));
    expect(names.length).toBe(4);
    for (const name of names) expect(values(state.get(name)!).every((v) => v === 0)).toBe(true);
    for (const name of [...state.keys()].filter((key) => /^(?!row|col).*\.0$/.test(key)))
      expect(values(state.get(name)!).some((v) => v !== 0)).toBe(true);
    expect([...values(state.get('rowSteps.2')!)]).toEqual([0]);
    expect(resets.log).toEqual([
      { step: 10, epoch: 1, kind: 'reset', layer: 'classifier', unitIds: [0, 1, 2, 3], width: 4 },
    ]);
    batch.x.dispose();
  });

  test('or its rows of the rarest classes only', async () => {
    const { net, optimizer, resets, run } = training({
      method: 'zap',
      rows: 'tail',
      tailClasses: 2,
      period: 5,
      unit: 'steps',
    });
    await run(4);
    const momentum = values(optimizer.stateDict().get('momentum.2')!);
    expect(momentum.every((v) => v !== 0)).toBe(true);
    await run(1);
    expect(resets.log[0].unitIds).toEqual([2, 3]);
    const slots = values(optimizer.stateDict().get('momentum.2')!);
    expect([...slots.slice(0, 16)].every((v) => v !== 0)).toBe(true);
    expect([...slots.slice(16)].every((v) => v === 0)).toBe(true);
    expect(named(net).get('1.bias')![3]).toBe(0);
    expect(named(net).get('1.bias')![0]).not.toBe(0);
  });
});

describe('state', () => {
  test.each<ResetOptionsInput>([
    { period: 6, tau: 0.9, window: 4 },
    { method: 'regrama', period: 6, tau: 0.9, window: 4 },
    { method: 'cbp', rate: 0.02, maturity: 2 },
    { method: 'zap', period: 3, unit: 'steps' },
  ])('of %o comes back whole', async (options) => {
    const { net, resets, run } = training(options);
    await run(15);
    expect(resets.log.length).toBeGreaterThan(0);
    const state = resets.state();
    const other: ResetCallback = createResets(options, training({}).net, { seed: 9 });
    other.load(state);
    expect(other.state().meta).toEqual(state.meta);
    for (const [name, t] of other.state().tensors) expect(values(t)).toEqual(values(state.tensors.get(name)!));
    expect(net.training).toBe(true);
    if (state.tensors.size > 0) expect(() => other.load({ ...state, tensors: new Map() })).toThrow(ConfigError);
    const wrong = new Map([...state.tensors].map(([name]) => [name, tensor(new Float32Array(3))]));
    if (state.tensors.size > 0) expect(() => other.load({ ...state, tensors: wrong })).toThrow(ShapeError);
  });

  test('disposing frees what was made', () => {
    const { width, net } = training({});
    const before = width.arrays.length;
    const resets = createResets({ method: 'cbp' }, net);
    expect(width.arrays.length).toBe(before + 3);
    resets.dispose();
    expect(width.arrays.length).toBe(before);
  });
});

describe('options', () => {
  test('defaults go with the method', () => {
    expect(parseResetOptions({})).toMatchObject({ method: 'redo', period: 1000, unit: 'steps', tau: 0.025, until: 1 });
    expect(parseResetOptions({ method: 'zap' })).toMatchObject({ period: 1, unit: 'epochs', rows: 'all' });
    expect(parseResetOptions({ method: 'cbp' })).toMatchObject({ rate: 1e-4, decay: 0.99, maturity: 100 });
  });
  test.each<[ResetOptionsInput, RegExp]>([
    [{ method: 'redo', rate: 0.1 }, /'rate': expected it with method cbp only, not redo, got 0.1/],
    [{ method: 'cbp', tau: 0.1 }, /'tau'.*redo or regrama only/],
    [{ period: 0 }, /'period'/],
    [{ tau: -1 }, /'tau'/],
    [{ method: 'other' as 'redo' }, /'method'/],
    [{ period: 10, nonsense: 1 } as ResetOptionsInput, /nonsense/],
    [{ widths: ['nobody'] }, /no width 'nobody' \(it has 'h'\)/],
    [{ widths: ['h', 'h'] }, /distinct/],
  ])('%o is refused', (options, message) => {
    const make = (): unknown => createResets(options, training({}).net);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(message);
  });
  test('zapping needs a layer with a row per class', () => {
    const { net, optimizer } = training({});
    const context = { model: net, optimizer, epochs: 5, epoch: 0, step: 0, stepsPerEpoch: 10 };
    const zap = createResets({ method: 'zap' }, net);
    expect(() => zap.onTrainStart(context)).toThrow(/classCounts/);
    expect(() => zap.onTrainStart({ ...context, classCounts: [3, 2] })).toThrow(/2 rows/);
    const tail = createResets({ method: 'zap', rows: 'tail', tailClasses: 7 }, net);
    expect(() => tail.onTrainStart({ ...context, classCounts: [4, 3, 2, 1] })).toThrow(/at most 4, got 7/);
  });
  test('zapping draws the layer that the model ends in, cosines too, and no other', async () => {
    const context = { epochs: 5, epoch: 1, step: 10, stepsPerEpoch: 10, classCounts: [4, 3, 2, 1] };
    const zap = (model: Module): Promise<Set<string>> => {
      const before = named(model);
      const optimizer = new SGD(model.parameters(), { lr: 0.1 });
      const resets = createResets({ method: 'zap' }, model, { seed: 3 });
      resets.onTrainStart({ ...context, model, optimizer });
      return Promise.resolve(resets.onEpochStart({ ...context, model, optimizer })).then(() => {
        const after = named(model);
        return new Set([...after.keys()].filter((name) => after.get(name)!.join() !== before.get(name)!.join()));
      });
    };
    const inner = (end: Module): Module => new Sequential(new Linear(6, 4), new ReLU(), end);
    expect(await zap(inner(new Sequential(new ReLU(), new Linear(4, 4, { bias: false }))))).toEqual(
      new Set(['2.1.weight']),
    );
    expect(await zap(inner(new CosineLinear(4, 4)))).toEqual(new Set(['2.inner.weight']));
    // A layer with a row per class before the end is not what decides.
    await expect(async () => zap(inner(new Linear(4, 3)))).rejects.toThrow(/last layer has 4 rows, got 3/);
    await expect(async () => zap(inner(new ReLU()))).rejects.toThrow(/a model that ends in a Linear or a CosineLinear/);
    const width = new Width(4, { name: 'w' });
    await expect(async () => zap(inner(new Linear(4, width)))).rejects.toThrow(/4 rows, got the units of 'w'/);
  });
});
