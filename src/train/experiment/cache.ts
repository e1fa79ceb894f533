/**
 * The cache of finished cells: one JSON file each, named by the hash of its configuration and written atomically, and results files
 * of other machines, whose runs count as finished too.
 */
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { expectation, FormatError, IOError } from '../../device/index.js';
import { writeFileAtomic } from '../../io/index.js';
import type { RunRecord } from './record.js';

const rate = z.number();
const whole = z.number().int().min(0);

const recordSchema = z.looseObject({
  hash: z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256'),
  top1: rate,
  meanRecall: rate,
  head: rate,
  mid: rate,
  tail: rate,
  params: whole,
  madds: whole,
  trainingMadds: rate,
  seconds: z.number(),
  epochs: whole,
  // JSON has no NaN: a loss that is none comes back as null.
  loss: z.number().nullable(),
  ece: z.number().nullable(),
  perClass: z.array(rate),
  classCounts: z.array(whole),
  classNames: z.array(z.string()),
  units: z.strictObject({ grow: whole, prune: whole, reset: whole }),
  isa: z.string(),
  cpu: z.string(),
});

const cellFile = z.looseObject({
  format: z.literal('gyrus-experiment-run'),
  version: z.literal(1),
  record: recordSchema,
});

const resultsFile = z.looseObject({
  format: z.literal('gyrus-experiment'),
  version: z.literal(1),
  runs: z.array(recordSchema),
});

function readJson<T>(path: string, schema: z.ZodType<T>, what: string): T {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new IOError(`experiment: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`experiment: expected JSON in ${path}: ${(error as Error).message}`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new FormatError(
    `experiment: ${path} is no ${what}: '${issue.path.map(String).join('.')}': ${expectation(issue.message)}`,
  );
}

/** The runs of a results.json of an experiment. Throws IOError, FormatError. */
export function readRuns(path: string): RunRecord[] {
  return readJson(path, resultsFile, 'results file of an experiment').runs as unknown as RunRecord[];
}

export class ExperimentCache {
  readonly dir: string;
  readonly #others = new Map<string, RunRecord>();

  /**
   * @param dir folder of the files; it is made when the first is written
   * @param from results files whose runs count as finished
   */
  constructor(dir: string, from: readonly string[] = []) {
    this.dir = dir;
    for (const path of from) for (const record of readRuns(path)) this.#others.set(record.hash, record);
  }

  pathOf(hash: string): string {
    return join(this.dir, `${hash}.json`);
  }

  /** Where a cell that is in progress keeps its checkpoint. */
  checkpointOf(hash: string): string {
    return join(this.dir, `${hash}.gyrus`);
  }

  /** The finished run of that hash, if there is one. A damaged file counts as none. */
  read(hash: string): RunRecord | undefined {
    const other = this.#others.get(hash);
    if (other) return other;
    const path = this.pathOf(hash);
    if (!existsSync(path)) return undefined;
    try {
      const { record } = readJson(path, cellFile, 'finished run');
      return record.hash === hash ? (record as unknown as RunRecord) : undefined;
    } catch (error) {
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  /** Keeps a finished run and drops its checkpoint. Throws IOError. */
  async write(record: RunRecord, config: unknown): Promise<void> {
    const file = { format: 'gyrus-experiment-run', version: 1, record, config };
    await writeFileAtomic(this.pathOf(record.hash), [Buffer.from(`${JSON.stringify(file)}\n`)]);
    await this.dropCheckpoint(record.hash);
  }

  async dropCheckpoint(hash: string): Promise<void> {
    await rm(this.checkpointOf(hash), { force: true });
  }
}
