#!/usr/bin/env node
/**
 * npm run bench -- [suite...] [options]: runs our engine and the peers in turn, prints a table and the bars. See bench/README.md.
 */
import { availableParallelism } from 'node:os';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SUITES } from './suites.mjs';

const HELP = `npm run bench -- [suite...] [options]

Suites (default: all):
${Object.entries(SUITES)
  .map(([name, { text }]) => `  ${name.padEnd(10)} ${text}`)
  .join('\n')}

Options:
  --json FILE     write the entries there, '-' for stdout
  --threads LIST  numbers of threads, as in 1,2 (default: GYRUS_THREADS, or 1 and all cores)
  --rounds N      rounds of each engine in turn; the median counts (default 3)
  --seconds S     time per measurement (default 0.5)
  --filter TEXT   only cases whose name contains TEXT
  --device NAME   cpu or a GPU, as in cuda:0 (default: GYRUS_DEVICE, or cpu)
  --quick         the cheapest cases only, one round of 0.1 seconds

Environment: GYRUS_THREADS, GYRUS_ISA, GYRUS_DEVICE, GYRUS_PYTHON. Peers that are not installed are listed as absent.`;

class UsageError extends Error {}

function refuse(message) {
  throw new UsageError(message);
}

function numberFrom(text, what, valid) {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!valid(value)) refuse(`expected ${what}, got '${text}'`);
  return value;
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        threads: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        filter: { type: 'string', default: '' },
        device: { type: 'string' },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    return refuse(error.message);
  }
}

function optionsFrom({ threads, rounds, seconds, filter, quick, json }) {
  const cores = availableParallelism();
  const onGpu = process.env.GYRUS_DEVICE?.startsWith('cuda');
  const counts = threads ?? (onGpu ? '1' : process.env.GYRUS_THREADS) ?? (cores > 1 ? `1,${cores}` : '1');
  const wanted = filter.toLowerCase();
  return {
    rounds: numberFrom(rounds ?? (quick ? '1' : '3'), 'a whole number of rounds', (n) => Number.isInteger(n) && n >= 1),
    seconds: numberFrom(seconds ?? (quick ? '0.1' : '0.5'), 'a number of seconds', (s) => s > 0 && s < 3600),
    threads: counts
      .split(',')
      .map((text) => numberFrom(text, 'numbers of threads, as in 1,2', (n) => Number.isInteger(n) && n >= 1)),
    quick,
    json,
    wants: (name) => name.toLowerCase().includes(wanted),
  };
}

async function load(path) {
  if (!existsSync(new URL('../dist/index.js', import.meta.url))) {
    refuse('Gyrus is not built here; run it as `npm run bench`, which builds first, or `npm run build`');
  }
  return import(path);
}

/** Refuses a device that is not there, before each suite would. */
async function checkDevice() {
  const { device } = await load('../dist/index.js');
  const { DEVICE } = await load('./device.mjs');
  try {
    device(DEVICE);
  } catch (error) {
    refuse(error.message);
  }
}

async function runSuite(name, options, toTable) {
  const { printBars, printTable } = await load('./format.mjs');
  const { onGpu } = await load('./device.mjs');
  const { addPredictions } = await load('./cuda/predictions.mjs');
  const entries = [];
  const reports = [];
  for (const path of SUITES[name].modules) {
    const module = await load(path);
    const measured = await module.run(options);
    if (onGpu) addPredictions(measured);
    entries.push(...measured);
    if (measured.length > 0) reports.push({ note: module.NOTE, bars: onGpu ? [] : (module.bars?.(measured) ?? []) });
  }
  if (toTable && entries.length > 0) {
    printTable(entries);
    for (const { note, bars } of reports) {
      if (note) console.log(note);
      printBars(bars);
    }
  }
  return entries;
}

async function main() {
  const { values, positionals } = parse();
  if (values.help) return console.log(HELP);
  if (values.device !== undefined) process.env.GYRUS_DEVICE = values.device;
  const options = optionsFrom(values);
  const unknown = positionals.filter((name) => !Object.hasOwn(SUITES, name));
  if (unknown.length > 0) {
    refuse(`expected suites among ${Object.keys(SUITES).join(', ')}, got '${unknown.join("', '")}'`);
  }
  await checkDevice();
  const { writeEntries } = await load('./format.mjs');
  const { closeChildren } = await load('./child.mjs');
  const entries = [];
  for (const name of positionals.length > 0 ? positionals : Object.keys(SUITES)) {
    console.error(`bench: ${name} ...`);
    try {
      entries.push(...(await runSuite(name, options, values.json !== '-')));
    } catch (error) {
      if (error instanceof UsageError) throw error;
      console.error(`bench: ${name} failed: ${error.stack ?? error}`);
      process.exitCode = 1;
    }
  }
  closeChildren();
  if (entries.length === 0 && process.exitCode === undefined) refuse(`no case contains '${values.filter}'`);
  if (values.json !== undefined) writeEntries(values.json, entries);
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof UsageError ? error.message : (error.stack ?? error)}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
