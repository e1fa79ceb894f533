/**
 * Suite `scale`: the time of a training step against its FLOP, along two lines through the space of MLPs: width W at batch 128, and
 * batch at width 1024. Each is fitted by time = a + b FLOP (a: what doesn't depend on the batch, the optimiser above all); a step of
 * more than 10 MFLOP should lie near its line. With --json FILE a plot is written beside it, FILE with .svg.
 */
import { writeFileSync } from 'node:fs';
import { compare, OURS, worstBar } from './format.mjs';
import { rate } from './measure.mjs';
import { makeStep, stepFlop } from './mlp.mjs';

export const NOTE =
  'scale: networks W-W-W-10; line: time = a + b FLOP, fitted by relative error to the steps of more than 10 MFLOP.';

const WIDTHS = [256, 512, 1024, 2048, 4096, 8192];
const BATCHES = [1, 4, 16, 64, 256, 1024, 4096];
const MOST = 10e6;

const sizesOf = (width) => [width, width, width, 10];
const LINES = [
  { line: 'width', cases: WIDTHS.map((width) => ({ name: `width ${width}, batch 128`, width, batch: 128 })) },
  { line: 'batch', cases: BATCHES.map((batch) => ({ name: `batch ${batch}, width 1024`, width: 1024, batch })) },
];

/** a and b of time = a + b flop, by least squares of the relative errors; a is never below 0. */
function fit(points) {
  let [ww, wf, wff, wt, wft] = [0, 0, 0, 0, 0];
  for (const { flop, time } of points) {
    const w = 1 / (time * time);
    ww += w;
    wf += w * flop;
    wff += w * flop * flop;
    wt += w * time;
    wft += w * flop * time;
  }
  const determinant = ww * wff - wf * wf;
  const a = determinant > 0 ? (wt * wff - wft * wf) / determinant : 0;
  if (!(a > 0)) return { a: 0, b: wft / wff };
  return { a, b: (ww * wft - wf * wt) / determinant };
}

/** Adds the line's time to the detail of our entries, and how far from it they are. */
function judge(entries) {
  const points = entries.map(({ value, detail }) => ({ flop: detail.FLOP, time: 1 / value }));
  const large = points.filter(({ flop }) => flop > MOST);
  if (large.length < 3) return;
  const { a, b } = fit(large);
  entries.forEach((entry, i) => {
    const line = a + b * points[i].flop;
    Object.assign(entry.detail, { 'line ms': line * 1e3, 'off line': points[i].time / line - 1 });
  });
}

async function plot(entries, file) {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const values = entries.map(({ case: name, threads, value, detail }) => ({
    FLOP: detail.FLOP,
    ms: 1e3 / value,
    line: detail['line ms'] ?? null,
    series: `${name.split(' ')[0]}, ${threads} thread${threads > 1 ? 's' : ''}`,
  }));
  const x = { field: 'FLOP', type: 'quantitative', scale: { type: 'log' }, title: 'FLOP of a step' };
  const y = (field) => ({ field, type: 'quantitative', scale: { type: 'log' }, title: 'ms' });
  const color = { field: 'series', type: 'nominal', title: null };
  const { spec } = compile({
    background: 'white',
    width: 560,
    height: 400,
    title: 'Cost of a training step against its FLOP (points) and the fitted lines',
    data: { values },
    layer: [
      { mark: 'line', transform: [{ filter: 'isValid(datum.line)' }], encoding: { x, y: y('line'), color } },
      { mark: { type: 'point', filled: true, size: 60 }, encoding: { x, y: y('ms'), color } },
    ],
  });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  writeFileSync(file, `${await view.toSVG()}\n`);
  view.finalize();
}

export async function run({ seconds, rounds, threads, quick, wants, json }) {
  const all = [];
  for (const { cases } of LINES) {
    const chosen = cases.filter(({ name, width, batch }) => wants(name) && (!quick || width * batch <= 1 << 15));
    const entries = [];
    for (const { name, width, batch } of chosen) {
      const step = makeStep({ sizes: sizesOf(width), batch, optimizer: 'sgd' });
      const flop = stepFlop(sizesOf(width), batch);
      for (const count of threads) {
        const [entry] = await compare({
          suite: 'scale',
          name,
          unit: 'steps/s',
          threads: count,
          rounds,
          engines: { [OURS]: () => rate(step.run, seconds) },
        });
        Object.assign(entry.detail, { FLOP: flop, ms: 1e3 / entry.value, 'GFLOP/s': (flop * entry.value) / 1e9 });
        entries.push(entry);
      }
      step.dispose();
    }
    for (const count of threads) judge(entries.filter((entry) => entry.threads === count));
    all.push(...entries);
  }
  if (json !== undefined && json !== '-' && all.length > 0) await plot(all, `${json.replace(/\.json$/, '')}.svg`);
  return all;
}

export function bars(entries) {
  const judged = entries.filter(({ detail }) => detail['off line'] !== undefined && detail.FLOP > MOST);
  return [
    worstBar(
      'scale: distance of a step from its line, relative',
      judged.map(({ case: where, threads, detail }) => ({
        value: Math.abs(detail['off line']),
        where: `${where}, threads ${threads}`,
      })),
      { atMost: 0.2 },
    ),
  ];
}
