/**
 * The native tests (doctest), which `npm test` builds beforehand, as one test: their output is shown when one fails.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/device/index.js';

const binary = join(packageRoot(), 'build', 'native-tests', 'gyrus_native_tests');

it('the native tests pass', { timeout: 600_000 }, async () => {
  expect(existsSync(binary), `${binary} is missing; npm test builds it (node .ci/setup.mjs --native-tests)`).toBe(true);
  const { failed, output } = await new Promise<{ failed: boolean; output: string }>((resolve) => {
    execFile(binary, ['--no-colors=true'], { maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      resolve({ failed: error !== null, output: stdout + stderr }),
    );
  });
  expect(failed, output.slice(-20_000)).toBe(false);
  expect(output).toMatch(/test cases: +[1-9]\d* \| +\d+ passed \| +0 failed/);
});
