/**
 * Data sets by name: where their files lie, whether they are there, and the command that brings them.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, IOError } from '../device/index.js';
import type { Dataset } from './dataset.js';
import { type DataSource, SOURCES, type SplitSet } from './sources.js';

export const datasetNames: readonly string[] = SOURCES.map(({ name }) => name);

/** What 'auto' looks for, in this order. */
export const autoDatasets: readonly string[] = ['fashion-mnist', 'mnist'];

/** A training and a test set, and where they came from. */
export interface DatasetPair {
  name: string;
  train: Dataset;
  test: Dataset;
  /** The folder or file read. */
  source: string;
}

export interface DatasetInfo {
  name: string;
  /** What it is, in a line. */
  description: string;
  found: boolean;
  /** Folder where it is, or where it is looked for first. */
  source: string;
  /** The command that brings it. */
  command: string;
}

/** The folder of fetched sets, each in one of its own: GYRUS_DATA, else gyrus in XDG_CACHE_HOME or ~/.cache. */
export function dataFolder(): string {
  return process.env.GYRUS_DATA || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'gyrus');
}

/** The set of that name. Throws ConfigError listing the known ones. */
export function dataSource(name: string): DataSource {
  const found = SOURCES.find((source) => source.name === name);
  if (!found) throw new ConfigError(`dataset: expected one of ${datasetNames.join(', ')}, got '${name}'`);
  return found;
}

/** The command that brings a set. */
export function commandFor({ name, apt }: DataSource): string {
  return apt === undefined ? `npx gyrus data fetch ${name}` : `apt-get install ${apt}`;
}

/**
 * Where a set is looked for: a folder given, or that of fetched sets, then packages. GYRUS_DATA itself may also hold the files, as long as
 * their names tell the set, or the IDX files of one that is as MNIST is.
 */
function placesOf(source: DataSource, dir: string | undefined): string[] {
  if (dir !== undefined) return [dir];
  const itself = process.env.GYRUS_DATA ? [process.env.GYRUS_DATA] : [];
  return [join(dataFolder(), source.name), ...itself, ...source.places()];
}

interface Found {
  dir: string;
  open(): Promise<SplitSet>;
}

function find(source: DataSource, dir: string | undefined): Found | { missing: string[] } {
  const missing: string[] = [];
  for (const place of placesOf(source, dir)) {
    // Files whose names are those of many sets, in a folder that is no set's own, would be taken for any of these.
    const shared = dir === undefined && place === process.env.GYRUS_DATA && !autoDatasets.includes(source.name);
    for (const layout of source.layouts.filter(({ telling }) => telling || !shared)) {
      const files = layout.files(place);
      if (Array.isArray(files)) return { dir: place, open: () => layout.open(files, source) };
      missing.push(files.missing);
    }
  }
  return { missing };
}

/** The known data sets, found or not. */
export function listDatasets(): DatasetInfo[] {
  return SOURCES.map((source) => {
    const { name, description } = source;
    const found = find(source, undefined);
    const there = 'dir' in found;
    return {
      name,
      description,
      found: there,
      source: there ? found.dir : placesOf(source, undefined)[0],
      command: commandFor(source),
    };
  });
}

/**
 * Opens a data set by name. Images are bytes [height, width, channels] with a scale of 1/255. 'letter' and 'shuttle' come
 * without a test set: a fixed random choice of 150 or 500 rows of each class is taken, or 40 % of a class with fewer; their
 * features have mean 0 and deviation 1 over the training set. How 'emoji' is split, {@link readEmojiSheets} says.
 * @param name 'fashion-mnist', 'mnist', 'cifar-10', 'emoji', 'letter', 'shuttle', or 'auto': the first of the first two that
 * is there
 * @param options.dir folder of the files; default: that of fetched sets (see {@link dataFolder}), then where packages put them
 * @throws ConfigError for other names; IOError when the files are missing, naming the command that brings them; FormatError when
 * they are damaged
 */
export async function openDataset(name = 'auto', options: { dir?: string } = {}): Promise<DatasetPair> {
  if (name !== 'auto' && !datasetNames.includes(name)) {
    throw new ConfigError(`dataset: expected one of auto, ${datasetNames.join(', ')}, got '${name}'`);
  }
  const candidates = name === 'auto' ? autoDatasets.map(dataSource) : [dataSource(name)];
  const problems: string[] = [];
  for (const source of candidates) {
    const found = find(source, options.dir);
    if ('dir' in found) return { name: source.name, source: found.dir, ...(await found.open()) };
    problems.push(`${source.name}: found none of ${found.missing.join(', ')}; bring it with: ${commandFor(source)}`);
  }
  throw new IOError(`dataset: ${problems.join('\n  ')}`);
}
