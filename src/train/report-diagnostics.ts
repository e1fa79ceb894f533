/**
 * The report's section on the neurons' diagnostics: a table of the last epoch and curves over the epochs, per width.
 */
import { lines, overEpochs } from './report-charts.js';
import { type Column, details, type Html, markup, table } from './report-html.js';
import { figure } from './report-page.js';
import { percent, type RunGroup, spread } from './report-summary.js';
import type { Chart } from './report-svg.js';
import type { EpochRecord } from './results.js';

type Diagnostics = NonNullable<EpochRecord['diagnostics']>[string];

interface Measure {
  key: Exclude<keyof Diagnostics, 'units'>;
  /** In the table. */
  label: string;
  title: string;
  /** Of the axis, and of a cell. */
  format: string;
  text(value: number): string;
}

const decimals = (value: number): string => (Number.isFinite(value) ? value.toFixed(3) : '–');
const MEASURES: readonly Measure[] = [
  { key: 'cosine', label: '|cos|', title: 'mean |cos| of weights', format: '.2f', text: decimals },
  { key: 'correlation', label: '|corr|', title: 'mean |corr| of activations', format: '.2f', text: decimals },
  { key: 'effectiveRank', label: 'rank', title: 'effective rank', format: '.1f', text: (v) => v.toFixed(2) },
  { key: 'clones', label: 'clones', title: 'clones (|corr| ≥ 0.9)', format: '.0%', text: (v) => percent(v) },
  { key: 'dead', label: 'dead', title: 'dead', format: '.0%', text: (v) => percent(v) },
  { key: 'dormant', label: 'dormant', title: 'dormant', format: '.0%', text: (v) => percent(v) },
  { key: 't1', label: 'T1', title: 'T1', format: '.2f', text: decimals },
  { key: 't2', label: 'T2', title: 'T2', format: '.2f', text: decimals },
];

/** Widths beyond these are folded away. */
const OPEN_WIDTHS = 2;

const layersOf = (groups: RunGroup[]): string[] => [
  ...new Set(
    groups.flatMap(({ runs }) => runs.flatMap((run) => run.epochs.flatMap((e) => Object.keys(e.diagnostics ?? {})))),
  ),
];

/** Curves of one width, small ones. */
export function diagnosticCharts(groups: RunGroup[], layer: string): Chart[] {
  return MEASURES.map(({ key, title, format }) => {
    const rows = overEpochs(groups, '', (epoch) => epoch.diagnostics?.[layer]?.[key]);
    return { title, rows, format };
  })
    .filter(({ rows }) => rows.length > 0)
    .map(({ title, rows, format }) => lines(title, rows, groups, format, { width: 205, height: 110, ticks: 4 }));
}

function lastTable(groups: RunGroup[], layers: string[]): Html {
  const columns: Column[] = [
    { label: 'Width' },
    { label: 'neurons', numeric: true },
    ...MEASURES.map(({ label }) => ({ label, numeric: true })),
  ];
  const rows = layers.flatMap((layer) =>
    groups.flatMap((group) => {
      const last = group.runs.flatMap((run) => {
        const epoch = run.epochs.findLast((e) => e.diagnostics?.[layer]);
        return epoch?.diagnostics ? [epoch.diagnostics[layer]] : [];
      });
      if (last.length === 0) return [];
      const mean = (key: keyof Diagnostics): number => spread(last.map((d) => d[key])).mean;
      const name = groups.length > 1 ? `${layer}, ${group.name}` : layer;
      return [[name, String(Number(mean('units').toFixed(1))), ...MEASURES.map(({ key, text }) => text(mean(key)))]];
    }),
  );
  return table('Diagnostics after the last epoch', columns, rows);
}

/** The section, or undefined where no run has diagnostics. */
export async function diagnosticSection(groups: RunGroup[], legend: Html): Promise<Html | undefined> {
  const layers = layersOf(groups);
  if (layers.length === 0) return undefined;
  const parts: Html[] = [];
  for (const [i, layer] of layers.entries()) {
    const figures: Html[] = [];
    for (const chart of diagnosticCharts(groups, layer)) figures.push(await figure(chart));
    const all = markup`<div class="charts small">${figures}</div>`;
    parts.push(
      i < OPEN_WIDTHS ? markup`<h3 style="margin-top:18px">${layer}</h3>${all}` : details(`Curves of ${layer}`, all),
    );
  }
  return markup`<section id="diagnostics"><h2>Likeness and idleness of the neurons</h2>
<p class="note">On a sample of the training data, as even over the classes as it goes. |cos| and |corr|: mean over the pairs of neurons, of incoming
weights and of activations; clones: share with |corr| ≥ 0.9 to another. Effective rank: exp of the entropy of the
singular values of the activations. T1 and T2: minus the sum of, and half the deviation minus half the mean of, the edges of the
minimum spanning tree of the neurons under 1 − |corr|; both fall as neurons grow apart.</p>
${lastTable(groups, layers)}${legend}${parts}</section>`;
}
