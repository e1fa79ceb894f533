/**
 * Modules: names, modes, state dicts, initialisers and the forward pass of each layer against plain arithmetic.
 */
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, ShapeError } from '../../src/device/index.js';
import {
  BatchNorm,
  CarriedArray,
  Dropout,
  ELU,
  Flatten,
  GELU,
  Identity,
  init,
  LayerNorm,
  LeakyReLU,
  Linear,
  Module,
  Parameter,
  ReLU,
  Sequential,
  Sigmoid,
  SiLU,
  Softplus,
  Tanh,
  Width,
} from '../../src/nn/index.js';
import { add, crossEntropy, Generator, mulScalar, normal, relu, sum, zeros } from '../../src/ops/index.js';
import { SGD } from '../../src/optim/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { bits, distance, makeBatch, makeNet, values } from './helpers.js';

const x = normal([5, 6], { generator: new Generator(3) });

class Residual extends Module {
  readonly blocks = [new Linear(6, 6), new Linear(6, 6)];
  readonly tail = new Sequential(new ReLU(), new Linear(6, 2, { bias: false }));
  readonly shared = this.blocks[0].weight;
  override forward(input: Tensor): Tensor {
    return this.tail.forward(this.blocks.reduce((h, block) => add(h, block.forward(h)), input));
  }
}

test('names follow fields, lists and Sequential positions; a shared parameter counts once', () => {
  const net = new Residual();
  expect([...net.namedParameters().keys()]).toEqual([
    'shared',
    'blocks.0.bias',
    'blocks.1.weight',
    'blocks.1.bias',
    'tail.1.weight',
  ]);
  expect(net.parameterCount()).toBe(36 + 6 + 36 + 6 + 12);
  expect([...net.children.keys()]).toEqual(['blocks.0', 'blocks.1', 'tail']);
  expect(net.modules().length).toBe(6);
  expect(net.forward(x).shape).toEqual([5, 2]);
});

test('stateDict names, buffers included', () => {
  const { net, first, second } = makeNet({ norm: true });
  expect([...net.stateDict().keys()]).toEqual([
    '0.weight',
    '0.bias',
    '1.gamma',
    '1.beta',
    '3.weight',
    '3.bias',
    '4.gamma',
    '4.beta',
    '6.weight',
    '6.bias',
    '1.runningMean',
    '1.runningVar',
    '4.runningMean',
    '4.runningVar',
  ]);
  expect(net.widths()).toEqual([first, second]);
  expect([first.producers.length, first.consumers.length, first.means.length]).toEqual([1, 1, 1]);
});

test('loadStateDict copies, and refuses other names, shapes and dtypes naming the parameter', () => {
  const [a, b] = [makeNet({ norm: true, seed: 1 }).net, makeNet({ norm: true, seed: 2, capacity: 20 }).net];
  a.eval();
  b.eval();
  b.loadStateDict(a.stateDict());
  expect(values(b.forward(x))).toEqual(values(a.forward(x)));
  const state = a.stateDict();
  state.delete('3.bias');
  expect(() => b.loadStateDict(state)).toThrow(/missing: 3.bias; unknown: none/);
  expect(() => b.loadStateDict(state)).toThrow(ConfigError);
  expect(() => b.loadStateDict(new Map([...a.stateDict(), ['extra', x]]))).toThrow(/unknown: extra/);
  const wrong = a.stateDict().set('3.bias', zeros([9]));
  expect(() => b.loadStateDict(wrong)).toThrow(ShapeError);
  expect(() => b.loadStateDict(wrong)).toThrow(/'3.bias': expected f32 \[7\], got f32 \[9\]/);
  const typed = a.stateDict().set('3.bias', zeros([7], { dtype: 'f64' }));
  expect(() => b.loadStateDict(typed)).toThrow(/expected f32 \[7\], got f64 \[7\]/);
});

test('train and eval reach every module, and older recordings become valid again', () => {
  const { net } = makeNet({ norm: true });
  net.eval();
  expect(net.modules().every(({ training }) => !training)).toBe(true);
  const run = capture((input: Tensor) => net.forward(input));
  net.train();
  run(x);
  run(x);
  expect(run.recordings).toBe(1);
  const evaluate = capture((input: Tensor) => net.forward(input));
  net.eval();
  evaluate(x);
  net.train();
  run(x);
  net.eval();
  evaluate(x);
  expect([run.recordings, evaluate.recordings]).toEqual([1, 1]);
  run(x);
  expect(run.recordings).toBe(2);
  run.dispose();
  evaluate.dispose();
});

const host = values(x);
const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
const elementwise: [string, Module, (v: number) => number][] = [
  ['ReLU', new ReLU(), (v) => Math.max(0, v)],
  ['LeakyReLU', new LeakyReLU(0.1), (v) => (v > 0 ? v : 0.1 * v)],
  ['ELU', new ELU(0.5), (v) => (v > 0 ? v : 0.5 * Math.expm1(v))],
  ['SiLU', new SiLU(), (v) => v * sigmoid(v)],
  ['Tanh', new Tanh(), Math.tanh],
  ['Sigmoid', new Sigmoid(), sigmoid],
  ['Softplus', new Softplus(), (v) => Math.log1p(Math.exp(v))],
  ['Identity', new Identity(), (v) => v],
];
test.each(elementwise)('%s', (_name, module, reference) => {
  expect(distance(values(module.forward(x)), host.map(reference))).toBeLessThan(1e-6);
});

test('GELU at known points', () => {
  expect(
    distance(values(new GELU().forward(tensor([-1, 0, 1, 2]))), [-0.15865525, 0, 0.84134475, 1.9544997]),
  ).toBeLessThan(1e-6);
});

test.each(['none', 'relu', 'tanh', 'sigmoid'] as const)('Linear with fused %s equals the f64 sum', (activation) => {
  const layer = new Linear(6, 3, { activation, generator: new Generator(4) });
  const w = values(layer.weight.value);
  const b = layer.bias!.array.active;
  b.device.write(b.storage.handle, 0, Float32Array.of(0.5, -1, 2));
  const act = { none: (v: number) => v, relu: (v: number) => Math.max(0, v), tanh: Math.tanh, sigmoid }[activation];
  const expected: number[] = [];
  for (let i = 0; i < 5; i++) {
    for (let j = 0; j < 3; j++) {
      let sum = [0.5, -1, 2][j];
      for (let k = 0; k < 6; k++) sum += host[i * 6 + k] * w[j * 6 + k];
      expected.push(act(sum));
    }
  }
  expect(distance(values(layer.forward(x)), expected)).toBeLessThan(1e-6);
});

test('Flatten keeps the rows', () => {
  expect(new Flatten().forward(zeros([2, 3, 4])).shape).toEqual([2, 12]);
});

test('Dropout: the identity in eval, zeros and scaled values in training, its own generator', () => {
  const make = () => new Dropout(0.25, { generator: new Generator(5) });
  const ones = tensor(new Float32Array(4000).fill(1));
  const dropped = values(make().forward(ones));
  expect(new Set(dropped)).toEqual(new Set([0, Math.fround(4 / 3)]));
  const share = dropped.filter((v) => v === 0).length / 4000;
  expect(Math.abs(share - 0.25)).toBeLessThan(0.03);
  expect(values(make().forward(ones))).toEqual(dropped);
  expect(values(make().eval().forward(ones))).toEqual(values(ones));
  for (const p of [-0.1, 1, NaN]) expect(() => new Dropout(p)).toThrow(ConfigError);
  for (const width of [-3, 0.5, 'x', null]) {
    expect(() => new Dropout(0.5, { width: width as unknown as number })).toThrow(ShapeError);
  }
});

test('BatchNorm with a ReLU and a residual is the same as three ops, in training and evaluation', () => {
  for (const training of [true, false]) {
    const plain = new BatchNorm(6).train(training);
    const fused = new BatchNorm(6, { activation: 'relu' }).train(training);
    const side = mulScalar(x, -0.5);
    expect(distance(values(fused.forward(x, side)), values(relu(add(plain.forward(x), side))))).toBeLessThan(1e-6);
    expect(distance(values(fused.forward(x)), values(relu(plain.forward(x))))).toBeLessThan(1e-6);
  }
  expect(() => new BatchNorm(6, { activation: 'gelu' as 'relu' })).toThrow(ConfigError);
});

test('BatchNorm: batch statistics in training, running ones otherwise', () => {
  const norm = new BatchNorm(6);
  const y = values(norm.forward(x));
  const means = Array.from({ length: 6 }, (_, c) => host.filter((_v, i) => i % 6 === c).reduce((s, v) => s + v, 0) / 5);
  const vars = means.map((m, c) => host.filter((_v, i) => i % 6 === c).reduce((s, v) => s + (v - m) ** 2, 0) / 5);
  expect(
    distance(
      y,
      host.map((v, i) => (v - means[i % 6]) / Math.sqrt(vars[i % 6] + 1e-5)),
    ),
  ).toBeLessThan(1e-5);
  const running = [values(norm.runningMean.value), values(norm.runningVar.value)];
  expect(
    distance(
      running[0],
      means.map((m) => 0.1 * m),
    ),
  ).toBeLessThan(1e-5);
  expect(
    distance(
      running[1],
      vars.map((v) => 0.9 + 0.1 * v * (5 / 4)),
    ),
  ).toBeLessThan(1e-5);
  norm.eval();
  const expected = host.map((v, i) => (v - running[0][i % 6]) / Math.sqrt(running[1][i % 6] + 1e-5));
  expect(distance(values(norm.forward(x)), expected)).toBeLessThan(1e-5);
});

test('LayerNorm normalises rows and says that it mixes neurons', () => {
  const width = new Width(6);
  const y = values(new LayerNorm(width).forward(x));
  for (let i = 0; i < 5; i++) {
    const row = y.slice(i * 6, i * 6 + 6);
    expect(row.reduce((s, v) => s + v, 0)).toBeCloseTo(0, 4);
    expect(row.reduce((s, v) => s + v * v, 0) / 6).toBeCloseTo(1, 3);
  }
  expect(width.mixers.length).toBe(1);
});

describe('initialisers', () => {
  const shape = [64, 50];
  const options = { generator: new Generator(1) };
  const spread = (t: Tensor) => {
    const v = values(t);
    const mean = v.reduce((s, a) => s + a, 0) / v.length;
    return { max: Math.max(...v.map(Math.abs)), std: Math.sqrt(v.reduce((s, a) => s + (a - mean) ** 2, 0) / v.length) };
  };
  test('uniform bounds', () => {
    const bounds: [Tensor, number][] = [
      [init.kaimingUniform(shape, options), Math.sqrt(6 / 50)],
      [init.xavierUniform(shape, options), Math.sqrt(6 / 114)],
      [init.fanInUniform(shape, options), Math.sqrt(1 / 50)],
      [init.uniform(shape, { ...options, low: -3, high: 3 }), 3],
    ];
    for (const [t, bound] of bounds) {
      expect(spread(t).max).toBeLessThanOrEqual(bound * (1 + 1e-6));
      expect(spread(t).max).toBeGreaterThan(bound * 0.99);
    }
  });
  test('normal standard deviations', () => {
    expect(spread(init.kaimingNormal(shape, options)).std).toBeCloseTo(Math.sqrt(2 / 50), 2);
    expect(spread(init.xavierNormal(shape, options)).std).toBeCloseTo(Math.sqrt(2 / 114), 2);
    expect(spread(init.normal(shape, { ...options, std: 2 })).std).toBeCloseTo(2, 1);
    expect(spread(init.zeros(shape)).max).toBe(0);
    expect(spread(init.ones(shape))).toEqual({ max: 1, std: 0 });
  });
  test.each([
    [6, 10],
    [10, 6],
  ])('orthogonal %i x %i', (rows, cols) => {
    const q = values(init.orthogonal([rows, cols], { ...options, gain: 2, dtype: 'f64' }));
    const n = Math.min(rows, cols);
    for (let a = 0; a < n; a++) {
      for (let b = 0; b < n; b++) {
        let dot = 0;
        for (let k = 0; k < Math.max(rows, cols); k++)
          dot += rows <= cols ? q[a * cols + k] * q[b * cols + k] : q[k * cols + a] * q[k * cols + b];
        expect(dot).toBeCloseTo(a === b ? 4 : 0, 10);
      }
    }
  });
  test('by name, by function, and an unknown name', () => {
    expect(values(new Linear(2, 2, { init: 'ones' }).weight.value)).toEqual([1, 1, 1, 1]);
    expect(
      values(new Linear(2, 1, { init: (s, o) => init.uniform(s, { ...o, low: 5, high: 5 }) }).weight.value),
    ).toEqual([5, 5]);
    expect(() => new Linear(2, 2, { init: 'magic' as never })).toThrow(/expected one of kaiming-uniform.*got 'magic'/);
  });
});

test('f64 layers', () => {
  const net = new Sequential(new Linear(6, 4, { dtype: 'f64' }), new BatchNorm(4, { dtype: 'f64' }), new Tanh());
  expect(net.forward(x.cast('f64')).dtype).toBe('f64');
});

test('freezing a parameter: no gradient, no step', () => {
  const layer = new Linear(6, 2);
  layer.weight.requiresGrad = false;
  layer.forward(x).sum().backward();
  expect(layer.weight.grad).toBeNull();
  expect(values(layer.bias!.grad!)).toEqual([5, 5]);
});

test('bad sizes and contents', () => {
  for (const size of [0, -1, 2.5, NaN]) {
    expect(() => new Linear(size, 3)).toThrow(ShapeError);
    expect(() => new BatchNorm(size)).toThrow(ShapeError);
  }
  expect(() => new Sequential(new ReLU(), {} as Module)).toThrow(/got object at position 1/);
  expect(() => new CarriedArray([new Width(3), 2], { initial: zeros([3, 3]) })).toThrow(
    /expected contents of shape \[3,2\], got \[3,3\]/,
  );
  expect(() => new CarriedArray([-1])).toThrow(ConfigError);
  expect(() => new Linear(4, 3).forward(x)).toThrow(/linear/);
  expect(new Parameter(new CarriedArray([2])).decay).toBe(true);
});

describe('what captured steps and widths know of layers', () => {
  test('freezing a parameter, also one without a width, makes a captured step record again', () => {
    const layer = new Linear(2, 2);
    const optimizer = new SGD(layer.parameters(), { lr: 0.1 });
    const step = capture((x: Tensor) => {
      optimizer.zeroGrad();
      sum(layer.forward(x)).backward();
      optimizer.step();
    });
    const x = tensor([[1, 2]]);
    const bias = (): number[] => [...(layer.bias as Parameter).array.active.dataSync()];
    step(x);
    const before = bias();
    expect(before).not.toEqual([0, 0]);
    (layer.bias as Parameter).requiresGrad = false;
    step(x);
    expect(bias()).toEqual(before);
    step.dispose();
  });

  test('a step with zeroGrad and the optimiser outside of the capture trains like the whole one, also through growth', () => {
    const batch = makeBatch();
    const train = (captured: boolean): Map<string, string> => {
      const { net, first } = makeNet({ norm: true, capacity: 10 });
      const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
      const backward = (x: Tensor): void => crossEntropy(net.forward(x), batch.y).backward();
      const run = capture(backward);
      for (let i = 0; i < 6; i++) {
        optimizer.zeroGrad();
        if (captured) run(batch.x);
        else tidy(() => backward(batch.x));
        optimizer.step();
        if (i === 2) first.grow(2, { generator: new Generator(3) });
      }
      if (captured) expect(run.recordings).toBe(2);
      run.dispose();
      const out = bits(net, optimizer);
      optimizer.dispose();
      net.dispose();
      return out;
    };
    expect(train(true)).toEqual(train(false));
  });

  test('a width forgets the layers that were disposed of', () => {
    const hidden = new Width(3, { name: 'hidden' });
    const body = new Sequential(new Linear(2, hidden), new BatchNorm(hidden));
    const head = new Sequential(new LayerNorm(hidden), new Linear(hidden, 2));
    head.dispose();
    expect([hidden.consumers.length, hidden.mixers.length]).toEqual([0, 0]);
    expect([hidden.producers.length, hidden.means.length]).toEqual([1, 1]);
    const next = new Linear(hidden, 4);
    expect(hidden.consumers).toEqual([next]);
    body.dispose();
    expect([hidden.producers.length, hidden.means.length]).toEqual([0, 0]);
  });
});
