/**
 * The report's charts: from runs to Vega-Lite specifications. All numbers are worked out here, so that a chart and the table beside
 * it show the same ones.
 */
import type { Chart } from './report-svg.js';
import { SERIES } from './report-style.js';
import { type MetricRow, percent, type RunGroup, spread } from './report-summary.js';
import type { EpochRecord, PlasticityEvent, RunResult } from './results.js';

export type Row = Record<string, string | number | boolean>;

export const colorOf = (names: string[]): object => ({
  domain: names,
  range: names.map((_, i) => SERIES[i % SERIES.length]),
});

/** Mean, lowest and highest value per epoch over the runs of each group; `part` tells the lines of a chart apart, or is ''. */
export function overEpochs(
  groups: RunGroup[],
  part: string,
  value: (epoch: EpochRecord) => number | null | undefined,
): Row[] {
  return groups.flatMap((group) => {
    const byEpoch = new Map<number, number[]>();
    for (const epoch of group.runs.flatMap((run) => run.epochs)) {
      const v = value(epoch);
      if (v === null || v === undefined || !Number.isFinite(v)) continue;
      byEpoch.set(epoch.epoch, [...(byEpoch.get(epoch.epoch) ?? []), v]);
    }
    return [...byEpoch]
      .sort(([a], [b]) => a - b)
      .map(([epoch, values]) => {
        const { mean, min, max } = spread(values);
        return { epoch, part, group: group.name, mean, min, max };
      });
  });
}

export function lines(
  title: string,
  rows: Row[],
  groups: RunGroup[],
  format: string,
  { width = 400, height = 210, ticks = 6 } = {},
): Chart {
  const names = groups.map((group) => group.name);
  const color = { field: 'group', type: 'nominal', scale: colorOf(names) };
  const x = {
    field: 'epoch',
    type: 'quantitative',
    title: 'epoch',
    axis: { grid: false, format: 'd', tickMinStep: 1 },
  };
  const y = (field: string): object => ({
    field,
    type: 'quantitative',
    title: null,
    scale: { zero: false, nice: true },
    axis: { format, tickCount: ticks },
  });
  const last = names
    .flatMap((name) =>
      [...new Set(rows.map((row) => row.part))].map((part) => {
        const row = rows.findLast((r) => r.group === name && r.part === part);
        return row
          ? `${name}${part === '' ? '' : ` (${part})`}: ${Number(row.mean).toPrecision(3)} after epoch ${row.epoch}`
          : '';
      }),
    )
    .filter((text) => text !== '');
  return {
    title,
    description: `Lines over epochs. ${last.join('; ')}.`,
    spec: {
      width,
      height,
      data: { values: rows },
      layer: [
        {
          transform: [{ filter: 'datum.max > datum.min' }],
          mark: { type: 'area', opacity: 0.14 },
          encoding: { x, y: y('min'), y2: { field: 'max' }, color, detail: { field: 'part' } },
        },
        {
          mark: { type: 'line', strokeWidth: 2, strokeJoin: 'round', point: rows.length < 5 },
          encoding: {
            x,
            y: y('mean'),
            color,
            strokeDash: {
              field: 'part',
              type: 'nominal',
              scale: {
                domain: ['test', 'train', ''],
                range: [
                  [1, 0],
                  [4, 3],
                  [1, 0],
                ],
              },
            },
          },
        },
      ],
    } as unknown as Chart['spec'],
  };
}

/** Loss, top-1 and mean class recall over the epochs, those there are numbers for. */
export function curves(groups: RunGroup[]): Chart[] {
  const loss = [
    ...overEpochs(groups, 'train', (epoch) => epoch.trainLoss),
    ...overEpochs(groups, 'test', (epoch) => epoch.test?.loss),
  ];
  const accuracy = [
    ...overEpochs(groups, 'train', (epoch) => epoch.trainAccuracy),
    ...overEpochs(groups, 'test', (epoch) => epoch.test?.top1),
  ];
  const recall = overEpochs(groups, 'test', (epoch) => epoch.test?.meanRecall);
  const tail = overEpochs(groups, 'test', (epoch) => epoch.test?.tail);
  const all: [string, Row[], string][] = [
    ['Loss', loss, '.2~f'],
    ['Top-1 accuracy', accuracy, '.0%'],
    ['Mean class recall', recall, '.0%'],
    ['Recall of the tail classes', tail, '.0%'],
  ];
  return all.filter(([, rows]) => rows.length > 0).map(([title, rows, format]) => lines(title, rows, groups, format));
}

/** Recall of each class, most frequent first, groups side by side. */
export function recallBars(rows: MetricRow[], groups: RunGroup[]): Chart {
  const names = groups.map((group) => group.name);
  const label = (row: MetricRow): string => `${row.label} (${row.count})`;
  const values = rows.flatMap((row) =>
    names.map((group, i) => ({
      label: label(row),
      group,
      mean: row.groups[i].mean,
      text: percent(row.groups[i].mean, 0),
    })),
  );
  const band = Math.max(9, Math.min(15, 34 / names.length));
  const y = {
    field: 'label',
    type: 'nominal',
    sort: rows.map(label),
    title: null,
    axis: { labelLimit: 220, labelColor: 'var(--ink)' },
  };
  const offset = { field: 'group', type: 'nominal', sort: names };
  const x = {
    field: 'mean',
    type: 'quantitative',
    title: 'recall on the test set',
    scale: { domain: [0, 1] },
    axis: { format: '.0%', tickCount: 5 },
  };
  return {
    title: 'Recall of each class',
    description: `Bars per class, most frequent first. ${rows
      .map((row) => `${row.label}: ${names.map((name, i) => `${name} ${percent(row.groups[i].mean)}`).join(', ')}`)
      .join('; ')}.`,
    spec: {
      width: 760,
      height: { step: band },
      data: { values },
      layer: [
        {
          mark: { type: 'bar', cornerRadiusEnd: 2, height: { band: 0.88 } },
          encoding: { y, yOffset: offset, x, color: { field: 'group', type: 'nominal', scale: colorOf(names) } },
        },
        {
          mark: { type: 'text', align: 'left', dx: 4, fontSize: 10, color: 'var(--soft)' },
          encoding: { y, yOffset: offset, x, text: { field: 'text' } },
        },
      ],
    } as unknown as Chart['spec'],
  };
}

/** Names of the widths of a run, in the order of the network. */
export function layersOf(run: RunResult): string[] {
  return [...new Set([...run.epochs.flatMap((epoch) => Object.keys(epoch.widths)), ...run.events.map((e) => e.layer)])];
}

function widthBefore(event: PlasticityEvent): number {
  return event.width + (event.kind === 'grow' ? -1 : event.kind === 'prune' ? 1 : 0) * event.unitIds.length;
}

/** Width of one layer over time as a staircase, with the births and deaths of the events marked. */
export function widthChart(run: RunResult, layer: string): Chart {
  const events = run.events.filter((event) => event.layer === layer);
  const epochs = run.epochs.at(-1)?.epoch ?? 0;
  const start = events.length > 0 ? widthBefore(events[0]) : (run.epochs[0]?.widths[layer] ?? 0);
  const steps: Row[] = [{ epoch: 0, width: start }];
  for (const event of events) steps.push({ epoch: event.epoch, width: event.width });
  steps.push({ epoch: epochs, width: events.at(-1)?.width ?? start });
  const marks = events.map((event) => ({
    epoch: event.epoch,
    width: event.width,
    kind: event.kind,
    text: `${event.kind === 'grow' ? '+' : event.kind === 'prune' ? '−' : '↻'}${event.unitIds.length}`,
  }));
  const highest = Math.max(start, ...events.map((event) => event.width));
  const x = {
    field: 'epoch',
    type: 'quantitative',
    title: 'epoch',
    scale: { domain: [0, Math.max(1, epochs)], nice: false },
    axis: { grid: false, tickMinStep: 1 },
  };
  const y = {
    field: 'width',
    type: 'quantitative',
    title: 'active units',
    scale: { domain: [0, Math.max(1, Math.ceil(highest * 1.22))], nice: false },
    axis: { format: 'd', tickMinStep: 1, tickCount: 5 },
  };
  const kinds = { domain: ['grow', 'prune', 'reset'], range: ['var(--birth)', 'var(--death)', 'var(--s3)'] };
  const color = { field: 'kind', type: 'nominal', scale: kinds };
  return {
    title: `Width of ${layer}`,
    description:
      `Active units over epochs, from ${start} at the start to ${events.at(-1)?.width ?? start} at the end. ` +
      events.map((e) => `epoch ${e.epoch}: ${e.kind} ${e.unitIds.length}, then ${e.width}`).join('; '),
    spec: {
      width: 400,
      height: 150,
      layer: [
        {
          data: { values: steps },
          mark: { type: 'area', interpolate: 'step-after', color: 'var(--s2)', opacity: 0.12 },
          encoding: { x, y },
        },
        {
          data: { values: steps },
          mark: { type: 'line', interpolate: 'step-after', color: 'var(--s2)', strokeWidth: 2 },
          encoding: { x, y },
        },
        {
          data: { values: marks },
          mark: { type: 'point', filled: true, size: 55, opacity: 1 },
          encoding: {
            x,
            y,
            color,
            shape: {
              field: 'kind',
              type: 'nominal',
              scale: { domain: ['grow', 'prune', 'reset'], range: ['triangle-up', 'triangle-down', 'circle'] },
            },
          },
        },
        ...(marks.length <= 24
          ? [
              {
                data: { values: marks.filter((mark) => mark.kind !== 'prune') },
                mark: { type: 'text', dy: -11, fontSize: 10 },
                encoding: { x, y, color, text: { field: 'text' } },
              },
              {
                data: { values: marks.filter((mark) => mark.kind === 'prune') },
                mark: { type: 'text', dy: 13, fontSize: 10 },
                encoding: { x, y, color, text: { field: 'text' } },
              },
            ]
          : []),
      ],
    } as unknown as Chart['spec'],
  };
}

/** One bin of a score histogram. */
export interface Bin {
  from: number;
  to: number;
  kept: number;
  removed: number;
}

/** Scores of an event's units in bins; logarithmic ones where the scores span more than two decades. */
export function scoreBins(event: PlasticityEvent, count = 16): { bins: Bin[]; log: boolean } {
  const scores = (event.scores ?? []).filter(({ score }) => Number.isFinite(score));
  const positive = scores.map(({ score }) => score).filter((score) => score > 0);
  const low = Math.min(...positive);
  const high = Math.max(...scores.map(({ score }) => score));
  const log = positive.length > 0 && scores.every(({ score }) => score >= 0) && high / low > 100;
  const least = log ? Math.log10(low) : Math.min(0, ...scores.map(({ score }) => score));
  const most = log ? Math.log10(high) : high;
  const size = most > least ? (most - least) / count : 1;
  const edge = (i: number): number => (log ? 10 ** (least + i * size) : least + i * size);
  const bins = Array.from({ length: count }, (_, i): Bin => ({ from: edge(i), to: edge(i + 1), kept: 0, removed: 0 }));
  const gone = new Set(event.unitIds);
  for (const { id, score } of scores) {
    const place = log ? (score > 0 ? Math.log10(score) : least) : score;
    const bin = bins[Math.max(0, Math.min(count - 1, Math.floor((place - least) / size)))];
    if (gone.has(id)) bin.removed++;
    else bin.kept++;
  }
  return { bins, log };
}

/** Scores at one pruning: how many units were kept and removed in each bin. */
export function scoreHistogram(event: PlasticityEvent): Chart {
  const { bins, log } = scoreBins(event);
  const values = bins.flatMap(({ from, to, kept, removed }) => [
    { from, to, low: 0, high: removed, kind: 'removed' },
    { from, to, low: removed, high: removed + kept, kind: 'kept' },
  ]);
  const total = event.scores?.length ?? 0;
  return {
    title: `Scores in ${event.layer} at epoch ${Number(event.epoch.toFixed(2))}`,
    description: `Histogram of the scores of ${total} units, ${event.unitIds.length} of them ${event.kind === 'reset' ? 'reset' : 'removed'}.`,
    spec: {
      width: 240,
      height: 100,
      data: { values: values.filter(({ low, high }) => high > low) },
      mark: { type: 'rect', stroke: 'var(--card)', strokeWidth: 1 },
      encoding: {
        x: {
          field: 'from',
          type: 'quantitative',
          title: log ? 'score, log scale' : 'score',
          scale: log
            ? { type: 'log', domain: [bins[0].from, bins[bins.length - 1].to], nice: false }
            : { domain: [bins[0].from, bins[bins.length - 1].to], nice: false },
          axis: { grid: false, tickCount: 4, format: '~g', labelOverlap: true },
        },
        x2: { field: 'to' },
        y: { field: 'low', type: 'quantitative', title: 'units', axis: { tickMinStep: 1, tickCount: 4, format: 'd' } },
        y2: { field: 'high' },
        color: {
          field: 'kind',
          type: 'nominal',
          scale: { domain: ['removed', 'kept'], range: ['var(--death)', 'var(--s2)'] },
        },
      },
    } as unknown as Chart['spec'],
  };
}

/** Rows of the confusion matrix summed over the seeds of a group and divided by their sum, classes in the given order. */
export function confusionShares(group: RunGroup, order: number[]): number[][] {
  return order.map((label) => {
    const row = order.map((guess) => group.runs.reduce((sum, run) => sum + run.final.confusion[label][guess], 0));
    const total = row.reduce((a, b) => a + b, 0);
    return row.map((n) => (total > 0 ? n / total : 0));
  });
}

/** Heat map of the confusion matrix; its shares are written into the cells where there is room. */
export function confusionChart(group: RunGroup, order: number[]): Chart {
  const { classNames } = group.runs[0].dataset;
  const names = order.map((c) => classNames[c] ?? `class ${c}`);
  const shares = confusionShares(group, order);
  const values = shares.flatMap((row, i) =>
    row.map((share, j) => ({
      label: names[i],
      guess: names[j],
      share,
      text: share >= 0.005 ? (100 * share).toFixed(0) : '',
    })),
  );
  const size = Math.min(400, Math.max(240, names.length * 34));
  const worst = shares
    .flatMap((row, i) => row.map((share, j) => ({ share, i, j })))
    .filter(({ i, j }) => i !== j)
    .sort((a, b) => b.share - a.share)
    .slice(0, 3);
  const y = { field: 'label', type: 'nominal', sort: names, title: 'label', axis: { labelLimit: 90 } };
  const x = {
    field: 'guess',
    type: 'nominal',
    sort: names,
    title: 'prediction',
    axis: { labelAngle: -40, labelLimit: 90 },
  };
  return {
    title: `Confusion of ${group.name}`,
    description: `Share of each label's test samples by prediction. Most frequent mistakes: ${worst
      .map(({ share, i, j }) => `${names[i]} taken for ${names[j]} ${percent(share)}`)
      .join('; ')}.`,
    spec: {
      width: size,
      height: size,
      data: { values },
      layer: [
        {
          mark: { type: 'rect', color: 'var(--heat)', stroke: 'var(--card)', strokeWidth: 1 },
          encoding: {
            x,
            y,
            opacity: { field: 'share', type: 'quantitative', scale: { domain: [0, 1], range: [0.04, 1] } },
          },
        },
        ...(names.length <= 20
          ? [
              {
                mark: { type: 'text', fontSize: 10 },
                encoding: {
                  x,
                  y,
                  text: { field: 'text' },
                  color: { condition: { test: 'datum.share > 0.55', value: 'var(--card)' }, value: 'var(--ink)' },
                },
              },
            ]
          : []),
      ],
    } as unknown as Chart['spec'],
  };
}
