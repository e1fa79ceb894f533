/**
 * The safety net: what nobody disposed of is freed after a garbage collection, whether it waited in the list or was watched.
 */
import { expect, test } from 'vitest';
import { device } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { SafetyNet, tensor, tidy, type Watched } from '../../src/tensor/index.js';
import { collectUntil } from '../collect.js';

test('tensors that are dropped are freed: few and many, small and large, kept from a tidy', async () => {
  const before = device().memory().buffers;
  const a = tensor([1, 2]);
  ops.add(a, 1);
  for (let i = 0; i < 1000; i++) ops.add(a, i);
  ops.zeros([1 << 20]);
  tidy(() => ops.add(a, 1));
  await collectUntil(() => device().memory().buffers === before + 1);
  expect(device().memory().buffers).toBe(before + 1);
  expect([...a.dataSync()]).toEqual([1, 2]);
  a.dispose();
});

test('a graph that is dropped gives back what it saved', async () => {
  const before = device().memory().buffers;
  const a = tensor([1, 2], { requiresGrad: true });
  for (let i = 0; i < 50; i++) ops.mul(ops.exp(a), a);
  await collectUntil(() => device().memory().buffers === before + 1);
  expect(device().memory().buffers).toBe(before + 1);
  a.dispose();
});

test('what was removed in time is not freed, what came back is', async () => {
  const freed: number[] = [];
  const net = new SafetyNet<number>((n) => freed.push(n));
  const make = (leftover: number): Watched<number> => ({ watch: 'no', leftover });
  const fill = (): void => {
    for (let i = 0; i < 300; i++) {
      const object = make(i);
      net.add(object, 8);
      if (i % 3 !== 0) net.remove(object);
      if (i % 3 === 2) net.add(object, 8);
    }
  };
  fill();
  await collectUntil(() => freed.length === 200);
  expect(freed.sort((x, y) => x - y)).toEqual(Array.from({ length: 300 }, (_, i) => i).filter((i) => i % 3 !== 1));
});
