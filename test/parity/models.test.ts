/**
 * Networks of each kind beside PyTorch's: number of parameters, logits, 20 steps of training, all of the state afterwards. Fixtures by
 * make_model_fixtures.py; first weights and inputs come from a generator that both sides have.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { convNet, mixer, resnet, vgg11, vit, wideResNet } from '../../src/models/index.js';
import type { Module } from '../../src/nn/index.js';
import { narrow } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import { sizeOf, tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { distance, stepOf, values } from '../nn/helpers.js';

type Image = [number, number, number];
interface Run {
  image: Image;
  parameters: number;
  logits: number[];
  losses: number[];
  after: number[];
  /** Of each array: sum, sum of squares, last element. */
  last: Record<string, [number, number, number]>;
}
const fixture = JSON.parse(readFileSync(new URL('models.json', import.meta.url), 'utf8')) as {
  classes: number;
  batch: number;
  models: Record<string, Run>;
};
const { classes, batch } = fixture;

const make: Record<string, (common: { image: Image; classes: number }) => Module> = {
  convnet: (common) => convNet({ ...common, layers: [4, 'pool', 6] }),
  vgg11: (common) => vgg11({ ...common, width: 2 }),
  resnet: (common) => resnet({ ...common, depth: 14, width: 4 }),
  wrn: (common) => wideResNet({ ...common, depth: 10, width: 4, widen: 2 }),
  vit: (common) => vit({ ...common, dim: 16, depth: 2, heads: 2, mlp: 24 }),
  mixer: (common) => mixer({ ...common, dim: 16, depth: 2, tokens: 6, channels: 24 }),
};

/** In -1..1, from a linear congruential generator that starts from the name. */
function numbers(name: string, n: number): number[] {
  let state = 0;
  for (const char of name) state = (state * 31 + char.charCodeAt(0)) % 2 ** 32;
  return Array.from({ length: n }, () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 31 - 1;
  });
}

/** First values of an array of that name. */
function first(name: string, shape: readonly number[]): Tensor {
  const last = name.split('.').at(-1);
  const u = numbers(name, sizeOf(shape));
  const fan = Math.sqrt(3 / (u.length / shape[0]));
  const scaled = u.map((value) => {
    if (last === 'runningMean') return 0;
    if (last === 'runningVar') return 1;
    if (last === 'gamma') return 1 + 0.1 * value;
    return value * (shape.length < 2 || name.startsWith('positions') ? 0.1 : fan);
  });
  return tensor(Float32Array.from(scaled), { shape });
}

test('there is a network for each fixture', () => {
  expect(Object.keys(make).sort()).toEqual(Object.keys(fixture.models).sort());
});

test.each(Object.entries(fixture.models))('%s as PyTorch', (name, run) => {
  const { image } = run;
  const all = numbers('x', 2 * batch * sizeOf(image)).map((value) => 1.7 * value);
  const x = tensor(Float32Array.from(all), { shape: [2 * batch, ...image] });
  const y = tensor(Int32Array.from({ length: 2 * batch }, (_, i) => i % classes));
  const two = narrow(x, 0, 0, 2);
  const curves = [false, true].map((captured) => {
    const net = make[name]({ image, classes });
    expect(net.parameterCount()).toBe(run.parameters);
    const start = new Map([...net.stateDict()].map(([key, { shape }]) => [key, first(key, shape)]));
    net.loadStateDict(start);
    net.eval();
    expect(
      distance(
        tidy(() => values(net.forward(two))),
        run.logits,
      ),
    ).toBeLessThan(2e-5);
    net.train();
    const optimizer = new SGD(net.parameters(), { lr: 0.02, momentum: 0.9, weightDecay: 5e-4 });
    const step = stepOf(net, optimizer);
    const go = captured ? capture(step) : undefined;
    const losses = run.losses.map((_, i) => {
      const at = (i % 2) * batch;
      return tidy(() => (go ?? step)(narrow(x, 0, at, batch), narrow(y, 0, at, batch)).itemSync());
    });
    expect(distance(losses, run.losses)).toBeLessThan(1e-4);
    const state = net.stateDict();
    expect([...state.keys()].sort()).toEqual(Object.keys(run.last).sort());
    for (const [key, array] of state) {
      const got = values(array);
      const figures = [got.reduce((a, b) => a + b, 0), got.reduce((a, b) => a + b * b, 0), got[got.length - 1]];
      figures.forEach((figure, i) => {
        const expected = run.last[key][i];
        const tolerance = 2e-4 * Math.max(1, i < 2 ? Math.sqrt(got.length) : 0, Math.abs(expected));
        expect(Math.abs(figure - expected), `${key}: figure ${i}`).toBeLessThan(tolerance);
      });
    }
    net.eval();
    expect(
      distance(
        tidy(() => values(net.forward(two))),
        run.after,
      ),
    ).toBeLessThan(1e-3);
    go?.dispose();
    optimizer.dispose();
    net.dispose();
    return losses;
  });
  expect(curves[1]).toEqual(curves[0]);
});
