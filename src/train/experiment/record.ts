/**
 * What is kept of a cell's run: the row of the results table and what the report shows besides. Kept in the cache, in results.json
 * and, without the rest, in results.csv.
 */
import type { RunResult } from '../results.js';
import { type CellName, factorName } from './grid.js';

/** The measured part of a run, under the hash of its configuration. Rates are fractions, losses in nats, times in seconds. */
export interface RunRecord {
  hash: string;
  /** Of the weights after the last epoch, on the test set. */
  top1: number;
  meanRecall: number;
  head: number;
  mid: number;
  tail: number;
  /** Parameters at the end. */
  params: number;
  /** Multiply-adds of a forward pass of one sample at the end. */
  madds: number;
  /** Multiply-adds of the whole training. */
  trainingMadds: number;
  seconds: number;
  epochs: number;
  loss: number;
  /** Expected calibration error. */
  ece: number;
  /** Recall of each class, most frequent first. */
  perClass: number[];
  classCounts: number[];
  classNames: string[];
  /** Units born, removed and reset. */
  units: { grow: number; prune: number; reset: number };
  isa: string;
  cpu: string;
}

/** A run with the names of its cell. */
export interface NamedRecord extends CellName, RunRecord {}

/** What is kept of the result of a finished run. */
export function runRecord(hash: string, result: RunResult, machine: { isa: string; cpu: string }): RunRecord {
  const { final, dataset, parameters, events } = result;
  const order = dataset.classCounts
    .map((_, c) => c)
    .sort((a, b) => dataset.classCounts[b] - dataset.classCounts[a] || a - b);
  const sorted = <T>(values: readonly T[]): T[] => order.map((c) => values[c]);
  const units = { grow: 0, prune: 0, reset: 0 };
  for (const { kind, unitIds } of events) units[kind] += unitIds.length;
  return {
    hash,
    top1: final.top1,
    meanRecall: final.meanRecall,
    head: final.head,
    mid: final.mid,
    tail: final.tail,
    params: parameters.end,
    madds: result.multiplyAdds.forward,
    trainingMadds: result.multiplyAdds.training,
    seconds: result.seconds,
    epochs: result.epochs.length,
    loss: final.loss,
    ece: final.ece,
    perClass: sorted(final.perClass),
    classCounts: sorted(dataset.classCounts),
    classNames: sorted(dataset.classNames),
    units,
    isa: machine.isa,
    cpu: machine.cpu,
  };
}

/** Of results.csv: one row per run. */
export const CSV_COLUMNS = [
  'dataset',
  'model',
  'if',
  'method',
  'seed',
  'top1',
  'mean_recall',
  'head',
  'mid',
  'tail',
  'params',
  'madds',
  'seconds',
] as const;

/** results.csv: rates as fractions with six digits, seconds with one; no quotes, since names hold no commas. */
export function toCsv(runs: readonly NamedRecord[]): string {
  const lines = runs.map((run) =>
    [
      run.dataset,
      run.model,
      run.if ?? factorName(null),
      run.method,
      run.seed,
      ...[run.top1, run.meanRecall, run.head, run.mid, run.tail].map((rate) => rate.toFixed(6)),
      run.params,
      run.madds,
      run.seconds.toFixed(1),
    ].join(','),
  );
  return `${[CSV_COLUMNS.join(','), ...lines].join('\n')}\n`;
}
