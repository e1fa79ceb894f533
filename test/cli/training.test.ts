/**
 * Trainings from the command line: what is written, and that an interrupted run goes on bit for bit.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadCheckpoint } from '../../src/io/index.js';
import { gyrus, scratch } from './helpers.js';

let dir: string;
let remove: () => void;
beforeAll(() => ({ dir, remove } = scratch()));
afterAll(() => remove());

const TINY = {
  dataset: { trainRows: 3000, testRows: 500, imbalanceFactor: 10 },
  model: { hidden: [8] },
  batchSize: 32,
};

function config(name: string, value: object): string {
  const path = join(dir, name);
  writeFileSync(path, JSON.stringify(value));
  return path;
}

describe('train', () => {
  it('writes results, metrics and a checkpoint; flags win over the file', async () => {
    const path = config('one.json', { ...TINY, epochs: 9 });
    const out = join(dir, 'one');
    const { code, stdout, stderr } = await gyrus([
      'train',
      '-c',
      path,
      '--epochs',
      '5',
      '--set',
      'optimizer.nesterov=true',
      '--plastic',
      '-o',
      out,
    ]);
    expect(stderr).toMatch(/one epoch 5\/5 .*loss .*acc .*width 8 .*samples\/s/);
    expect(stdout).toContain('Mean class recall');
    expect(code).toBe(0);
    const [run] = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')).runs;
    expect(run.epochs).toHaveLength(5);
    expect(run.config.optimizer.nesterov).toBe(true);
    expect(run.config.plasticity.rate).toBeGreaterThan(0);
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line)).filter(({ type }) => type === 'epoch')).toHaveLength(5);
    expect(existsSync(join(out, 'checkpoint.gyrus'))).toBe(true);
  });

  it.each([
    ['crt', 'cRT'],
    ['lws', 'LWS'],
    ['tau-norm', 'tau-norm \\(tau [0-9.]+\\)'],
  ])('shows what a second stage did: %s', async (method, shown) => {
    const second = method === 'tau-norm' ? { method } : { method, epochs: 1 };
    const path = config(`${method}.json`, { ...TINY, epochs: 2, secondStage: second });
    const [out, report] = [join(dir, method), join(dir, `${method}.html`)];
    const { code, stdout } = await gyrus(['train', '-c', path, '-o', out, '--report', report, '-q']);
    expect(code).toBe(0);
    const [run] = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')).runs;
    const rates = ({ top1, meanRecall, head, mid, tail }: Record<string, number>): string =>
      [top1, meanRecall, head, mid, tail].map((rate) => `${(100 * rate).toFixed(1)} %`).join('[^0-9]*');
    expect(stdout).toMatch(new RegExp(`${method}, before ${shown}[^0-9]*${rates(run.epochs[1].test)}`));
    expect(stdout).toMatch(new RegExp(`${method}, after ${shown}[^0-9]*${rates(run.final)}`));
    expect(readFileSync(report, 'utf8')).toMatch(new RegExp(`${method}, before ${shown}`));
  });

  it('--json - leaves stdout to the results', async () => {
    const path = config('two.yaml', { ...TINY, epochs: 1 });
    const { code, stdout } = await gyrus(['train', '-c', path, '-o', join(dir, 'two'), '--json', '-', '-q']);
    expect(JSON.parse(stdout)).toMatchObject({
      format: 'gyrus-results',
      version: 1,
      runs: [{ name: 'two', interrupted: false }],
    });
    expect(code).toBe(0);
  });

  it('ends with 1 and says so when the loss is no number any more', async () => {
    const path = config('wild.json', {
      ...TINY,
      epochs: 3,
      optimizer: { lr: 100, momentum: 0.99 },
      model: { hidden: [8, 8, 8] },
    });
    const { code, stderr } = await gyrus(['train', '-c', path, '-o', join(dir, 'wild')]);
    expect(stderr).toContain('expected a finite loss');
    expect(code).toBe(1);
  });

  it('a folder that can’t be written ends with 1', async () => {
    const path = config('full.json', { ...TINY, epochs: 1 });
    writeFileSync(join(dir, 'a-file'), '');
    const { code, stderr } = await gyrus(['train', '-c', path, '-o', join(dir, 'a-file', 'x')]);
    expect(stderr).toContain('a-file');
    expect(code).toBe(1);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    '%s leaves a checkpoint; resumed, it ends at the same weights',
    async (signal) => {
      const plasticity = { period: 2, grownEpochs: 1, warmup: 0, rate: 0.5 };
      const path = config('long.json', { ...TINY, epochs: 16, plasticity, seed: 3 });
      const whole = join(dir, `whole-${signal}`);
      const parts = join(dir, `parts-${signal}`);
      mkdirSync(parts);
      expect((await gyrus(['train', '-c', path, '-o', whole, '-q'])).code).toBe(0);

      let sent = false;
      const first = await gyrus(['train', '-c', path, '-o', parts], {
        onStderr: (text, kill) => {
          if (sent || !text.includes('epoch 3/16')) return;
          sent = true;
          kill(signal);
        },
      });
      const checkpoint = join(parts, 'checkpoint.gyrus');
      expect(first.stderr).toContain(`gyrus train --resume ${checkpoint}`);
      expect(first.code).toBe(130);
      const interrupted = JSON.parse(readFileSync(join(parts, 'results.json'), 'utf8')).runs[0];
      expect(interrupted.interrupted).toBe(true);
      expect(interrupted.epochs.length).toBeLessThan(16);

      const second = await gyrus(['train', '--resume', checkpoint, '-o', parts, '-q']);
      expect(second.stderr).not.toContain('error');
      expect(second.code).toBe(0);
      const a = await loadCheckpoint(join(whole, 'checkpoint.gyrus'));
      const b = await loadCheckpoint(checkpoint);
      expect([...b.tensors.keys()]).toEqual([...a.tensors.keys()]);
      for (const [name, { data }] of a.tensors) expect(b.tensors.get(name)?.data, name).toEqual(data);
      const final = (out: string): unknown => JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')).runs[0].final;
      expect(final(parts)).toEqual(final(whole));
    },
  );

  it('a second signal ends at once', async () => {
    const path = config('endless.json', { ...TINY, epochs: 5000 });
    let signals = 0;
    const { code } = await gyrus(['train', '-c', path, '-o', join(dir, 'endless')], {
      onStderr: (text, kill) => {
        if (signals === 0 && text.includes('epoch 1/5000')) {
          signals = 1;
          kill('SIGINT');
          kill('SIGTERM');
        }
      },
    });
    expect(code).toBe(130);
  });
});

describe('compare', () => {
  it('writes results and report and ends with a table of differences', async () => {
    const fixed = config('fixed.json', { ...TINY, epochs: 4 });
    const plastic = config('plastic.yaml', {
      ...TINY,
      epochs: 4,
      plasticity: { period: 2, grownEpochs: 1, warmup: 0 },
    });
    const json = join(dir, 'compare', 'results.json');
    const { code, stdout, stderr } = await gyrus(['compare', fixed, plastic, '--seeds', '0,1', '--json', json]);
    expect(stderr).toMatch(/\[4\/4\] plastic seed 1 epoch 4\/4/);
    expect(code).toBe(0);
    for (const text of [
      'Top-1 accuracy',
      'Mean class recall',
      'Head classes',
      'Middle classes',
      'Tail classes',
      'difference, points',
      'Parameters',
    ])
      expect(stdout).toContain(text);
    expect(stdout).toMatch(/Over 2 paired seeds the 95 % interval/);
    const results = JSON.parse(readFileSync(json, 'utf8'));
    expect(results.runs.map((run: { name: string; seed: number }) => `${run.name} ${run.seed}`)).toEqual([
      'fixed 0',
      'plastic 0',
      'fixed 1',
      'plastic 1',
    ]);
    expect(results.command).toContain('npx gyrus compare');
    for (const run of results.runs) expect(run.parameters.end).toBe(run.parameters.start);
    expect(results.runs[1].events.map((event: { kind: string }) => event.kind)).toContain('prune');
    const page = readFileSync(join(dir, 'compare', 'report.html'), 'utf8');
    expect(page).toContain('</html>');

    const again = join(dir, 'again.html');
    expect((await gyrus(['report', json, '-o', again])).code).toBe(0);
    expect(readFileSync(again, 'utf8')).toBe(page);
  });

  it('interrupted, it keeps the runs that were finished', async () => {
    const slow = config('slow.json', { ...TINY, epochs: 2000 });
    const quick = config('quick.json', { ...TINY, epochs: 1 });
    const json = join(dir, 'interrupted.json');
    let sent = false;
    const { code, stderr } = await gyrus(['compare', quick, slow, '--json', json, '--no-report'], {
      onStderr: (text, kill) => {
        if (sent || !text.includes('slow seed 0 epoch 2/')) return;
        sent = true;
        kill('SIGINT');
      },
    });
    expect(stderr).toContain('1 of 2 runs are complete');
    expect(code).toBe(130);
    expect(JSON.parse(readFileSync(json, 'utf8')).runs).toHaveLength(2);
  });
});
