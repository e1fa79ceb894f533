/**
 * What a training checkpoint holds, and how it comes back: model, optimiser, widths with ids and ages, cycle, random numbers, the
 * place in epoch and batch order, the history so far. Enough to go on bit for bit.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Dataset } from '../data/index.js';
import { ConfigError, DTypeError, expectation, FormatError, ShapeError } from '../device/index.js';
import { type Checkpoint, type HostTensor, loadCheckpoint, toHost } from '../io/index.js';
import type { WidthState } from '../nn/index.js';
import type { OptimizerMeta } from '../optim/index.js';
import type { CycleState, ResetState } from '../plasticity/index.js';
import { type Tensor, tensor, tidy } from '../tensor/index.js';
import type { RunConfig } from './config.js';
import type { EpochRecord, PlasticityEvent } from './results.js';
import type { SecondStageState } from './second-stage.js';
import type { PreparedData, PreparedRun } from './setup.js';

/** Where a training stands. */
export interface TrainingState {
  /** Epochs completed. */
  epoch: number;
  /** Batches taken of the current epoch. */
  batch: number;
  step: number;
  /** Rows seen in the current epoch. */
  rows: number;
  /** Sum of the losses and right predictions of the current epoch. */
  totals: number[];
  history: EpochRecord[];
  events: PlasticityEvent[];
  startParameters: number;
  /** Of all steps so far, as in results. */
  multiplyAdds: number;
  /** Of all sessions so far. */
  seconds: number;
}

interface Meta {
  kind: 'training';
  config: RunConfig;
  /** Of the training data, see {@link digestOf}. */
  data: string;
  state: TrainingState;
  widths: WidthState[];
  optimizer: OptimizerMeta;
  generator: number[];
  cycle: CycleState['meta'] | null;
  resets: ResetState['meta'] | null;
  /** Null before the second stage, and without one. */
  secondStage: SecondStageState['meta'] | null;
}

const count = z.number().int().min(0);
// JSON has no NaN: a sum that is none comes back as null.
const total = z.number().nullable();
const some = z.looseObject({});
const optimizerMeta = z.looseObject({ name: z.string(), lr: z.number(), gradScale: z.number(), parameters: count });
/** What this file relies on; the parts that go to widths, optimiser and cycle are checked there. */
const metaSchema = z.looseObject({
  kind: z.literal('training'),
  config: some,
  data: z.string(),
  state: z.looseObject({
    epoch: count,
    batch: count,
    step: count,
    rows: count,
    totals: z.tuple([total, total]),
    history: z.array(some),
    events: z.array(some),
    startParameters: count,
    multiplyAdds: z.number().min(0),
    seconds: z.number().min(0),
  }),
  widths: z.array(some),
  optimizer: optimizerMeta,
  generator: z.array(z.number()),
  cycle: z
    .looseObject({
      base: some,
      grownAt: z.number().nullable(),
      collecting: z.boolean(),
      log: z.array(some),
      generator: z.array(z.number()),
    })
    .nullable(),
  resets: z
    .looseObject({ log: z.array(some), generator: z.array(z.number()), counters: some })
    .nullable()
    .default(null),
  secondStage: z
    .looseObject({ method: z.string(), tau: z.number().nullable(), optimizer: optimizerMeta.nullable() })
    .nullable()
    .default(null),
});

/** The meta of a training checkpoint. Throws FormatError naming the first part that is missing or another thing. */
function metaOf(raw: Record<string, unknown>, path: string): Meta {
  const parsed = metaSchema.safeParse(raw);
  if (parsed.success) {
    const meta = parsed.data as unknown as Meta;
    meta.state.totals = meta.state.totals.map((sum) => (sum as number | null) ?? NaN);
    return meta;
  }
  const [issue] = parsed.error.issues;
  throw new FormatError(
    `resume: ${path}: expected a training checkpoint; '${issue.path.join('.')}': ${expectation(issue.message)}`,
  );
}

const digests = new WeakMap<Dataset, string>();

/** Tells data sets apart: rows, labels and how they become numbers, not where they lie. */
function digestOf(dataset: Dataset): string {
  let digest = digests.get(dataset);
  if (digest === undefined) {
    const { data, labels, shape, classes, scale, shift } = dataset;
    const hash = createHash('sha256').update(JSON.stringify([data.constructor.name, shape, classes, scale, shift]));
    for (const part of [data, labels]) hash.update(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    digests.set(dataset, (digest = hash.digest('hex')));
  }
  return digest;
}

const PARTS = ['model', 'optimizer', 'cycle', 'resets', 'secondStage'] as const;

/** What a checkpoint is made from and goes back into. */
type StoredRun = PreparedRun & { readonly data: Pick<PreparedData, 'train'> };

/** The checkpoint of a run between two steps. */
export async function packState(run: StoredRun, state: TrainingState): Promise<Checkpoint> {
  const { model, optimizer, generator, cycle, resets, secondStage, config } = run;
  const tensors = new Map<string, HostTensor>();
  const optimizerState = optimizer.stateDict();
  const cycleState = cycle?.state();
  const resetState = resets?.state();
  const stageState = secondStage?.state();
  const parts = {
    model: model.stateDict(),
    optimizer: optimizerState,
    cycle: cycleState?.tensors ?? new Map<string, Tensor>(),
    resets: resetState?.tensors ?? new Map<string, Tensor>(),
    secondStage: stageState?.tensors ?? new Map<string, Tensor>(),
  };
  for (const part of PARTS) {
    for (const [name, value] of await toHost(parts[part])) tensors.set(`${part}/${name}`, value);
    for (const view of parts[part].values()) view.dispose();
  }
  const meta: Meta = {
    kind: 'training',
    config,
    data: digestOf(run.data.train),
    state,
    widths: model.widths().map((width) => width.state()),
    optimizer: optimizerState.meta,
    generator: [...(await generator.state.data())],
    cycle: cycleState?.meta ?? null,
    resets: resetState?.meta ?? null,
    secondStage: stageState?.meta ?? null,
  };
  return { meta: meta as unknown as Record<string, unknown>, tensors };
}

/** Without the fields that don't change the weights and may differ on resume; paths don't, the data themselves are compared. */
function comparable({
  threads,
  checkpoint,
  evalEvery,
  recording,
  diagnostics,
  dataset,
  ...rest
}: RunConfig): Record<string, unknown> {
  const { dir, train, test, ...data } = (dataset as RunConfig['dataset'] | undefined) ?? {};
  void [threads, checkpoint, evalEvery, recording, diagnostics, dir, train, test];
  return { ...rest, dataset: data };
}

/** A field's value in a message. */
function brief(value: unknown): string {
  if (value === undefined) return 'unset';
  return value !== null && typeof value === 'object' ? 'set' : JSON.stringify(value);
}

function differences(a: unknown, b: unknown, path = ''): string[] {
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') {
    return a === b ? [] : [`${path} (${brief(a)} there, ${brief(b)} here)`];
  }
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return [...new Set([...Object.keys(x), ...Object.keys(y)])].flatMap((key) =>
    differences(x[key], y[key], path === '' ? key : `${path}.${key}`),
  );
}

function part(tensors: ReadonlyMap<string, HostTensor>, name: (typeof PARTS)[number]): Map<string, Tensor> {
  const out = new Map<string, Tensor>();
  for (const [key, { data, dtype, shape }] of tensors) {
    if (key.startsWith(`${name}/`)) out.set(key.slice(name.length + 1), tensor(data, { dtype, shape }));
  }
  return out;
}

/** What a part of a run had against its part of a checkpoint, as the damage that it is; other errors as they are. */
export function damageOf(path: string, error: unknown): unknown {
  if (!(error instanceof ConfigError || error instanceof ShapeError || error instanceof DTypeError)) return error;
  return new FormatError(`resume: ${path}: expected a whole training checkpoint: ${error.message}`, { cause: error });
}

/**
 * Puts a checkpoint into a run that was built by the same configuration.
 * @throws ConfigError naming the fields that differ, or for other training data; FormatError for a file that is damaged or no
 * training checkpoint
 */
export async function restoreState(path: string, run: StoredRun): Promise<TrainingState> {
  const { meta: raw, tensors } = await loadCheckpoint(path);
  const meta = metaOf(raw, path);
  const different = differences(comparable(meta.config), comparable(run.config));
  if (different.length > 0) {
    throw new ConfigError(
      `resume: ${path}: expected a checkpoint of this configuration; different: ${different.join(', ')}`,
    );
  }
  if (meta.data !== digestOf(run.data.train)) {
    throw new ConfigError(`resume: ${path}: expected the training data of the checkpoint, got other rows or labels`);
  }
  const { model, optimizer, cycle, resets, secondStage, generator } = run;
  const widths = model.widths();
  if (widths.length !== meta.widths.length) {
    throw new ConfigError(`resume: ${path}: expected ${widths.length} widths, got ${meta.widths.length}`);
  }
  try {
    widths.forEach((width, i) => width.load(meta.widths[i]));
    tidy(() => {
      model.loadStateDict(part(tensors, 'model'));
      optimizer.loadStateDict(Object.assign(part(tensors, 'optimizer'), { meta: meta.optimizer }));
      if (cycle && meta.cycle) cycle.load({ meta: meta.cycle, tensors: part(tensors, 'cycle') });
      if (resets && meta.resets) resets.load({ meta: meta.resets, tensors: part(tensors, 'resets') });
      if (secondStage && meta.secondStage) {
        secondStage.load({ meta: meta.secondStage, tensors: part(tensors, 'secondStage') });
      }
    });
    generator.setState(meta.generator);
  } catch (error) {
    throw damageOf(path, error);
  }
  return meta.state;
}
