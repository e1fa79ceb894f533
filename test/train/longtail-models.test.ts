/** Two-stage methods, the losses that look at features, and mixing, with every kind of model, growing and pruned on the way. */
import { describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { loadCheckpoint } from '../../src/io/index.js';
import { longTailed, type RunConfigInput, train } from '../../src/train/index.js';
import { bumps, temporaryFolder } from './support.js';

const dir = temporaryFolder();
const shape = [8, 8, 1];
const pictures = (name: string, perClass: number) => ({ ...bumps(name, perClass, 4, 64), shape });
const data = longTailed(
  { name: 'pictures', source: 'test', train: pictures('train', 30), test: pictures('test', 10) },
  { imbalanceFactor: 5, profile: 'exponential', subsetSeed: 0 },
);

const kinds: NonNullable<RunConfigInput['model']>[] = [
  { kind: 'mlp', hidden: [6], norm: 'batch' },
  { kind: 'convnet', channels: [4, 'pool', 6] },
  { kind: 'resnet', depth: 8, width: 4 },
  { kind: 'wrn', depth: 10, widen: 1, width: 4 },
  { kind: 'vit', depth: 1, dim: 8, heads: 2, headDim: 4, mlp: 6, patch: 4 },
  { kind: 'mixer', depth: 1, dim: 8, tokens: 3, channels: 6, patch: 4 },
];

/** Trains with a cycle in the first stage; the model's tensors at the end, by name. */
async function run(name: string, config: RunConfigInput) {
  const path = join(dir, `${name}.gyrus`);
  const result = await train(
    {
      optimizer: { lr: 0.01 },
      plasticity: { rate: 0.5, period: 2, grownEpochs: 1, warmup: 0 },
      epochs: 3,
      batchSize: 16,
      ...config,
      checkpoint: { path, every: 100 },
    },
    { data },
  );
  const { tensors } = await loadCheckpoint(path);
  const model = new Map(
    [...tensors].filter(([key]) => key.startsWith('model/')).map(([key, { data: d }]) => [key, [...d]]),
  );
  return { result, model };
}

/** Names of the tensors that are not the same. */
function differing(a: ReadonlyMap<string, number[]>, b: ReadonlyMap<string, number[]>): string[] {
  return [...a].filter(([key, value]) => b.get(key)?.join() !== value.join()).map(([key]) => key);
}

describe.each(kinds.map((model) => [String(model.kind), model] as const))('%s', (kind, model) => {
  it.each([
    ['crt', { method: 'crt', epochs: 2 }],
    ['lws', { method: 'lws', epochs: 2 }],
    ['tau-norm', { method: 'tau-norm', tau: 0.5 }],
  ] as [string, RunConfigInput['secondStage']][])('has a second stage: %s', async (method, secondStage) => {
    const first = await run(`${kind}-first`, { model });
    const second = await run(`${kind}-${method}`, { model, secondStage });
    expect(second.result.events.length).toBeGreaterThan(0);
    expect(second.result.events).toEqual(first.result.events);
    const changed = differing(first.model, second.model);
    const last = [...first.model.keys()].filter((key) => /weight|bias/.test(key)).slice(-2);
    expect(changed.sort()).toEqual(last.sort());
  });

  it('retrains cosines as well', async () => {
    const config: RunConfigInput = { model, loss: { name: 'ldam', drw: {} } };
    const first = await run(`${kind}-cosine`, config);
    const second = await run(`${kind}-cosine-crt`, { ...config, secondStage: { epochs: 2 } });
    const changed = differing(first.model, second.model);
    expect(changed).toHaveLength(1);
    expect(changed[0]).toMatch(/inner\.weight$/);
  });

  it('trains with features in the loss, and on cut pictures', async () => {
    const balanced = await run(`${kind}-ib`, { model, loss: { name: 'influence-balanced', alpha: 10, from: 0.3 } });
    const mixed = await run(`${kind}-cutmix`, { model, mix: { method: 'cutmix' } });
    for (const { result } of [balanced, mixed]) {
      expect(result.epochs).toHaveLength(3);
      for (const record of result.epochs) expect(record.trainLoss).toBeGreaterThan(0);
    }
  });
});
