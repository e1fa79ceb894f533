/**
 * backward, gradients, grad and valueAndGrad: what they compute, what they refuse, and that they leave no memory behind.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { backward, grad, gradients, valueAndGrad } from '../../src/autograd/index.js';
import { AutogradError, ConfigError, device, DTypeError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { noGrad, tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const leaf = (data: number[] | number[][] | number): Tensor => tensor(data, { dtype: 'f64', requiresGrad: true });
const values = (x: Tensor | null | undefined): number[] => [...(x as Tensor).dataSync()];

let buffers = 0;
beforeEach(() => {
  buffers = device().memory().buffers;
});
afterEach(() => expect(device().memory().buffers).toBe(buffers));

/** A test whose tensors are all disposed of, so that afterEach finds what leaked past scopes. */
function clean(name: string, run: () => void): void {
  test(name, () => tidy(run));
}

/** kept gradients belong to the caller. */
function drop(...leaves: Tensor[]): void {
  for (const x of leaves) {
    x.grad?.dispose();
    x.grad = null;
  }
}

describe('backward', () => {
  clean('adds to grad of the leaves', () => {
    const x = leaf([1, 2, 3]);
    ops.sum(ops.square(x)).backward();
    expect(values(x.grad)).toEqual([2, 4, 6]);
    ops.sum(ops.mul(x, 3)).backward();
    expect(values(x.grad)).toEqual([5, 7, 9]);
    drop(x);
  });

  clean('a second time over freed tensors is refused, with retainGraph allowed', () => {
    const x = leaf([1, 2]);
    const y = ops.sum(ops.square(x));
    y.backward({ retainGraph: true });
    y.backward();
    expect(values(x.grad)).toEqual([4, 8]);
    expect(() => y.backward()).toThrow(AutogradError);
    expect(() => y.backward()).toThrow(/freed by an earlier backward/);
    drop(x);
  });

  clean('a tensor used several times gathers all parts', () => {
    const x = leaf([2]);
    const y = ops.mul(x, x);
    ops.sum(ops.add(ops.mul(y, x), y)).backward();
    expect(values(x.grad)).toEqual([3 * 4 + 2 * 2]);
    drop(x);
  });

  clean('operands of one add get gradients of their own', () => {
    const a = leaf([1, 2]);
    const b = leaf([3, 4]);
    ops.sum(ops.add(a, b)).backward();
    expect(a.grad).not.toBe(b.grad);
    expect((a.grad as Tensor).storage).not.toBe((b.grad as Tensor).storage);
    noGrad(() => ops.fill(a.grad as Tensor, 9));
    expect(values(b.grad)).toEqual([1, 1]);
    drop(a, b);
  });

  clean('takes the gradient of a tensor of more elements', () => {
    const x = leaf([1, 2, 3]);
    const y = ops.mul(x, 2);
    expect(() => y.backward()).toThrow(ShapeError);
    expect(() => y.backward({ gradient: tensor([1, 2]) })).toThrow(ShapeError);
    expect(() => y.backward({ gradient: tensor([1, 2, 3]) })).toThrow(DTypeError);
    y.backward({ gradient: tensor([1, 0, -1], { dtype: 'f64' }) });
    expect(values(x.grad)).toEqual([2, 0, -2]);
    drop(x);
  });

  clean('refuses a tensor outside the graph', () => {
    expect(() => tensor([1]).backward()).toThrow(AutogradError);
    expect(() => backward(3 as unknown as Tensor)).toThrow(ConfigError);
  });

  clean('notices a write into a saved tensor', () => {
    const x = leaf([1, 2]);
    const w = tensor([3, 4], { dtype: 'f64' });
    const y = ops.sum(ops.mul(x, w));
    ops.assign(w, tensor([0, 0], { dtype: 'f64' }));
    expect(() => y.backward()).toThrow(
      new AutogradError(
        'backward: mul saved a tensor of shape [2] that was written in place since (expected version 0, got 1)',
      ),
    );
  });

  clean('does not mind a write into a tensor it has not saved', () => {
    const x = leaf([1, 2]);
    const w = tensor([3, 4], { dtype: 'f64' });
    const y = ops.sum(ops.add(x, w));
    ops.fill(w, 0);
    y.backward();
    expect(values(x.grad)).toEqual([1, 1]);
    drop(x);
  });

  clean('intermediate tensors may be disposed of before', () => {
    const x = leaf([1, 2]);
    const a = ops.exp(x);
    const b = ops.square(a);
    const y = ops.sum(b);
    a.dispose();
    b.dispose();
    y.backward();
    expect(values(x.grad)[0]).toBeCloseTo(2 * Math.E ** 2, 10);
    drop(x);
  });

  clean('goes through a chain far longer than the call stack', () => {
    const x = leaf([1]);
    let y = ops.add(x, 0);
    for (let i = 0; i < 20_000; i++) {
      const next = ops.add(y, 1);
      y.dispose();
      y = next;
    }
    const z = ops.sum(y);
    z.backward({ retainGraph: true });
    expect(values(x.grad)).toEqual([1]);
    z.dispose();
    y.dispose();
    drop(x);
  });
});

describe('recording', () => {
  clean('noGrad records nothing', () => {
    const x = leaf([1]);
    expect(noGrad(() => ops.mul(x, 2)).requiresGrad).toBe(false);
    expect(ops.mul(x, 2).requiresGrad).toBe(true);
    expect(() => noGrad(() => Promise.resolve())).toThrow(ConfigError);
    expect(ops.mul(x, 2).requiresGrad).toBe(true);
  });

  clean('detach cuts the graph and shares the elements', () => {
    const x = leaf([1, 2]);
    const d = x.detach();
    expect(d.requiresGrad).toBe(false);
    expect(d.storage).toBe(x.storage);
    ops.sum(ops.mul(x, d)).backward();
    expect(values(x.grad)).toEqual([1, 2]);
    drop(x);
  });

  clean('comparisons and integer results are outside the graph', () => {
    const x = leaf([1, 2]);
    expect(ops.greater(x, 1).requiresGrad).toBe(false);
    expect(ops.cast(x, 'i32').requiresGrad).toBe(false);
    expect(ops.argmax(x).requiresGrad).toBe(false);
  });

  clean('what a graph saved goes with its last tensor, without a backward', () => {
    const before = device().memory().buffers;
    const x = leaf([1, 2]);
    const a = ops.exp(x);
    const b = ops.sin(a);
    a.dispose();
    const c = ops.square(b);
    b.dispose();
    expect(device().memory().buffers).toBe(before + 4);
    c.dispose();
    expect(device().memory().buffers).toBe(before + 1);
    x.dispose();
  });

  clean('requiresGrad is for floating leaves', () => {
    const x = leaf([1]);
    expect(() => (ops.mul(x, 2).requiresGrad = true)).toThrow(AutogradError);
    expect(() => (tensor([1], { dtype: 'i32' }).requiresGrad = true)).toThrow(DTypeError);
    expect(() => tensor([1], { dtype: 'i32', requiresGrad: true })).toThrow(DTypeError);
  });
});

describe('writing in place', () => {
  clean('refuses results of the graph, and leaves outside noGrad', () => {
    const x = leaf([1, 2]);
    const y = ops.mul(x, x);
    expect(() => ops.assign(y, x)).toThrow(/assign: expected a target outside the graph, got the result of mul/);
    expect(() => noGrad(() => ops.fill(y, 1))).toThrow(AutogradError);
    expect(() => ops.fill(x, 1)).toThrow(AutogradError);
    noGrad(() => ops.fill(x, 5));
    expect(values(x)).toEqual([5, 5]);
    expect(() => ops.fill(ops.expand(tensor([1]), [3]), 1)).toThrow(ShapeError);
  });

  clean('reaches through views, casting and broadcasting', () => {
    const x = ops.zeros([3, 4], { dtype: 'i32' });
    ops.assign(ops.slice(x, [1, 1], [3, 3]), tensor([1.7, -2.2]));
    expect(values(x)).toEqual([0, 0, 0, 0, 0, 1, -2, 0, 0, 1, -2, 0]);
    expect(() => ops.assign(x, tensor([1, 2, 3]))).toThrow(ShapeError);
    expect(() => ops.fill(x, 0.5)).toThrow(DTypeError);
  });
});

describe('gradients', () => {
  clean('of chosen leaves and results, leaving grad alone', () => {
    const x = leaf([1, 2]);
    const w = leaf([3, 4]);
    const h = ops.mul(x, w);
    const y = ops.sum(ops.square(h));
    const [gx, gh] = gradients(y, [x, h]);
    expect(values(gh)).toEqual([6, 16]);
    expect(values(gx)).toEqual([18, 64]);
    expect(x.grad).toBeNull();
    expect(w.grad).toBeNull();
  });

  clean('undefined for what the output does not depend on', () => {
    const x = leaf([1]);
    const z = leaf([1]);
    expect(gradients(ops.sum(ops.mul(x, 2)), [z])).toEqual([undefined]);
    expect(() => gradients(ops.sum(x), [tensor([1])])).toThrow(AutogradError);
  });

  clean('third derivative of x^4', () => {
    const x = leaf([2]);
    const y = ops.sum(ops.pow(x, 4));
    const [g1] = gradients(y, [x], { createGraph: true }) as Tensor[];
    const [g2] = gradients(ops.sum(g1), [x], { createGraph: true }) as Tensor[];
    const [g3] = gradients(ops.sum(g2), [x]) as Tensor[];
    expect([values(g1), values(g2), values(g3)].flat()).toEqual([32, 48, 48]);
  });

  clean('third derivative through fused ops', () => {
    // d^3/dx^3 of a softmax' first entry, against finite differences of the second derivative.
    const second = (a: number): [number, number] => {
      const x = leaf([[a, 0.3, -0.2]]);
      const y = ops.sum(ops.slice(ops.softmax(x), [0, 0], [1, 1]));
      const first = (t: Tensor): Tensor => ops.sum(ops.slice(t, [0, 0], [1, 1]));
      const [g1] = gradients(y, [x], { createGraph: true }) as Tensor[];
      const [g2] = gradients(first(g1), [x], { createGraph: true }) as Tensor[];
      const [g3] = gradients(first(g2), [x]) as Tensor[];
      return [values(g2)[0], values(g3)[0]];
    };
    const step = 1e-5;
    const numeric = (second(0.7 + step)[0] - second(0.7 - step)[0]) / (2 * step);
    expect(second(0.7)[1]).toBeCloseTo(numeric, 7);
  });

  clean('a penalty on the gradient trains through it', () => {
    const x = leaf([1, -2]);
    const w = leaf([
      [0.5, 1],
      [-1, 2],
    ]);
    const y = ops.sum(ops.linear(ops.reshape(x, [1, 2]), w, undefined, { activation: 'tanh' }));
    const [g] = gradients(y, [x], { createGraph: true }) as Tensor[];
    ops.sum(ops.square(g)).backward();
    expect(values(w.grad).every(Number.isFinite)).toBe(true);
    drop(x, w);
  });
});

describe('grad and valueAndGrad', () => {
  clean('value and gradients by all floating arguments', () => {
    const f = valueAndGrad((a, b, i) => ops.sum(ops.mul(ops.mul(a, b), ops.cast(i, 'f64'))));
    const a = tensor([1, 2], { dtype: 'f64' });
    const b = tensor([3, 4], { dtype: 'f64' });
    const i = tensor([1, 2], { dtype: 'i32' });
    const { value, grads } = f(a, b, i);
    expect(value.itemSync()).toBe(19);
    expect(value.requiresGrad).toBe(false);
    expect(grads.map(values)).toEqual([
      [3, 8],
      [1, 4],
    ]);
    expect(a.requiresGrad).toBe(false);
  });

  clean('nested', () => {
    const cube = (x: Tensor): Tensor => ops.sum(ops.pow(x, 3));
    const first = grad(cube);
    const second = grad((x) => ops.sum(first(x)));
    const third = grad((x) => ops.sum(second(x)));
    const x = tensor([2], { dtype: 'f64' });
    expect([first(x), second(x), third(x)].map((g) => g.itemSync())).toEqual([12, 12, 6]);
  });

  clean('zeros for an argument without influence, ConfigError for a wrong one', () => {
    const x = tensor([2], { dtype: 'f64' });
    const { grads } = valueAndGrad((a) => ops.sum(a))(x, x);
    expect(grads.map(values)).toEqual([[1], [0]]);
    expect(() => grad((a) => ops.sum(a), { argnums: [3] })(x)).toThrow(ConfigError);
    expect(() => grad(() => 1 as unknown as Tensor)(x)).toThrow(ConfigError);
  });
});

clean('gradients that are equal are tensors of their own', () => {
  const a = leaf([1, 2]);
  const b = leaf([3, 4]);
  const [da, db] = gradients(ops.sum(ops.add(a, b)), [a, b]);
  da?.dispose();
  expect(values(db)).toEqual([1, 1]);
});
