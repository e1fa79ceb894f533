/**
 * What only the emulated CUDA device can show: calls of the CUDA runtime that fail.
 */
import { execFile } from 'node:child_process';
import { describe, expect, it } from 'vitest';

const NAME = 'cuda-emulated';

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
