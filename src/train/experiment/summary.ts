/**
 * What the runs of an experiment say: the pairs of methods to be compared, and for each pair and each model on each data set the
 * differences paired by seed with their 95 % intervals.
 */
import { type Difference, interval, mean, pairedDifference, significance } from '../report-summary.js';
import { factorName } from './grid.js';
import type { NamedRecord } from './record.js';
import type { Experiment } from './schema.js';

/** The measures of a difference, in percentage points when shown. */
export const MEASURES = ['meanRecall', 'top1', 'head', 'mid', 'tail'] as const;
export type Measure = (typeof MEASURES)[number];

/** Runs of one method with one model on one data set, over their seeds. */
export interface RunGroupOfCell {
  dataset: string;
  model: string;
  if: number | null;
  method: string;
  runs: NamedRecord[];
}

/** A method minus another, with one model on one data set. */
export interface CellDifference {
  dataset: string;
  model: string;
  if: number | null;
  method: string;
  against: string;
  pairs: number;
  differences: Record<Measure, Difference>;
  /** By class, most frequent first. */
  perClass: Difference[];
}

/** A method minus another over all models and data sets that have both. */
export interface PairSummary {
  method: string;
  against: string;
  cells: CellDifference[];
  /** Cells whose interval of mean class recall lies above and below zero. */
  above: number;
  below: number;
  /** Means over the cells, with an interval over the cells. */
  overall: Record<Measure, Difference>;
}

/** The pairs that a file asks for, or each method against the baseline and, for x+y, against baseline+y where there is one. */
export function pairsOf(experiment: Pick<Experiment, 'methods' | 'baseline' | 'compare'>): [string, string][] {
  if (experiment.compare) return experiment.compare;
  const methods = Object.keys(experiment.methods);
  const baseline = experiment.baseline ?? methods[0];
  const pairs = methods.filter((method) => method !== baseline).map((method): [string, string] => [method, baseline]);
  for (const method of methods) {
    const rest = /\+.*$/.exec(method)?.[0];
    const against = `${baseline}${rest}`;
    if (rest !== undefined && against !== method && methods.includes(against)) pairs.push([method, against]);
  }
  return pairs;
}

/** Runs grouped by all but the seed, in the order in which they come. */
export function groupCells(runs: readonly NamedRecord[]): RunGroupOfCell[] {
  const groups = new Map<string, RunGroupOfCell>();
  for (const run of runs) {
    const { dataset, model, if: factor, method } = run;
    const key = JSON.stringify([dataset, model, factor, method]);
    const group = groups.get(key) ?? { dataset, model, if: factor, method, runs: [] };
    group.runs.push(run);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function measured(of: (measure: Measure) => Difference): Record<Measure, Difference> {
  return Object.fromEntries(MEASURES.map((measure) => [measure, of(measure)])) as Record<Measure, Difference>;
}

/** The differences of one pair of methods in every cell that has a seed of both; undefined when there is none. */
export function summarizePair(
  groups: readonly RunGroupOfCell[],
  method: string,
  against: string,
): PairSummary | undefined {
  const cells = groups
    .filter((group) => group.method === method)
    .flatMap((group): CellDifference[] => {
      const { dataset, model, if: factor } = group;
      const base = groups.find(
        (other) =>
          other.method === against && other.dataset === dataset && other.model === model && other.if === factor,
      );
      if (!base) return [];
      const differences = measured((measure) => pairedDifference(base, group, (run) => run[measure]));
      const { pairs } = differences.meanRecall;
      if (pairs === 0) return [];
      const perClass = group.runs[0].perClass.map((_, c) => pairedDifference(base, group, (run) => run.perClass[c]));
      return [{ dataset, model, if: factor, method, against, pairs, differences, perClass }];
    });
  if (cells.length === 0) return undefined;
  const signs = cells.map(({ differences }) => significance(differences.meanRecall));
  return {
    method,
    against,
    cells,
    above: signs.filter((sign) => sign > 0).length,
    below: signs.filter((sign) => sign < 0).length,
    overall: measured((measure) => interval(cells.map(({ differences }) => differences[measure].mean))),
  };
}

/** All pairs that have runs. */
export function summarize(runs: readonly NamedRecord[], pairs: readonly (readonly [string, string])[]): PairSummary[] {
  const groups = groupCells(runs);
  return pairs.flatMap(([method, against]) => summarizePair(groups, method, against) ?? []);
}

/** 'fashion-mnist mlp-12 if100' */
export function cellLabel({ dataset, model, if: factor }: Pick<CellDifference, 'dataset' | 'model' | 'if'>): string {
  return `${dataset} ${model} ${factorName(factor)}`;
}

/** Mean of a measure over the seeds. */
export function meanOver(group: RunGroupOfCell, measure: Measure): number {
  return mean(group.runs.map((run) => run[measure]));
}
