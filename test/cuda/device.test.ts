/**
 * The CUDA device from TypeScript, on the emulated one: what it is called, order of writes and reads, captured steps, errors, two devices.
 */
import { Worker } from 'node:worker_threads';
import { execFile } from 'node:child_process';
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

const NAME = 'cuda-emulated';

it('is listed with its model, memory and capability', () => {
  const { devices: found, status } = cudaDevices();
  expect(status).toBe('');
  expect(found).toEqual([
    { name: NAME, model: expect.any(String), capability: '8.6', memory: expect.any(Number), multiprocessors: 2 },
  ]);
  expect(devices()).toEqual(['cpu', NAME]);
  expect(() => device('cuda:0')).toThrow(new DeviceError(`device: expected one of cpu, ${NAME}, got 'cuda:0'`));
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

/** A process of its own, where calls of the CUDA runtime fail as `fail` says (name:n-th call:error number). */
function failing(fail: string, body: string): Promise<string> {
  const source = `
    const native = require(process.env.GYRUS_ADDON);
    const device = native.createDevice({ device: '${NAME}' });
    const told = (f) => { try { f(); return 'fine'; } catch (e) { return e.code + ' ' + e.message; } };
    ${body}`;
  return new Promise((resolve, reject) => {
    const env = { ...process.env, GYRUS_EMULATION_FAIL: fail };
    execFile(process.execPath, ['-e', source], { env }, (error, stdout) =>
      error ? reject(new Error(error.message)) : resolve(stdout),
    );
  });
}

describe('errors of CUDA', () => {
  const body = `
    const x = device.alloc(16);
    const at = [native.ops.indexOf('fill'), 1, 0, 1, x, 0, 0, 1, 4, 1, 7];
    const fill = () => { at.forEach((v, i) => (device.command[i] = v)); device.enqueue(at.length); };
    fill();
    console.log(told(() => device.sync()));
    fill();
    console.log(told(() => device.sync()));
    device.read(x, 0, new Float32Array(4)).then(() => console.log('read'), (e) => console.log(e.code)).then(() => device.dispose());`;

  it('name the op and the call, and leave the device usable where CUDA does', async () => {
    const [first, second, third] = (await failing('cudaLaunchKernel:1:9', body)).split('\n');
    expect(first).toMatch(/^DEVICE fill: cuda-emulated: .*cudaErrorInvalidConfiguration/);
    expect(second).toBe('fine');
    expect(third).toBe('read');
  });

  it('that lose the device are told at every use, without ending the process', async () => {
    const [first, second, third] = (await failing('cudaStreamSynchronize:1:700', body)).split('\n');
    expect(first).toMatch(/^DEVICE .*cudaErrorIllegalAddress.*; this process can't use the device any more$/);
    expect(second).toBe(first);
    expect(third).toBe('DEVICE');
  });
});
