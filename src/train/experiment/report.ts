/**
 * The report of an experiment: one self-contained HTML file. Numbers come from summary.ts, charts from charts.ts; the page around them
 * is that of every report.
 */
import { stringify as toYaml } from 'yaml';
import { type Column, details, type Html, markup, table } from '../report-html.js';
import { figure, legend, page, signed, writePage } from '../report-page.js';
import { mean, percent, points } from '../report-summary.js';
import * as charts from './charts.js';
import { factorName } from './grid.js';
import { toCsv } from './record.js';
import type { ExperimentResult } from './results.js';
import {
  cellLabel,
  groupCells,
  meanOver,
  MEASURES,
  type Measure,
  type PairSummary,
  type RunGroupOfCell,
  summarize,
} from './summary.js';

const LABELS: Record<Measure, string> = {
  meanRecall: 'mean recall',
  top1: 'top-1',
  head: 'head',
  mid: 'mid',
  tail: 'tail',
};
/** Charts of pairs beyond these are folded away. */
const OPEN_PAIRS = 2;

const count = (value: number): string => value.toLocaleString('en-US');
const title = ({ method, against }: PairSummary): string => `${method} − ${against}`;

/** One sentence for a pair: the mean difference, in how many cells it is clear, and what it costs the head and gives the tail. */
export function pairOutcome({ method, against, cells, above, below, overall }: PairSummary): string {
  const clear =
    `above zero with its 95 % interval in ${above} of ${cells.length}` + (below > 0 ? `, below in ${below}` : '');
  return (
    `“${method}” against “${against}”: ${points(overall.meanRecall.mean)} points of mean class recall in the mean, ${clear}; ` +
    `tail ${points(overall.tail.mean)}, head ${points(overall.head.mean)}.`
  );
}

function headline(result: ExperimentResult, pairs: readonly PairSummary[]): Html {
  const { experiment, runs, total } = result;
  const distinct = (values: readonly (string | number)[]): string => [...new Set(values)].join(', ');
  const tiles: [string, string][] = [
    ['Runs', `${count(runs.length)} of ${count(total)}`],
    ['Data sets', distinct(runs.map((run) => run.dataset))],
    ['Models', distinct(runs.map((run) => run.model))],
    ['Imbalance factors', distinct(runs.map((run) => run.if ?? factorName(null)))],
    ['Methods', distinct(runs.map((run) => run.method))],
    ['Seeds', distinct(runs.map((run) => run.seed))],
  ];
  const unfinished = total - runs.length;
  return markup`<header class="card">
<h1>Gyrus: ${result.name}</h1>
<p class="sub">${experiment.description ?? ''} · written ${result.createdAt}</p>
${pairs.slice(0, OPEN_PAIRS).map((pair) => markup`<p class="outcome">${pairOutcome(pair)}</p>`)}
${unfinished > 0 ? markup`<p class="note">${count(unfinished)} runs are not done yet; what follows is of those that are.</p>` : undefined}
<dl class="tiles">${tiles.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
</header>`;
}

function summarySection(pairs: readonly PairSummary[]): Html {
  const measures: Column[] = MEASURES.map((measure) => ({ label: LABELS[measure], numeric: true }));
  const overall = table(
    'Means over the cells of each pair of methods',
    [
      { label: 'Difference in points' },
      { label: 'cells', numeric: true },
      { label: 'above zero', numeric: true },
      { label: 'below', numeric: true },
      ...measures,
    ],
    pairs.map((pair) => [
      title(pair),
      String(pair.cells.length),
      String(pair.above),
      String(pair.below),
      ...MEASURES.map((measure) => signed(pair.overall[measure])),
    ]),
  );
  const cells = pairs.map((pair) =>
    details(
      `${title(pair)}: every model on every data set`,
      table(
        title(pair),
        [{ label: 'Model' }, { label: 'seeds', numeric: true }, ...measures],
        pair.cells.map((cell) => [
          cellLabel(cell),
          String(cell.pairs),
          ...MEASURES.map((measure) => signed(cell.differences[measure])),
        ]),
      ),
    ),
  );
  return markup`<section id="summary"><h2>Differences</h2>
<p class="note">In percentage points, on the test set, with the weights of the last epoch. A cell is a model on a data set; its differences are
paired by seed, and ± is a 95 % interval over the seeds. Here are means over the cells with the interval over the cells; “above zero” counts the
cells whose own interval of mean class recall lies above it. A difference is coloured where its interval leaves out zero.</p>
${overall}${cells}</section>`;
}

/** The first few open, the others folded away. */
async function folded(
  pairs: readonly PairSummary[],
  figures: (pair: PairSummary) => Promise<readonly Html[]>,
): Promise<Html> {
  const parts: Html[] = [];
  for (const [i, pair] of pairs.entries()) {
    const body = markup`<div class="charts">${await figures(pair)}</div>`;
    parts.push(i < OPEN_PAIRS ? body : details(title(pair), body));
  }
  return markup`${parts}`;
}

async function forestSection(pairs: readonly PairSummary[]): Promise<Html> {
  const figures = (list: readonly PairSummary[]): Promise<Html[]> =>
    Promise.all(list.map((pair) => figure(charts.forest(pair))));
  const rest = pairs.slice(OPEN_PAIRS);
  return markup`<section id="forest"><h2>Mean class recall, model by model</h2>
<p class="note">Differences with their 95 % intervals; an interval wider than the picture is cut off.</p>
<div class="charts">${await figures(pairs.slice(0, OPEN_PAIRS))}</div>
${rest.length > 0 ? details('The other pairs', markup`<div class="charts">${await figures(rest)}</div>`) : undefined}</section>`;
}

async function classSection(pairs: readonly PairSummary[], groups: readonly RunGroupOfCell[]): Promise<Html> {
  const body = await folded(pairs, async (pair) => {
    const kinds = new Map<string, typeof pair.cells>();
    for (const cell of pair.cells) {
      const key = JSON.stringify([cell.dataset, cell.if]);
      kinds.set(key, [...(kinds.get(key) ?? []), cell]);
    }
    const figures: Html[] = [];
    for (const cells of kinds.values()) {
      const [{ dataset, if: factor }] = cells;
      const run = groups.find((group) => group.dataset === dataset && group.if === factor)?.runs[0];
      if (run) figures.push(await figure(charts.classDifferences(pair, cells, run.classNames, run.classCounts)));
    }
    return figures;
  });
  return markup`<section id="classes"><h2>Recall of each class</h2>
<p class="note">Most frequent class first, its training samples in brackets. A point is a model, in the mean over its seeds; a bar is the mean of
the points.</p>${body}</section>`;
}

const COSTS = [
  { id: 'parameters', heading: 'Parameters', title: 'parameters', of: (g: RunGroupOfCell) => g.runs[0].params },
  {
    id: 'madds',
    heading: 'Multiply-adds of a forward pass',
    title: 'multiply-adds per sample',
    of: (g: RunGroupOfCell) => g.runs[0].madds,
  },
  {
    id: 'training-madds',
    heading: 'Multiply-adds of the training',
    title: 'multiply-adds',
    of: (g: RunGroupOfCell) => mean(g.runs.map((run) => run.trainingMadds)),
  },
];

async function costSection(groups: readonly RunGroupOfCell[], methods: readonly string[]): Promise<Html> {
  const kinds = [...new Set(groups.map((group) => JSON.stringify([group.dataset, group.if])))];
  const parts: Html[] = [];
  for (const cost of COSTS) {
    const figures: Html[] = [];
    for (const kind of kinds) {
      const own = groups.filter((group) => JSON.stringify([group.dataset, group.if]) === kind);
      figures.push(await figure(charts.recallAgainst(own, methods, cost)));
    }
    parts.push(markup`<h3 id="${cost.id}">${cost.heading}</h3><div class="charts">${figures}</div>`);
  }
  return markup`<section id="cost"><h2>Recall against size and cost</h2>
<p class="note">Mean class recall in the mean over the seeds; a line joins the models of one method.</p>
${legend(methods)}${parts}</section>`;
}

function meansSection(groups: readonly RunGroupOfCell[], result: ExperimentResult): Html {
  const columns: Column[] = [
    'Model',
    'method',
    'seeds',
    ...MEASURES.map((m) => LABELS[m]),
    'parameters',
    'multiply-adds',
    'seconds',
  ].map((label, i) => ({ label, numeric: i > 1 }));
  const rows = groups.map((group) => [
    cellLabel(group),
    group.method,
    String(group.runs.length),
    ...MEASURES.map((measure) => percent(meanOver(group, measure))),
    count(group.runs[0].params),
    count(group.runs[0].madds),
    mean(group.runs.map((run) => run.seconds)).toFixed(1),
  ]);
  return markup`<section id="runs"><h2>Runs</h2>
<p class="note">Means over the seeds; head, mid and tail are the most frequent, middle and rarest classes.</p>
${details('Every model with every method', table('Means over the seeds', columns, rows), groups.length <= 30)}
${details('Every run', markup`<pre>${toCsv(result.runs)}</pre>`)}
${
  result.failed.length > 0
    ? markup`<h3>Failed</h3>${table(
        'Failed runs',
        [{ label: 'Run' }, { label: 'why' }],
        result.failed.map(({ id, message }) => [id, message]),
      )}`
    : undefined
}</section>`;
}

function reproduceSection({ experiment, machine, command }: ExperimentResult): Html {
  return markup`<section id="reproduce"><h2>How to reproduce</h2>
<pre>${command ?? `npx gyrus experiment ${experiment.name}.yaml`}</pre>
<p class="note">Written with ${machine.node} on ${machine.cpu}, instruction set ${machine.isa}. The same seed, instruction set and data give
bit-identical results with any number of threads and processes.</p>
${details('The experiment', markup`<pre>${toYaml(experiment)}</pre>`)}</section>`;
}

/** The report of an experiment, finished or not, as one HTML document. */
export async function renderExperimentReport(result: ExperimentResult): Promise<string> {
  const groups = groupCells(result.runs);
  const pairs = summarize(result.runs, result.compare);
  const methods = Object.keys(result.experiment.methods).filter((name) => groups.some(({ method }) => method === name));
  return page(`Gyrus: ${result.name}`, [
    headline(result, pairs),
    ...(pairs.length > 0
      ? [summarySection(pairs), await forestSection(pairs), await classSection(pairs, groups)]
      : [markup`<section><h2>Differences</h2><p>No pair of methods has a seed in common yet.</p></section>`]),
    await costSection(groups, methods),
    meansSection(groups, result),
    reproduceSection(result),
  ]);
}

/** Writes the report, making its folder. Throws IOError when it can't be written. */
export async function writeExperimentReport(result: ExperimentResult, path: string): Promise<void> {
  await writePage(await renderExperimentReport(result), path);
}
