/**
 * gyrus compare: several configurations, each with several seeds, on the same data; ends with a table and a report.
 */
import { basename, dirname, extname, join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { ConfigError } from '../device/index.js';
import { compare, type RunConfigInput, preset, presets } from '../train/index.js';
import { groupRuns, outcome } from '../train/report-summary.js';
import { readConfig, toSeeds } from './config.js';
import { colorsFor, commandLine, EXIT, expectWritable, say, writeJson } from './output.js';
import { duration, runProgress, type RunProgress } from './progress.js';
import { interruptible } from './signals.js';
import { comparisonTable, stageTable } from './tables.js';

interface CompareFlags {
  preset?: string;
  seeds?: number[];
  epochs?: number;
  threads?: number;
  device?: string;
  json?: string;
  report?: string | false;
  metrics?: string;
  quiet?: boolean;
}

interface NamedRun {
  name: string;
  config: RunConfigInput;
}

const HELP = `
The first configuration is the one that the others are compared with. Files are named by their file name without its ending.
Differences are paired by seed; from two seeds on they come with a 95 % interval. Ctrl-C ends at the next step; the runs that
were finished are kept.

Presets:
${Object.values(presets)
  .map(({ name, description, seeds }) => `  ${name.padEnd(8)} ${description} (seeds ${seeds.join(', ')})`)
  .join('\n')}

Examples:
  gyrus compare --preset demo --json runs/demo/results.json
  gyrus compare --preset demo --seeds 0-4 --json runs/demo5/results.json
  gyrus compare fixed.yaml plastic.yaml --seeds 0,1,2 --json out/results.json
  gyrus compare --preset quick --json - --report quick.html
`;

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return Number(text);
}

async function namedRuns(
  files: string[],
  flags: CompareFlags,
): Promise<{ runs: NamedRun[]; seeds: number[] | undefined }> {
  if (flags.preset !== undefined && files.length > 0) {
    throw new ConfigError('compare: expected --preset or configuration files, got both');
  }
  if (flags.preset === undefined && files.length === 0) {
    throw new ConfigError(
      `compare: expected configuration files or --preset (${Object.keys(presets).join(', ')}), got neither`,
    );
  }
  const chosen = flags.preset === undefined ? undefined : preset(flags.preset);
  const runs: NamedRun[] = chosen
    ? chosen.runs
    : await Promise.all(
        files.map(async (file) => ({ name: basename(file, extname(file)), config: await readConfig(file) })),
      );
  const overrides = {
    ...(flags.epochs !== undefined && { epochs: flags.epochs }),
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.device !== undefined && { device: flags.device }),
  };
  return {
    runs: runs.map(({ name, config }) => ({ name, config: { ...config, ...overrides } })),
    seeds: flags.seeds ?? chosen?.seeds,
  };
}

function reportPath(flags: CompareFlags): string | undefined {
  if (flags.report === false) return undefined;
  if (typeof flags.report === 'string') return flags.report;
  return flags.json === undefined || flags.json === '-' ? undefined : join(dirname(flags.json), 'report.html');
}

async function run(files: string[], flags: CompareFlags): Promise<void> {
  const { runs, seeds } = await namedRuns(files, flags);
  const report = reportPath(flags);
  expectWritable(flags.json, report);
  const color = colorsFor(process.stderr);
  const began = performance.now();
  let progress: RunProgress | undefined;
  let told = false;
  const result = await interruptible(async (signal) => {
    try {
      return await compare(runs, seeds, {
        signal,
        metricsPath: flags.metrics,
        onRunStart({ name, seed, index, total, epochs, data }) {
          if (!told) {
            say(
              `data: ${data.name} from ${data.source}, ${data.train.rows} training and ${data.test.rows} test samples`,
            );
            told = true;
          }
          progress = runProgress(`[${index + 1}/${total}] ${name} seed ${seed}`, epochs, flags.quiet);
          return progress;
        },
        onRunEnd(done) {
          progress?.done();
          const { top1, meanRecall } = done.final;
          say(
            `${color.bold(`${done.name} seed ${done.seed}`)}: top-1 ${(100 * top1).toFixed(1)} %, mean class recall ` +
              `${(100 * meanRecall).toFixed(1)} % in ${duration(done.seconds)}${done.interrupted ? ' (interrupted)' : ''}`,
          );
        },
      });
    } finally {
      progress?.done();
    }
  });
  const total = runs.length * (seeds?.length ?? 1);
  const interrupted = result.runs.length < total || result.runs.some((done) => done.interrupted);
  if (result.runs.length === 0) {
    say('interrupted before the first run; nothing was written');
    process.exitCode = EXIT.interrupted;
    return;
  }
  const results = { ...result, command: commandLine() };
  if (flags.json !== undefined) await writeJson(flags.json, results);
  if (report !== undefined) {
    const { writeReport } = await import('../train/report.js');
    await writeReport(results, report);
  }
  if (flags.json !== '-') {
    process.stdout.write(`${comparisonTable(results)}\n${stageTable(results)}`);
    for (const sentence of outcome(groupRuns(results))) process.stdout.write(`${sentence}\n`);
  }
  const written = [flags.json === '-' ? undefined : flags.json, report].filter((path) => path !== undefined);
  if (written.length > 0) say(`wrote ${written.join(' and ')} after ${duration((performance.now() - began) / 1000)}`);
  if (interrupted) {
    say(`interrupted: ${result.runs.filter((done) => !done.interrupted).length} of ${total} runs are complete`);
    process.exitCode = EXIT.interrupted;
  }
}

/** Adds `gyrus compare`. */
export function addCompare(program: Command): void {
  program
    .command('compare')
    .description('train several configurations with several seeds and compare them')
    .argument('[configs...]', 'configuration files, JSON or YAML')
    .option('-p, --preset <name>', 'a comparison that comes with Gyrus')
    .option('-s, --seeds <list>', 'e.g. 0,1,2 or 0-4', toSeeds)
    .option('--epochs <n>', 'instead of what the configurations say', wholeNumber)
    .option('--threads <n>', 'instead of what the configurations say', wholeNumber)
    .option('--device <name>', 'cpu, cuda:0, ..., instead of what the configurations say')
    .option('--json <file>', "write the results there, '-' for stdout")
    .option('--report <file>', 'HTML report (default: report.html beside the JSON file)')
    .option('--no-report', 'no HTML report')
    .option('--metrics <file>', 'append a JSON line per epoch and per birth or death')
    .option('-q, --quiet', 'no progress')
    .addHelpText('after', HELP)
    .action((files: string[], flags: CompareFlags) => run(files, flags));
}
