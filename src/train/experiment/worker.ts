/**
 * A worker of an experiment, a process of its own: takes one cell after another and leaves each in the cache. It ends with whoever
 * started it; what a cell has done by then is in its checkpoint.
 */
import { existsSync } from 'node:fs';
import { ConfigError, FormatError, IOError } from '../../device/index.js';
import { machineInfo } from '../compare.js';
import { train, type RunOptions } from '../run.js';
import type { RunResult } from '../results.js';
import { prepareData, type PreparedData } from '../setup.js';
import { ExperimentCache } from './cache.js';
import { configHash } from './hash.js';
import type { FromWorker, ToWorker } from './protocol.js';
import { runRecord } from './record.js';

/** Seconds between two checkpoints of a cell. */
const CHECKPOINT_SECONDS = 60;
/** Milliseconds between two reports of progress. */
const REPORT_EVERY = 1000;
/** Milliseconds that a worker has to save its cell when it is to end. */
const GRACE = 10_000;
/** Data sets kept in memory. */
const DATASETS = 3;

type Job = Extract<ToWorker, { type: 'run' }>;

let stopping = new AbortController();
let busy = false;
/** No cell after this one. */
let ending = false;
const prepared = new Map<string, PreparedData>();

function send(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

/** What is read must be what the cell is known by: own files may have changed since the experiment began. */
async function loaded({ config, hash }: Job): Promise<PreparedData> {
  const data = await prepareData(config.dataset);
  if (configHash(config) === hash) return data;
  throw new IOError(`dataset: ${config.dataset.train} or ${config.dataset.test} changed since the experiment began`);
}

async function dataOf(job: Job): Promise<PreparedData> {
  const key = JSON.stringify(job.config.dataset);
  const data = prepared.get(key) ?? (await loaded(job));
  prepared.delete(key);
  prepared.set(key, data);
  for (const old of [...prepared.keys()].slice(0, -DATASETS)) prepared.delete(old);
  return data;
}

/** From the checkpoint where there is one; one that is damaged or of another configuration is no reason to fail. */
async function runOrResume(config: Job['config'], options: RunOptions, checkpoint: string): Promise<RunResult> {
  if (existsSync(checkpoint)) {
    try {
      return await train(config, { ...options, resume: checkpoint });
    } catch (error) {
      const stale =
        error instanceof FormatError || (error instanceof ConfigError && error.message.startsWith('resume:'));
      if (!stale) throw error;
    }
  }
  return train(config, options);
}

async function run(job: Job): Promise<FromWorker> {
  const { id, hash, config, cache: dir } = job;
  const cache = new ExperimentCache(dir);
  const path = cache.checkpointOf(hash);
  let reported = performance.now();
  const options: RunOptions = {
    name: id,
    data: await dataOf(job),
    signal: stopping.signal,
    onProgress({ step, steps }) {
      if (performance.now() - reported < REPORT_EVERY) return;
      reported = performance.now();
      send({ type: 'progress', share: step / steps });
    },
  };
  const checkpoint = { path, every: 1, seconds: CHECKPOINT_SECONDS };
  // The last epoch is what counts; evaluations on the way would only cost time.
  const result = await runOrResume({ ...config, evalEvery: config.epochs, checkpoint }, options, path);
  if (result.interrupted) return { type: 'interrupted' };
  const record = runRecord(hash, result, machineInfo());
  await cache.write(record, config);
  return { type: 'done', record };
}

process.on('message', (message: ToWorker) => {
  if (message.type === 'stop') stopping.abort();
  else void work(message);
});

/** Says what came of a cell; ends the process when it was told to, or when nobody listens any more. */
async function work(job: Job): Promise<void> {
  busy = true;
  const answer = await run(job).catch((error: unknown): FromWorker => ({
    type: 'failed',
    message: error instanceof Error ? error.message : String(error),
  }));
  busy = false;
  if (!process.connected) process.exit(0);
  process.send?.(answer, () => {
    if (ending) process.exit(0);
  });
  if (stopping.signal.aborted) stopping = new AbortController();
}

function end(): void {
  ending = true;
  stopping.abort();
  if (!busy) process.exit(0);
  setTimeout(() => process.exit(1), GRACE);
}

// A terminal's Ctrl-C goes to every process of the group; whoever started this one says what is to be done.
process.on('SIGINT', () => undefined);
process.on('SIGHUP', () => undefined);
process.on('SIGTERM', end);
process.on('disconnect', end);

send({ type: 'ready' });
