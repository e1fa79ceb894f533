#!/usr/bin/env node
/**
 * npm run bench -- [suite...] [--json FILE] [--rounds N] [--seconds S]: runs our engine and the peers in turn and prints a table.
 */
import { parseArgs } from 'node:util';
import { printTable, writeEntries } from './format.mjs';

const SUITES = {
  overhead: ['what a call costs', () => import('./overhead.mjs')],
  step: ['training steps of an MLP', () => import('./step.mjs')],
  eventloop: ['lateness of a timer during a training', () => import('./eventloop.mjs')],
};

const HELP = `npm run bench -- [suite...] [options]

Suites (default: all):
${Object.entries(SUITES)
  .map(([name, [text]]) => `  ${name.padEnd(10)} ${text}`)
  .join('\n')}

Options:
  --json FILE    write the entries there, '-' for stdout
  --rounds N     rounds of each engine in turn; the median counts (default 3)
  --seconds S    time per measurement (default 1)

Environment: GYRUS_THREADS, GYRUS_ISA. Peers that are not installed are listed as absent.`;

function refuse(message) {
  console.error(`bench: ${message}`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'string' },
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '1' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    return refuse(error.message);
  }
}

const { values, positionals } = options();
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
if (!Number.isInteger(rounds) || rounds < 1) refuse(`expected a whole number of rounds, got '${values.rounds}'`);
if (!(seconds > 0 && seconds < 3600)) refuse(`expected a number of seconds, got '${values.seconds}'`);
const unknown = positionals.filter((name) => !Object.hasOwn(SUITES, name));
if (unknown.length > 0)
  refuse(`expected suites among ${Object.keys(SUITES).join(', ')}, got '${unknown.join("', '")}'`);

const entries = [];
for (const name of positionals.length > 0 ? positionals : Object.keys(SUITES)) {
  console.error(`bench: ${name} ...`);
  const suite = await SUITES[name][1]();
  entries.push(...(await suite[name]({ rounds, seconds })));
}
if (values.json !== '-') printTable(entries);
if (values.json !== undefined) writeEntries(values.json, entries);
