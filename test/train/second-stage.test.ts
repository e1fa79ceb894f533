/** Two-stage methods: what they leave alone, what they change, and that a stop in the middle leaves no trace. */
import { describe, expect, it } from 'vitest';
import { ConfigError, FormatError, setThreads, threads } from '../../src/device/index.js';
import { loadCheckpoint, saveCheckpoint } from '../../src/io/index.js';
import { mixer, mlp, resnet, vit } from '../../src/models/index.js';
import {
  BatchNorm,
  CosineLinear,
  featuresOf,
  forwardWithFeatures,
  lastLayer,
  Linear,
  ReLU,
  Sequential,
} from '../../src/nn/index.js';
import { tensor, type Tensor } from '../../src/tensor/index.js';
import {
  type Callback,
  longTailed,
  parseConfig,
  type Progress,
  type RunConfigInput,
  type RunOptions,
  totalEpochs,
  train,
} from '../../src/train/index.js';
import { bumps, plastic, smallData, timeless, trainings } from './support.js';

const data = smallData();
const { path, saving, whole, stopAt } = trainings(data);
const perEpoch = Math.ceil(data.train.rows / 16);
/** Tensors of a checkpoint's model by name. */
async function modelOf(to: string): Promise<Record<string, number[]>> {
  const { tensors } = await loadCheckpoint(to);
  const model = [...tensors].filter(([name]) => name.startsWith('model/'));
  return Object.fromEntries(model.map(([name, value]) => [name.slice(6), [...value.data] as number[]]));
}

const first: RunConfigInput = { ...plastic, loss: { name: 'ce' } };
const crt: RunConfigInput = { ...first, secondStage: { method: 'crt', epochs: 3 } };
const lws: RunConfigInput = { ...first, secondStage: { method: 'lws', epochs: 3, lr: 0.05 } };
const tauNorm: RunConfigInput = { ...first, secondStage: { method: 'tau-norm', tau: 0.5 } };

describe('second stage', () => {
  it.each([
    ['crt', crt],
    ['lws', lws],
    ['tau-norm', tauNorm],
  ])('%s changes the classifier and nothing else', async (method, config) => {
    const [before, after] = [path(), path()];
    const one = await train(saving(first, before), { data });
    const two = await train(saving(config, after), { data });
    const [a, b] = [await modelOf(before), await modelOf(after)];
    expect(Object.keys(b)).toEqual(Object.keys(a));
    const changed = Object.keys(a).filter((name) => JSON.stringify(a[name]) !== JSON.stringify(b[name]));
    expect(Object.keys(a).filter((name) => /running/.test(name))).toHaveLength(4);
    const ends = Object.keys(a).filter((name) => /^8\./.test(name));
    expect(changed.sort()).toEqual(ends.sort());
    expect(two.parameters).toEqual(one.parameters);
    expect(two.events).toEqual(one.events);
    expect(two.secondStage?.method).toBe(method);
    expect(one.secondStage).toBeUndefined();
  });

  it('marks its epochs and counts them all', async () => {
    const progress: Progress[] = [];
    const config = { ...crt, epochs: 6, plasticity: { period: 2, grownEpochs: 1 } };
    // Progress is told of at intervals; after a pause the next step does so.
    const pause: Callback = { onEpochStart: () => new Promise((resolve) => setTimeout(resolve, 120)) };
    const result = await train(config, { data, callbacks: [pause], onProgress: (p) => progress.push(p) });
    expect(result.epochs.map((record) => record.epoch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(result.epochs.map((record) => record.stage)).toEqual([...Array.from({ length: 6 }), 2, 2, 2]);
    expect(result.epochs.at(-1)?.learningRate).toBeGreaterThan(0);
    expect(result.epochs.at(-1)?.learningRate).toBeLessThan(0.01);
    const events = result.events.filter((event) => event.layer === 'hidden1');
    expect(Math.max(...events.map((event) => event.epoch))).toBeLessThanOrEqual(6);
    const steps = result.epochs.at(-1)!.step;
    expect(steps).toBe(9 * result.epochs[0].step);
    for (const p of progress) expect(p).toMatchObject({ epochs: 9, steps });
    expect([...new Set(progress.map((p) => p.epoch))]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(totalEpochs(parseConfig(config))).toBe(9);
    expect(totalEpochs(parseConfig({ epochs: 6, secondStage: {} }))).toBe(16);
    expect(totalEpochs(parseConfig({ epochs: 6, secondStage: { method: 'tau-norm' } }))).toBe(6);
  });

  it('evaluates where the first stage ends', async () => {
    const result = await train({ ...crt, evalEvery: 100 }, { data });
    const tested = result.epochs.filter((record) => record.test !== undefined).map((record) => record.epoch);
    expect(tested).toEqual([8, 11]);
  });

  it('helps the rare classes', async () => {
    const pair = { name: 'bumps', source: 'test', train: bumps('train', 400), test: bumps('test', 200) };
    const long = longTailed(pair, { imbalanceFactor: 50, profile: 'exponential', subsetSeed: 0 });
    const config: RunConfigInput = { ...first, plasticity: null, epochs: 6 };
    const plain = await train(config, { data: long });
    for (const secondStage of [{ method: 'crt' }, { method: 'lws', lr: 0.05 }] as const) {
      const balanced = await train({ ...config, secondStage }, { data: long });
      expect(balanced.final.tail, secondStage.method).toBeGreaterThan(plain.final.tail);
      expect(balanced.epochs[5].test).toEqual(plain.epochs[5].test);
    }
  });

  it('is the same for the same seed and any number of threads', async () => {
    const before = threads();
    try {
      setThreads(1);
      const one = await whole(crt);
      setThreads(2);
      expect(await whole(crt)).toEqual(one);
    } finally {
      setThreads(before);
    }
    const other = await train({ ...crt, seed: 4 }, { data });
    expect(other.final).not.toEqual((await train(crt, { data })).final);
  });

  it.each([
    ['crt', 'at its first step', crt, 8 * perEpoch + 1],
    ['crt', 'at the end of the first stage', crt, 8 * perEpoch],
    ['crt', 'in its middle', crt, 9 * perEpoch + 3],
    ['crt', 'in the first stage', crt, 5 * perEpoch + 4],
    ['lws', 'in its middle', lws, 9 * perEpoch + 3],
    ['lws', 'at the end of an epoch', lws, 9 * perEpoch],
    ['tau-norm', 'before it', tauNorm, 7 * perEpoch + 2],
    [
      'cosines and SGD',
      'in its middle',
      {
        ...crt,
        loss: { name: 'ldam', drw: {} },
        optimizer: { name: 'sgd', lr: 0.05 },
      },
      9 * perEpoch + 3,
    ],
  ] as [string, string, RunConfigInput, number][])(
    '%s goes on bit for bit after a stop %s',
    async (_, __, config, step) => {
      const expected = await whole(config);
      const middle = path();
      const stopped = await train(saving(config, middle), stopAt(step));
      expect(stopped.interrupted).toBe(true);
      expect(await whole(config, { resume: middle })).toEqual(expected);
    },
  );

  it.each([
    ['crt', crt],
    ['tau-norm', tauNorm],
  ])('%s does nothing more when resumed at its end', async (_, config) => {
    const to = path();
    const result = await train(saving(config, to), { data });
    expect(timeless(await train(config, { data, resume: to }))).toEqual(timeless(result));
  });

  it('refuses checkpoints whose second stage lacks a part', async () => {
    for (const config of [crt, lws]) {
      const to = path();
      await train(saving(config, to), stopAt(9 * perEpoch + 3));
      const { meta, tensors } = await loadCheckpoint(to);
      const stage = meta.secondStage as { method: string; tau: null; optimizer: object };
      const damaged = [{ ...stage, optimizer: {} }, { ...stage, tau: 'x' }, 3];
      for (const secondStage of damaged) {
        await saveCheckpoint(to, { meta: { ...meta, secondStage }, tensors });
        await expect(train(config, { data, resume: to })).rejects.toThrow(FormatError);
      }
      await saveCheckpoint(to, { meta: { ...meta, secondStage: { ...stage, optimizer: null } }, tensors });
      await expect(train(config, { data, resume: to })).rejects.toThrow(/the state has no 'optimizer'/);
      for (const name of [...tensors.keys()].filter((key) => key.startsWith('secondStage/'))) {
        const rest = new Map([...tensors].filter(([key]) => key !== name));
        await saveCheckpoint(to, { meta, tensors: rest });
        await expect(train(config, { data, resume: to }), name).rejects.toThrow(FormatError);
      }
    }
  });

  it('goes on from the checkpoint of an earlier epoch', async () => {
    const to = path();
    const expected = await whole(tauNorm);
    const controller = new AbortController();
    const stop: RunOptions = {
      data,
      signal: controller.signal,
      onEpoch: (record) => void (record.epoch === 7 && controller.abort()),
    };
    await train(saving(tauNorm, to), stop);
    expect(await whole(tauNorm, { resume: to })).toEqual(expected);
  });
});

describe('tau-norm', () => {
  it('divides rows by |w|^tau and drops the bias', async () => {
    const [before, after] = [path(), path()];
    await train(saving(first, before), { data });
    const result = await train(saving({ ...first, secondStage: { method: 'tau-norm', tau: 0.7 } }, after), { data });
    expect(result.secondStage).toEqual({ method: 'tau-norm', tau: 0.7 });
    const [a, b] = [await modelOf(before), await modelOf(after)];
    const units = a['8.weight'].length / 4;
    for (let c = 0; c < 4; c++) {
      const row = a['8.weight'].slice(c * units, (c + 1) * units);
      const length = Math.hypot(...row);
      row.forEach((w, j) => expect(b['8.weight'][c * units + j]).toBeCloseTo(w / length ** 0.7, 5));
    }
    expect(b['8.bias']).toEqual([0, 0, 0, 0]);
  });

  it('chooses the tau with the highest mean class recall on the training set', async () => {
    const base: RunConfigInput = { ...first, plasticity: null, model: { hidden: [8] }, epochs: 4 };
    const onTraining = { ...data, test: data.train };
    const chosen = await train({ ...base, secondStage: { method: 'tau-norm' } }, { data: onTraining });
    const recalls: number[] = [];
    for (let tau = 0; tau <= 2; tau += 0.25) {
      const result = await train({ ...base, secondStage: { method: 'tau-norm', tau } }, { data: onTraining });
      recalls.push(result.final.meanRecall);
    }
    expect(chosen.final.meanRecall).toBeGreaterThanOrEqual(Math.max(...recalls));
    expect(Math.max(...recalls)).toBeGreaterThan(Math.min(...recalls));
    // And never on the test set.
    const scrambled = { ...data.test, labels: data.test.labels.map((c) => 3 - c) };
    const other = await train(
      { ...base, secondStage: { method: 'tau-norm', tau: 'auto' } },
      { data: { ...data, test: scrambled } },
    );
    expect(other.secondStage).toEqual(chosen.secondStage);
  });
});

describe('configuration', () => {
  it.each([
    [{ secondStage: { method: 'crt', tau: 1 } }, /'secondStage.tau': expected nothing with the method crt, got 1/],
    [
      { secondStage: { method: 'tau-norm', epochs: 3 } },
      /'secondStage.epochs': expected nothing with the method tau-norm/,
    ],
    [{ secondStage: { method: 'tau-norm', lr: 3 } }, /'secondStage.lr'/],
    [{ secondStage: { method: 'tau-norm', tau: -1 } }, /'secondStage.tau': .*got -1/],
    [{ secondStage: { method: 'rct' } }, /'secondStage.method': .*got "rct"/],
    [{ secondStage: { epochs: 0 } }, /'secondStage.epochs': .*got 0/],
    [{ secondStage: { epoch: 2 } }, /did you mean 'secondStage.epochs'/],
    [{ secondStage: { method: 'lws' }, loss: { name: 'ldam' } }, /expected crt with the loss ldam/],
    [{ secondStage: { method: 'tau-norm' }, loss: { name: 'ldam' } }, /expected crt with the loss ldam/],
    [{ secondStage: {}, loss: { name: 'logit-adjustment', mode: 'post-hoc' } }, /expected one correction/],
  ] as [RunConfigInput, RegExp][])('refuses %j', (config, message) => {
    expect(() => parseConfig(config)).toThrow(ConfigError);
    expect(() => parseConfig(config)).toThrow(message);
  });

  it('refuses to resume with another second stage', async () => {
    const to = path();
    await train(saving({ ...crt, epochs: 4, plasticity: null }, to), { data });
    const other = train({ ...crt, epochs: 4, plasticity: null, secondStage: null }, { data, resume: to });
    await expect(other).rejects.toThrow(/secondStage \(set there, null here\)/);
  });
});

describe('features', () => {
  const pictures = (): Tensor =>
    tensor(
      Float32Array.from({ length: 2 * 64 * 3 }, (_, i) => Math.sin(i)),
      { shape: [2, 8, 8, 3] },
    );
  it.each([
    ['mlp', () => mlp({ inputs: 192, hidden: [6], classes: 3 }), [2, 6]],
    ['mlp with cosines', () => mlp({ inputs: 192, hidden: [6], classes: 3, classifier: 'cosine' }), [2, 6]],
    ['resnet', () => resnet({ depth: 8, classes: 3, width: 2 }), [2, 8]],
    ['vit', () => vit({ image: [8, 8, 3], classes: 3, dim: 8, depth: 1, heads: 2 }), [2, 8]],
    ['mixer', () => mixer({ image: [8, 8, 3], classes: 3, dim: 8, depth: 1 }), [2, 8]],
  ] as const)('of %s are what its classifier sees', async (name, make, shape) => {
    const model = make();
    const classifier = lastLayer(model);
    expect(classifier instanceof CosineLinear).toBe(name === 'mlp with cosines');
    const x = name.startsWith('mlp') ? pictures().reshape([2, 192]) : pictures();
    model.eval();
    const { logits, features } = forwardWithFeatures(model, classifier, x);
    expect(features.shape).toEqual(shape);
    const expected = await model.forward(x).data();
    expect(await logits.data()).toEqual(expected);
    expect(await featuresOf(model, classifier, x).data()).toEqual(await features.data());
    expect(await classifier.forward(features).data()).toEqual(expected);
    model.dispose();
  });

  it('leaves the classifier as it was when a pass throws', () => {
    const model = mlp({ inputs: 4, hidden: [3], classes: 2 });
    const classifier = lastLayer(model);
    expect(() => featuresOf(model, classifier, pictures())).toThrow();
    expect(Object.hasOwn(classifier, 'forward')).toBe(false);
    model.dispose();
  });

  it('refuses models that end in something else', () => {
    const model = new Sequential(new Linear(4, 3), new BatchNorm(3), new ReLU());
    expect(() => lastLayer(model)).toThrow(ConfigError);
    expect(() => lastLayer(model)).toThrow(/expected a model that ends in a Linear or a CosineLinear, got a ReLU/);
    model.dispose();
  });
});
