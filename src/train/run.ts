/**
 * train: one run from a configuration to a RunResult, with checkpoints, resume and a metrics file.
 */
import { defaultDevice, setDefaultDevice, setThreads } from '../device/index.js';
import type { Callback, RunHooks } from './callback.js';
import { parseConfig, type RunConfig, type RunConfigInput } from './config.js';
import { JsonlWriter } from './jsonl.js';
import type { RunResult } from './results.js';
import { prepareData, type PreparedData, prepareRun } from './setup.js';
import { Trainer } from './trainer.js';

export interface RunOptions extends RunHooks {
  /** Default 'run'. */
  name?: string;
  /** Ends the run at a step boundary, with a checkpoint where the configuration names one. */
  signal?: AbortSignal;
  /** Appends one JSON line per epoch and per event. */
  metricsPath?: string;
  /** Go on from this checkpoint; it must be of the same configuration (threads, recording, evalEvery and checkpoint may differ). */
  resume?: string;
  callbacks?: readonly Callback[];
  /** Data prepared already for the same `dataset` and seed, e.g. for several runs of a comparison. */
  data?: PreparedData;
}

/**
 * Trains by configuration and resolves with the result. An aborted signal resolves too, with `interrupted: true`.
 * @throws ConfigError for a bad configuration, FormatError for bad data or checkpoint files, IOError when a file can't be written,
 *   DeviceError when there is no such device
 */
export async function train(config: RunConfigInput | RunConfig, options: RunOptions = {}): Promise<RunResult> {
  const full = parseConfig(config);
  if (full.threads !== null) setThreads(full.threads);
  const before = defaultDevice();
  if (full.device !== null) setDefaultDevice(full.device);
  try {
    return await trainHere(full, options);
  } finally {
    setDefaultDevice(before);
  }
}

/** On the default device. */
async function trainHere(full: RunConfig, options: RunOptions): Promise<RunResult> {
  const data = options.data ?? (await prepareData(full.dataset));
  const name = options.name ?? 'run';
  const run = prepareRun(full, data);
  let metrics: JsonlWriter | undefined;
  const trainer = new Trainer({
    ...run,
    name,
    data,
    signal: options.signal,
    callbacks: options.callbacks,
    onProgress: options.onProgress,
    onEpoch: (record) => {
      metrics?.write({ type: 'epoch', run: name, seed: full.seed, ...record });
      options.onEpoch?.(record);
    },
    onEvent: (event) => {
      metrics?.write({ type: 'event', run: name, seed: full.seed, ...event });
      options.onEvent?.(event);
    },
  });
  try {
    if (options.metricsPath !== undefined) metrics = new JsonlWriter(options.metricsPath);
    if (options.resume !== undefined) await trainer.resume(options.resume);
    return await trainer.run();
  } finally {
    trainer.dispose();
    metrics?.close();
  }
}
