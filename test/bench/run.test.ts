/**
 * The bench command: its cheapest cases run, its JSON has the documented format, its mistakes are told. Nothing here looks at times.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/device/index.js';

const bench = (name: string): string => join(packageRoot(), 'bench', name);

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'gyrus-bench-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function run(args: string[], env: NodeJS.ProcessEnv = {}): { code: number | null; stdout: string; stderr: string } {
  const result = spawnSync(process.execPath, [bench('run.mjs'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', ...env },
  });
  return { code: result.status, stdout: result.stdout, stderr: result.stderr };
}

function checkEntries(entries: any[], suite: string): void {
  expect(entries.length).toBeGreaterThan(0);
  for (const entry of entries) {
    expect(entry).toMatchObject({
      suite,
      case: expect.any(String),
      engine: expect.stringMatching(/^[a-z0-9-]+$/),
      threads: expect.any(Number),
      unit: expect.any(String),
      ratio_to: expect.any(Object),
    });
    if (entry.value === null) {
      expect(entry.absent).toMatch(/\S/);
      continue;
    }
    expect(entry.value).toBeGreaterThan(0);
    expect(entry.detail.min).toBeLessThanOrEqual(entry.value);
    expect(entry.detail.max).toBeGreaterThanOrEqual(entry.value);
    for (const [peer, ratio] of Object.entries(entry.ratio_to)) {
      const other = entries.find((e) => e.case === entry.case && e.threads === entry.threads && e.engine === peer);
      expect(ratio).toBeCloseTo(entry.value / other.value, 6);
    }
  }
  expect(entries.some(({ engine, value }) => engine === 'gyrus' && value > 0)).toBe(true);
}

const QUICK = ['--quick', '--seconds', '0.01', '--rounds', '1'];

describe('npm run bench', () => {
  it('writes entries of the documented format', () => {
    const file = join(dir, 'overhead.json');
    const { code, stdout, stderr } = run(['overhead', ...QUICK, '--threads', '1,2', '--json', file]);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain('add of 4 elements');
    checkEntries(JSON.parse(readFileSync(file, 'utf8')), 'overhead');
  });

  it('measures the native peers or says why they are absent, and judges the bars', () => {
    const { code, stdout, stderr } = run(['gemm', ...QUICK, '--threads', '1', '--filter', '64x64', '--json', '-']);
    expect(code, stderr).toBe(0);
    const entries = JSON.parse(stdout);
    checkEntries(entries, 'gemm');
    expect(entries.map(({ engine }: { engine: string }) => engine)).toEqual(
      expect.arrayContaining(['gyrus', 'peak', 'openblas', 'onednn', 'onnxruntime-node', 'torch']),
    );
  });

  it('trains by configuration and beside that the bare step', () => {
    const { code, stdout, stderr } = run(['train', ...QUICK, '--threads', '1', '--json', '-']);
    expect(code, stderr).toBe(0);
    const entries = JSON.parse(stdout);
    checkEntries(entries, 'train');
    expect(entries.map(({ engine }: { engine: string }) => engine)).toEqual(['gyrus', 'step']);
  });

  it('refuses what it does not know, with exit code 2 and no stack', () => {
    for (const [args, message] of [
      [['nosuch'], "expected suites among .*, got 'nosuch'"],
      [['--rounds', '0'], "expected a whole number of rounds, got '0'"],
      [['--seconds', 'soon'], "expected a number of seconds, got 'soon'"],
      [['--threads', '1,x'], "expected numbers of threads, as in 1,2, got 'x'"],
      [['overhead', '--filter', 'nosuch'], "no case contains 'nosuch'"],
      [['--nosuch'], '--nosuch'],
      [['gemm', '--device', 'cuda:99'], "'cuda:99'"],
    ] as [string[], string][]) {
      const { code, stderr } = run(args);
      expect(code).toBe(2);
      expect(stderr).toMatch(new RegExp(message));
      expect(stderr).not.toContain('    at ');
    }
  });
});

describe('compare', () => {
  let format: any;
  beforeAll(async () => {
    format = await import(bench('format.mjs'));
  });
  const common = { suite: 's', name: 'c', unit: 'calls/s', threads: 1, rounds: 3 };

  it('takes the median, its spread and the ratios', async () => {
    const rates = [30, 10, 20];
    const [ours, peer] = await format.compare({
      ...common,
      scale: 2,
      engines: { gyrus: () => rates.shift(), peer: () => 10 },
    });
    expect(ours).toMatchObject({ value: 40, detail: { min: 20, max: 60, rounds: 3 }, ratio_to: { peer: 2 } });
    expect(peer).toMatchObject({ value: 20, ratio_to: {} });
  });

  it('reports a peer that fails as absent, and throws where ours fails', async () => {
    const fail = () => {
      throw new Error('out of order');
    };
    const [ours, peer, missing] = await format.compare({
      ...common,
      engines: { gyrus: () => 1, peer: fail, other: { absent: 'not installed' } },
    });
    expect(ours.ratio_to).toEqual({});
    expect(peer).toMatchObject({ value: null, absent: 'failed: out of order' });
    expect(missing).toMatchObject({ value: null, absent: 'not installed' });
    await expect(format.compare({ ...common, engines: { gyrus: fail } })).rejects.toThrow('out of order');
  });

  it('judges a bar by its worst case', () => {
    const items = [
      { value: 0.9, where: 'a' },
      { value: 1.2, where: 'b' },
      { value: null, where: 'c' },
    ];
    expect(format.worstBar('t', items, { atLeast: 1 })).toMatchObject({ value: 0.9, met: false });
    expect(format.worstBar('t', items, { atMost: 1.2 })).toMatchObject({ value: 1.2, met: true });
    expect(format.worstBar('t', [], { atLeast: 1 })).toMatchObject({ value: null, met: null });
  });
});
