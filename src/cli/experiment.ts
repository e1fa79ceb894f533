/**
 * gyrus experiment: a grid of models, data sets, imbalance factors, methods and seeds; resumable, cached, in several processes.
 */
import { existsSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { SingleBar } from 'cli-progress';
import { type Command, InvalidArgumentError } from 'commander';
import { ConfigError } from '../device/index.js';
import {
  type Cell,
  cellId,
  type Experiment,
  ExperimentCache,
  experimentPreset,
  experimentPresets,
  type ExperimentResult,
  experimentResult,
  type ExperimentStatus,
  expandGrid,
  type FailedCell,
  matches,
  parseExperiment,
  type RunRecord,
  runCells,
  writeExperiment,
} from '../train/experiment/index.js';
import { percent } from '../train/report-summary.js';
import { readConfig, toSeeds } from './config.js';
import { colorsFor, commandLine, EXIT, expectWritable, say, shellWord } from './output.js';
import { duration } from './progress.js';
import { interruptible } from './signals.js';
import { pairTable } from './tables.js';

interface ExperimentFlags {
  out?: string;
  cache: string;
  from: string[];
  jobs?: number;
  threads: number;
  device?: string;
  seeds?: number[];
  filter: string[];
  maxMinutes?: number;
  list?: boolean;
  report: boolean;
  quiet?: boolean;
}

/** Milliseconds between two writings of the results and of the report while runs go on. */
const TABLES_EVERY = 20_000;
const REPORT_EVERY = 600_000;

const HELP = `
The file (YAML or JSON) names models, data sets, imbalance factors, methods and seeds; each is a part of a configuration, and every
combination that the filters leave is a run. The fields of all are checked before the first starts:

  base: { epochs: 40 }
  models: { small: { model: { hidden: [12, 12] } }, large: { model: { hidden: [64, 64] } } }
  datasets: { fashion: { dataset: { name: fashion-mnist } } }
  imbalanceFactors: [10, 100]
  methods: { fixed: {}, cycle: { plasticity: {} }, fixed+bs: , cycle+bs: }
  parts: { bs: { loss: { name: balanced-softmax } } }   # what methods are combined of: fixed+bs is fixed and bs
  seeds: 0-4
  exclude: [{ model: large, if: 10 }]                   # and include; names may hold *
  overrides: [{ model: large, config: { epochs: 60 } }]
  baseline: fixed                                       # or compare: [[cycle, fixed], [cycle+bs, fixed+bs]]

Writes DIR/results.csv, results.json, summary.json and report.html. Finished runs stay in the cache under the hash of their
configuration: after Ctrl-C, a kill or a change of the file only what is missing is run. --from takes runs of another machine's
results.json.

Presets:
${Object.entries(experimentPresets)
  .map(([name, { description }]) => `  ${name.padEnd(8)} ${description}`)
  .join('\n')}

Examples:
  gyrus experiment smoke
  gyrus experiment grid.yaml --list
  gyrus experiment grid.yaml --filter method=cycle,fixed --filter model=mlp-* --max-minutes 30
  gyrus experiment grid.yaml --from elsewhere/results.json --jobs 8
`;

function positive(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value > 0) || !Number.isFinite(value)) {
    throw new InvalidArgumentError('Expected a number above 0.');
  }
  return value;
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return Number(text);
}

const collect = (text: string, before: string[]): string[] => [...before, text];

async function readExperiment(source: string, flags: ExperimentFlags): Promise<Experiment> {
  const isFile = /\.(ya?ml|json)$/.test(source) || existsSync(source);
  const input = isFile ? await readConfig(source) : experimentPreset(source);
  const experiment = parseExperiment(input, isFile ? basename(source, extname(source)) : source);
  return {
    ...experiment,
    ...(flags.seeds && { seeds: flags.seeds }),
    ...(flags.device !== undefined && { base: { ...experiment.base, device: flags.device } }),
  };
}

/** 'method=cycle,fixed' on a field, anything else as a piece of the cell's name. */
function filterOf(text: string): (cell: Cell) => boolean {
  const at = text.indexOf('=');
  if (at < 0) return (cell) => cell.id.includes(text);
  const [field, values] = [text.slice(0, at), text.slice(at + 1).split(',')];
  if (field === 'if' || field === 'seed') {
    const numbers = values.map((value) => (value === 'natural' ? null : Number(value)));
    if (!numbers.some(Number.isNaN)) return (cell) => matches({ [field]: numbers }, cell);
  } else if (field === 'dataset' || field === 'model' || field === 'method') {
    return (cell) => matches({ [field]: values }, cell);
  }
  throw new ConfigError(`--filter: expected dataset, model, if, method or seed = values, or a text, got '${text}'`);
}

interface Follower {
  status(status: ExperimentStatus): void;
  line(text: string, status?: ExperimentStatus): void;
  stop(): void;
}

/** A bar in a terminal, a line per finished run where there is none; failures are told in any case. */
function follower(quiet: boolean): Follower {
  const left = ({ secondsLeft }: ExperimentStatus): string =>
    secondsLeft === undefined ? '' : `  ${duration(secondsLeft)} left`;
  if (quiet) return { status: () => undefined, line: () => undefined, stop: () => undefined };
  if (!process.stderr.isTTY) {
    const line = (text: string, status?: ExperimentStatus): void =>
      say(status ? `[${status.done + status.failed}/${status.total}] ${text}${left(status)}` : text);
    return { status: () => undefined, line, stop: () => undefined };
  }
  const bar = new SingleBar({
    stream: process.stderr,
    format: '{bar} {value}/{total}{left}  {running}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 16,
    fps: 4,
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    gracefulExit: false,
    linewrap: false,
  });
  bar.start(1, 0, { left: '', running: '' });
  const show = (status: ExperimentStatus): void => {
    bar.setTotal(status.total);
    const running = status.running.map(({ cell, share }) => `${cell.id} ${(100 * share).toFixed(0)} %`).join('  ');
    bar.update(status.done + status.failed, { left: left(status), running });
  };
  return { status: show, line: (_text, status) => status && show(status), stop: () => bar.stop() };
}

function listCells(cells: readonly Cell[], cache: ExperimentCache): void {
  const records = cells.map((cell) => cache.read(cell.hash));
  for (const [i, cell] of cells.entries()) {
    process.stdout.write(`${records[i] ? 'done' : 'todo'} ${cell.hash.slice(0, 12)} ${cell.id}\n`);
  }
  say(`${records.filter(Boolean).length} of ${cells.length} runs are done`);
}

/** Calls `write` unless it did so in the last milliseconds, or is still at it. */
function paced(every: number, write: () => Promise<void>): () => Promise<void> {
  let next = performance.now() + every;
  return async () => {
    if (performance.now() < next) return;
    next = Infinity;
    await write();
    next = performance.now() + every;
  };
}

async function run(source: string, flags: ExperimentFlags): Promise<void> {
  const experiment = await readExperiment(source, flags);
  const all = expandGrid(experiment);
  const filters = flags.filter.map(filterOf);
  const cells = all.filter((cell) => filters.every((fits) => fits(cell)));
  if (cells.length === 0) throw new ConfigError(`--filter: expected runs that fit, e.g. of ${all[0].id}, got none`);
  const cache = new ExperimentCache(flags.cache, flags.from);
  if (flags.list) {
    listCells(cells, cache);
    return;
  }
  const out = flags.out ?? join('runs', 'experiments', experiment.name);
  expectWritable(join(out, 'results.json'), cache.pathOf('0'));
  const color = colorsFor(process.stderr);
  const follow = follower(flags.quiet === true);
  const began = performance.now();
  // What earlier calls with other filters have finished belongs to the results as well.
  const finished = new Map(all.map((cell) => [cell, cache.read(cell.hash)]));
  const before = cells.filter((cell) => finished.get(cell)).length;
  say(`${experiment.name}: ${cells.length} runs, ${before} of them done already`);

  const failed: FailedCell[] = [];
  const resultNow = (): ExperimentResult => {
    const records = [...finished].flatMap(([cell, record]) => (record ? [{ cell, record }] : []));
    return experimentResult(experiment, { finished: records, failed, total: all.length }, commandLine());
  };
  const writeReport = async (result: ExperimentResult): Promise<void> => {
    if (!flags.report) return;
    const { writeExperimentReport } = await import('../train/experiment/report.js');
    await writeExperimentReport(result, join(out, 'report.html'));
  };
  const tables = paced(TABLES_EVERY, () => writeExperiment(resultNow(), out).then(() => undefined));
  const reports = paced(REPORT_EVERY, () => writeReport(resultNow()));

  const outcome = await interruptible(async (signal) => {
    try {
      return await runCells(cells, {
        cache,
        jobs: flags.jobs,
        threads: flags.threads,
        maxMinutes: flags.maxMinutes,
        signal,
        onProgress: (status) => follow.status(status),
        async onDone(cell: Cell, record: RunRecord, status) {
          for (const same of all) if (same.hash === cell.hash) finished.set(same, record);
          const { meanRecall, tail, seconds } = record;
          follow.line(
            `${cellId(cell)}: mean recall ${percent(meanRecall)}, tail ${percent(tail)} in ${duration(seconds)}`,
            status,
          );
          await tables();
          await reports();
        },
        onRetry: (cell, why) => say(`${color.yellow('again')}: ${cell.id}: ${why}`),
        onFailed(failure: FailedCell) {
          failed.push(failure);
          say(`${color.red('failed')}: ${failure.cell.id}: ${failure.message}`);
        },
      });
    } finally {
      follow.stop();
    }
  });

  const result = resultNow();
  const summary = await writeExperiment(result, out);
  await writeReport(result);
  if (summary.length > 0) process.stdout.write(`${pairTable(summary)}\n`);
  say(
    `${result.runs.length} of ${all.length} runs are done; wrote ${out} after ${duration((performance.now() - began) / 1000)}`,
  );
  if (outcome.left.length > 0) {
    say(
      `${outcome.left.length} were not run; go on with: gyrus experiment ${process.argv.slice(3).map(shellWord).join(' ')}`,
    );
  }
  if (outcome.failed.length > 0) process.exitCode = EXIT.failure;
  else if (outcome.interrupted && outcome.left.length > 0) process.exitCode = EXIT.interrupted;
}

/** Adds `gyrus experiment`. */
export function addExperiment(program: Command): void {
  program
    .command('experiment')
    .description('run a grid of models, data sets, methods and seeds, and go on where it was stopped')
    .argument('<file|preset>', 'YAML or JSON file, or an experiment that comes with Gyrus')
    .option('-o, --out <dir>', 'folder of what is written (default: runs/experiments/ and the name)')
    .option('--cache <dir>', 'folder of the finished runs', join('runs', 'experiments', 'cache'))
    .option('--from <results.json>', 'take finished runs from there too; may be repeated', collect, [])
    .option('-j, --jobs <n>', 'processes (default: cores / threads)', wholeNumber)
    .option('--threads <n>', 'threads of each process', wholeNumber, 1)
    .option('--device <name>', 'cpu, cuda:0, ..., where methods and datasets say nothing else')
    .option('-s, --seeds <list>', 'instead of what the file says, e.g. 0,1,2 or 0-4', toSeeds)
    .option(
      '-f, --filter <text>',
      'only runs that fit: field=value,value or a piece of their names; may be repeated',
      collect,
      [],
    )
    .option('--max-minutes <m>', 'start no run after this many minutes', positive)
    .option('-l, --list', 'only list the runs and which are done')
    .option('--no-report', 'no HTML report')
    .option('-q, --quiet', 'no progress')
    .addHelpText('after', HELP)
    .action((source: string, flags: ExperimentFlags) => run(source, flags));
}
