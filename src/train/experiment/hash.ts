/**
 * What a cell is known by: the SHA-256 of its complete configuration without what leaves the results as they are.
 */
import { createHash } from 'node:crypto';
import stringify from 'safe-stable-stringify';
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

/** Hexadecimal, 64 digits. Threads, evaluations on the way and checkpoints don't count: results don't depend on them. */
export function configHash({ threads, evalEvery, checkpoint, ...config }: RunConfig): string {
  void [threads, evalEvery, checkpoint];
  const text = stringify({ version: RESULTS_VERSION, config: withoutNulls(config) }) as string;
  return createHash('sha256').update(text).digest('hex');
}
