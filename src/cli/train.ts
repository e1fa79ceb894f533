/**
 * gyrus train: one run from flags, a file or a checkpoint.
 */
import { join } from 'node:path';
import { basename, extname } from 'node:path';
import type { Command } from 'commander';
import { loadCheckpoint } from '../io/index.js';
import { compareResult, parseConfig, totalEpochs, train } from '../train/index.js';
import { addConfigOptions, applyFlags, configOf, fieldsHelp, readConfig } from './config.js';
import { commandLine, EXIT, expectWritable, say, shellWord, writeJson } from './output.js';
import { duration, runProgress } from './progress.js';
import { interruptible } from './signals.js';
import { comparisonTable, stageTable } from './tables.js';

interface TrainOptions extends Record<string, unknown> {
  config?: string;
  out?: string;
  json?: string;
  report?: string;
  resume?: string;
  quiet?: boolean;
}

const HELP = `
Writes DIR/results.json, DIR/metrics.jsonl (a line per epoch and per birth or death) and DIR/checkpoint.gyrus.
Ctrl-C ends at the next step with a checkpoint; --resume goes on from it to the same weights, bit for bit.

Examples:
  gyrus train --hidden 64,32 --epochs 20
  gyrus train --config run.yaml --lr 0.02 --out runs/slow
  gyrus train --plastic --hidden 12,12 --set plasticity.init=paired
  gyrus train --model resnet --set model.depth=8 --plastic --epochs 20
  gyrus train --resume runs/train/checkpoint.gyrus
  gyrus train --epochs 5 --json - | jq .runs[0].final.top1
`;

async function run(options: TrainOptions): Promise<void> {
  const file = options.config === undefined ? {} : await readConfig(options.config);
  const base =
    options.resume === undefined || options.config !== undefined
      ? file
      : configOf((await loadCheckpoint(options.resume)).meta, options.resume);
  const given = applyFlags(base, options);
  const name = options.config === undefined ? 'train' : basename(options.config, extname(options.config));
  const checked = parseConfig(given, options.config ?? 'config');
  const own = checked.checkpoint?.path;
  const out = options.out ?? (own === undefined ? join('runs', name) : undefined);
  const config = {
    ...checked,
    checkpoint: {
      every: 1,
      ...checked.checkpoint,
      path: options.out === undefined && own !== undefined ? own : join(out as string, 'checkpoint.gyrus'),
    },
  };
  const folder = out ?? join(config.checkpoint.path, '..');
  expectWritable(options.json, options.report);
  const progress = runProgress(name, totalEpochs(config), options.quiet);
  const result = await interruptible(async (signal) => {
    try {
      return await train(config, {
        ...progress,
        name,
        signal,
        resume: options.resume,
        metricsPath: join(folder, 'metrics.jsonl'),
      });
    } finally {
      progress.done();
    }
  });

  const results = { ...compareResult([result]), command: commandLine() };
  await writeJson(join(folder, 'results.json'), results);
  if (options.json !== undefined) await writeJson(options.json, results);
  if (options.report !== undefined) {
    const { writeReport } = await import('../train/report.js');
    await writeReport(results, options.report);
    say(`report: ${options.report}`);
  }
  if (options.json !== '-') process.stdout.write(`${comparisonTable(results)}\n${stageTable(results)}`);
  if (result.interrupted) {
    const done = result.epochs.at(-1)?.epoch ?? 0;
    say(`interrupted after ${done} of ${totalEpochs(config)} epochs; the checkpoint is ${config.checkpoint.path}`);
    say(`go on with: gyrus train --resume ${shellWord(config.checkpoint.path)}`);
    process.exitCode = EXIT.interrupted;
    return;
  }
  say(`trained in ${duration(result.seconds)}; results in ${join(folder, 'results.json')}`);
}

/** Adds `gyrus train`. */
export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .description('train one network, at fixed width or with neurons that come and go')
    .option(
      '-o, --out <dir>',
      "folder of what is written (default: 'runs/train', or runs/ and the name of the config file)",
    )
    .option('--json <file>', "also write the results there, '-' for stdout")
    .option('--report <file>', 'write an HTML report')
    .option('--resume <file>', 'go on from a checkpoint; its configuration is taken unless --config is given')
    .option('-q, --quiet', 'no progress');
  addConfigOptions(command)
    .addHelpText('after', () => `${HELP}\n${fieldsHelp()}`)
    .action((options: TrainOptions) => run(options));
}
