/**
 * Several environments in one process: two workers compute at once and agree, one is terminated while its queue is full, and
 * the process exits by itself with work under way.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/device/index.js';

const path = process.env.GYRUS_ADDON ?? join(packageRoot(), 'build', 'Release', 'gyrus.node');

/** Plain JavaScript over the raw addon: workers don't see the test's TypeScript. */
const CODE = `
const native = require(${JSON.stringify(path)});
const device = native.createDevice();
const N = 192;
const matmul = (a, b) => {
  const square = (h) => [h, 0, 0, 2, N, N, N, 1];
  const call = [native.ops.indexOf('matmul'), 1, 2, 0, ...square(0), ...square(a), ...square(b)];
  device.command.set(call);
  device.enqueue(call.length);
  return device.command[4];
};
const host = Float32Array.from({ length: N * N }, (_, i) => ((i * 7919) % 17) / 17 - 0.5);
const upload = () => { const h = device.alloc(host.byteLength); device.write(h, 0, host); return h; };
const chain = (steps) => {
  const a = upload();
  let x = upload();
  for (let i = 0; i < steps; i++) { const y = matmul(a, x); device.release(x); x = y; }
  return x;
};
`;

function worker(body: string): Worker {
  return new Worker(`${CODE}\nconst { parentPort } = require('node:worker_threads');\n${body}`, { eval: true });
}

function message(w: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    w.once('message', resolve);
    w.once('error', reject);
    w.once('exit', (code) => reject(new Error(`worker ended with ${code} before it answered`)));
  });
}

const RESULT = `
(async () => {
  const x = chain(20);
  const out = new Float32Array(N * N);
  await device.read(x, 0, out);
  parentPort.postMessage(Buffer.from(out.buffer).toString('base64'));
})();`;

describe('worker threads', () => {
  it('two at once give the same bits', async () => {
    const results = await Promise.all([worker(RESULT), worker(RESULT)].map(message));
    expect(results[0]).toBe(results[1]);
    expect((results[0] as string).length).toBeGreaterThan(1000);
  });

  it('one terminated mid-step leaves the other and the process alive', async () => {
    const endless = worker(`chain(3000); parentPort.postMessage('queued'); chain(1e9);`);
    const steady = message(worker(RESULT));
    expect(await message(endless)).toBe('queued');
    await endless.terminate();
    expect(typeof (await steady)).toBe('string');
    expect(typeof (await message(worker(RESULT)))).toBe('string');
  });

  it('a worker terminated while a read is pending does not crash', async () => {
    for (let i = 0; i < 3; i++) {
      const w = worker(
        `const x = chain(2000); device.read(x, 0, new Float32Array(N * N)); parentPort.postMessage('reading');`,
      );
      expect(await message(w)).toBe('reading');
      await w.terminate();
    }
  });

  it('process.exit and a natural end with work queued end cleanly', () => {
    for (const tail of ['process.exit(7)', 'process.exitCode = 7']) {
      const run = spawnSync(process.execPath, ['-e', `${CODE}\nchain(500);\n${tail}`], { encoding: 'utf8' });
      expect({ status: run.status, signal: run.signal, stderr: run.stderr }).toEqual({
        status: 7,
        signal: null,
        stderr: '',
      });
    }
  });

  it('a pending read keeps the process alive until it resolves, and nothing else does', () => {
    const code = `${CODE}\ndevice.read(chain(50), 0, new Float32Array(N * N)).then(() => console.log('done'));`;
    const run = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8', timeout: 30000 });
    expect(run.stdout).toBe('done\n');
    expect(run.status).toBe(0);
  });
});
