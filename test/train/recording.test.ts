/**
 * Training by one recording at the capacity of the widths: on the CPU the same as recording at their size, bit for bit.
 */
import { describe, expect, it } from 'vitest';
import { ConfigError, device } from '../../src/device/index.js';
import {
  configHash,
  expandGrid,
  experimentPreset,
  parseExperiment,
  readRuns,
} from '../../src/train/experiment/index.js';
import { parseConfig, type RunConfigInput, train } from '../../src/train/index.js';
import { plastic, smallData, trainings } from './support.js';

const data = smallData();
const { path, saving, whole, stopAt } = trainings(data);
const pictures = { ...data, train: { ...data.train, shape: [2, 3, 1] }, test: { ...data.test, shape: [2, 3, 1] } };
const atCapacity = (config: RunConfigInput): RunConfigInput => ({ ...config, recording: 'capacity' });

describe.each([
  ['dropout, batch norm, a limit on gradients', {}],
  ['SGD without a norm', { model: { hidden: [8, 6] }, optimizer: { name: 'sgd', lr: 0.05, nesterov: true } }],
  [
    'shelter and slow newborn',
    { plasticity: { ...plastic.plasticity, shelter: 0.5, newbornRate: 2, growthSamples: 8 } },
  ],
  ['units replaced', { plasticity: { ...plastic.plasticity, mode: 'replace', init: 'split' } }],
  ['a loss that adds up over features', { loss: { name: 'influence-balanced' } }],
  ['a cosine classifier', { loss: { name: 'ldam' } }],
  [
    'regularisers',
    {
      regularizers: [
        { name: 'similarity', weight: 0.1 },
        { name: 't1', weight: 0.1 },
      ],
    },
  ],
  ['resets', { plasticity: null, resets: { method: 'redo', period: 20 } }],
  ['continual backpropagation', { plasticity: null, resets: { method: 'cbp' } }],
  ['a second stage', { secondStage: { method: 'crt', epochs: 2 } }],
] as [string, RunConfigInput][])('%s', (_, change) => {
  it('is the same at size and at capacity', async () => {
    const config = { ...plastic, ...change };
    expect(await whole(atCapacity(config))).toEqual(await whole(config));
  });
});

it.each([
  ['vit', { kind: 'vit', patch: 1, dim: 8, depth: 2, heads: 2, mlp: 6 }],
  ['mixer', { kind: 'mixer', patch: 1, dim: 8, depth: 2, tokens: 4, channels: 6 }],
  ['resnet', { kind: 'resnet', depth: 8, width: 4 }],
] as [string, RunConfigInput['model']][])('%s: the same at size and at capacity', async (_, model) => {
  const config: RunConfigInput = { ...plastic, model, epochs: 5 };
  const options = { data: pictures };
  expect(await whole(atCapacity(config), options)).toEqual(await whole(config, options));
});

const perEpoch = Math.ceil(data.train.rows / 16);
it.each([
  ['in the middle of a cycle', 2 * perEpoch + 3],
  ['after the first cycle', 4 * perEpoch + 1],
])('goes on bit for bit after a stop %s, with either recording', async (_, step) => {
  const expected = await whole(plastic);
  const [first, second] = [path(), path()];
  await train(saving(atCapacity(plastic), first), stopAt(step));
  await train(saving(plastic, second), stopAt(step));
  expect(await whole(plastic, { resume: first })).toEqual(expected);
  expect(await whole(atCapacity(plastic), { resume: first })).toEqual(expected);
  expect(await whole(atCapacity(plastic), { resume: second })).toEqual(expected);
});

it('records once for each thing that a step does, or at each change of a width', async () => {
  const captures = async (config: RunConfigInput): Promise<number> => {
    const { beginCapture } = device();
    let count = 0;
    device().beginCapture = (inputs) => {
      count++;
      beginCapture.call(device(), inputs);
    };
    try {
      await train({ ...config, evalEvery: 100 }, { data });
    } finally {
      device().beginCapture = beginCapture;
    }
    return count;
  };
  const [size, capacity] = [await captures(plastic), await captures(atCapacity(plastic))];
  // At capacity: with scores gathered, without, and the evaluation.
  expect([capacity, size]).toEqual([3, 8]);
});

it('refuses another recording', () => {
  expect(() => parseConfig({ recording: 'width' })).toThrow(ConfigError);
  expect(() => parseConfig({ recording: 'width' })).toThrow(/'recording'.*got "width"/);
});

it('counts in the hash where it is not the default', () => {
  const config = parseConfig(plastic);
  const { recording, ...before } = config;
  expect(recording).toBe('size');
  expect(configHash(before as typeof config)).toBe(configHash(config));
  expect(configHash({ ...config, recording: 'capacity' })).not.toBe(configHash(config));
});

it.each(['core', 'ablation'])('leaves the published runs of experiment %s where they are found', (name) => {
  const cells = expandGrid(parseExperiment(experimentPreset(name), name));
  const known = new Set(cells.map(({ hash }) => hash));
  const runs = readRuns(new URL(`../../bench/results/${name}.json`, import.meta.url).pathname);
  expect(runs.length).toBeGreaterThan(100);
  expect(runs.filter(({ hash }) => !known.has(hash))).toEqual([]);
});
