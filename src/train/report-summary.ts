/**
 * What the runs of a results file say: runs grouped by name over their seeds, differences to the first group, paired by seed,
 * with a 95 % confidence interval, and one plain sentence of outcome. Read by the report and by the table of `gyrus compare`.
 */
import type { CompareResult, Evaluation, RunResult } from './results.js';

/** Runs of one configuration with different seeds. */
export interface RunGroup {
  name: string;
  runs: RunResult[];
}

/** A number over the seeds of a group. */
export interface Spread {
  mean: number;
  min: number;
  max: number;
  values: number[];
}

/** A difference to the baseline group, paired by seed. */
export interface Difference {
  mean: number;
  /** Half the width of the 95 % confidence interval over the seeds; undefined below two pairs. */
  halfWidth: number | undefined;
  pairs: number;
}

/** One row of the comparison: a rate of each group, and its difference to the first one. */
export interface MetricRow {
  key: string;
  label: string;
  /** Training samples of the class, on rows of a class. */
  count?: number;
  groups: Spread[];
  /** By group; the first is undefined. */
  differences: (Difference | undefined)[];
}

/** Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom. */
const T95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function spread(values: number[]): Spread {
  return { mean: mean(values), min: Math.min(...values), max: Math.max(...values), values };
}

/** Groups in the order of their first run. */
export function groupRuns(result: CompareResult): RunGroup[] {
  const groups = new Map<string, RunGroup>();
  for (const run of result.runs) {
    const group = groups.get(run.name);
    if (group) group.runs.push(run);
    else groups.set(run.name, { name: run.name, runs: [run] });
  }
  return [...groups.values()];
}

/** Whether neurons come and go in the runs of the group. */
export function isPlastic(group: RunGroup): boolean {
  return group.runs.some((run) => run.events.length > 0);
}

/** Class numbers from the most to the least frequent. */
export function classOrder(run: RunResult): number[] {
  const { classCounts } = run.dataset;
  return classCounts.map((_, c) => c).sort((a, b) => classCounts[b] - classCounts[a] || a - b);
}

/** The mean of paired differences with Student's 95 % interval. */
export function interval(differences: readonly number[]): Difference {
  const n = differences.length;
  const middle = mean(differences);
  if (n < 2) return { mean: middle, halfWidth: undefined, pairs: n };
  const variance = differences.reduce((sum, d) => sum + (d - middle) ** 2, 0) / (n - 1);
  return { mean: middle, halfWidth: (T95[n - 2] ?? 1.96) * Math.sqrt(variance / n), pairs: n };
}

/** Mean difference of the seeds that both groups have. */
export function pairedDifference<T extends { seed: number }>(
  base: { runs: readonly T[] },
  group: { runs: readonly T[] },
  value: (run: T) => number,
): Difference {
  return interval(
    group.runs.flatMap((run) => {
      const partner = base.runs.find((other) => other.seed === run.seed);
      return partner ? [value(run) - value(partner)] : [];
    }),
  );
}

/** Whether the interval leaves out zero: 1 above, -1 below, 0 when it contains zero or there is none. */
export function significance({ mean: middle, halfWidth }: Difference): -1 | 0 | 1 {
  if (halfWidth === undefined || !(Math.abs(middle) > halfWidth)) return 0;
  return middle > 0 ? 1 : -1;
}

function row(groups: RunGroup[], key: string, label: string, value: (final: Evaluation) => number): MetricRow {
  return {
    key,
    label,
    groups: groups.map((group) => spread(group.runs.map((run) => value(run.final)))),
    differences: groups.map((group, i) =>
      i === 0 ? undefined : pairedDifference(groups[0], group, (run) => value(run.final)),
    ),
  };
}

type Measure = 'top1' | 'meanRecall' | 'head' | 'mid' | 'tail';

const OVERALL: readonly [Measure, string][] = [
  ['top1', 'Top-1 accuracy'],
  ['meanRecall', 'Mean class recall'],
  ['head', 'Head classes'],
  ['mid', 'Middle classes'],
  ['tail', 'Tail classes'],
];

/** Top-1, mean class recall, head, mid and tail of the last weights. */
export function overallRows(groups: RunGroup[]): MetricRow[] {
  return OVERALL.map(([key, label]) => row(groups, key, label, (final) => final[key]));
}

/** What the second stage of a group's runs did: means over the seeds where the first stage ends, and at the end. */
export interface StageSummary {
  name: string;
  /** E.g. 'cRT', 'tau-norm (tau 0.7)'. */
  method: string;
  measures: { key: Measure; label: string; before: number; after: number; difference: Difference }[];
}

const STAGE_NAMES: Readonly<Record<string, string>> = { crt: 'cRT', lws: 'LWS' };

/** The groups that have a second stage, in runs that have come to it. */
export function stageSummaries(groups: RunGroup[]): StageSummary[] {
  return groups.flatMap(({ name, runs }) => {
    const steps = runs.flatMap(({ secondStage, epochs, final }) => {
      const before = epochs.filter(({ stage }) => stage !== 2).at(-1)?.test;
      return secondStage && before ? [{ ...secondStage, before, after: final }] : [];
    });
    if (steps.length === 0) return [];
    const taus = [...new Set(steps.flatMap(({ tau }) => (tau === undefined ? [] : [tau])))].sort((a, b) => a - b);
    const { method } = steps[0];
    return {
      name,
      method: (STAGE_NAMES[method] ?? method) + (taus.length > 0 ? ` (tau ${taus.join(', ')})` : ''),
      measures: OVERALL.map(([key, label]) => ({
        key,
        label,
        before: mean(steps.map(({ before }) => before[key])),
        after: mean(steps.map(({ after }) => after[key])),
        difference: interval(steps.map(({ before, after }) => after[key] - before[key])),
      })),
    };
  });
}

/** Recall of each class, most frequent first. */
export function classRows(groups: RunGroup[]): MetricRow[] {
  const { dataset } = groups[0].runs[0];
  return classOrder(groups[0].runs[0]).map((c) => ({
    ...row(groups, `class-${c}`, dataset.classNames[c] ?? `class ${c}`, (final) => final.perClass[c]),
    count: dataset.classCounts[c],
  }));
}

/**
 * Half-width of the 95 % interval that the finite test set alone gives a difference of mean class recalls, taking the two
 * evaluations as independent (they share the test set, so this is an upper bound).
 */
export function testSetNoise(base: RunGroup, group: RunGroup): number {
  const variance = ({ final }: RunResult): number => {
    const classes = final.perClass.length;
    return final.perClass.reduce((sum, p, c) => {
      const rows = final.confusion[c].reduce((a, b) => a + b, 0);
      return rows > 0 ? sum + (p * (1 - p)) / rows / classes ** 2 : sum;
    }, 0);
  };
  return 1.96 * Math.sqrt(variance(base.runs[0]) + variance(group.runs[0]));
}

export const percent = (value: number | null | undefined, digits = 1): string =>
  value === null || value === undefined || !Number.isFinite(value) ? '–' : `${(100 * value).toFixed(digits)} %`;

/** Signed percentage points. */
export const points = (value: number | null | undefined, digits = 1): string => {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const text = (100 * Math.abs(value)).toFixed(digits);
  return Number(text) === 0 ? `±${text}` : `${value < 0 ? '−' : '+'}${text}`;
};

/** 'Signed points ± interval', as far as there are seeds for one. */
export function differenceText(difference: Difference | undefined): string {
  if (!difference) return '';
  if (difference.pairs === 0) return 'no common seed';
  const interval = difference.halfWidth === undefined ? '' : ` ± ${(100 * difference.halfWidth).toFixed(1)}`;
  return points(difference.mean) + interval;
}

/** One sentence or two per group after the first: the difference in mean class recall, and how much of it may be chance. */
export function outcome(groups: RunGroup[]): string[] {
  const [base, ...others] = groups;
  const interrupted = groups.flatMap((group) => group.runs).filter((run) => run.interrupted);
  const notes = interrupted.map(
    (run) => `The run “${run.name}” with seed ${run.seed} was interrupted; its figures are of its last weights.`,
  );
  if (others.length === 0) {
    const recall = spread(base.runs.map((run) => run.final.meanRecall));
    const top1 = spread(base.runs.map((run) => run.final.top1));
    const seeds = base.runs.length === 1 ? `seed ${base.runs[0].seed}` : `${base.runs.length} seeds`;
    return [
      `“${base.name}” (${seeds}) ends at a mean class recall of ${percent(recall.mean)} and a top-1 accuracy of ${percent(top1.mean)}.`,
      ...notes,
    ];
  }
  const sentences = others.map((group) => {
    const recall = pairedDifference(base, group, (run) => run.final.meanRecall);
    if (recall.pairs === 0)
      return `“${group.name}” and “${base.name}” have no seed in common, so no difference is given.`;
    const head = pairedDifference(base, group, (run) => run.final.head).mean;
    const tail = pairedDifference(base, group, (run) => run.final.tail).mean;
    const reached = percent(spread(group.runs.map((run) => run.final.meanRecall)).mean);
    const against = percent(spread(base.runs.map((run) => run.final.meanRecall)).mean);
    const detail = `${points(recall.mean)} points (head ${points(head)}, tail ${points(tail)})`;
    const fact = `“${group.name}” ends at a mean class recall of ${reached}, “${base.name}” at ${against}: ${detail}.`;
    if (recall.halfWidth === undefined) {
      const noise = testSetNoise(base, group);
      const within = Math.abs(recall.mean) <= noise;
      return (
        `${fact} This is one seed: the size of the test set alone leaves up to ±${(100 * noise).toFixed(1)} points open` +
        `${within ? ', so the two can’t be told apart' : ', and how much another seed would change is not known'}.`
      );
    }
    const clear = Math.abs(recall.mean) > recall.halfWidth;
    return (
      `${fact} Over ${recall.pairs} paired seeds the 95 % interval is ±${(100 * recall.halfWidth).toFixed(1)} points, ` +
      (clear ? 'which leaves out zero.' : 'which contains zero: no difference is shown.')
    );
  });
  return [...sentences, ...notes];
}
