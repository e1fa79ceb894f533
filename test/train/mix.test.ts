/** Training on mixed samples: every method, resumed from the middle, and what doesn't go with it. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { parseConfig, type RunConfigInput, type RunOptions, train } from '../../src/train/index.js';
import { fingerprint, plastic, smallData, temporaryFolder, timeless } from './support.js';

const dir = temporaryFolder();
const plain = smallData();
const pictures = { ...plain, train: { ...plain.train, shape: [2, 3, 1] }, test: { ...plain.test, shape: [2, 3, 1] } };
const perEpoch = Math.ceil(plain.train.rows / 16);
let files = 0;
const path = (): string => join(dir, `${files++}.ckpt`);
async function whole(config: RunConfigInput, options: RunOptions) {
  const to = path();
  const result = await train({ ...config, checkpoint: { path: to, every: 1000 } }, options);
  return { result: timeless(result), state: await fingerprint(to) };
}

describe('training on mixed samples', () => {
  it.each([
    ['mixup and a cycle', { mix: {} }],
    ['Remix and class weights', { mix: { method: 'remix', kappa: 2 }, loss: { name: 'ce', drw: { from: 0.3 } } }],
    [
      'CutMix, augmentation and focal loss',
      { mix: { method: 'cutmix' }, augment: { flip: 0.5 }, loss: { name: 'focal' } },
    ],
    ['mixup for a while, then a second stage', { mix: { until: 0.5, probability: 0.8 }, secondStage: { epochs: 2 } }],
    ['LDAM', { mix: { alpha: 0.3 }, loss: { name: 'ldam', drw: {} } }],
  ] as [string, RunConfigInput][])('goes on bit for bit after a stop: %s', async (_, change) => {
    const config = { ...plastic, ...change };
    const data = config.mix?.method === 'cutmix' ? pictures : plain;
    const expected = await whole(config, { data });
    expect((await whole({ ...config, mix: null }, { data })).state).not.toEqual(expected.state);
    const middle = path();
    const controller = new AbortController();
    const stop = 2 * perEpoch + 3;
    await train(
      { ...config, checkpoint: { path: middle, every: 1000 } },
      {
        data,
        signal: controller.signal,
        callbacks: [{ onStepEnd: ({ step }) => void (step === stop && controller.abort()) }],
      },
    );
    expect(await whole(config, { data, resume: middle })).toEqual(expected);
  });

  it('stops mixing after its share of the epochs', async () => {
    const losses = async (until: number): Promise<number[]> => {
      const config = { ...plastic, plasticity: null, epochs: 6, loss: { name: 'ce' } as const, mix: { until } };
      return (await train(config, { data: plain })).epochs.map((record) => record.trainLoss);
    };
    const [all, half] = [await losses(1), await losses(0.5)];
    expect(half.slice(0, 3)).toEqual(all.slice(0, 3));
    expect(half[3]).toBeLessThan(all[3]);
  });

  it('still learns', async () => {
    const result = await train({ ...plastic, mix: { method: 'remix' } }, { data: plain });
    expect(result.final.top1).toBeGreaterThan(0.6);
    expect(result.epochs.at(-1)?.trainAccuracy).toBeGreaterThan(0.5);
  });
});

describe('other losses in training', () => {
  it.each([
    ['influence-balanced', { name: 'influence-balanced', alpha: 10 }, {}],
    [
      'influence-balanced with layer norm',
      { name: 'influence-balanced', alpha: 10, from: 0.6 },
      { model: { hidden: [7], norm: 'layer' }, plasticity: null },
    ],
    ['LADE', { name: 'lade' }, {}],
  ] as [string, RunConfigInput['loss'], RunConfigInput][])('%s resumes bit for bit', async (_, loss, change) => {
    const config = { ...plastic, ...change, loss };
    const expected = await whole(config, { data: plain });
    for (const stop of [2 * perEpoch + 3, 5 * perEpoch + 1]) {
      const middle = path();
      const controller = new AbortController();
      await train(
        { ...config, checkpoint: { path: middle, every: 1000 } },
        {
          data: plain,
          signal: controller.signal,
          callbacks: [{ onStepEnd: ({ step }) => void (step === stop && controller.abort()) }],
        },
      );
      expect(await whole(config, { data: plain, resume: middle })).toEqual(expected);
    }
  });
});

describe('configuration of mixing', () => {
  it.each([
    [{ mix: { method: 'mixup', kappa: 2 } }, /'mix.kappa': expected the method remix, got mixup/],
    [{ mix: { method: 'cutmix', tau: 0.3 } }, /'mix.tau': expected the method remix, got cutmix/],
    [{ mix: { alpha: 0 } }, /'mix.alpha': .*got 0/],
    [{ mix: { probability: 2 } }, /'mix.probability': .*got 2/],
    [{ mix: { until: -1 } }, /'mix.until': .*got -1/],
    [{ mix: { method: 'cutout' } }, /'mix.method': .*got "cutout"/],
    [{ mix: { alhpa: 1 } }, /did you mean 'mix.alpha'/],
    [{ mix: {}, loss: { name: 'lade' } }, /'mix': expected a loss of mixed samples, got lade/],
    [{ mix: {}, loss: { name: 'influence-balanced' } }, /'mix': expected a loss of mixed samples/],
  ] as [RunConfigInput, RegExp][])('refuses %j', (config, message) => {
    expect(() => parseConfig(config)).toThrow(ConfigError);
    expect(() => parseConfig(config)).toThrow(message);
  });

  it('refuses CutMix of rows that are no pictures', async () => {
    await expect(train({ ...plastic, mix: { method: 'cutmix' } }, { data: plain })).rejects.toThrow(
      /expected rows that are pictures/,
    );
  });
});
