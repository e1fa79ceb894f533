/**
 * gyrus report: a results file as one self-contained HTML page.
 */
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { say } from './output.js';

const HELP = `
The page needs no network: charts are drawn when it is written.

Examples:
  gyrus report runs/demo/results.json
  gyrus report runs/demo/results.json -o report.html
`;

/** Adds `gyrus report`. */
export function addReport(program: Command): void {
  program
    .command('report')
    .description('make an HTML report of a results file')
    .argument('<results.json>', 'written by train or compare')
    .option('-o, --output <file>', 'where to (default: report.html beside the results file)')
    .addHelpText('after', HELP)
    .action(async (path: string, options: { output?: string }) => {
      const { readResults } = await import('../train/report-read.js');
      const { writeReport } = await import('../train/report.js');
      const output = options.output ?? join(dirname(path), 'report.html');
      await writeReport(await readResults(path), output);
      say(`wrote ${output}`);
    });
}
