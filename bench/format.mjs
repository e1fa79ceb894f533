/**
 * What the suites share: rounds in turn, medians, entries as JSON and as a table.
 *
 * An entry is { suite, case, engine, threads, value, unit, ratio_to }: `value` is the median rate over the rounds, so more is better;
 * `ratio_to` holds, by peer, our value over theirs. Entries of an engine that is absent have value null and say why in `absent`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};

/** Why PyTorch can't be used here, or an empty string. */
export function torchAbsent() {
  const found = spawnSync('/usr/bin/python3', ['-c', 'import torch'], { encoding: 'utf8' });
  if (found.error) return 'no /usr/bin/python3';
  if (found.status !== 0) return 'no module torch (Debian: apt-get install python3-torch)';
  warnOfReferenceBlas();
  return '';
}

/** Debian's PyTorch multiplies with whatever libblas.so.3 is; with the reference one it runs some twenty times slower. */
function warnOfReferenceBlas() {
  const dirs = ['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu/libblas.so.3`);
  const blas = dirs.find(existsSync);
  if (blas && /\/blas\/libblas/.test(realpathSync(blas))) {
    console.error(
      'bench: PyTorch uses the reference BLAS here and is no fair peer; Debian: apt-get install libopenblas0-pthread',
    );
  }
}

/** The rate that bench/peer_torch.py measures for a case. */
export function torchRate(name, threads, seconds) {
  const script = fileURLToPath(new URL('peer_torch.py', import.meta.url));
  // PyTorch's OpenMP threads spin by default and starve each other where cores are few: this is its better setting.
  const env = { OMP_WAIT_POLICY: 'passive', ...process.env };
  const run = spawnSync('/usr/bin/python3', [script, name, String(threads), String(seconds)], {
    encoding: 'utf8',
    env,
  });
  const value = Number(run.stdout);
  if (run.status !== 0 || !(value > 0)) throw new Error(`peer_torch.py ${name}: ${run.stderr || run.stdout}`);
  return value;
}

/**
 * Runs the engines of a case in turn, A B A B ..., and gives an entry for each.
 * @param engines { gyrus: () => rate, torch: () => rate | { absent } }
 */
export async function compare({ suite, name, unit, threads, rounds, engines }) {
  const rates = Object.fromEntries(Object.keys(engines).map((engine) => [engine, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [engine, measure] of Object.entries(engines)) {
      if (typeof measure === 'function') rates[engine].push(await measure());
    }
  }
  const entries = Object.entries(engines).map(([engine, measure]) => ({
    suite,
    case: name,
    engine,
    threads,
    value: typeof measure === 'function' ? median(rates[engine]) : null,
    unit,
    ratio_to: {},
    ...(typeof measure !== 'function' && { absent: measure.absent }),
  }));
  const ours = entries.find(({ engine }) => engine === 'gyrus');
  for (const peer of entries)
    if (peer !== ours && peer.value !== null) ours.ratio_to[peer.engine] = ours.value / peer.value;
  return entries;
}

const number = (value) =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(4)));

export function printTable(entries) {
  const table = new Table({
    head: ['suite', 'case', 'engine', 'threads', 'value', 'unit', 'ratio'],
    colAligns: ['left', 'left', 'left', 'right', 'right', 'left', 'left'],
    style: { head: [], border: [], compact: true },
  });
  for (const entry of entries) {
    const ratios = Object.entries(entry.ratio_to).map(([peer, ratio]) => `${ratio.toFixed(2)} x ${peer}`);
    const value = entry.value === null ? 'absent' : number(entry.value);
    const note =
      entry.absent ??
      (entry.detail
        ? Object.entries(entry.detail)
            .map(([k, v]) => `${k} ${v}`)
            .join(', ')
        : '');
    table.push([
      entry.suite,
      entry.case,
      entry.engine,
      String(entry.threads),
      value,
      entry.unit,
      [...ratios, note].filter((text) => text !== '').join('; '),
    ]);
  }
  console.log(table.toString());
}

export function writeEntries(path, entries) {
  const text = `${JSON.stringify(entries, null, 2)}\n`;
  if (path === '-') process.stdout.write(text);
  else writeFileSync(path, text);
}
