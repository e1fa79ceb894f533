/**
 * compare: several configurations, each with several seeds, one after another on the same data.
 */
import { addon, ConfigError } from '../device/index.js';
import { parseConfig, type RunConfigInput } from './config.js';
import type { RunHooks } from './callback.js';
import type { CompareResult, RunResult } from './results.js';
import { train } from './run.js';
import { totalEpochs } from './second-stage-config.js';
import { prepareData, type PreparedData } from './setup.js';

/** A run of a comparison that is about to start. */
export interface RunStart {
  name: string;
  seed: number;
  /** From 0, of `total` runs. */
  index: number;
  total: number;
  epochs: number;
  data: PreparedData;
}

export interface CompareOptions {
  signal?: AbortSignal;
  /** Called as each run starts; what it returns hears of its progress. */
  onRunStart?(run: RunStart): RunHooks | void;
  onRunEnd?(result: RunResult): void;
  /** Appends one JSON line per epoch and per event of every run. */
  metricsPath?: string;
}

/** What this process computes with. */
export function machineInfo(): CompareResult['machine'] {
  const native = addon();
  return { node: process.version, isa: native.isa, threads: native.threads(), cpu: native.cpu.brand };
}

/** The results.json of some runs. */
export function compareResult(runs: RunResult[]): CompareResult {
  return { format: 'gyrus-results', version: 1, createdAt: new Date().toISOString(), machine: machineInfo(), runs };
}

/**
 * Runs every configuration with every seed. All configurations are checked before the first run. An aborted signal ends the run in
 * progress at a step boundary and skips the others.
 * @param seeds default: the seed of each configuration
 * @throws ConfigError for a bad configuration, no runs, or two of one name; otherwise as `train`
 */
export async function compare(
  runs: readonly { name: string; config: RunConfigInput }[],
  seeds?: readonly number[],
  options: CompareOptions = {},
): Promise<CompareResult> {
  if (runs.length === 0) throw new ConfigError('compare: expected at least one configuration, got none');
  const names = new Set<string>();
  const jobs = runs.flatMap(({ name, config }) => {
    if (names.has(name)) throw new ConfigError(`compare: expected distinct names, got '${name}' twice`);
    names.add(name);
    const full = parseConfig(config, name);
    return (seeds ?? [full.seed]).map((seed) => ({ name, config: parseConfig({ ...full, seed }, name) }));
  });
  // By seed first, so that an interrupted comparison has whole pairs.
  if (seeds) jobs.sort((a, b) => seeds.indexOf(a.config.seed) - seeds.indexOf(b.config.seed));

  const prepared = new Map<string, PreparedData>();
  const results: RunResult[] = [];
  for (const [index, { name, config }] of jobs.entries()) {
    if (options.signal?.aborted) break;
    const key = JSON.stringify(config.dataset);
    const data = prepared.get(key) ?? (await prepareData(config.dataset));
    prepared.set(key, data);
    const hooks =
      options.onRunStart?.({ name, seed: config.seed, index, total: jobs.length, epochs: totalEpochs(config), data }) ??
      {};
    const result = await train(config, {
      ...hooks,
      name,
      data,
      signal: options.signal,
      metricsPath: options.metricsPath,
    });
    results.push(result);
    options.onRunEnd?.(result);
  }
  return compareResult(results);
}
