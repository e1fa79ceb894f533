/**
 * capture: a replay does what the function did, with new inputs; it records again when something changed.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { AutogradError, ConfigError, device, DisposedError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { noGrad, tensor, type Tensor, tidy, track } from '../../src/tensor/index.js';

let buffers = 0;
beforeEach(() => {
  buffers = device().memory().buffers;
});
afterEach(() => expect(device().memory().buffers).toBe(buffers));

const vector = (...data: number[]): Tensor => tensor(data);
const values = (x: Tensor): number[] => [...x.dataSync()];

test('replays with new inputs and records once per shape', () => {
  tidy(() => {
    const f = capture((x: Tensor) => ops.sum(ops.mul(x, 2)));
    expect(f(vector(1, 2)).itemSync()).toBe(6);
    expect(f(vector(3, 4)).itemSync()).toBe(14);
    expect(f.recordings).toBe(1);
    expect(f(vector(1, 2, 3)).itemSync()).toBe(12);
    expect(f.recordings).toBe(2);
    expect(f(vector(5, 5)).itemSync()).toBe(20);
    expect(f.recordings).toBe(2);
    f.dispose();
    expect(() => f(vector(1))).toThrow(DisposedError);
  });
});

test('a captured training step equals the eager one', () => {
  const train = (captured: boolean): number[] =>
    tidy(() => {
      const w = tensor(
        [
          [0.1, -0.2],
          [0.3, 0.4],
        ],
        { requiresGrad: true },
      );
      const step = (x: Tensor, y: Tensor): Tensor => {
        const loss = ops.crossEntropy(ops.linear(x, w), y);
        loss.backward();
        noGrad(() => ops.assign(w, ops.sub(w, ops.mul(w.grad as Tensor, 0.5))));
        (w.grad as Tensor).dispose();
        w.grad = null;
        return loss.detach();
      };
      const run = captured ? capture(step) : step;
      const losses: number[] = [];
      for (let i = 0; i < 6; i++) {
        tidy(() => {
          losses.push(
            run(
              tensor([
                [i, 1],
                [1, -i],
              ]),
              tensor(Int32Array.of(i % 2, 1)),
            ).itemSync(),
          );
        });
      }
      if ('dispose' in run) (run as { dispose(): void }).dispose();
      return [...losses, ...values(w)];
    });
  expect(train(true)).toEqual(train(false));
});

test('records again when a tracked version changes', () => {
  tidy(() => {
    const mode = { version: 0, factor: 2 };
    const f = capture((x: Tensor) => {
      track(mode);
      return ops.mul(x, mode.factor);
    });
    expect(values(f(vector(1)))).toEqual([2]);
    mode.factor = 3;
    expect(values(f(vector(1)))).toEqual([2]);
    mode.version++;
    expect(values(f(vector(1)))).toEqual([3]);
    expect(f.recordings).toBe(2);
    f.dispose();
  });
});

test('keeps the recordings of states that come back, until something else changes', () => {
  tidy(() => {
    const mode = { version: 0, recurring: true };
    const width = { version: 0 };
    const f = capture((x: Tensor) => {
      track(mode);
      track(width);
      return ops.mul(x, 10 * width.version + mode.version + 1);
    });
    const run = (): number => f(vector(1)).itemSync();
    const switching = (): number[] =>
      [0, 1, 0, 1].map((version) => {
        mode.version = version;
        return run();
      });
    expect(switching()).toEqual([1, 2, 1, 2]);
    expect(f.recordings).toBe(2);
    width.version++;
    expect(switching()).toEqual([11, 12, 11, 12]);
    expect(f.recordings).toBe(4);
    f.dispose();
  });
});

test('dropout and random tensors stay random across replays, and follow the seed', () => {
  tidy(() => {
    const generator = new ops.Generator(5);
    const f = capture((x: Tensor) => ops.dropout(x, 0.5, { generator }));
    const x = ops.ones([64]);
    const draws = [1, 2, 3].map(() => values(f(x)).join());
    expect(new Set(draws).size).toBe(3);
    generator.manualSeed(5);
    expect(values(f(x)).join()).toBe(draws[0]);
    expect(f.recordings).toBe(1);
    f.dispose();
    generator.dispose();
  });
});

test('an error inside leaves nothing behind and the next call records', () => {
  tidy(() => {
    let wrong = true;
    const f = capture((x: Tensor) => {
      const y = ops.exp(x);
      return wrong ? ops.add(y, vector(1, 2, 3)) : y;
    });
    const x = vector(0, 0);
    const before = device().memory().buffers;
    expect(() => f(x)).toThrow(ShapeError);
    expect(device().memory().buffers).toBe(before);
    wrong = false;
    expect(values(f(x))).toEqual([1, 1]);
    f.dispose();
  });
});

test('results may contain inputs and outer tensors, which are not disposed of with it', () => {
  tidy(() => {
    const outer = vector(1);
    const f = capture((x: Tensor) => ({ x, outer, list: [ops.add(x, 1)] }));
    const x = vector(2);
    const out = f(x);
    expect(values(out.list[0])).toEqual([3]);
    f.dispose();
    expect(out.list[0].disposed).toBe(true);
    expect(x.disposed).toBe(false);
    expect(outer.disposed).toBe(false);
  });
});

test('a replay that writes into a saved tensor is noticed by backward', () => {
  tidy(() => {
    const w = vector(1, 2);
    const f = capture((x: Tensor) => ops.assign(w, x));
    f(vector(3, 4));
    const x = tensor([1, 1], { requiresGrad: true });
    const y = ops.sum(ops.mul(x, w));
    f(vector(5, 6));
    expect(values(w)).toEqual([5, 6]);
    expect(() => y.backward()).toThrow(AutogradError);
    f.dispose();
  });
});

test('refuses nesting, no inputs and async functions', () => {
  tidy(() => {
    const inner = capture((x: Tensor) => ops.neg(x));
    const outer = capture((x: Tensor) => inner(x));
    const x = vector(1);
    expect(() => outer(x)).toThrow(ConfigError);
    inner(x);
    expect(() => outer(x)).toThrow(/do not nest/);
    expect(() => capture(() => 1)()).toThrow(ConfigError);
    expect(() => capture((t: Tensor) => Promise.resolve(t))(x)).toThrow(ConfigError);
    expect(values(inner(x))).toEqual([-1]);
    inner.dispose();
    outer.dispose();
  });
});

test('a step captured in part trains as the eager one', () => {
  // Which of backward, update and clearing happen inside, and after how many calls the gradients are cleared.
  const train = (inside: 'nothing' | 'backward' | 'backward and clearing' | 'update', every: number): number[] =>
    tidy(() => {
      const w = tensor([[0.1, -0.2, 0.4]], { requiresGrad: true });
      const clear = (): void => {
        const { grad } = w;
        w.grad = null;
        grad?.dispose();
      };
      const backward = (x: Tensor): Tensor => {
        if (inside === 'backward and clearing') clear();
        const loss = ops.sum(ops.mul(ops.linear(x, w), ops.linear(x, w)));
        loss.backward();
        return loss.detach();
      };
      const update = (rate: Tensor): void => {
        noGrad(() => ops.assign(w, ops.sub(w, ops.mul(w.grad as Tensor, rate))));
      };
      const first = inside.startsWith('backward') ? capture(backward) : backward;
      const second = inside === 'update' ? capture(update) : update;
      const out: number[] = [];
      for (let i = 0; i < 8; i++) {
        tidy(() => {
          // Two shapes in turn: two recordings.
          const x = i % 3 === 2 ? tensor([[i, 1, -1]]) : tensor([1, i, 1, 0, -1, 0.5], { shape: [2, 3] });
          out.push(first(x).itemSync(), ...values(w.grad as Tensor));
          second(tensor(0.01));
          if (inside !== 'backward and clearing' && i % every === 0) clear();
          out.push(...values(w));
        });
      }
      for (const f of [first, second]) if ('dispose' in f) (f as { dispose(): void }).dispose();
      clear();
      return out;
    });
  for (const every of [1, 3]) {
    const eager = train('nothing', every);
    expect(train('backward', every)).toEqual(eager);
    expect(train('update', every)).toEqual(eager);
  }
  expect(train('backward and clearing', 1)).toEqual(train('nothing', 1));
});

test('gradients that are cleared outside need no new recording; those that are added to do', () => {
  tidy(() => {
    const w = tensor([1, 2], { requiresGrad: true });
    const f = capture((x: Tensor) => ops.sum(ops.mul(x, w)).backward());
    for (let i = 1; i < 4; i++) {
      f(vector(i, 2 * i));
      expect(values(w.grad as Tensor)).toEqual([i, 2 * i]);
      w.grad?.dispose();
      w.grad = null;
    }
    expect(f.recordings).toBe(1);
    f(vector(1, 1));
    f(vector(2, 2));
    expect(values(w.grad as Tensor)).toEqual([3, 3]);
    expect(f.recordings).toBe(2);
    f.dispose();
    w.grad?.dispose();
  });
});
