/**
 * Functions recorded at capacity: one recording goes through growing, pruning, resetting and reordering within the capacity, and
 * leaves what recording anew each time leaves.
 */
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, device } from '../../src/device/index.js';
import {
  BatchNorm,
  Conv2d,
  CosineLinear,
  Dropout,
  Embedding,
  GlobalAvgPool2d,
  GroupNorm,
  LayerNorm,
  Linear,
  MaxPool2d,
  type Module,
  ReLU,
  Sequential,
  Sigmoid,
  UnitGate,
  Width,
} from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { Adam, type Optimizer, SGD } from '../../src/optim/index.js';
import { GateCollector } from '../../src/plasticity/index.js';
import { type Tensor, tensor } from '../../src/tensor/index.js';
import { distance, makeBatch, makeNet, stepOf, values } from './helpers.js';

interface Model {
  net: Sequential;
  widths: Width[];
}
type Step = (x: Tensor, y: Tensor) => Tensor;
type Captured = Step & { recordings: number; dispose(): void };
interface Run extends Model {
  optimizer: Optimizer;
  collectors: GateCollector[];
  step: Captured;
}

function runOf(make: () => Model, optimise: (net: Module) => Optimizer, atCapacity: boolean, scores = false): Run {
  const model = make();
  const optimizer = optimise(model.net);
  const collectors = scores ? model.widths.map((width) => new GateCollector(width, 4)) : [];
  for (const collector of collectors) collector.active = true;
  const plain = stepOf(model.net, optimizer);
  const step = capture(
    (x: Tensor, y: Tensor) => {
      for (const collector of collectors) collector.setLabels(y);
      return plain(x, y);
    },
    { atCapacity },
  );
  return { ...model, optimizer, collectors, step };
}

function disposeRun({ net, optimizer, collectors, step }: Run): void {
  step.dispose();
  for (const collector of collectors) collector.dispose();
  optimizer.dispose();
  net.dispose();
}

/** Everything of a run that lasts. */
function state({ net, optimizer, collectors }: Run): Map<string, number[]> {
  const out = new Map<string, number[]>();
  for (const [name, t] of net.stateDict()) out.set(name, values(t));
  for (const [name, t] of optimizer.stateDict()) out.set(`optimizer ${name}`, values(t));
  collectors.forEach((collector, i) => {
    const { perClass, zeros, mean, squares } = collector.readSync();
    out.set(`scores ${i}`, [...perClass.flatMap((row) => [...row]), ...zeros, ...mean, ...squares]);
  });
  return out;
}

function expectEqual(a: Run, b: Run, tolerance: number): void {
  const [left, right] = [state(a), state(b)];
  expect([...left.keys()]).toEqual([...right.keys()]);
  for (const [name, numbers] of left) {
    const far = distance(numbers, right.get(name) as number[]);
    expect(far, name).toBeLessThanOrEqual(tolerance);
  }
  a.widths.forEach((width, i) => expect(width.units).toEqual(b.widths[i].units));
}

/** Changes of both widths within a capacity of 16, from sizes of 8 and 7. */
const changes: ((first: Width, second: Width) => void)[] = [
  (first) => first.grow(5, { init: 'zero-out', generator: new Generator(3) }),
  (_, second) => second.grow(9, { init: 'split', generator: new Generator(4) }),
  (first, second) => {
    first.prune([0, 3, 12]);
    second.prune([15, 1]);
  },
  (first) => first.reset([2, 5], { generator: new Generator(5) }),
  (first, second) => {
    first.prune([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    second.prune([0, 2, 4, 6]);
  },
  (first, second) => {
    first.grow(15, { init: 'paired', generator: new Generator(6) });
    second.grow(6, { init: 'orthogonal', generator: new Generator(7) });
  },
];

/** Trains both through all changes, and wants the same of both and one recording of the first. */
function compare(a: Run, b: Run, x: Tensor, y: Tensor, tolerance: number): void {
  const train = (): void => {
    for (let i = 0; i < 3; i++) {
      const losses = [a, b].map(({ step }) => step(x, y).itemSync());
      expect(Math.abs(losses[0] - losses[1])).toBeLessThanOrEqual(tolerance * Math.abs(losses[1]));
    }
    expectEqual(a, b, tolerance);
  };
  train();
  for (const change of changes) {
    for (const { widths } of [a, b]) change(widths[0], widths[1]);
    train();
  }
  expect(a.step.recordings).toBe(1);
  expect(b.step.recordings).toBe(1 + changes.length);
}

const { x, y } = makeBatch(24);
/** On the CPU the same calls are made as at the active size. Elsewhere sums are cut by the capacity. */
const exact = device().name === 'cpu' ? 0 : 2e-5;

describe('a multilayer perceptron', () => {
  const layered = (activation: 'relu' | 'sigmoid' | 'tanh') => (): Model => {
    const generator = new Generator(1);
    const first = new Width(8, { capacity: 16, name: 'first' });
    const second = new Width(7, { capacity: 16, name: 'second' });
    const net = new Sequential(
      new Linear(6, first, { generator, activation }),
      new Linear(first, second, { generator, activation }),
      new Linear(second, 4, { generator }),
    );
    return { net, widths: [first, second] };
  };
  const separate = (): Model => {
    const { net, first, second } = makeNet({ capacity: 16 });
    return { net, widths: [first, second] };
  };
  const optimisers: [string, (net: Module) => Optimizer][] = [
    ['SGD', (net) => new SGD(net.parameters(), { lr: 0.1 })],
    [
      'SGD with momentum',
      (net) => new SGD(net.parameters(), { lr: 0.1, momentum: 0.9, nesterov: true, weightDecay: 1e-3 }),
    ],
    ['Adam', (net) => new Adam(net.parameters(), { lr: 0.01, weightDecay: 1e-3 })],
  ];
  for (const [name, optimise] of optimisers) {
    for (const activation of ['relu', 'sigmoid', 'tanh'] as const) {
      test(`${name}, ${activation} in the layer`, () => {
        const [a, b] = [true, false].map((at) => runOf(layered(activation), optimise, at));
        compare(a, b, x, y, exact);
        [a, b].forEach(disposeRun);
      });
    }
    test(`${name}, activations apart, scores gathered`, () => {
      const [a, b] = [true, false].map((at) => runOf(separate, optimise, at, true));
      compare(a, b, x, y, exact);
      [a, b].forEach(disposeRun);
    });
  }

  test('a sigmoid apart, a gate of its own, gelu', () => {
    const make = (): Model => {
      const generator = new Generator(1);
      const [first, second] = [8, 7].map((n) => new Width(n, { capacity: 16 }));
      const net = new Sequential(
        new Linear(6, first, { generator }),
        new Sigmoid(),
        new UnitGate(first),
        new Linear(first, second, { generator, activation: 'gelu' }),
        new Linear(second, 4, { generator }),
      );
      return { net, widths: [first, second] };
    };
    const optimise = (net: Module): Optimizer => new Adam(net.parameters(), { lr: 0.01 });
    const [a, b] = [true, false].map((at) => runOf(make, optimise, at, true));
    compare(a, b, x, y, exact);
    [a, b].forEach(disposeRun);
  });
});

test.each([
  ['layer norm', (width: Width) => [new LayerNorm(width), new ReLU()]],
  ['dropout', (width: Width) => [new ReLU(), new Dropout(0.3, { generator: new Generator(9), width })]],
] as [string, (width: Width) => Module[]][])('a multilayer perceptron with %s', (_, behind) => {
  const make = (): Model => {
    const generator = new Generator(1);
    const [first, second] = [8, 7].map((n) => new Width(n, { capacity: 16 }));
    const net = new Sequential(
      new Linear(6, first, { generator }),
      ...behind(first),
      new Linear(first, second, { generator }),
      ...behind(second),
      new Linear(second, 4, { generator }),
    );
    return { net, widths: [first, second] };
  };
  const optimise = (net: Module): Optimizer => new Adam(net.parameters(), { lr: 0.01 });
  const [a, b] = [true, false].map((at) => runOf(make, optimise, at, true));
  compare(a, b, x, y, exact);
  [a, b].forEach(disposeRun);
});

test('an embedding of plastic vectors', () => {
  const make = (): Model => {
    const generator = new Generator(1);
    const [first, second] = [8, 7].map((n) => new Width(n, { capacity: 16 }));
    const net = new Sequential(
      new Embedding(5, first, { generator }),
      new Linear(first, second, { generator, activation: 'relu' }),
      new Linear(second, 4, { generator }),
    );
    return { net, widths: [first, second] };
  };
  const words = tensor(Int32Array.from({ length: 24 }, (_, i) => (i * 7) % 5));
  const optimise = (net: Module): Optimizer => new Adam(net.parameters(), { lr: 0.01 });
  const [a, b] = [true, false].map((at) => runOf(make, optimise, at));
  compare(a, b, words, y, exact);
  [a, b].forEach(disposeRun);
});

describe('a convolutional net with batch norm', () => {
  const images = normal([12, 6, 5, 3], { generator: new Generator(8) });
  const labels = tensor(Int32Array.from({ length: 12 }, (_, i) => i % 4));
  const make = (): Model => {
    const generator = new Generator(1);
    const first = new Width(8, { capacity: 16 });
    const second = new Width(7, { capacity: 16 });
    const net = new Sequential(
      new Conv2d(3, first, 3, { generator, padding: 1, bias: false }),
      new BatchNorm(first, { activation: 'relu' }),
      new MaxPool2d(2),
      new Conv2d(first, second, 3, { generator, padding: 'same', stride: 2 }),
      new ReLU(),
      new GlobalAvgPool2d(),
      new Linear(second, 4, { generator }),
    );
    return { net, widths: [first, second] };
  };
  test.each([false, true])('scores gathered: %s', (scores) => {
    const optimise = (net: Module): Optimizer => new SGD(net.parameters(), { lr: 0.05, momentum: 0.9 });
    const [a, b] = [true, false].map((at) => runOf(make, optimise, at, scores));
    compare(a, b, images, labels, exact);
    // Evaluation by the running statistics.
    [a, b].forEach(({ net }) => net.train(false));
    const losses = [a, b].map(({ step }) => step(images, labels).itemSync());
    expect(Math.abs(losses[0] - losses[1])).toBeLessThanOrEqual(exact * losses[1]);
    expectEqual(a, b, exact);
    [a, b].forEach(disposeRun);
  });
});

test('growing past the capacity records once more, and so do silenced and observed neurons', () => {
  const { net, first, second } = makeNet({ capacity: 16 });
  const step = capture((input: Tensor) => net.forward(input), { atCapacity: true });
  const run = (): number[] => values(step(x));
  run();
  first.grow(3);
  run();
  expect(step.recordings).toBe(1);
  first.grow(10);
  expect(first.capacity).toBeGreaterThan(16);
  run();
  expect(step.recordings).toBe(2);
  first.prune([1, 4]);
  run();
  expect(step.recordings).toBe(2);
  second.silence([2]);
  const silenced = run();
  expect(step.recordings).toBe(3);
  expect(distance(silenced, values(net.forward(x)))).toBeLessThan(1e-6);
  // By its size now: a change of this width records again.
  second.prune([0]);
  run();
  expect(step.recordings).toBe(4);
  const end = first.observe((activations) => expect(activations.shape).toEqual([24, first.size]));
  run();
  expect(step.recordings).toBe(5);
  end();
  run();
  expect(step.recordings).toBe(6);
  expect(distance(run(), values(net.forward(x)))).toBeLessThan(1e-6);
  step.dispose();
  net.dispose();
});

test.each([
  ['group norm', (width: Width) => [new GroupNorm(1, width), new Linear(width, 4)]],
  ['a cosine classifier', (width: Width) => [new CosineLinear(width, 4)]],
] as [string, (width: Width) => Module[]][])('a width with %s is taken at its size', (_, behind) => {
  const [first, second] = [8, 7].map((n) => new Width(n, { capacity: 16 }));
  const net = new Sequential(new Linear(6, first), new Linear(first, second), ...behind(second));
  const sizes: number[][] = [];
  const forward = capture(
    (input: Tensor) => {
      sizes.push([first.size, second.size]);
      return net.forward(input);
    },
    { atCapacity: true },
  );
  forward(x);
  first.grow(2);
  expect(distance(values(forward(x)), values(net.forward(x)))).toBeLessThan(1e-6);
  expect(forward.recordings).toBe(1);
  second.grow(2);
  expect(distance(values(forward(x)), values(net.forward(x)))).toBeLessThan(1e-6);
  expect(forward.recordings).toBe(2);
  expect(sizes).toEqual([
    [16, 7],
    [16, 9],
  ]);
  expect([first.size, second.size]).toEqual([10, 9]);
  forward.dispose();
  net.dispose();
});

test('gradients have the capacity, are 0 for what is not active, and stay inside', () => {
  const width = new Width(5, { capacity: 9 });
  const [input, output] = [new Linear(6, width, { activation: 'tanh' }), new Linear(width, 4)];
  const net = new Sequential(input, output);
  const gradients = capture(
    (rows: Tensor) => {
      for (const parameter of net.parameters()) parameter.grad = null;
      net.forward(rows).sum().backward();
      return [input.weight, input.bias, output.weight].map((parameter) => (parameter?.grad as Tensor).detach());
    },
    { atCapacity: true },
  );
  for (const change of [() => undefined, () => width.grow(4), () => width.prune([1, 2, 3, 4, 5, 6, 7, 8])]) {
    change();
    const [weight, bias, outgoing] = gradients(x);
    expect([weight.shape, bias.shape, outgoing.shape]).toEqual([[9, 6], [9], [4, 9]]);
    const fits = (numbers: number[], slot: (i: number) => number): boolean =>
      numbers.every((g, i) => (g !== 0) === slot(i) < width.size);
    // Of a newborn's own weights nothing is known yet: its outgoing weights are 0, and so are their gradients.
    if (width.size !== 9) {
      expect(fits(values(bias), (i) => i)).toBe(true);
      expect(fits(values(weight), (i) => Math.floor(i / 6))).toBe(true);
    }
    expect(fits(values(outgoing), (i) => i % 9)).toBe(true);
    expect(input.weight.grad).toBeNull();
  }
  expect(gradients.recordings).toBe(1);
  gradients.dispose();
  net.dispose();
});

test('disposing of everything frees everything', () => {
  // Random numbers by the default generator, whose state stays.
  normal([1]).dispose();
  const before = device().memory().buffers;
  const make = (): Model => {
    const width = new Width(5, { capacity: 9 });
    return {
      net: new Sequential(new Linear(6, width), new BatchNorm(width), new ReLU(), new Linear(width, 4)),
      widths: [width],
    };
  };
  const run = runOf(make, (net) => new Adam(net.parameters(), { lr: 0.01 }), true, true);
  const [width] = run.widths;
  for (const change of [() => [], () => width.grow(4), () => width.prune([1, 2]), () => width.reset([0])]) {
    change();
    run.step(x, y);
  }
  expect(run.step.recordings).toBe(1);
  disposeRun(run);
  expect(device().memory().buffers).toBe(before);
});

test('refuses other options', () => {
  expect(() => capture((t: Tensor) => t, { atCapacity: 1 as unknown as boolean })).toThrow(ConfigError);
  expect(() => capture((t: Tensor) => t, { capacity: true } as object)).toThrow(ConfigError);
});

test('a width whose size is needed is taken at it, for as long as that is so', () => {
  const { net, first } = makeNet({ capacity: 16 });
  const step = capture((input: Tensor) => net.forward(input), { atCapacity: true });
  const changed = (): number => {
    first.grow(1);
    expect(distance(values(step(x)), values(net.forward(x)))).toBeLessThan(1e-6);
    return step.recordings;
  };
  expect([changed(), changed()]).toEqual([1, 1]);
  const release = first.needSize();
  expect([changed(), changed()]).toEqual([2, 3]);
  release();
  release();
  expect([changed(), changed()]).toEqual([4, 4]);
  step.dispose();
  net.dispose();
});
