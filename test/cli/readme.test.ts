/**
 * The library example of the README runs as it stands, against what was built.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/device/index.js';

const run = promisify(execFile);

it('the library example of README.md', async () => {
  const blocks = [...readFileSync(join(packageRoot(), 'README.md'), 'utf8').matchAll(/^```js\n([\s\S]*?)^```$/gm)];
  expect(blocks).toHaveLength(1);
  // Inside the package, so that it finds 'gyrus' by its name.
  mkdirSync(join(packageRoot(), 'build'), { recursive: true });
  const dir = mkdtempSync(join(packageRoot(), 'build', 'readme-'));
  try {
    writeFileSync(join(dir, 'example.mjs'), blocks[0][1]);
    const { stdout, stderr } = await run(process.execPath, [join(dir, 'example.mjs')]);
    expect(stderr).toBe('');
    const lines = stdout.trim().split('\n');
    expect(
      lines.slice(0, 6).map((line) => /^epoch (\d): (\d+) neurons, last loss \d+\.\d{3}$/.exec(line)?.slice(1)),
    ).toEqual([
      ['1', '16'],
      ['2', '16'],
      ['3', '24'],
      ['4', '24'],
      ['5', '16'],
      ['6', '16'],
    ]);
    const accuracy = Number(/^test accuracy ([\d.]+) %$/.exec(lines[6])?.[1]);
    expect(accuracy).toBeGreaterThan(60);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
