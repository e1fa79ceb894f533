/**
 * The charts of an experiment's report, as Vega-Lite specifications.
 */
import { colorOf } from '../report-charts.js';
import { mean, percent, points, significance } from '../report-summary.js';
import type { Chart } from '../report-svg.js';
import { factorName } from './grid.js';
import { type CellDifference, cellLabel, meanOver, type PairSummary, type RunGroupOfCell } from './summary.js';

type Row = Record<string, string | number>;

const pairTitle = ({ method, against }: Pick<PairSummary, 'method' | 'against'>): string => `${method} − ${against}`;
const SIGNS = { '-1': 'below zero', 0: 'contains zero', 1: 'above zero' } as const;

/** Differences in mean class recall with their intervals, a row for each cell and one for their mean. */
export function forest(pair: PairSummary): Chart {
  const rows = [
    ...pair.cells.map((cell) => ({ label: cellLabel(cell), difference: cell.differences.meanRecall })),
    { label: `mean of ${pair.cells.length}`, difference: pair.overall.meanRecall },
  ];
  const values = rows.map(({ label, difference }): Row => {
    const half = difference.halfWidth ?? 0;
    return {
      label,
      mean: 100 * difference.mean,
      low: 100 * (difference.mean - half),
      high: 100 * (difference.mean + half),
      sign: SIGNS[significance(difference)],
    };
  });
  // An interval of two seeds may be many times as wide as all differences; it leaves the picture.
  const reach = Math.max(1, ...values.map((row) => 2.5 * Math.abs(Number(row.mean))));
  const least = Math.max(-reach, Math.min(0, ...values.map((row) => Number(row.low))));
  const most = Math.min(reach, Math.max(0, ...values.map((row) => Number(row.high))));
  const y = {
    field: 'label',
    type: 'nominal',
    sort: rows.map(({ label }) => label),
    title: null,
    axis: { labelLimit: 260, labelColor: 'var(--ink)' },
  };
  const x = (field: string): object => ({
    field,
    type: 'quantitative',
    title: 'points of mean class recall',
    scale: { domain: [least, most], nice: true },
  });
  const color = {
    field: 'sign',
    type: 'nominal',
    scale: { domain: [SIGNS[-1], SIGNS[0], SIGNS[1]], range: ['var(--bad)', 'var(--soft)', 'var(--good)'] },
  };
  return {
    title: pairTitle(pair),
    description: `Differences in points with 95 % intervals. ${values
      .map(
        (row) =>
          `${row.label}: ${Number(row.mean).toFixed(1)} (${Number(row.low).toFixed(1)} to ${Number(row.high).toFixed(1)})`,
      )
      .join('; ')}.`,
    spec: {
      width: 300,
      height: { step: 17 },
      data: { values },
      layer: [
        { mark: { type: 'rule', color: 'var(--ink)', strokeDash: [2, 2] }, encoding: { x: { datum: 0 } } },
        {
          mark: { type: 'rule', strokeWidth: 2, clip: true },
          encoding: { y, x: x('low'), x2: { field: 'high' }, color },
        },
        { mark: { type: 'point', filled: true, size: 48, opacity: 1 }, encoding: { y, x: x('mean'), color } },
      ],
    } as unknown as Chart['spec'],
  };
}

/** Recall differences of each class, most frequent first: a point for each model, a bar for their mean. */
export function classDifferences(
  pair: PairSummary,
  cells: readonly CellDifference[],
  names: readonly string[],
  counts: readonly number[],
): Chart {
  const labels = names.map((name, c) => `${name} (${counts[c]})`);
  const each = cells.flatMap(({ model, perClass }) =>
    perClass.map((difference, c): Row => ({ label: labels[c], model, points: 100 * difference.mean })),
  );
  const means = labels.map((label, c): Row => ({
    label,
    points: 100 * mean(cells.map(({ perClass }) => perClass[c].mean)),
  }));
  const x = {
    field: 'label',
    type: 'nominal',
    sort: labels,
    title: null,
    axis: { labelAngle: -40, labelLimit: 110 },
  };
  const y = { field: 'points', type: 'quantitative', title: 'points of recall' };
  return {
    title: `${pairTitle(pair)}: ${cells[0].dataset} ${factorName(cells[0].if)}`,
    description: `Mean difference over ${cells.length} models by class: ${means
      .map((row) => `${row.label} ${points(Number(row.points) / 100)}`)
      .join('; ')}.`,
    spec: {
      width: 400,
      height: 190,
      layer: [
        {
          data: { values: means },
          mark: { type: 'bar', color: 'var(--s2)', opacity: 0.45, width: { band: 0.7 } },
          encoding: { x, y },
        },
        {
          data: { values: each },
          mark: { type: 'point', filled: true, size: 18, color: 'var(--ink)', opacity: 0.7 },
          encoding: { x, y },
        },
        { mark: { type: 'rule', color: 'var(--line)' }, encoding: { y: { datum: 0 } } },
      ],
    } as unknown as Chart['spec'],
  };
}

/** Mean class recall of the models of one data set against their size or cost, a line for each method. */
export function recallAgainst(
  groups: readonly RunGroupOfCell[],
  methods: readonly string[],
  cost: { title: string; of(group: RunGroupOfCell): number },
): Chart {
  const values = groups.map((group): Row => {
    return { method: group.method, model: group.model, at: cost.of(group), recall: meanOver(group, 'meanRecall') };
  });
  const { dataset, if: factor } = groups[0];
  const x = {
    field: 'at',
    type: 'quantitative',
    title: cost.title,
    scale: { type: 'log', nice: false, padding: 14 },
    axis: { grid: false, format: '~s', tickCount: 5, labelOverlap: true },
  };
  const y = {
    field: 'recall',
    type: 'quantitative',
    title: 'mean class recall',
    scale: { zero: false, nice: true },
    axis: { format: '.0%', tickCount: 6 },
  };
  const color = { field: 'method', type: 'nominal', scale: colorOf([...methods]) };
  // Colours start again after six methods; their marks tell them apart.
  const shapes = ['circle', 'square', 'triangle-up', 'diamond'];
  const shape = {
    field: 'method',
    type: 'nominal',
    scale: { domain: methods, range: methods.map((_, i) => shapes[Math.floor(i / 6) % shapes.length]) },
  };
  return {
    title: `${dataset} ${factorName(factor)}`,
    description: `Mean class recall against ${cost.title}: ${values
      .map((row) => `${row.model} ${row.method} ${percent(Number(row.recall))} at ${row.at}`)
      .join('; ')}.`,
    spec: {
      width: 400,
      height: 230,
      data: { values },
      layer: [
        { mark: { type: 'line', strokeWidth: 1, opacity: 0.55 }, encoding: { x, y, color, order: { field: 'at' } } },
        { mark: { type: 'point', filled: true, size: 46, opacity: 1 }, encoding: { x, y, color, shape } },
        {
          data: { values: values.filter((row) => row.method === methods[0]) },
          mark: { type: 'text', dy: 12, fontSize: 9, color: 'var(--soft)' },
          encoding: { x, y, text: { field: 'model' } },
        },
      ],
    } as unknown as Chart['spec'],
  };
}
