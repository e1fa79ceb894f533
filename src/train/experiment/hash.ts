/**
 * What a cell is known by: the SHA-256 of its complete configuration without what leaves the results as they are. Own data counts by
 * what its files hold, not by where they lie.
 */
import { createHash } from 'node:crypto';
import stringify from 'safe-stable-stringify';
import { ownDigest } from '../../data/index.js';
import type { RunConfig } from '../config.js';

/** Part of every hash. To be raised when the same configuration gives other results, or when a result holds other things. */
export const RESULTS_VERSION = 1;

/** Without null and undefined: a field that is off is the same as one that is not there yet. */
function withoutNulls(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(withoutNulls);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null && inner !== undefined)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  );
}

/** Own data with a digest of its files for each path; `known` has those of before. */
function byContent(dataset: RunConfig['dataset'], known: Map<string, string> | undefined): RunConfig['dataset'] {
  const { train, test } = dataset;
  if (train === undefined || test === undefined) return dataset;
  const [first, second] = [train, test].map((path) => {
    const digest = known?.get(path) ?? ownDigest(path);
    known?.set(path, digest);
    return digest;
  });
  return { ...dataset, train: first, test: second };
}

/**
 * Hexadecimal, 64 digits. Threads, evaluations on the way and checkpoints don't count: results don't depend on them. Recording counts
 * where it is not at the size: on devices other than the CPU sums are then rounded at other places.
 * @param digests of own data by path, filled as files are read, so that many cells read each of them once
 * @throws IOError when own data can't be read
 */
export function configHash(
  { threads, evalEvery, checkpoint, dataset, recording, ...config }: RunConfig,
  digests?: Map<string, string>,
): string {
  void [threads, evalEvery, checkpoint];
  const other = recording === 'size' ? undefined : recording;
  const counted = withoutNulls({ ...config, recording: other, dataset: byContent(dataset, digests) });
  const text = stringify({ version: RESULTS_VERSION, config: counted }) as string;
  return createHash('sha256').update(text).digest('hex');
}
