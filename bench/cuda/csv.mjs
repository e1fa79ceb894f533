/** Tables of objects as CSV: a line of names, then one line each; cells with commas or quotes are quoted. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const quoted = (value) => (/[",]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));

/** The rows, every cell a text; undefined where there is no file. */
export function readCsv(path) {
  if (!existsSync(path)) return undefined;
  const cells = (line) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((m) => m[1]?.replaceAll('""', '"') ?? m[2]);
  const [head, ...lines] = readFileSync(path, 'utf8').trim().split('\n').map(cells);
  return lines.map((line) => Object.fromEntries(line.map((cell, i) => [head[i], cell])));
}

/** Written to a temporary name, then renamed. Throws for rows of different columns. */
export function writeCsv(path, rows) {
  const keys = Object.keys(rows[0]);
  const odd = rows.find((row) => Object.keys(row).join() !== keys.join());
  if (odd) throw new Error(`${path}: expected the columns ${keys.join(', ')}, got ${Object.keys(odd).join(', ')}`);
  const lines = [keys, ...rows.map((row) => keys.map((key) => row[key]))].map((cells) => cells.map(quoted).join(','));
  writeFileSync(`${path}.tmp`, `${lines.join('\n')}\n`);
  renameSync(`${path}.tmp`, path);
}
