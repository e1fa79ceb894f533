/**
 * Experiments from the command line: what is written, and that nothing finished is lost whatever is killed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gyrus, scratch } from './helpers.js';

let dir: string;
let remove: () => void;
beforeAll(() => ({ dir, remove } = scratch()));
afterAll(() => remove());

const TINY = {
  base: {
    dataset: { trainRows: 2000, testRows: 300, imbalanceFactor: 10 },
    model: { hidden: [8] },
    batchSize: 32,
    epochs: 4,
  },
  models: { small: {} },
  datasets: { auto: {} },
  methods: { fixed: {}, cycle: { plasticity: { warmup: 0, rate: 0.5, period: 2, grownEpochs: 1 } } },
  seeds: '0-1',
};
const HEADER = 'dataset,model,if,method,seed,top1,mean_recall,head,mid,tail,params,madds,seconds';

/** A folder of its own with the file of an experiment in it. */
function place(name: string, experiment: object): string {
  const cwd = join(dir, name);
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'grid.json'), JSON.stringify(experiment));
  return cwd;
}

/** results.csv without the seconds, which are never the same. */
function rows(cwd: string, name = 'grid'): string[] {
  const text = readFileSync(join(cwd, 'runs', 'experiments', name, 'results.csv'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => line.slice(0, line.lastIndexOf(',')));
}

const cached = (cwd: string): string[] => {
  const cache = join(cwd, 'runs', 'experiments', 'cache');
  return existsSync(cache) ? readdirSync(cache).filter((file) => file.endsWith('.json')) : [];
};

/** Processes whose command line holds this text. */
function processes(text: string): { pid: number; parent: number }[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        if (!readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes(text)) return [];
        const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return state === 'Z' ? [] : [{ pid: Number(entry), parent: Number(parent) }];
      } catch {
        return [];
      }
    });
}
const workersOf = (parent: number): number[] =>
  processes('experiment/worker.js')
    .filter((one) => one.parent === parent)
    .map(({ pid }) => pid);
const mainOf = (cwd: string): number => processes(join(cwd, 'grid.json'))[0]?.pid;

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 2400 && !what(); i++) await sleep(25);
  expect(what()).toBe(true);
}

const LONG = { ...TINY, base: { ...TINY.base, epochs: 300 }, seeds: [0] };
let whole: string[];

describe('experiment', () => {
  it('runs a grid, writes its files, and does nothing twice', async () => {
    const cwd = place('whole', TINY);
    const first = await gyrus(['experiment', 'grid.json', '--jobs', '2'], { cwd });
    expect(first.stderr).toContain('grid: 4 runs, 0 of them done already');
    expect(first.stderr).toMatch(/\[4\/4\] auto\/small\/if10\/(fixed|cycle)\/seed[01]: mean recall .* %, tail .* % in/);
    expect(first.stdout).toContain('cycle − fixed: auto small if10');
    expect(first.code).toBe(0);
    const table = rows(cwd);
    expect(readFileSync(join(cwd, 'runs/experiments/grid/results.csv'), 'utf8').split('\n')[0]).toBe(HEADER);
    expect(table.slice(1).map((row) => row.split(',').slice(0, 5).join())).toEqual([
      'auto,small,10,fixed,0',
      'auto,small,10,cycle,0',
      'auto,small,10,fixed,1',
      'auto,small,10,cycle,1',
    ]);
    const results = JSON.parse(readFileSync(join(cwd, 'runs/experiments/grid/results.json'), 'utf8'));
    expect(results).toMatchObject({ format: 'gyrus-experiment', total: 4, compare: [['cycle', 'fixed']], failed: [] });
    expect(results.runs[1]).toMatchObject({
      method: 'cycle',
      seed: 0,
      epochs: 4,
      units: { grow: 8, prune: 8, reset: 0 },
    });
    expect(results.runs[1].perClass).toHaveLength(10);
    const [pair] = JSON.parse(readFileSync(join(cwd, 'runs/experiments/grid/summary.json'), 'utf8'));
    expect(pair.cells[0]).toMatchObject({ model: 'small', pairs: 2 });

    const again = await gyrus(['experiment', 'grid.json'], { cwd });
    expect(again.stderr).toContain('4 runs, 4 of them done already');
    expect(again.stdout).toBe(first.stdout);
    expect(rows(cwd)).toEqual(table);

    // More seeds: only they are run. Another machine goes on from the results file.
    const more = await gyrus(['experiment', 'grid.json', '--seeds', '0-2', '--filter', 'method=fixed'], { cwd });
    expect(more.stderr).toContain('3 runs, 2 of them done already');
    expect(rows(cwd)).toHaveLength(1 + 5);
    const other = place('other', TINY);
    const from = join(cwd, 'runs/experiments/grid/results.json');
    const taken = await gyrus(['experiment', 'grid.json', '--from', from, '-q'], { cwd: other });
    expect(taken.stderr).toContain('4 runs, 4 of them done already');
    expect(cached(other)).toEqual([]);
    expect(rows(other)).toEqual(table);
  });

  it('lists the runs', async () => {
    const { stdout, stderr, code } = await gyrus(['experiment', 'grid.json', '--list', '-f', 'cycle'], {
      cwd: join(dir, 'whole'),
    });
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.replace(/ [0-9a-f]{12} /, ' ')),
    ).toEqual(['done auto/small/if10/cycle/seed0', 'done auto/small/if10/cycle/seed1']);
    expect(stderr).toContain('2 of 2 runs are done');
    expect(code).toBe(0);
  });

  it('runs own data again when its files have changed', async () => {
    const table = (shift: number): string =>
      Array.from({ length: 60 }, (_, i) => `${(i % 7) + shift * (i % 2)},${i % 5},${i % 2}`).join('\n');
    const cwd = place('own', {
      base: { epochs: 1, batchSize: 8, model: { hidden: [4] } },
      models: { small: {} },
      datasets: { own: { dataset: { train: 'train.csv', test: 'test.csv', imbalanceFactor: 2 } } },
      methods: { fixed: {} },
      seeds: [0],
    });
    for (const name of ['train.csv', 'test.csv']) writeFileSync(join(cwd, name), table(1));
    const go = () => gyrus(['experiment', 'grid.json', '--no-report'], { cwd });
    const first = await go();
    expect([first.code, first.stderr]).toEqual([0, expect.stringContaining('1 runs, 0 of them done already')]);
    expect((await go()).stderr).toContain('1 runs, 1 of them done already');
    writeFileSync(join(cwd, 'train.csv'), table(3));
    const changed = await go();
    expect([changed.code, changed.stderr]).toEqual([0, expect.stringContaining('1 runs, 0 of them done already')]);
    expect(cached(cwd)).toHaveLength(2);
  });

  it('a run that fails is told, and the others go on', async () => {
    const cwd = place('wild', {
      ...TINY,
      methods: { fixed: {}, wild: { optimizer: { lr: 100, momentum: 0.99 }, model: { hidden: [8, 8, 8] } } },
      seeds: [0],
    });
    const { code, stderr } = await gyrus(['experiment', 'grid.json'], { cwd });
    expect(stderr).toContain('failed: auto/small/if10/wild/seed0: train: expected a finite loss');
    expect(rows(cwd)).toHaveLength(2);
    expect(code).toBe(1);
  });
});

describe('killed at any moment', () => {
  /** Starts two long runs in one process and waits until the first is done and the second under way. */
  async function begin(name: string, experiment: object = LONG) {
    const cwd = place(name, experiment);
    const outcome = gyrus(['experiment', join(cwd, 'grid.json'), '--jobs', '1'], { cwd });
    await until(() => cached(cwd).length === 1);
    const main = mainOf(cwd);
    const [worker] = workersOf(main);
    await sleep(300);
    return { cwd, outcome, main, worker };
  }
  const goOn = (cwd: string) => gyrus(['experiment', join(cwd, 'grid.json')], { cwd });

  beforeAll(async () => {
    const cwd = place('long', LONG);
    expect((await goOn(cwd)).code).toBe(0);
    whole = rows(cwd);
    expect(whole).toHaveLength(3);
  });

  it('a worker: its run is tried once more', async () => {
    const { cwd, outcome, worker } = await begin('worker');
    process.kill(worker, 'SIGKILL');
    const { code, stderr } = await outcome;
    expect(stderr).toContain('again: auto/small/if10/cycle/seed0: the worker ended (SIGKILL)');
    expect(code).toBe(0);
    expect(rows(cwd)).toEqual(whole);
  });

  it('a worker twice: its run is reported as failed', async () => {
    const { cwd, outcome, main, worker } = await begin('twice');
    process.kill(worker, 'SIGKILL');
    await until(() => workersOf(main).some((pid) => pid !== worker));
    // It takes its run as soon as it is up.
    const [second] = workersOf(main);
    await until(() => busy(second));
    process.kill(second, 'SIGKILL');
    const { code, stderr } = await outcome;
    expect(stderr).toContain('failed: auto/small/if10/cycle/seed0: the worker ended (SIGKILL)');
    expect(rows(cwd)).toEqual(whole.slice(0, 2));
    expect(code).toBe(1);
  });

  it('the experiment: its workers end, and the next call goes on to the same results', async () => {
    const { cwd, outcome, main, worker } = await begin('parent');
    process.kill(main, 'SIGKILL');
    expect((await outcome).code).toBeNull();
    await until(() => !processes('experiment/worker.js').some(({ pid }) => pid === worker));
    const second = await goOn(cwd);
    expect(second.stderr).toContain('2 runs, 1 of them done already');
    expect(rows(cwd)).toEqual(whole);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('%s: leaves a checkpoint that the next call goes on from', async (signal) => {
    const { cwd, outcome, main } = await begin(signal);
    process.kill(main, signal);
    const { code, stderr } = await outcome;
    expect(stderr).toMatch(/1 were not run; go on with: gyrus experiment .*grid.json/);
    expect(code).toBe(130);
    expect(rows(cwd)).toEqual(whole.slice(0, 2));
    const checkpoints = (): string[] =>
      readdirSync(join(cwd, 'runs/experiments/cache')).filter((file) => !file.endsWith('.json'));
    expect(checkpoints()).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.gyrus$/)]);
    expect((await goOn(cwd)).code).toBe(0);
    expect(rows(cwd)).toEqual(whole);
    expect(checkpoints()).toEqual([]);
  });

  it('a checkpoint that is damaged is no reason to fail', async () => {
    const { cwd, outcome, main } = await begin('damaged');
    process.kill(main, 'SIGINT');
    await outcome;
    const cache = join(cwd, 'runs/experiments/cache');
    const [file] = readdirSync(cache).filter((name) => name.endsWith('.gyrus'));
    writeFileSync(join(cache, file), 'x'.repeat(1000));
    expect((await goOn(cwd)).code).toBe(0);
    expect(rows(cwd)).toEqual(whole);
  });

  it('no time left: starts nothing', async () => {
    const cwd = place('late', TINY);
    const { code, stderr } = await gyrus(['experiment', 'grid.json', '--max-minutes', '0.000001'], { cwd });
    expect(stderr).toContain('4 were not run');
    expect([code, cached(cwd)]).toEqual([0, []]);
  });
});

/** Whether a process has computed for more than 0.8 seconds. */
function busy(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return Number(user) + Number(system) > 80;
}
