/**
 * Runs the cells of an experiment in processes of their own. Each takes one cell after another; one that dies is replaced and its
 * cell tried once more. Whatever is killed, finished cells are in the cache and those in progress have their checkpoints.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { autoDatasets, listDatasets } from '../../data/index.js';
import { IOError, packageRoot } from '../../device/index.js';
import type { ExperimentCache } from './cache.js';
import type { Cell } from './grid.js';
import type { FromWorker, ToWorker } from './protocol.js';
import type { RunRecord } from './record.js';
import { TimeLeft } from './time-left.js';

export interface RunnerOptions {
  cache: ExperimentCache;
  /** Processes; default: cores / threads. */
  jobs?: number;
  /** Threads of each process; default 1, which makes the most of several cores. */
  threads?: number;
  /** Ends the cells in progress at their next step, with their checkpoints. */
  signal?: AbortSignal;
  /** No cell is started after this many minutes. */
  maxMinutes?: number;
  onProgress?(status: ExperimentStatus): void;
  /** A cell is finished; `record` is in the cache. */
  onDone?(cell: Cell, record: RunRecord, status: ExperimentStatus): void | Promise<void>;
  onFailed?(failure: FailedCell, status: ExperimentStatus): void;
  /** A worker died over a cell, which is tried once more. */
  onRetry?(cell: Cell, why: string): void;
  /** The workers' program; default: the one of this package. */
  worker?: string;
}

export interface FailedCell {
  cell: Cell;
  message: string;
}

/** Where an experiment stands. */
export interface ExperimentStatus {
  total: number;
  /** Finished cells, those of the cache among them. */
  done: number;
  failed: number;
  running: { cell: Cell; share: number }[];
  /** Undefined until a cell has been timed. */
  secondsLeft: number | undefined;
}

export interface RunnerOutcome {
  /** Finished cells in the order of the grid. */
  finished: { cell: Cell; record: RunRecord }[];
  failed: FailedCell[];
  /** Cells that were not run, because of the signal or the time. */
  left: Cell[];
  /** The signal ended it. */
  interrupted: boolean;
}

/** How often a cell may be tried whose worker dies, and how often a worker that doesn't start. */
const ATTEMPTS = 2;
/** Characters kept of what a worker writes to stderr. */
const KEPT = 2000;

interface Worker {
  child: ChildProcess;
  job: { cell: Cell; share: number; began: number } | undefined;
  ready: boolean;
  /** There is nothing left for it to do. */
  dismissed: boolean;
  stderr: string;
}

/** The data sets that the cells need and that are not there. Throws IOError naming the commands that bring them. */
function expectDatasets(cells: readonly Cell[]): void {
  const named = cells
    .map(({ config }) => config.dataset)
    .filter(({ dir, train }) => dir === undefined && train === undefined);
  const names = new Set(named.map(({ name }) => name));
  // A cell that still says auto found none of those that auto stands for.
  const wanted = (name: string): boolean => names.has(name) || (names.has('auto') && autoDatasets.includes(name));
  const missing = listDatasets().filter(({ name, found }) => !found && wanted(name));
  if (missing.length === 0) return;
  const lines = missing.map(
    ({ name, source, command }) => `${name} (looked for in ${source}); bring it with: ${command}`,
  );
  throw new IOError(`experiment: missing data sets:\n  ${lines.join('\n  ')}`);
}

class Runner {
  readonly #options: RunnerOptions;
  readonly #cells: readonly Cell[];
  readonly #queue: Cell[] = [];
  readonly #finished = new Map<string, RunRecord>();
  readonly #failed: FailedCell[] = [];
  readonly #lost = new Map<string, number>();
  readonly #workers = new Set<Worker>();
  readonly #time = new TimeLeft();
  readonly #jobs: number;
  readonly #threads: number;
  readonly #deadline: number;
  readonly #pending: Promise<void>[] = [];
  /** Workers in a row that ended before they were ready. */
  #stillborn = 0;
  #error: Error | undefined;
  #settle: (() => void) | undefined;

  constructor(cells: readonly Cell[], options: RunnerOptions) {
    this.#options = options;
    this.#cells = cells;
    this.#threads = options.threads ?? 1;
    this.#jobs = options.jobs ?? Math.max(1, Math.floor(availableParallelism() / this.#threads));
    this.#deadline = performance.now() + 60_000 * (options.maxMinutes ?? Infinity);
  }

  async run(): Promise<RunnerOutcome> {
    const { cache, signal } = this.#options;
    const seen = new Set<string>();
    for (const cell of this.#cells) {
      // Two cells of one configuration under different names are one run.
      const record = cache.read(cell.hash);
      if (record) this.#finish(cell, record);
      else if (!seen.has(cell.hash)) this.#queue.push(cell);
      seen.add(cell.hash);
    }
    expectDatasets(this.#queue);
    if (this.#queue.length > 0 && !signal?.aborted) {
      const stop = (): void => this.#stop();
      signal?.addEventListener('abort', stop);
      try {
        await new Promise<void>((resolve) => {
          this.#settle = resolve;
          for (let i = Math.min(this.#jobs, this.#queue.length); i > 0; i--) this.#start();
          this.#check();
        });
      } finally {
        signal?.removeEventListener('abort', stop);
        await Promise.all(this.#pending);
      }
    }
    if (this.#error) throw this.#error;
    const failed = new Set(this.#failed.map(({ cell }) => cell.hash));
    return {
      finished: this.#cells.flatMap((cell) => {
        const record = this.#finished.get(cell.hash);
        return record ? [{ cell, record }] : [];
      }),
      failed: this.#failed,
      left: this.#cells.filter(({ hash }) => !this.#finished.has(hash) && !failed.has(hash)),
      interrupted: signal?.aborted === true,
    };
  }

  #finish(cell: Cell, record: RunRecord): void {
    this.#finished.set(cell.hash, record);
    this.#time.add(cell, record.seconds);
  }

  #status(): ExperimentStatus {
    const running = [...this.#workers].flatMap(({ job }) => (job ? [job] : []));
    const { total, done } = this.#counts();
    return {
      total,
      done,
      failed: this.#failed.length,
      running: running.map(({ cell, share }) => ({ cell, share })),
      secondsLeft: this.#time.left(this.#queue, running, this.#jobs),
    };
  }

  #counts(): { total: number; done: number } {
    return { total: this.#cells.length, done: this.#cells.filter(({ hash }) => this.#finished.has(hash)).length };
  }

  get #closed(): boolean {
    return this.#error !== undefined || this.#options.signal?.aborted === true || performance.now() >= this.#deadline;
  }

  #start(): void {
    const { worker = join(packageRoot(), 'dist', 'train', 'experiment', 'worker.js') } = this.#options;
    const child = fork(worker, [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, GYRUS_THREADS: String(this.#threads) },
      execArgv: [],
    });
    const self: Worker = { child, job: undefined, ready: false, dismissed: false, stderr: '' };
    this.#workers.add(self);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (self.stderr = (self.stderr + text).slice(-KEPT)));
    child.on('message', (message: FromWorker) => this.#hear(self, message));
    // A channel that breaks under a message is followed by the exit.
    child.on('error', (error) => (self.stderr += error.message));
    child.on('exit', (code, signal) => this.#lose(self, signal ?? `exit code ${code}`));
  }

  #next(worker: Worker): void {
    const cell = this.#closed ? undefined : this.#queue.shift();
    if (!cell) {
      worker.dismissed = true;
      if (worker.child.connected) worker.child.disconnect();
      return;
    }
    // Another experiment with the same cache may have run it by now.
    const record = this.#options.cache.read(cell.hash);
    if (record) {
      this.#finish(cell, record);
      this.#tell(cell, record);
      this.#next(worker);
      return;
    }
    worker.job = { cell, share: 0, began: performance.now() };
    const config = { ...cell.config, threads: this.#threads };
    this.#send(worker, { type: 'run', id: cell.id, hash: cell.hash, config, cache: this.#options.cache.dir });
    this.#options.onProgress?.(this.#status());
  }

  #send({ child }: Worker, message: ToWorker): void {
    if (child.connected) child.send(message, () => undefined);
  }

  #hear(worker: Worker, message: FromWorker): void {
    const { job } = worker;
    worker.ready = true;
    this.#stillborn = 0;
    if (message.type === 'progress') {
      if (job) job.share = message.share;
      this.#options.onProgress?.(this.#status());
      return;
    }
    // Someone else ended the worker: its exit follows.
    if (message.type === 'interrupted' && !this.#closed) return;
    worker.job = undefined;
    if (job && message.type === 'done') {
      this.#finish(job.cell, message.record);
      this.#tell(job.cell, message.record);
    } else if (job && message.type === 'failed') {
      this.#fail(job.cell, message.message);
    } else if (job && message.type === 'interrupted') {
      this.#queue.unshift(job.cell);
    }
    this.#next(worker);
  }

  #tell(cell: Cell, record: RunRecord): void {
    const told = this.#options.onDone?.(cell, record, this.#status());
    if (told) this.#pending.push(told.catch((error: Error) => void (this.#error ??= error)));
  }

  #fail(cell: Cell, message: string): void {
    const failure = { cell, message };
    this.#failed.push(failure);
    this.#options.onFailed?.(failure, this.#status());
  }

  /** A worker has ended; with a cell in hand it did so against our will. */
  #lose(worker: Worker, how: string): void {
    this.#workers.delete(worker);
    const { job } = worker;
    if (job) {
      const why = `the worker ended (${how})${worker.stderr === '' ? '' : `: ${worker.stderr.trim()}`}`;
      const lost = (this.#lost.get(job.cell.hash) ?? 0) + 1;
      this.#lost.set(job.cell.hash, lost);
      if (this.#closed) {
        this.#queue.unshift(job.cell);
      } else if (lost < ATTEMPTS) {
        this.#queue.unshift(job.cell);
        this.#options.onRetry?.(job.cell, why);
      } else {
        this.#fail(job.cell, why);
      }
    } else if (!worker.ready && ++this.#stillborn >= ATTEMPTS) {
      this.#error ??= new IOError(`experiment: a worker could not start (${how}): ${worker.stderr.trim()}`);
    }
    if (!this.#closed && !worker.dismissed && this.#queue.length > 0) this.#start();
    this.#check();
  }

  #stop(): void {
    for (const worker of this.#workers) this.#send(worker, { type: 'stop' });
  }

  #check(): void {
    if (this.#workers.size === 0) this.#settle?.();
  }
}

/**
 * Runs the cells that are not in the cache yet. Resolves when all are done, or when the signal or the time ended it.
 * @throws IOError when data sets are missing, before anything runs, or when the cache can't be read
 */
export function runCells(cells: readonly Cell[], options: RunnerOptions): Promise<RunnerOutcome> {
  return new Runner(cells, options).run();
}
