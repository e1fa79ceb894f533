/**
 * Every model with every plastic width: growing keeps the function, pruning the newborn brings back every bit, optimiser state
 * included, survivors keep theirs, and a captured step goes on through all of it as the eager one does.
 */
import { describe, expect, it } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { type ClassifierName, convNet, mixer, mlp, resnet, vgg11, vit, wideResNet } from '../../src/models/index.js';
import { CosineLinear, lastLayer, Linear, linearOf, type Module } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { AdamW, type Optimizer } from '../../src/optim/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { distance, stepOf, values } from '../nn/helpers.js';

const image = [8, 8, 2] as const;
const common = { image, classes: 3, seed: 3 };
const x = normal([6, 8, 8, 2], { generator: new Generator(1) });
const y = tensor(Int32Array.from({ length: 6 }, (_, i) => i % 3));

const models: Record<string, (classifier?: ClassifierName) => Module> = {
  mlp: (classifier) =>
    mlp({ inputs: 128, hidden: [5, 4], classes: 3, norm: 'batch', dropout: 0.2, seed: 3, classifier }),
  convnet: (classifier) => convNet({ ...common, classifier, layers: [4, 'pool', 5] }),
  vgg11: (classifier) => vgg11({ ...common, classifier, width: 2 }),
  resnet: (classifier) => resnet({ ...common, classifier, depth: 8, width: 4 }),
  'resnet with stochastic depth': (classifier) => resnet({ ...common, classifier, depth: 8, width: 4, dropPath: 0.3 }),
  wrn: (classifier) =>
    wideResNet({ ...common, classifier, depth: 10, width: 2, widen: 2, dropout: 0.2, dropPath: 0.3 }),
  vit: (classifier) => vit({ ...common, classifier, dim: 8, depth: 2, heads: 2, mlp: 6, dropout: 0.1, dropPath: 0.3 }),
  mixer: (classifier) => mixer({ ...common, classifier, dim: 8, depth: 2, tokens: 3, channels: 5, dropPath: 0.3 }),
};

interface Training {
  net: Module;
  optimizer: Optimizer;
  step: (a: Tensor, b: Tensor) => Tensor;
}

function training(make: () => Module): Training {
  const net = make();
  const optimizer = new AdamW(net.parameters(), { lr: 3e-3 });
  return { net, optimizer, step: stepOf(net, optimizer) };
}

/** All of the model's and the optimiser's state. */
function stateOf({ net, optimizer }: Training): Record<string, number[]> {
  return tidy(() =>
    Object.fromEntries(
      [...net.stateDict(), ...[...optimizer.stateDict()].map(([key, t]) => [`optimizer ${key}`, t] as const)].map(
        ([key, t]) => [key, values(t)],
      ),
    ),
  );
}

function outputs(net: Module, input: Tensor): number[] {
  net.eval();
  const out = tidy(() => values(net.forward(input)));
  net.train();
  return out;
}

describe.each(Object.entries(models))('%s', (name, make) => {
  const input = name === 'mlp' ? x.reshape([6, 128]) : x;

  it('keeps its function when a width grows, and every bit of its state when the newborn go again', () => {
    const run = training(make);
    const { net } = run;
    for (let i = 0; i < 2; i++) tidy(() => void run.step(input, y));
    for (const width of net.widths()) {
      const before = outputs(net, input);
      const state = stateOf(run);
      const { size } = width;
      for (const init of ['zero-out', 'paired', 'split'] as const) {
        const count = net.parameterCount();
        width.grow(2, { init, generator: new Generator(5) });
        expect(net.parameterCount(), width.name).toBeGreaterThan(count);
        expect(distance(outputs(net, input), before), `${width.name}, ${init}`).toBeLessThan(2e-6);
        width.prune([size, size + 1]);
        // A split leaves the donors with half of their outgoing weights.
        if (init !== 'split') expect(stateOf(run), `${width.name}, ${init}`).toEqual(state);
      }
      tidy(() => void run.step(input, y));
    }
    run.optimizer.dispose();
    net.dispose();
  });

  it('has a last layer that those who replace or re-draw it find, of either kind', () => {
    for (const classifier of ['linear', 'cosine'] as const) {
      const net = make(classifier);
      const last = lastLayer(net);
      const layer = linearOf(last);
      expect(last instanceof CosineLinear).toBe(classifier === 'cosine');
      expect(layer.output).toBe(3);
      expect(layer).toBe(net.modules().findLast((module) => module instanceof Linear));
      net.dispose();
    }
  });

  it('trains captured as it does eagerly, through growth and pruning', () => {
    const curve = (captured: boolean): [number[], Record<string, number[]>] => {
      const run = training(make);
      const go = captured ? capture(run.step) : run.step;
      const losses: number[] = [];
      const more = (): void => {
        for (let i = 0; i < 3; i++) losses.push(tidy(() => go(input, y).itemSync()));
      };
      more();
      for (const width of run.net.widths()) width.grow(2, { init: 'paired', generator: new Generator(5) });
      more();
      for (const width of run.net.widths()) width.prune([0, width.size - 1]);
      more();
      const state = stateOf(run);
      if (captured) (go as ReturnType<typeof capture>).dispose();
      run.optimizer.dispose();
      run.net.dispose();
      return [losses, state];
    };
    const eager = curve(false);
    expect(eager[0].every(Number.isFinite)).toBe(true);
    expect(curve(true)).toEqual(eager);
  });
});
