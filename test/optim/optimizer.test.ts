/**
 * Optimisers against plain loops in f64, with neurons of different ages, weight decay that spares the young, clipping, schedules and
 * state that survives width changes.
 */
import { describe, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError, ShapeError } from '../../src/device/index.js';
import { CarriedArray, Linear, Parameter, Width } from '../../src/nn/index.js';
import { Generator, normal } from '../../src/ops/index.js';
import { Adam, AdamW, type Optimizer, schedules, SGD } from '../../src/optim/index.js';
import { type Tensor, tensor } from '../../src/tensor/index.js';
import { bits, distance, makeBatch, makeNet, trainStep, values } from '../nn/helpers.js';

/** Reference state of one parameter [rows, inner, cols] (row-major), all in f64. */
interface Reference {
  p: Float64Array;
  m: Float64Array;
  v: Float64Array;
  t: Float64Array;
}

interface Rule {
  make(params: Parameter[]): Optimizer;
  move(r: Reference, i: number, g: number, lr: number): void;
}

const DECAY = 0.1;
function sgdRule(momentum: number, nesterov: boolean, dampening: number, young = 0): Rule {
  return {
    make: (params) =>
      new SGD(params, { lr: 0.05, momentum, nesterov, dampening, weightDecay: DECAY, youngSteps: young }),
    move: (r, i, grad, lr) => {
      const t = ++r.t[i];
      let d = grad + (t > young ? DECAY * r.p[i] : 0);
      if (momentum > 0) {
        r.m[i] = t === 1 ? d : momentum * r.m[i] + (1 - dampening) * d;
        d = nesterov ? d + momentum * r.m[i] : r.m[i];
      }
      r.p[i] -= lr * d;
    },
  };
}
function adamRule(decoupled: boolean, young = 0): Rule {
  const [b1, b2, eps] = [0.8, 0.95, 1e-6];
  const options = { lr: 0.05, betas: [b1, b2] as const, eps, weightDecay: DECAY, youngSteps: young };
  return {
    make: (params) => (decoupled ? new AdamW(params, options) : new Adam(params, options)),
    move: (r, i, grad, lr) => {
      const t = ++r.t[i];
      const decay = t > young ? DECAY : 0;
      if (decoupled) r.p[i] -= lr * decay * r.p[i];
      const g = decoupled ? grad : grad + decay * r.p[i];
      r.m[i] = b1 * r.m[i] + (1 - b1) * g;
      r.v[i] = b2 * r.v[i] + (1 - b2) * g * g;
      r.p[i] -= (lr * (r.m[i] / (1 - b1 ** t))) / (Math.sqrt(r.v[i] / (1 - b2 ** t)) + eps);
    },
  };
}

const rules: [string, Rule][] = [
  ['SGD', sgdRule(0, false, 0)],
  ['SGD momentum', sgdRule(0.9, false, 0)],
  ['SGD momentum dampening', sgdRule(0.9, false, 0.3)],
  ['SGD nesterov', sgdRule(0.9, true, 0)],
  ['SGD young', sgdRule(0.9, false, 0, 3)],
  ['Adam', adamRule(false)],
  ['AdamW', adamRule(true)],
  ['AdamW young', adamRule(true, 3)],
];

describe.each(['f32', 'f64'] as const)('%s', (dtype) => {
  describe.each(rules)('%s equals the plain loop', (_name, rule) => {
    // Rank 1, rank 2 with widths on both axes, a conv-like rank 4, and one without any width.
    test('over 12 steps with growth and pruning in between', () => {
      const out = new Width(5, { capacity: 6, name: 'out' });
      const inner = new Width(4, { name: 'in' });
      const generator = new Generator(11);
      const shapes: (Width | number)[][] = [[out], [out, inner], [out, 3, 2, inner], [3, inner], [2, 2]];
      const params = shapes.map((axes, i) => {
        const extents = axes.map((axis) => (axis instanceof Width ? axis.size : axis));
        const initial = normal(extents, { generator, dtype });
        return new Parameter(new CarriedArray(axes, { role: 'slot', dtype, initial }), { name: `p${i}` });
      });
      const optimizer = rule.make(params);
      let references = params.map((parameter): Reference => {
        const p = Float64Array.from(values(parameter.value));
        return { p, m: new Float64Array(p.length), v: new Float64Array(p.length), t: new Float64Array(p.length) };
      });
      const check = (): void => {
        params.forEach((parameter, i) => {
          expect(distance(values(parameter.value), references[i].p)).toBeLessThan(dtype === 'f64' ? 1e-12 : 2e-5);
        });
      };
      const steps = (count: number): void => {
        for (let s = 0; s < count; s++) {
          params.forEach((parameter, i) => {
            parameter.grad = normal(parameter.shape, { generator, dtype });
            const g = values(parameter.grad);
            references[i].t.forEach((_t, j) => rule.move(references[i], j, g[j], optimizer.lr));
          });
          optimizer.step();
          optimizer.zeroGrad();
        }
        check();
      };
      steps(4);
      /** Rearranges the reference: slot order per width, -1 for a newborn. */
      const rearrange = (width: Width, order: number[]): void => {
        references = references.map((r, i) => {
          const axes = shapes[i];
          const after = axes.map((axis) => (axis === width ? order.length : axis instanceof Width ? axis.size : axis));
          const before = axes.map((axis, a) =>
            axis === width ? r.p.length / (after.reduce((n, e) => n * e, 1) / after[a]) : after[a],
          );
          const n = after.reduce((product, e) => product * e, 1);
          const pick = (from: Float64Array): Float64Array =>
            Float64Array.from({ length: n }, (_, flat) => {
              let at = 0;
              let rest = flat;
              const index = after.map((_e, a) => {
                const stride = after.slice(a + 1).reduce((product, e) => product * e, 1);
                const k = Math.floor(rest / stride);
                rest %= stride;
                return axes[a] === width ? order[k] : k;
              });
              if (index.includes(-1)) return 0;
              index.forEach((k, a) => (at = at * before[a] + k));
              return from[at];
            });
          return { p: pick(r.p), m: pick(r.m), v: pick(r.v), t: pick(r.t) };
        });
      };
      out.grow(3);
      rearrange(out, [0, 1, 2, 3, 4, -1, -1, -1]);
      steps(3);
      inner.grow(2);
      rearrange(inner, [0, 1, 2, 3, -1, -1]);
      steps(3);
      out.prune([1, 6]);
      rearrange(out, [0, 2, 3, 4, 5, 7]);
      optimizer.lr = 0.01;
      steps(2);
      optimizer.dispose();
    });
  });
});

test('one native call per step, whatever the number of parameters', () => {
  const { net } = makeNet({ norm: true });
  const optimizer = new Adam(net.parameters());
  const batch = makeBatch();
  trainStep(net, optimizer, batch);
  trainStep(net, optimizer, batch);
  const { device } = batch.x;
  const ops: string[] = [];
  const enqueue = device.enqueue.bind(device);
  device.enqueue = (op, ...rest) => {
    ops.push(op);
    enqueue(op, ...rest);
  };
  try {
    optimizer.step();
  } finally {
    Reflect.deleteProperty(device, 'enqueue');
  }
  expect(ops).toEqual(['adamStep']);
});

test('parameters without gradient stay as they are and are not counted', () => {
  const [a, b] = [new Linear(2, 2), new Linear(2, 2)];
  const optimizer = new SGD([a.weight, b.weight], { lr: 1, momentum: 0.5, weightDecay: 0.5 });
  const before = values(b.weight.value);
  a.weight.grad = tensor([
    [1, 1],
    [1, 1],
  ]);
  optimizer.step();
  expect(values(b.weight.value)).toEqual(before);
  expect(values(optimizer.stateDict().get('rowSteps.0')!)).toEqual([1]);
  expect(values(optimizer.stateDict().get('rowSteps.1')!)).toEqual([0]);
  b.weight.requiresGrad = false;
  optimizer.step();
});

test('decay off for a parameter, gradScale', () => {
  const layer = new Linear(1, 1, { init: 'ones' });
  layer.bias!.decay = false;
  const optimizer = new SGD([layer.weight, layer.bias!], { lr: 0.5, weightDecay: 1 });
  optimizer.gradScale = 0.25;
  layer.weight.grad = tensor([[4]]);
  layer.bias!.grad = tensor([4]);
  optimizer.step();
  expect(values(layer.weight.value)).toEqual([1 - 0.5 * (1 + 1)]);
  expect(values(layer.bias!.value)).toEqual([-0.5]);
});

describe('learning-rate factors of neurons', () => {
  const makers: [string, (params: Parameter[]) => Optimizer][] = [
    ['SGD', (params) => new SGD(params, { lr: 0.1, momentum: 0.9, weightDecay: 0.1 })],
    ['AdamW', (params) => new AdamW(params, { lr: 0.1, weightDecay: 0.1 })],
  ];
  const factorsOf = (width: Width, host: number[]): CarriedArray =>
    new CarriedArray([width], { fill: 1, role: 'slot', initial: tensor(Float32Array.from(host)) });

  test.each(makers)('%s: 0 keeps every bit, 1 moves as ever, 0.5 half as far', (_name, make) => {
    const run = (host: number[] | undefined) => {
      const { net, first } = makeNet({ norm: true, capacity: 12 });
      const optimizer = make(net.parameters());
      for (let i = 0; i < 2; i++) trainStep(net, optimizer, makeBatch());
      const before = new Map([...net.namedParameters()].map(([name, { value }]) => [name, values(value)]));
      if (host) optimizer.scaleRates(first, factorsOf(first, host));
      trainStep(net, optimizer, makeBatch());
      const after = new Map([...net.namedParameters()].map(([name, { value }]) => [name, values(value)]));
      return { before, after, slots: [...optimizer.stateDict()].map(([name, t]) => [name, values(t)]) };
    };
    const plain = run(undefined);
    const held = run([0, 1, 0.5, 1, 1, 0, 1, 1]);
    // Slots and step counts go on for everybody.
    expect(held.slots).toEqual(plain.slots);
    for (const [name, was] of plain.before) {
      const [free, now] = [plain.after.get(name)!, held.after.get(name)!];
      if (!['0.weight', '0.bias', '1.gamma', '1.beta'].includes(name)) {
        expect(now).toEqual(free);
        continue;
      }
      const per = was.length / 8;
      const rows = (flat: number[], unit: number): number[] => flat.slice(unit * per, (unit + 1) * per);
      for (const unit of [0, 5]) expect(rows(now, unit)).toEqual(rows(was, unit));
      for (const unit of [1, 3, 4, 6, 7]) expect(rows(now, unit)).toEqual(rows(free, unit));
      rows(now, 2).forEach((x, i) => {
        expect(x).toBeCloseTo((rows(was, 2)[i] + rows(free, 2)[i]) / 2, 6);
      });
    }
  });

  test('in captured steps as in eager ones, and gone when taken back', () => {
    const outcome = (captured: boolean) => {
      const { net, first } = makeNet();
      const optimizer = new SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
      const batch = makeBatch();
      const recorded = capture((x: Tensor, y: Tensor) => trainStep(net, optimizer, { x, y }));
      const step = (): void => (captured ? recorded(batch.x, batch.y) : trainStep(net, optimizer, batch));
      step();
      const factors = factorsOf(first, [0, 0, 1, 1, 1, 1, 1, 1]);
      optimizer.scaleRates(first, factors);
      const held = values(net.parameters()[0].value).slice(0, 12);
      step();
      step();
      expect(values(net.parameters()[0].value).slice(0, 12)).toEqual(held);
      // The factors follow the neurons.
      first.prune([0]);
      step();
      expect(values(net.parameters()[0].value).slice(0, 6)).toEqual(held.slice(6));
      optimizer.scaleRates(first, undefined);
      factors.dispose();
      step();
      expect(values(net.parameters()[0].value).slice(0, 6)).not.toEqual(held.slice(6));
      return bits(net, optimizer);
    };
    expect(outcome(true)).toEqual(outcome(false));
  });

  test('refuses an array of other axes', () => {
    const { net, first, second } = makeNet();
    const optimizer = new SGD(net.parameters(), { lr: 0.1 });
    expect(() => optimizer.scaleRates(first, factorsOf(second, [1, 1, 1, 1, 1, 1, 1]))).toThrow(ConfigError);
  });
});

test('clipGradNorm returns the norm and scales only what is too long', () => {
  const layer = new Linear(2, 1);
  const optimizer = new SGD(layer.parameters(), { lr: 1 });
  const set = (): void => {
    layer.weight.grad = tensor([[3, 0]]);
    layer.bias!.grad = tensor([4]);
  };
  set();
  expect(optimizer.clipGradNorm(10).itemSync()).toBeCloseTo(5, 6);
  expect(values(layer.weight.grad!)).toEqual([3, 0]);
  expect(optimizer.clipGradNorm(1).itemSync()).toBeCloseTo(5, 6);
  expect(values(layer.weight.grad!)[0]).toBeCloseTo(0.6, 5);
  expect(values(layer.bias!.grad!)[0]).toBeCloseTo(0.8, 5);
  optimizer.zeroGrad();
  expect(optimizer.clipGradNorm(1).itemSync()).toBe(0);
  for (const max of [0, -1, NaN]) expect(() => optimizer.clipGradNorm(max)).toThrow(ConfigError);
});

test('state goes to another optimiser and on from there bit for bit', () => {
  const batch = makeBatch();
  const [one, two] = [makeNet(), makeNet({ capacity: 30 })];
  const first = new AdamW(one.net.parameters(), { lr: 0.02 });
  const second = new AdamW(two.net.parameters(), { lr: 0.5 });
  for (let i = 0; i < 3; i++) trainStep(one.net, first, batch);
  first.lr = 0.03;
  two.net.loadStateDict(one.net.stateDict());
  second.loadStateDict(first.stateDict());
  expect(second.lr).toBe(0.03);
  trainStep(one.net, first, batch);
  trainStep(two.net, second, batch);
  expect(bits(two.net, second)).toEqual(bits(one.net, first));
});

test('bad options and states', () => {
  const params = new Linear(2, 2).parameters();
  const bad: [() => unknown, RegExp][] = [
    [() => new SGD([], { lr: 1 }), /expected at least one parameter/],
    [() => new SGD([params[0], params[0]], { lr: 1 }), /distinct/],
    [() => new SGD(params, { lr: NaN }), /SGD: lr: expected a number >= 0, got NaN/],
    [() => new SGD(params, { lr: -1 }), /lr/],
    [() => new SGD(params, { lr: 1, momentum: 1 }), /momentum: expected a number in \[0, 1\), got 1/],
    [() => new SGD(params, { lr: 1, nesterov: true }), /nesterov/],
    [() => new SGD(params, { lr: 1, weightDecay: -1 }), /weightDecay/],
    [() => new Adam(params, { betas: [0.9, 1] }), /Adam: betas\[1\]/],
    [() => new AdamW(params, { eps: -1 }), /AdamW: eps/],
    [() => new AdamW(params, { youngSteps: -1 }), /youngSteps/],
    [() => (new SGD(params, { lr: 1 }).lr = Infinity * 0), /lr/],
    [
      () => new SGD(params, { lr: 1 }).loadStateDict(new Adam(params).stateDict()),
      /expected the state of SGD over 2 parameters, got Adam/,
    ],
  ];
  for (const [run, message] of bad) {
    expect(run).toThrow(ConfigError);
    expect(run).toThrow(message);
  }
  const adam = new Adam(params);
  const state = adam.stateDict();
  state.set('m.1', tensor([1]));
  expect(() => adam.loadStateDict(state)).toThrow(/'m.1': expected f32 \[2\], got f32 \[1\]/);
  expect(() => adam.loadStateDict(state)).toThrow(ShapeError);
  state.delete('m.1');
  expect(() => adam.loadStateDict(state)).toThrow(/missing: m.1/);
  params[0].value.grad = tensor([1, 2]);
  expect(() => adam.step()).toThrow(/'weight': expected a gradient of shape \[2,2\], got \[2\]/);
  adam.dispose();
  expect(() => adam.step()).toThrow(/disposed/);
});

test('schedules', () => {
  expect(schedules.constant()(0.3)).toBe(1);
  const step = schedules.step([0.5, 0.75], 0.1);
  expect([0, 0.49, 0.5, 0.75, 1].map(step)).toEqual([1, 1, 0.1, 0.1 ** 2, 0.1 ** 2]);
  const cosine = schedules.cosine(0.1);
  expect(cosine(0)).toBeCloseTo(1, 12);
  expect(cosine(0.5)).toBeCloseTo(0.55, 12);
  expect(cosine(1)).toBeCloseTo(0.1, 12);
  const warm = schedules.warmup(0.2, schedules.cosine());
  expect([0, 0.1, 0.2, 0.6, 1].map((p) => +warm(p).toFixed(12))).toEqual([0, 0.5, 1, 0.5, 0]);
  expect(schedules.warmup(1)(0.5)).toBe(0.5);
  for (const run of [
    () => schedules.step([2]),
    () => schedules.step([0.5], 0),
    () => schedules.cosine(-1),
    () => schedules.warmup(NaN),
  ]) {
    expect(run).toThrow(ConfigError);
  }
});

test('a refused SGD leaves nothing on the widths', () => {
  const width = new Width(3);
  const layer = new Linear(2, width);
  const before = width.arrays.length;
  expect(() => new SGD(layer.parameters(), { lr: 1, nesterov: true })).toThrow(ConfigError);
  expect(() => new SGD(layer.parameters(), { lr: 1, momentum: 0.9, dampening: -1 })).toThrow(ConfigError);
  expect(width.arrays.length).toBe(before);
});
