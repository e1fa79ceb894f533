/**
 * Resets, diagnostics and regularisers in a whole training: events, resuming, configuration, report.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { setThreads, threads } from '../../src/device/index.js';
import { type Callback, parseConfig, type RunConfigInput, train } from '../../src/train/index.js';
import { checkResults } from '../../src/train/report-read.js';
import { renderReport } from '../../src/train/report.js';
import type { CompareResult } from '../../src/train/results.js';
import { fingerprint, smallData, temporaryFolder, timeless } from './support.js';

const dir = temporaryFolder();
const data = smallData();
let files = 0;
const path = (): string => join(dir, `${files++}.ckpt`);

const base: RunConfigInput = {
  model: { hidden: [8, 6], dropout: 0.1 },
  optimizer: { name: 'adamw', lr: 0.01 },
  epochs: 5,
  batchSize: 16,
  seed: 3,
};
const methods: [string, RunConfigInput['resets']][] = [
  ['redo', { method: 'redo', period: 7, tau: 0.6, window: 4 }],
  ['redo by epochs', { method: 'redo', period: 1, unit: 'epochs', tau: 0.6, window: 30 }],
  ['regrama', { method: 'regrama', period: 7, tau: 0.6, window: 4 }],
  ['cbp', { method: 'cbp', rate: 0.02, maturity: 5 }],
  ['zap', { method: 'zap', rows: 'tail', until: 0.8 }],
];

describe('resets', () => {
  it.each(methods)('%s: goes on to the same bits after an interruption at any step', async (_name, resets) => {
    const config = { ...base, resets };
    const whole = path();
    const result = await train({ ...config, checkpoint: { path: whole, every: 1000 } }, { data });
    expect(result.events.length).toBeGreaterThan(1);
    expect(result.events.every(({ kind }) => kind === 'reset')).toBe(true);
    const state = await fingerprint(whole);
    for (const step of [5, 18, 32]) {
      const to = path();
      const controller = new AbortController();
      const callback: Callback = {
        onStepEnd: (context) => {
          if (context.step === step) controller.abort();
        },
      };
      const saving = { ...config, checkpoint: { path: to, every: 1000 } };
      const part = await train(saving, { data, signal: controller.signal, callbacks: [callback] });
      expect(part.interrupted).toBe(true);
      const rest = await train(saving, { data, resume: to });
      expect(timeless(rest)).toEqual(timeless(result));
      expect(await fingerprint(to)).toEqual(state);
    }
  });

  it('is the same for any number of threads', async () => {
    const before = threads();
    const run = async (n: number): Promise<unknown> => {
      setThreads(n);
      const to = path();
      await train({ ...base, resets: methods[3][1], checkpoint: { path: to } }, { data });
      return fingerprint(to);
    };
    try {
      expect(await run(2)).toEqual(await run(1));
    } finally {
      setThreads(before);
    }
  });

  it('refuses the cycle beside it, and fields of another method', () => {
    expect(() => parseConfig({ ...base, plasticity: {}, resets: {} })).toThrow(/'resets': expected null beside/);
    expect(() => parseConfig({ ...base, resets: { rate: 1e-3 } })).toThrow(
      /'resets.rate': expected it with method cbp/,
    );
    expect(() => parseConfig({ ...base, resets: { periods: 3 } as never })).toThrow(/did you mean 'resets.period'/);
  });
});

describe('diagnostics', () => {
  it('are in the records of their epochs, come to the metrics, and change nothing', async () => {
    const plain = path();
    await train({ ...base, checkpoint: { path: plain, every: 1000 } }, { data });
    const to = path();
    const metricsPath = join(dir, 'metrics.jsonl');
    const config = { ...base, diagnostics: { every: 2, samplesPerClass: 10 }, checkpoint: { path: to, every: 1000 } };
    const result = await train(config, { data, metricsPath });
    expect(await fingerprint(to)).toEqual(await fingerprint(plain));
    expect(result.epochs.map((e) => (e.diagnostics ? Object.keys(e.diagnostics) : null))).toEqual([
      null,
      ['hidden1', 'hidden2'],
      null,
      ['hidden1', 'hidden2'],
      ['hidden1', 'hidden2'],
    ]);
    const lines = readFileSync(metricsPath, 'utf8').trim().split('\n');
    const last = JSON.parse(lines.at(-1)!) as (typeof result.epochs)[number];
    expect(last.diagnostics).toEqual(result.epochs.at(-1)?.diagnostics);
    const { hidden1 } = result.epochs.at(-1)!.diagnostics!;
    expect(hidden1.units).toBe(8);
    expect(hidden1.effectiveRank).toBeGreaterThan(1);
    expect(hidden1.effectiveRank).toBeLessThanOrEqual(8);
  });

  it('make a section of the report, and none without', async () => {
    const result = await train({ ...base, epochs: 2, diagnostics: {} }, { data });
    const machine = { node: '20', isa: 'test', threads: 1, cpu: 'test' };
    const compare: CompareResult = { format: 'gyrus-results', version: 1, createdAt: 'now', machine, runs: [result] };
    const page = await renderReport(checkResults(JSON.parse(JSON.stringify(compare))));
    expect(page).toContain('<section id="diagnostics">');
    for (const text of ['effective rank', 'dormant', 'hidden2', 'T2'])
      expect(page.slice(page.indexOf('id="diagnostics"'))).toContain(text);
    const without = { ...result, epochs: result.epochs.map((epoch) => ({ ...epoch, diagnostics: undefined })) };
    expect(await renderReport({ ...compare, runs: [without] })).not.toContain('id="diagnostics"');
  });
});

describe('regularizers', () => {
  const regularizers: RunConfigInput['regularizers'] = [
    { name: 'similarity', weight: 0.1 },
    { name: 't1', weight: 0.01, widths: ['hidden2'] },
    { name: 't2', weight: 0.1 },
  ];

  it('resume to the same bits, and change what is learned but not how the loss is reported', async () => {
    const config = { ...base, regularizers };
    const [whole, plain, to] = [path(), path(), path()];
    const result = await train({ ...config, checkpoint: { path: whole, every: 1000 } }, { data });
    const without = await train({ ...base, checkpoint: { path: plain, every: 1000 } }, { data });
    expect(await fingerprint(whole)).not.toEqual(await fingerprint(plain));
    // T1 and T2 are negative; the loss that is reported is the loss alone.
    expect(Math.abs(result.epochs[0].trainLoss - without.epochs[0].trainLoss)).toBeLessThan(0.1);
    const controller = new AbortController();
    const callback: Callback = {
      onStepEnd: (context) => {
        if (context.step === 13) controller.abort();
      },
    };
    const saving = { ...config, checkpoint: { path: to, every: 1000 } };
    await train(saving, { data, signal: controller.signal, callbacks: [callback] });
    expect(timeless(await train(saving, { data, resume: to }))).toEqual(timeless(result));
    expect(await fingerprint(to)).toEqual(await fingerprint(whole));
  });

  it('are checked, in a list as elsewhere', () => {
    const parse = (list: unknown) => () => parseConfig({ ...base, regularizers: list });
    expect(parse([{ name: 't1' }])).toThrow(/'regularizers.0.weight'/);
    expect(parse([{ name: 't1', weight: 1, width: ['hidden1'] }])).toThrow(/did you mean 'regularizers.0.widths'/);
    expect(parse([{ name: 't9', weight: 1 }])).toThrow(/'regularizers.0.name'/);
  });
});
