/**
 * What the suites share: the engines of a case in turn, medians, entries as JSON and as a table, and the bars.
 *
 * An entry is { suite, case, engine, threads, value, unit, ratio_to, detail }: `value` is the median rate over the rounds, so more is
 * better; `ratio_to` of our entry holds, by peer, our value over theirs; `detail` has the lowest and highest rate. Entries of an
 * engine that is absent have value null and say why in `absent`.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import Table from 'cli-table3';
import { setThreads } from '../dist/index.js';

export const OURS = 'gyrus';

/** Milliseconds that the threads of a peer need to fall asleep: OpenBLAS's spin for some 25 of them. */
const PAUSE = 40;

/** Text for the cells and sentences: about four digits. */
export const number = (value) =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(4)));

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

export const geometricMean = (values) => Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);

/**
 * Runs the engines of a case in turn, A B A B ..., and gives an entry for each. Our engine runs with `threads` threads. A peer that
 * fails is absent with its message; a failure of ours is thrown.
 * @param engines by name, ours first: () => rate (may be async), or { absent: why }
 * @param scale what a measured rate is multiplied by (FLOP per call / 1e9 for GFLOP/s, say). Default 1
 * @param detail more for the `detail` of our entry
 */
export async function compare({ suite, name, unit, threads, rounds, engines, scale = 1, detail = {} }) {
  const absent = {};
  const rates = {};
  for (const [engine, measure] of Object.entries(engines)) {
    if (typeof measure === 'function') rates[engine] = [];
    else absent[engine] = measure.absent;
  }
  for (let round = 0; round < rounds; round++) {
    for (const engine of Object.keys(rates)) {
      try {
        if (engine === OURS) setThreads(threads);
        const rate = await engines[engine]();
        if (!(rate > 0)) throw new Error(`expected a rate, got ${rate}`);
        rates[engine].push(rate * scale);
        if (engine !== OURS && threads > 1) await sleep(PAUSE);
      } catch (error) {
        if (engine === OURS) throw error;
        absent[engine] = `failed: ${error.message}`;
        delete rates[engine];
      }
    }
  }
  const entries = Object.keys(engines).map((engine) => {
    const values = rates[engine];
    const common = { suite, case: name, engine, threads, value: values ? median(values) : null, unit, ratio_to: {} };
    if (!values) return { ...common, absent: absent[engine] };
    const spread = { min: Math.min(...values), max: Math.max(...values), rounds: values.length };
    return { ...common, detail: { ...spread, ...(engine === OURS && detail) } };
  });
  relate(entries);
  return entries;
}

/** Fills `ratio_to` of our entry with our value over each peer's; all entries are of one case. */
export function relate(entries) {
  const ours = entries.find(({ engine }) => engine === OURS);
  if (!ours || ours.value === null) return;
  for (const peer of entries)
    if (peer !== ours && peer.value !== null) ours.ratio_to[peer.engine] = ours.value / peer.value;
}

/** Our value over that of the fastest of some peers, or null when none was measured. */
export function ratioToBest(entry, peers) {
  const ratios = peers.map((peer) => entry.ratio_to[peer]).filter((ratio) => ratio !== undefined);
  return ratios.length > 0 ? Math.min(...ratios) : null;
}

/**
 * A bar of a suite, computed from its entries.
 * @param value the number to judge, or null when it was not measured
 * @param limit { atLeast } or { atMost }
 * @param where what the number was computed over or where it was found
 */
export function bar(text, value, limit, where = '') {
  const asked = limit.atLeast !== undefined ? `>= ${limit.atLeast}` : `<= ${limit.atMost}`;
  const met = value === null ? null : limit.atLeast !== undefined ? value >= limit.atLeast : value <= limit.atMost;
  return { text, value, asked, met, where };
}

/** The bar that the worst of some { value, where } reaches. */
export function worstBar(text, items, limit) {
  const sorted = items.filter(({ value }) => value !== null).sort((a, b) => a.value - b.value);
  if (sorted.length === 0) return bar(text, null, limit);
  const worst = limit.atLeast !== undefined ? sorted[0] : sorted[sorted.length - 1];
  const made = sorted.filter(({ value }) => bar('', value, limit).met).length;
  return bar(text, worst.value, limit, `worst: ${worst.where}; ${made} of ${sorted.length} cases`);
}

export function printBars(bars) {
  for (const { text, value, asked, met, where } of bars) {
    const state = met === null ? 'not measured' : met ? 'met' : 'not met';
    const figure = value === null ? '' : `${number(value)} `;
    console.log(`${state.padEnd(12)}  ${text}: ${figure}(asked ${asked})${where ? `; ${where}` : ''}`);
  }
}

const SPREAD = new Set(['min', 'max', 'rounds']);

/** One table per suite and unit: a row per case and thread count, a column per engine, and ours over the best peer. */
export function printTable(entries) {
  const groups = groupBy(entries, groupOf);
  for (const group of groups.values()) printGroup(group);
}

const groupOf = ({ suite, unit }) => `${suite}, ${unit}`;

function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

function printGroup(entries) {
  const present = entries.filter(({ value }) => value !== null);
  const engines = [...new Set(present.map(({ engine }) => engine))];
  const rows = groupBy(entries, (entry) => `${entry.threads} ${entry.case}`);
  const notes = [...rows.values()].map((row) => row.map(noteOf).filter(Boolean).join('; '));
  const withNotes = notes.some(Boolean);
  const withRatio = engines.includes(OURS) && engines.length > 1;
  const table = new Table({
    head: ['case', 'threads', ...engines, ...(withRatio ? ['ours / best'] : []), ...(withNotes ? ['detail'] : [])],
    colAligns: ['left', ...Array.from({ length: engines.length + 2 }, () => 'right'), ...(withNotes ? ['left'] : [])],
    style: { head: [], border: [], compact: true },
  });
  let i = 0;
  for (const row of rows.values()) {
    const cells = engines.map((engine) => {
      const found = row.find((entry) => entry.engine === engine);
      return found?.value != null ? number(found.value) : '-';
    });
    const ours = row.find(({ engine }) => engine === OURS);
    const best =
      ours &&
      ratioToBest(
        ours,
        Object.keys(ours.ratio_to).filter((peer) => peer !== 'peak'),
      );
    table.push([
      row[0].case,
      String(row[0].threads),
      ...cells,
      ...(withRatio ? [best === null || best === undefined ? '-' : best.toFixed(2)] : []),
      ...(withNotes ? [notes[i]] : []),
    ]);
    i++;
  }
  console.log(`\n${groupOf(entries[0])}`);
  if (present.length > 0) console.log(table.toString());
  printAbsent(entries);
}

function noteOf({ detail = {} }) {
  return Object.entries(detail)
    .filter(([key]) => !SPREAD.has(key))
    .map(([key, value]) => `${key} ${typeof value === 'number' ? number(value) : value}`)
    .join(', ');
}

function printAbsent(entries) {
  const missing = entries.filter(({ value }) => value === null);
  for (const [key, group] of groupBy(missing, ({ engine, absent }) => `${engine} is absent: ${absent}`)) {
    const everywhere = entries.every(({ engine, value }) => engine !== group[0].engine || value === null);
    console.log(everywhere ? key : `${key} (${group.map((entry) => entry.case).join(' | ')})`);
  }
}

export function writeEntries(path, entries) {
  const text = `${JSON.stringify(entries, null, 2)}\n`;
  if (path === '-') process.stdout.write(text);
  else writeFileSync(path, text);
}
