/**
 * The CUDA device from TypeScript, emulated or real: what it is called, order of writes and reads, captured steps, errors, two devices.
 */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import {
  addon,
  AddonDevice,
  ConfigError,
  cudaDevices,
  defaultDevice,
  device,
  DeviceError,
  devices,
  DisposedError,
  OutOfMemoryError,
  setDefaultDevice,
} from '../../src/device/index.js';
import { add, exp, matmul, mul } from '../../src/ops/index.js';
import { tensor } from '../../src/tensor/index.js';

const NAME = process.env.GYRUS_DEVICE as string;

it('is listed with its model, memory and capability', () => {
  const { devices: found, status } = cudaDevices();
  expect(status).toBe('');
  expect(found).toContainEqual({
    name: NAME,
    model: expect.any(String),
    capability: expect.stringMatching(/^\d+\.\d$/),
    memory: expect.any(Number),
    multiprocessors: expect.any(Number),
  });
  expect(devices()).toEqual(['cpu', ...found.map(({ name }) => name)]);
  const known = devices().join(', ');
  expect(() => device('cuda:99')).toThrow(new DeviceError(`device: expected one of ${known}, got 'cuda:99'`));
});

it('has a kernel for every op', () => {
  expect((device(NAME) as AddonDevice).missing).toEqual([]);
  expect((device('cpu') as AddonDevice).missing).toEqual([]);
});

describe('the default device', () => {
  it('is what GYRUS_DEVICE says until it is set', () => {
    expect(defaultDevice()).toBe(NAME);
    expect(tensor([1]).device.name).toBe(NAME);
    setDefaultDevice('cpu');
    try {
      expect(tensor([1]).device.name).toBe('cpu');
      expect(tensor([1], { device: NAME }).device).toBe(device(NAME));
      expect(() => setDefaultDevice('gpu')).toThrow(DeviceError);
    } finally {
      setDefaultDevice(NAME);
    }
  });

  it('does not mix: tensors of two devices are refused', () => {
    const here = tensor([1, 2]);
    const there = tensor([1, 2], { device: 'cpu' });
    expect(() => add(here, there)).toThrow(new DeviceError(`add: expected tensors of one device, got ${NAME} and cpu`));
  });
});

it('keeps the order of writes, calls and reads', async () => {
  const on = device(NAME);
  const x = tensor(new Float32Array(1000));
  const reads: Promise<ArrayLike<number>>[] = [];
  for (let i = 0; i < 50; i++) {
    on.write(x.storage.handle, 0, new Float32Array(1000).fill(i));
    const y = add(mul(x, 2), 1);
    reads.push(y.data());
    y.dispose();
  }
  for (const [i, values] of (await Promise.all(reads)).entries()) {
    expect(values[0]).toBe(2 * i + 1);
    expect(values[999]).toBe(2 * i + 1);
  }
  await on.fence();
  on.sync();
});

it('replays a captured step with other inputs', () => {
  const step = capture((x: ReturnType<typeof tensor>) => add(exp(x), 1));
  for (let i = 0; i < 12; i++) {
    const x = tensor([i / 4, 0, -i]);
    const [first, second] = step(x).dataSync();
    expect(first).toBeCloseTo(Math.exp(i / 4) + 1, 4);
    expect(second).toBe(2);
  }
});

it('multiplies in the precision asked for', () => {
  const own = new AddonDevice(NAME, { precision: 'bf16' });
  try {
    const x = 1 + 2 ** -12; // not a bfloat16
    const product = (on: AddonDevice): number => {
      const [a, b] = [1, 2].map(() => tensor(new Float32Array(64 * 64).fill(x), { shape: [64, 64], device: on }));
      return matmul(a, b).dataSync()[0];
    };
    expect(product(own)).toBe(64);
    expect(product(device(NAME) as AddonDevice)).toBeCloseTo(64 * x * x, 4);
  } finally {
    own.dispose();
  }
  expect(() => new AddonDevice(NAME, { precision: 'f16' as 'bf16' })).toThrow(ConfigError);
  expect(() => new AddonDevice('cpu', { precision: 'bf16' })).toThrow(ConfigError);
});

it('reports memory that ran out, with the bytes asked for', () => {
  const on = device(NAME);
  const { memory } = cudaDevices().devices[0];
  expect(() => on.allocate(2 * memory)).toThrow(OutOfMemoryError);
  expect(() => on.allocate(2 * memory)).toThrow(`alloc: no memory for ${2 * memory} bytes`);
  on.release(on.allocate(1000));
});

it('refuses everything after it was disposed of, and settles what was pending', async () => {
  const own = new AddonDevice(NAME);
  const handle = own.allocate(4096);
  const pending = Array.from({ length: 20 }, async (_, i) => {
    own.write(handle, 0, new Float32Array([i]));
    const into = new Float32Array(1);
    await own.read(handle, 0, into);
    return into[0];
  });
  own.dispose();
  for (const { status, ...rest } of await Promise.allSettled(pending)) {
    if (status === 'rejected') expect((rest as { reason: unknown }).reason).toBeInstanceOf(DisposedError);
  }
  expect(() => own.allocate(1)).toThrow(DisposedError);
});

it('works in worker threads beside the main one', async () => {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const native = require(workerData.path);
    const device = native.createDevice({ device: '${NAME}' });
    const x = device.alloc(64);
    let sum = 0;
    for (let i = 0; i < 100; i++) {
      device.write(x, 0, new Float32Array([i]));
      const into = new Float32Array(1);
      device.readSync(x, 0, into);
      sum += into[0];
    }
    parentPort.postMessage(sum);`;
  const path = process.env.GYRUS_ADDON as string;
  addon();
  const sums = await Promise.all(
    [1, 2].map(
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(source, { eval: true, workerData: { path } });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  expect(sums).toEqual([4950, 4950]);
});
