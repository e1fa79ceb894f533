/**
 * Tables for the terminal: what a run ended with, and groups of runs side by side with their differences.
 */
import Table from 'cli-table3';
import { cellLabel, MEASURES, type PairSummary } from '../train/experiment/index.js';
import {
  classRows,
  type Difference,
  differenceText,
  groupRuns,
  type MetricRow,
  overallRows,
  percent,
  significance,
  stageSummaries,
} from '../train/report-summary.js';
import type { CompareResult } from '../train/index.js';
import { colorsFor } from './output.js';

/** A table without colours of its own; all columns but the first stand on the right. */
export function makeTable(head: string[], rows: string[][]): string {
  const table = new Table({
    head,
    colAligns: head.map((_, i) => (i === 0 ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });
  table.push(...rows);
  return table.toString();
}

/** A difference in points, in green or red where its interval leaves out zero. */
function pointsCell(difference: Difference | undefined): string {
  const color = colorsFor(process.stdout);
  const text = differenceText(difference);
  const sign = difference ? significance(difference) : 0;
  return sign === 0 ? text : sign > 0 ? color.green(text) : color.red(text);
}

function cells(row: MetricRow): string[] {
  return [
    row.label,
    row.count === undefined ? '' : row.count.toLocaleString('en-US'),
    ...row.groups.map((group) => percent(group.mean)),
    ...row.differences.slice(1).map(pointsCell),
  ];
}

/** Rows of cells beyond which only their means are shown. */
const MOST_CELLS = 60;

/** Pairs of methods of an experiment: the difference in every cell with its interval, as far as they are few, then their means. */
export function pairTable(pairs: readonly PairSummary[]): string {
  const color = colorsFor(process.stdout);
  const few = pairs.reduce((sum, { cells }) => sum + cells.length, 0) <= MOST_CELLS;
  const rows = pairs.flatMap(({ method, against, cells, above, below, overall }) => [
    ...(few ? cells : []).map((one) => [
      `${method} − ${against}: ${cellLabel(one)}`,
      String(one.pairs),
      ...MEASURES.map((measure) => pointsCell(one.differences[measure])),
    ]),
    [
      color.bold(`${method} − ${against}: mean of ${cells.length}, ${above} above and ${below} below zero`),
      '',
      ...MEASURES.map((measure) => pointsCell(overall[measure])),
    ],
  ]);
  return makeTable(['difference in points', 'seeds', 'mean recall', 'top-1', 'head', 'mid', 'tail'], rows);
}

/** What second stages did to the groups that have one, a table with its line end; empty where none has. */
export function stageTable(result: CompareResult): string {
  const stages = stageSummaries(groupRuns(result));
  if (stages.length === 0) return '';
  const rows = stages.flatMap(({ name, method, measures }) => [
    [`${name}, before ${method}`, ...measures.map(({ before }) => percent(before))],
    [`${name}, after ${method}`, ...measures.map(({ after }) => percent(after))],
    ['difference, points', ...measures.map(({ difference }) => pointsCell(difference))],
  ]);
  return `${makeTable(['second stage', ...stages[0].measures.map(({ label }) => label)], rows)}\n`;
}

/** Groups of runs side by side: overall measures, then each class; differences in points to the first group. */
export function comparisonTable(result: CompareResult): string {
  const groups = groupRuns(result);
  const head = [
    'test set, last epoch',
    'train samples',
    ...groups.map((group) => (group.runs.length > 1 ? `${group.name} (${group.runs.length} seeds)` : group.name)),
    ...groups
      .slice(1)
      .map((group) => (groups.length === 2 ? 'difference, points' : `${group.name} − ${groups[0].name}`)),
  ];
  const rows = [...overallRows(groups), ...classRows(groups)].map(cells);
  const parameters = groups.map((group) => {
    const { start, end } = group.runs[0].parameters;
    return start === end ? String(end) : `${start} → ${end}`;
  });
  rows.push(['Parameters', '', ...parameters, ...groups.slice(1).map(() => '')]);
  return makeTable(head, rows);
}
