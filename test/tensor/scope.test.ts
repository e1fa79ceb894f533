/**
 * Who frees what: tidy (sync and async, in any order), using, dispose, keep.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConfigError, device, DisposedError, DTypeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { inScope, keep, tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const buffers = (): number => device().memory().buffers;
let before = 0;
beforeEach(() => {
  before = buffers();
});
afterEach(() => expect(buffers()).toBe(before));

const pause = (ms = 1): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('tidy frees all but what it returns, at any depth', () => {
  const out = tidy(() => {
    const a = tensor([1]);
    return { list: [ops.add(a, 1)], map: new Map([['x', ops.add(a, 2)]]), n: 3 };
  });
  expect(buffers()).toBe(before + 2);
  expect(out.list[0].itemSync()).toBe(2);
  out.list[0].dispose();
  out.map.get('x')?.dispose();
});

test('nested tidies hand their results to the outer one', () => {
  tidy(() => {
    const inner = tidy(() => ops.add(tensor([1]), 1));
    expect(buffers()).toBe(before + 1);
    expect(inner.itemSync()).toBe(2);
  });
});

test('tidy frees after an error, too', () => {
  expect(() =>
    tidy(() => {
      tensor([1]);
      throw new Error('no');
    }),
  ).toThrow('no');
});

test('keep takes a tensor out of all scopes around', () => {
  let kept: Tensor | undefined;
  tidy(() => {
    const a = tensor([1]);
    tidy(() => {
      kept = keep(a);
    });
  });
  expect(kept?.disposed).toBe(false);
  kept?.dispose();
});

test('async tidy: what is made after an await belongs to it', async () => {
  const out = await tidy(async () => {
    const a = tensor([1]);
    await pause();
    const b = ops.add(a, 1);
    await pause();
    expect(await b.item()).toBe(2);
    return ops.add(b, 1);
  });
  expect(buffers()).toBe(before + 1);
  out.dispose();
});

test('async tidies at the same time keep their tensors apart', async () => {
  const run = (n: number): Promise<number> =>
    tidy(async () => {
      let x = tensor([n]);
      for (let i = 0; i < 5; i++) {
        await pause((n * 7 + i * 3) % 5);
        x = ops.add(x, 1);
      }
      return x.item();
    });
  expect(await Promise.all([run(0), run(1), run(2)])).toEqual([5, 6, 7]);
});

test('an async scope may outlive the one it began in', async () => {
  let promise: Promise<Tensor> | undefined;
  tidy(() => {
    promise = tidy(async () => {
      await pause();
      return tensor([4]);
    });
  });
  const out = await (promise as Promise<Tensor>);
  expect(out.itemSync()).toBe(4);
  out.dispose();
});

test('an async tidy that fails frees its tensors', async () => {
  await expect(
    tidy(async () => {
      tensor([1]);
      await pause();
      tensor([2]);
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
});

test('a plain function that returns a promise is refused', () => {
  expect(() => tidy(() => pause())).toThrow(ConfigError);
});

test('views share the buffer, the last one frees it; dispose twice is fine', () => {
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  const row = ops.slice(x, [1]);
  x.dispose();
  x.dispose();
  expect([...row.dataSync()]).toEqual([3, 4]);
  row[Symbol.dispose]();
});

test('a disposed tensor is refused by name', async () => {
  const x = tensor([1]);
  x.dispose();
  const y = tensor([1]);
  expect(() => ops.add(x, y)).toThrow(DisposedError);
  expect(() => y.add(x)).toThrow(/add: a tensor of shape \[1\] was disposed of/);
  expect(() => ops.reshape(x, [1])).toThrow(DisposedError);
  expect(() => ops.matmul(x, y)).toThrow(DisposedError);
  expect(() => x.dataSync()).toThrow(DisposedError);
  await expect(x.data()).rejects.toThrow(DisposedError);
  expect(() => x.detach()).toThrow(DisposedError);
  y.dispose();
});

test('work that outlives its async scope does not leave its tensors there', async () => {
  let go = (): void => undefined;
  const gate = new Promise<void>((resolve) => (go = resolve));
  let late: Promise<boolean> | undefined;
  await tidy(async () => {
    late = gate.then(() => {
      const made = tensor([1]);
      const caught = inScope(made);
      made.dispose();
      return caught;
    });
    await pause();
  });
  await tidy(async () => {
    go();
    expect(await late).toBe(false);
  });
});

test('operators of JavaScript on a tensor are refused; templates show it', () => {
  const x = tensor([1, 2]);
  expect(() => (x as unknown as number) + 1).toThrow(DTypeError);
  expect(() => (x as unknown as number) < 1).toThrow(/expected a method such as add/);
  expect(`${x as unknown as string}`).toBe('Tensor(f32 [2])');
  x.dispose();
});
