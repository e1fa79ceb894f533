/**
 * CSV of numbers, with a column of labels (numbers or names). Quotes as in RFC 4180.
 */
import { FormatError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
import { readBytes } from './files.js';

export interface CsvOptions {
  /** Default: the file's name. */
  name?: string;
  /** Column of the label: its name (with a header) or index, negative from the end. Default -1. */
  label?: string | number;
  /** Whether the first line names the columns. Default: when any of its cells but the label's isn't a number. */
  header?: boolean;
  /** Default: ',' */
  separator?: string;
  /** Classes in order; default: whole numbers as they are, else the distinct names sorted. */
  classNames?: readonly string[];
}

/** Splits CSV text into rows of cells; blank lines are left out. */
export function parseCsv(text: string, separator = ','): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  const endRow = (): void => {
    row.push(cell);
    if (row.length > 1 || row[0] !== '') rows.push(row);
    row = [];
    cell = '';
  };
  for (let i = text.charCodeAt(0) === 0xfeff ? 1 : 0; i < text.length; i++) {
    const ch = text[i];
    if (quoted) {
      if (ch !== '"') cell += ch;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (ch === '"' && cell === '') quoted = true;
    else if (ch === separator) {
      row.push(cell);
      cell = '';
    } else if (ch === '\n') endRow();
    else if (ch !== '\r') cell += ch;
  }
  if (cell !== '' || row.length > 0) endRow();
  return rows;
}

function isNumber(cell: string): boolean {
  return cell.trim() !== '' && Number.isFinite(Number(cell));
}

/**
 * A dataset from a CSV file (gzipped or not): every column but the label's is a feature.
 * @throws FormatError naming line and column for cells that aren't numbers, ragged rows, unknown columns or labels
 */
export async function readCsv(path: string, options: CsvOptions = {}): Promise<Dataset> {
  const rows = parseCsv((await readBytes(path)).toString('utf8'), options.separator);
  if (rows.length === 0) throw new FormatError(`csv: ${path}: expected at least one row, got none`);
  const columns = rows[0].length;
  let label = typeof options.label === 'string' ? rows[0].indexOf(options.label) : (options.label ?? -1);
  if (typeof options.label === 'string' && label < 0) {
    throw new FormatError(`csv: ${path}: expected a column '${options.label}', got ${rows[0].join(', ')}`);
  }
  if (label < 0) label += columns;
  if (columns < 2 || label < 0 || label >= columns) {
    throw new FormatError(`csv: ${path}: expected a label column and at least one feature, got ${columns} columns`);
  }
  const header =
    options.header ?? (typeof options.label === 'string' || rows[0].some((cell, i) => i !== label && !isNumber(cell)));
  const body = header ? rows.slice(1) : rows;
  if (body.length === 0) throw new FormatError(`csv: ${path}: expected rows after the header, got none`);

  const data = new Float32Array(body.length * (columns - 1));
  let at = 0;
  body.forEach((row, r) => {
    const line = r + (header ? 2 : 1);
    if (row.length !== columns)
      throw new FormatError(`csv: ${path}: expected ${columns} cells in row ${line}, got ${row.length}`);
    row.forEach((cell, c) => {
      if (c === label) return;
      if (!isNumber(cell)) {
        throw new FormatError(`csv: ${path}: expected a number in row ${line}, column ${c + 1}, got '${cell}'`);
      }
      data[at++] = Number(cell);
    });
  });

  const cells = body.map((row) => row[label].trim());
  const whole = options.classNames === undefined && cells.every((cell) => /^\d+$/.test(cell));
  const names = whole ? undefined : (options.classNames ?? [...new Set(cells)].sort());
  const labels = Int32Array.from(cells, (cell, r) => {
    const c = names ? names.indexOf(cell) : Number(cell);
    if (c < 0)
      throw new FormatError(
        `csv: ${path}: expected a label of ${names?.join(', ')} in data row ${r + 1}, got '${cell}'`,
      );
    return c;
  });
  return createDataset({
    name: options.name ?? path,
    data,
    labels,
    shape: [columns - 1],
    classNames: names,
    classes: names?.length,
  });
}
