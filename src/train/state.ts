/**
 * What a training checkpoint holds, and how it comes back: model, optimiser, widths with ids and ages, cycle, random numbers, the
 * place in epoch and batch order, the history so far. Enough to go on bit for bit.
 */
import { ConfigError, FormatError } from '../device/index.js';
import { type Checkpoint, type HostTensor, loadCheckpoint, toHost } from '../io/index.js';
import type { WidthState } from '../nn/index.js';
import type { OptimizerMeta } from '../optim/index.js';
import type { CycleState } from '../plasticity/index.js';
import { type Tensor, tensor, tidy } from '../tensor/index.js';
import type { RunConfig } from './config.js';
import type { EpochRecord, PlasticityEvent } from './results.js';
import type { PreparedRun } from './setup.js';

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
  /** Of all sessions so far. */
  seconds: number;
}

interface Meta {
  kind: 'training';
  config: RunConfig;
  state: TrainingState;
  widths: WidthState[];
  optimizer: OptimizerMeta;
  generator: number[];
  cycle: CycleState['meta'] | null;
}

const PARTS = ['model', 'optimizer', 'cycle'] as const;

/** The checkpoint of a run between two steps. */
export async function packState(run: PreparedRun, state: TrainingState): Promise<Checkpoint> {
  const { model, optimizer, generator, cycle, config } = run;
  const tensors = new Map<string, HostTensor>();
  const optimizerState = optimizer.stateDict();
  const cycleState = cycle?.state();
  const parts = {
    model: model.stateDict(),
    optimizer: optimizerState,
    cycle: cycleState?.tensors ?? new Map<string, Tensor>(),
  };
  for (const part of PARTS) {
    for (const [name, value] of await toHost(parts[part])) tensors.set(`${part}/${name}`, value);
    for (const view of parts[part].values()) view.dispose();
  }
  const meta: Meta = {
    kind: 'training',
    config,
    state,
    widths: model.widths().map((width) => width.state()),
    optimizer: optimizerState.meta,
    generator: [...(await generator.state.data())],
    cycle: cycleState?.meta ?? null,
  };
  return { meta: meta as unknown as Record<string, unknown>, tensors };
}

/** Fields that don't change the weights and may differ on resume. */
function comparable({ threads, checkpoint, evalEvery, ...rest }: RunConfig): Record<string, unknown> {
  void [threads, checkpoint, evalEvery];
  return rest;
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

/**
 * Puts a checkpoint into a run that was built by the same configuration.
 * @throws ConfigError naming the fields that differ; FormatError for a file that is damaged or no training checkpoint
 */
export async function restoreState(path: string, run: PreparedRun): Promise<TrainingState> {
  const { meta: raw, tensors } = await loadCheckpoint(path);
  const meta = raw as unknown as Meta;
  if (meta.kind !== 'training')
    throw new FormatError(`resume: ${path}: expected a training checkpoint, got '${String(meta.kind)}'`);
  const different = differences(comparable(meta.config), comparable(run.config));
  if (different.length > 0) {
    throw new ConfigError(
      `resume: ${path}: expected a checkpoint of this configuration; different: ${different.join(', ')}`,
    );
  }
  const { model, optimizer, cycle, generator } = run;
  const widths = model.widths();
  if (widths.length !== meta.widths.length) {
    throw new ConfigError(`resume: ${path}: expected ${widths.length} widths, got ${meta.widths.length}`);
  }
  widths.forEach((width, i) => width.load(meta.widths[i]));
  tidy(() => {
    model.loadStateDict(part(tensors, 'model'));
    optimizer.loadStateDict(Object.assign(part(tensors, 'optimizer'), { meta: meta.optimizer }));
    if (cycle && meta.cycle) cycle.load({ meta: meta.cycle, tensors: part(tensors, 'cycle') });
  });
  generator.setState(meta.generator);
  return meta.state;
}
