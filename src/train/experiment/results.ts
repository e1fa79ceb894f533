/**
 * The files of an experiment: results.csv, results.json, which another machine may go on from, and summary.json.
 */
import { join } from 'node:path';
import { writeFileAtomic } from '../../io/index.js';
import { machineInfo } from '../compare.js';
import type { CompareResult } from '../results.js';
import { type NamedRecord, toCsv } from './record.js';
import type { RunnerOutcome } from './runner.js';
import type { Experiment } from './schema.js';
import { type PairSummary, pairsOf, summarize } from './summary.js';

/** results.json of an experiment. */
export interface ExperimentResult {
  format: 'gyrus-experiment';
  version: 1;
  name: string;
  createdAt: string;
  /** The command line that wrote it, where there was one. */
  command?: string;
  machine: CompareResult['machine'];
  /** The file that was run. */
  experiment: Experiment;
  /** Pairs [method, against]. */
  compare: [string, string][];
  /** Runs of the grid, finished or not. */
  total: number;
  runs: NamedRecord[];
  failed: { id: string; message: string }[];
}

/** The runs of an experiment that are finished, under the names of their cells. */
export function experimentResult(
  experiment: Experiment,
  outcome: Pick<RunnerOutcome, 'finished' | 'failed'> & { total: number },
  command?: string,
): ExperimentResult {
  return {
    format: 'gyrus-experiment',
    version: 1,
    name: experiment.name,
    createdAt: new Date().toISOString(),
    ...(command !== undefined && { command }),
    machine: machineInfo(),
    experiment,
    compare: pairsOf(experiment),
    total: outcome.total,
    runs: outcome.finished.map(({ cell, record }) => {
      const { dataset, model, if: factor, method, seed } = cell;
      return { dataset, model, if: factor, method, seed, ...record };
    }),
    failed: outcome.failed.map(({ cell, message }) => ({ id: cell.id, message })),
  };
}

/** A line for each run, so that the file stays readable and its changes small. */
function toJson({ runs, ...rest }: ExperimentResult): string {
  const head = JSON.stringify(rest, null, 2).replace(/\n\}$/, '');
  return `${head},\n  "runs": [\n${runs.map((run) => `    ${JSON.stringify(run)}`).join(',\n')}\n  ]\n}\n`;
}

/** Writes results.csv, results.json and summary.json, each atomically. Throws IOError. */
export async function writeExperiment(result: ExperimentResult, dir: string): Promise<PairSummary[]> {
  const summary = summarize(result.runs, result.compare);
  const files = {
    'results.csv': toCsv(result.runs),
    'results.json': toJson(result),
    'summary.json': `${JSON.stringify(summary, null, 2)}\n`,
  };
  for (const [name, text] of Object.entries(files)) await writeFileAtomic(join(dir, name), [Buffer.from(text)]);
  return summary;
}
