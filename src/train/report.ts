/**
 * The report: one self-contained HTML file made of a results file. Charts are drawn when it is written; nothing is loaded when it
 * is read. This file lays out the sections; numbers come from report-summary.ts, charts from report-charts.ts.
 */
import * as charts from './report-charts.js';
import { diagnosticSection } from './report-diagnostics.js';
import { type Column, details, type Html, markup, raw, table } from './report-html.js';
import { figure, legend, page, signed, writePage } from './report-page.js';
import {
  classOrder,
  classRows,
  groupRuns,
  isPlastic,
  type MetricRow,
  outcome,
  overallRows,
  percent,
  type RunGroup,
  spread,
  stageSummaries,
} from './report-summary.js';
import type { CompareResult, PlasticityEvent, RunResult } from './results.js';

const seconds = (value: number): string => (value < 90 ? `${value.toFixed(1)} s` : `${(value / 60).toFixed(1)} min`);
const count = (value: number): string => value.toLocaleString('en-US');
const names = (groups: RunGroup[]): string[] => groups.map((group) => group.name);
const distinct = (values: string[]): string => [...new Set(values)].join(', ');

function comparison(rows: MetricRow[], groups: RunGroup[], first: string): Html {
  const several = groups.some((group) => group.runs.length > 1);
  const counted = rows.some((row) => row.count !== undefined);
  const columns: Column[] = [
    { label: first },
    ...(counted ? [{ label: 'training samples', numeric: true }] : []),
    ...groups.map((group) => ({ label: group.name, numeric: true })),
    ...groups.slice(1).map((group) => ({ label: `${group.name} − ${groups[0].name}, points`, numeric: true })),
  ];
  const cell = (row: MetricRow, i: number): string =>
    percent(row.groups[i].mean) + (several ? ` (${percent(row.groups[i].min)} to ${percent(row.groups[i].max)})` : '');
  return table(
    `${first}: ${groups.map((group) => group.name).join(' and ')}`,
    columns,
    rows.map((row) => [
      row.label,
      ...(counted ? [count(row.count ?? 0)] : []),
      ...groups.map((_, i) => cell(row, i)),
      ...row.differences.slice(1).map((difference) => signed(difference)),
    ]),
  );
}

function headline(result: CompareResult, groups: RunGroup[]): Html {
  const { dataset } = groups[0].runs[0];
  const seeds = distinct(result.runs.map((run) => String(run.seed)));
  const tiles: [string, string][] = [
    ['Data', dataset.name],
    ['Training samples', `${count(dataset.trainRows)} in ${dataset.classCounts.length} classes`],
    [
      'Imbalance factor',
      Number.isFinite(dataset.imbalanceFactor) ? String(Number(dataset.imbalanceFactor.toPrecision(4))) : 'as it is',
    ],
    ['Test samples', count(dataset.testRows)],
    ['Seeds', seeds],
    ['Epochs', distinct(result.runs.map((run) => String(run.epochs.at(-1)?.epoch ?? 0)))],
  ];
  return markup`<header class="card">
<h1>Gyrus: ${groups.map((group) => group.name).join(' against ')}</h1>
<p class="sub">${distinct(result.runs.map((run) => run.dataset.name))}, read from ${distinct(result.runs.map((run) => run.dataset.source))} · written ${result.createdAt}</p>
${outcome(groups).map((sentence) => markup`<p class="outcome">${sentence}</p>`)}
<dl class="tiles">${tiles.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
</header>`;
}

function results(groups: RunGroup[]): Html {
  const parameters = table(
    'Size, time and calibration of each group',
    [
      { label: 'Run' },
      { label: 'seeds', numeric: true },
      { label: 'parameters at the start', numeric: true },
      { label: 'parameters at the end', numeric: true },
      { label: 'calibration error', numeric: true },
      { label: 'time per run', numeric: true },
    ],
    groups.map(({ name, runs }) => [
      name,
      String(runs.length),
      distinct(runs.map((run) => count(run.parameters.start))),
      distinct(runs.map((run) => count(run.parameters.end))),
      percent(spread(runs.map((run) => run.final.ece)).mean),
      seconds(spread(runs.map((run) => run.seconds)).mean),
    ]),
  );
  const several = groups.some((group) => group.runs.length > 1);
  return markup`<section id="results"><h2>Results</h2>
<p class="note">On the test set, with the weights of the last epoch, never the best one.${
    several
      ? ' Means over the seeds, lowest and highest in brackets; differences are paired by seed, ± is a 95 % interval, and a difference is coloured where that leaves out zero.'
      : ''
  }</p>
${comparison(overallRows(groups), groups, 'Measure')}${parameters}</section>`;
}

/** What a two-stage method made of the classifier; nothing where no run has one. */
function stageSection(groups: RunGroup[]): Html | undefined {
  const stages = stageSummaries(groups);
  if (stages.length === 0) return undefined;
  const columns = [
    { label: 'Run' },
    ...stages[0].measures.map(({ label }) => ({ label: label.toLowerCase(), numeric: true })),
  ];
  const rows = stages.flatMap(({ name, method, measures }) => [
    [`${name}, before ${method}`, ...measures.map(({ before }) => percent(before))],
    [`${name}, after ${method}`, ...measures.map(({ after }) => percent(after))],
    [`${name}, after − before, points`, ...measures.map(({ difference }) => signed(difference))],
  ]);
  return markup`<section id="second-stage"><h2>Second stage</h2>
<p class="note">The network without its classifier stays as the first stage left it. On the test set, with the last weights of each stage; differences are paired by seed.</p>
${table('Before and after the second stage', columns, rows)}</section>`;
}

async function curveSection(groups: RunGroup[]): Promise<Html> {
  const figures: Html[] = [];
  for (const chart of charts.curves(groups)) figures.push(await figure(chart));
  const rows = groups.flatMap((group) =>
    group.runs.flatMap((run) =>
      run.epochs.map((e) => [
        `${group.name}, seed ${run.seed}, epoch ${e.epoch}`,
        Number.isFinite(e.trainLoss) ? e.trainLoss.toFixed(4) : '–',
        e.test && Number.isFinite(e.test.loss) ? e.test.loss.toFixed(4) : '–',
        percent(e.trainAccuracy),
        percent(e.test?.top1),
        percent(e.test?.meanRecall),
        percent(e.test?.tail),
      ]),
    ),
  );
  const columns = ['Epoch', 'train loss', 'test loss', 'train accuracy', 'top-1', 'mean recall', 'tail recall'];
  return markup`<section id="curves"><h2>Loss and accuracy</h2>
<p class="note">The loss on the training data is of the batches as they came, the one on the test set is cross-entropy.${
    groups.some((group) => group.runs.length > 1)
      ? ' Lines are means over the seeds, shades reach from the lowest to the highest.'
      : ''
  }</p>
${legend(names(groups), true)}<div class="charts">${figures}</div>
${details(
  'The numbers',
  table(
    'Loss and accuracy of each epoch',
    columns.map((label, i) => ({ label, numeric: i > 0 })),
    rows,
  ),
)}</section>`;
}

async function classSection(groups: RunGroup[]): Promise<Html> {
  const rows = classRows(groups);
  return markup`<section id="classes"><h2>Recall of each class</h2>
<p class="note">Most frequent class first; the number of its training samples in brackets. The test set is balanced as far as the data allow.</p>
${legend(names(groups))}${await figure(charts.recallBars(rows, groups), false)}
${comparison(rows, groups, 'Class')}</section>`;
}

function eventTable(run: RunResult): Html {
  const ids = (event: PlasticityEvent): string =>
    event.unitIds.length > 24
      ? `${event.unitIds.slice(0, 24).join(' ')} and ${event.unitIds.length - 24} more`
      : event.unitIds.join(' ');
  return table(
    'Births and deaths',
    [
      { label: 'Epoch' },
      { label: 'step', numeric: true },
      { label: 'layer' },
      { label: 'what' },
      { label: 'units', numeric: true },
      { label: 'width after', numeric: true },
      { label: 'unit ids' },
    ],
    run.events.map((event) => [
      String(Number(event.epoch.toFixed(2))),
      count(event.step),
      event.layer,
      { grow: 'born', prune: 'removed', reset: 'reset' }[event.kind],
      String(event.unitIds.length),
      String(event.width),
      ids(event),
    ]),
  );
}

const MAX_HISTOGRAMS = 36;

async function neuronSection(group: RunGroup): Promise<Html> {
  const run = group.runs.find(({ events }) => events.length > 0) ?? group.runs[0];
  const widths: Html[] = [];
  for (const layer of charts.layersOf(run)) widths.push(await figure(charts.widthChart(run, layer)));
  const scored = run.events.filter((event) => (event.scores?.length ?? 0) > 0);
  const histograms: Html[] = [];
  for (const event of scored.slice(0, MAX_HISTOGRAMS)) histograms.push(await figure(charts.scoreHistogram(event)));
  const which = `“${group.name}”, seed ${run.seed}`;
  const dot = (color: string): Html =>
    raw(
      `<svg viewBox="0 0 26 12" aria-hidden="true"><rect x="7" width="12" height="12" rx="2" fill="${color}"/></svg>`,
    );
  const happened = new Set(run.events.map(({ kind }) => kind));
  const kinds = [
    ['born', 'var(--birth)', 'grow'],
    ['removed', 'var(--death)', 'prune'],
    ['reset', 'var(--s3)', 'reset'],
  ].filter(
    ([, , kind]) => (kind === 'reset') === happened.has('reset') || happened.has(kind as PlasticityEvent['kind']),
  );
  const gone = happened.has('reset') ? (happened.has('prune') ? 'removed or reset' : 'reset') : 'removed';
  const omitted = scored.length - histograms.length;
  return markup`<section><h2>Neurons of ${which}</h2>
<h3>Width of each layer over time</h3>
<ul class="legend">${kinds.map(([label, color]) => markup`<li>${dot(color)}${label}</li>`)}</ul>
<div class="charts">${widths}</div>
${
  histograms.length > 0
    ? markup`<h3 style="margin-top:18px">Scores when units were ${gone}</h3>
<ul class="legend"><li>${dot('var(--death)')}${gone}</li><li>${dot('var(--s2)')}kept</li></ul>
<div class="charts small">${histograms}</div>${omitted > 0 ? markup`<p class="note">${omitted} later ones are in the results file.</p>` : undefined}`
    : undefined
}
${details('The numbers', eventTable(run))}</section>`;
}

async function confusionSection(groups: RunGroup[]): Promise<Html> {
  const order = classOrder(groups[0].runs[0]);
  const figures: Html[] = [];
  for (const group of groups) figures.push(await figure(charts.confusionChart(group, order)));
  const { classNames } = groups[0].runs[0].dataset;
  const tables = groups.map((group) =>
    details(
      `The numbers of ${group.name}`,
      table(
        `Confusion matrix of ${group.name}, percent of each label`,
        [{ label: 'Label' }, ...order.map((c) => ({ label: classNames[c] ?? `class ${c}`, numeric: true }))],
        charts
          .confusionShares(group, order)
          .map((row, i) => [
            classNames[order[i]] ?? `class ${order[i]}`,
            ...row.map((share) => (100 * share).toFixed(1)),
          ]),
      ),
    ),
  );
  return markup`<section id="confusion"><h2>Confusion matrices</h2>
<p class="note">Percent of each label's test samples by prediction, most frequent class first${groups.some((g) => g.runs.length > 1) ? ', all seeds together' : ''}.</p>
<div class="charts">${figures}</div>${tables}</section>`;
}

function flatten(value: unknown, path = ''): [string, string][] {
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
    return Object.entries(value).flatMap(([key, inner]) => flatten(inner, path === '' ? key : `${path}.${key}`));
  }
  return [[path, JSON.stringify(value) ?? 'undefined']];
}

function configSection(groups: RunGroup[]): Html {
  const flat = groups.map((group) => new Map(flatten(group.runs[0].config)));
  const keys = [...new Set(flat.flatMap((entries) => [...entries.keys()]))].filter((key) => key !== 'seed');
  const row = (key: string): string[] => [key, ...flat.map((entries) => entries.get(key) ?? '–')];
  const differs = (key: string): boolean => new Set(flat.map((entries) => entries.get(key))).size > 1;
  const columns = [{ label: 'Field' }, ...groups.map((group) => ({ label: group.name }))];
  const different = keys.filter(differs);
  return markup`<section id="configuration"><h2>Configuration</h2>
${
  groups.length > 1
    ? different.length > 0
      ? markup`<p class="note">What differs; everything else is the same.</p>${table('Fields that differ', columns, different.map(row))}`
      : markup`<p class="note">The groups have the same configuration.</p>`
    : undefined
}
${details('All fields', table('All fields', columns, keys.map(row)), groups.length === 1)}</section>`;
}

function machineSection({ machine, createdAt }: CompareResult, groups: RunGroup[]): Html {
  const rate = (group: RunGroup): string =>
    `${group.name}: ${count(Math.round(spread(group.runs.flatMap((run) => run.epochs.map((e) => e.samplesPerSecond ?? 0))).mean))} samples/s`;
  return markup`<section id="machine"><h2>Machine</h2>${table(
    'Machine',
    [{ label: 'What' }, { label: 'Value' }],
    [
      ['Processor', machine.cpu],
      ['Instruction set used', machine.isa],
      ['Threads', String(machine.threads)],
      ['Node.js', machine.node],
      ['Mean training rate', groups.map(rate).join('; ')],
      ['Written', createdAt],
    ],
  )}</section>`;
}

function reproduceSection(result: CompareResult, groups: RunGroup[]): Html {
  const seeds = [...new Set(result.runs.map((run) => run.seed))].join(',');
  const files = groups.map((_, i) => `run${i + 1}.json`);
  const command = result.command ?? `npx gyrus compare ${files.join(' ')} --seeds ${seeds} --json results.json`;
  const configs = groups.map(
    (group, i) =>
      markup`<h3>${files[i]} (${group.name})</h3><pre>${JSON.stringify(group.runs[0].config, null, 2)}</pre>`,
  );
  return markup`<section id="reproduce"><h2>How to reproduce</h2>
<pre>${command}</pre>
<p class="note">The same seed, instruction set and data give bit-identical results with any number of threads.${
    result.command === undefined ? ' The files named are these configurations:' : ''
  }</p>
${details('Configurations as files', markup`${configs}`, result.command === undefined)}</section>`;
}

/** The report of some results, as one HTML document. Takes about a second, mostly drawing. */
export async function renderReport(result: CompareResult): Promise<string> {
  const groups = groupRuns(result);
  const neurons: Html[] = [];
  for (const group of groups.filter(isPlastic)) neurons.push(await neuronSection(group));
  if (neurons.length === 0) {
    neurons.push(
      markup`<section><h2>Neurons</h2><p>No neurons came or went: every width is fixed in these runs.</p></section>`,
    );
  }
  return page(`Gyrus: ${groups.map((group) => group.name).join(' against ')}`, [
    headline(result, groups),
    results(groups),
    stageSection(groups),
    await curveSection(groups),
    await classSection(groups),
    markup`<div id="neurons">${neurons}</div>`,
    await diagnosticSection(groups, legend(names(groups))),
    await confusionSection(groups),
    configSection(groups),
    machineSection(result, groups),
    reproduceSection(result, groups),
  ]);
}

/** Writes the report, making its folder. Throws IOError when it can't be written. */
export async function writeReport(result: CompareResult, path: string): Promise<void> {
  await writePage(await renderReport(result), path);
}
