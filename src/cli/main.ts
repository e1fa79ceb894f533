#!/usr/bin/env node
/**
 * The command line: gyrus train, compare, experiment, data, report, doctor. Each command has its own file; this one puts them
 * together and turns errors into exit codes.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../device/index.js';
import { addCompare } from './compare.js';
import { addData } from './data.js';
import { addDoctor } from './doctor.js';
import { colorsFor, explain, EXIT, say } from './output.js';
import { addExperiment } from './experiment.js';
import { addReport } from './report.js';
import { addTrain } from './train.js';

const HELP = `
Exit codes:
  0    done
  1    failed at run time (a file, the device, a training that diverged)
  2    wrong usage or configuration
  130  interrupted, after a checkpoint

Environment:
  GYRUS_ISA=scalar|avx2|avx512|neon  forces an instruction set
  GYRUS_THREADS=n                    sets the number of threads
  GYRUS_DEVICE=cpu|cuda:0|...        sets the device where no --device does
  GYRUS_PRECISION=f32|tf32|bf16      sets the precision of products on CUDA devices
  GYRUS_DATA=dir                     folder of fetched data sets
  NO_COLOR=1                         no colours

Examples:
  gyrus compare --preset demo --json runs/demo/results.json
  gyrus train --plastic --hidden 12,12 --epochs 20
  gyrus data fetch cifar-10
  gyrus report runs/demo/results.json
  gyrus doctor
`;

function version(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }).version;
}

function makeProgram(): Command {
  const program = new Command('gyrus')
    .description('Trains networks whose layers gain and lose neurons.')
    .version(version())
    .showSuggestionAfterError(true)
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride()
    .addHelpText('after', HELP);
  addTrain(program);
  addCompare(program);
  addExperiment(program);
  addData(program);
  addReport(program);
  addDoctor(program);
  return program;
}

async function main(): Promise<void> {
  // A reader that closes the pipe early (head, less) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  // Progress is a courtesy: a training whose terminal has gone still ends with its checkpoint.
  process.stderr.on('error', () => undefined);
  try {
    await makeProgram().parseAsync(process.argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has said its message already.
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    const { code, text } = explain(error);
    say(`${colorsFor(process.stderr).red('error')}: ${text}`);
    process.exitCode = code;
  }
}

await main();
