/**
 * The native boundary by itself: whatever JavaScript passes, the addon answers with a typed error and the process lives.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addon, AddonDevice, checkOps, GyrusError, KINDS, OPS, packageRoot, typed } from '../../src/device/index.js';
import type { NativeDevice } from '../../src/device/index.js';

const CODES = ['SHAPE', 'DTYPE', 'DEVICE', 'DISPOSED', 'OUT_OF_MEMORY', 'FORMAT', 'CONFIG', 'INTERNAL'];

/** Runs f; an error must be one of the addon's own, with a code and a message. Returns whether it threw. */
function refusedOrFine(f: () => unknown): boolean {
  try {
    const result = f();
    if (result instanceof Promise) result.catch(() => undefined);
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    expect(CODES).toContain((error as { code?: string }).code);
    expect((error as Error).message).toMatch(/.{10,}/);
    return true;
  }
}

const anything = fc.oneof(
  fc.anything(),
  fc.double(),
  fc.bigInt(),
  fc.constantFrom<unknown>(
    Symbol('s'),
    () => 1,
    new Proxy({}, {}),
    new Float32Array(3),
    new Uint8Array(0),
    new BigInt64Array(2),
    new Float32Array(new SharedArrayBuffer(16)),
    new DataView(new ArrayBuffer(8)),
    NaN,
    -1,
    0,
    1,
    2 ** 53,
    2 ** 31,
    Infinity,
  ),
);

const METHODS = [
  'alloc',
  'release',
  'write',
  'read',
  'readSync',
  'enqueue',
  'fence',
  'sync',
  'beginCapture',
  'abortCapture',
  'memory',
  'trim',
  'createLoader',
] as const;

describe('addon', () => {
  it('lists the ops and kinds that src/device/ops.ts knows, in the same order', () => {
    const native = addon();
    expect(native.ops).toEqual([...OPS]);
    expect(native.kinds).toEqual(KINDS);
    expect(checkOps(native.ops, native.kinds)).toBeUndefined();
    expect(checkOps(native.ops.slice(1), native.kinds)).toContain("op 0 is 'fill' here and 'arange' in the addon");
    expect(checkOps(native.ops, { ...native.kinds, arg: ['argmax'] })).toContain("'argmin' here and 'missing'");
    expect(checkOps([...native.ops, 'new'], native.kinds)).toContain("a further op 'new'");
  });

  it('answers any argument of any method with a result or a typed error', () => {
    fc.assert(
      fc.property(fc.constantFrom(...METHODS), fc.array(anything, { maxLength: 7 }), (method, args) => {
        const device = addon().createDevice();
        try {
          refusedOrFine(() => (device[method] as (...a: unknown[]) => unknown)(...args));
          refusedOrFine(() => device.sync());
        } finally {
          device.dispose();
        }
      }),
      { numRuns: 300 },
    );
  });

  it('answers any command record with a result or a typed error', () => {
    const device = addon().createDevice();
    const handles = Array.from({ length: 4 }, (_, i) => device.alloc(16 << i));
    const number = fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 6 }) },
      { weight: 2, arbitrary: fc.constantFrom(...handles) },
      { weight: 1, arbitrary: fc.double() },
    );
    const tensor = fc
      .tuple(fc.constantFrom(0, ...handles), fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 3 }))
      .chain(([handle, dtype, rank]) =>
        fc
          .tuple(
            fc.array(fc.integer({ min: 0, max: 4 }), { minLength: rank, maxLength: rank }),
            fc.array(fc.integer({ min: 0, max: 4 }), { minLength: rank, maxLength: rank }),
          )
          .map(([shape, strides]) => [handle, dtype, 0, rank, ...shape, ...strides]),
      );
    const call = fc
      .tuple(
        fc.integer({ min: 0, max: OPS.length }),
        fc.array(tensor, { maxLength: 4 }),
        fc.array(tensor, { maxLength: 6 }),
        fc.array(number, { maxLength: 6 }),
      )
      .map(([op, out, inputs, record]) => [
        op,
        out.length,
        inputs.length,
        record.length,
        ...out.flat(),
        ...inputs.flat(),
        ...record,
      ]);
    const noise = fc.array(number, { maxLength: 40 });
    try {
      fc.assert(
        fc.property(fc.oneof({ weight: 5, arbitrary: call }, { weight: 1, arbitrary: noise }), (numbers) => {
          device.command.set(numbers);
          refusedOrFine(() => device.enqueue(numbers.length));
          refusedOrFine(() => device.sync());
        }),
        { numRuns: 3000 },
      );
    } finally {
      device.dispose();
    }
  });

  it('refuses methods called on something else', () => {
    const device = addon().createDevice();
    const foreign = [
      {},
      [],
      new Map(),
      Object.create(Object.getPrototypeOf(device) as object) as object,
      device.endCapture,
    ];
    for (const method of METHODS.filter((m) => m !== 'enqueue')) {
      for (const self of foreign) {
        expect(
          refusedOrFine(() => (device[method] as (...a: unknown[]) => unknown).call(self, 1, 0, new Float32Array(1))),
        ).toBe(true);
      }
    }
    device.dispose();
  });

  it('refuses stale, foreign and made-up handles', () => {
    const a = addon().createDevice();
    const b = addon().createDevice();
    const live = a.alloc(16);
    const stale = a.alloc(16);
    a.release(stale);
    for (const [device, handle] of [
      [a, stale],
      [b, live],
      [a, 0],
      [a, -live],
      [a, live + 0.5],
      [a, NaN],
      [a, 2 ** 60],
    ] as [NativeDevice, number][]) {
      expect(refusedOrFine(() => device.readSync(handle, 0, new Float32Array(4)))).toBe(true);
      expect(refusedOrFine(() => device.release(handle))).toBe(true);
    }
    a.dispose();
    b.dispose();
  });

  it('refuses views and copies that leave their buffer', () => {
    const device = addon().createDevice();
    const handle = device.alloc(16);
    expect(() => device.readSync(handle, 0, new Float32Array(5))).toThrow(/read/);
    expect(() => device.readSync(handle, 4, new Float32Array(4))).toThrow(/read/);
    expect(() => device.write(handle, 1, new Uint8Array(16))).toThrow(/write/);
    const detached = new Float32Array(4);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    expect(refusedOrFine(() => device.write(handle, 4, detached))).toBeTypeOf('boolean');
    device.dispose();
    expect(refusedOrFine(() => device.alloc(4))).toBe(true);
  });

  it('turns codes into typed errors, and leaves foreign errors alone', () => {
    const device = new AddonDevice();
    expect(() => device.allocate(-1)).toThrow(GyrusError);
    expect(() => device.allocate(1e15)).toThrow(/1000000000000000|1e\+?15/);
    device.dispose();
    expect(() => device.allocate(4)).toThrow(GyrusError);
    const plain = new TypeError('x');
    expect(typed(plain)).toBe(plain);
    expect(typed('x')).toBe('x');
  });

  it('loads twice in one process as the same module', () => {
    const path = process.env.GYRUS_ADDON ?? join(packageRoot(), 'build', 'Release', 'gyrus.node');
    expect(createRequire(import.meta.url)(path)).toBe(createRequire(import.meta.url)(path));
  });
});
