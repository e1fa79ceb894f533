/**
 * The choices of the grow-and-prune cycle, each with its default. The published description of the method leaves them open; the
 * defaults are this project's reconstruction.
 */
import { inspect } from 'node:util';
import { z } from 'zod';
import { ConfigError, expectation } from '../device/index.js';
import { GROWTH_INITS, Width } from '../nn/index.js';
import type { PlasticityContext } from './context.js';
import { allocations } from './allocation.js';
import { classWeightings, scoreNames } from './scores.js';

const fraction = z.number().min(0).max(1);
const count = z.number().int().min(1);

export const CYCLE_MODES = ['grow-prune', 'grow', 'replace', 'phases'] as const;

export const cycleSchema = z.strictObject({
  mode: z
    .enum(CYCLE_MODES)
    .default('grow-prune')
    .describe(
      'grow-prune, or a control: grow (grown at the first growth and never shrunk), replace (never grown: when the cycle would ' +
        'shrink, as many units as it would remove make way for newborn ones), phases (no unit is born or removed: what else the grown ' +
        'phases change, loss, sampler or shelter, is all that is left)',
    ),
  widths: z
    .union([z.literal('all'), z.array(z.union([z.string(), z.instanceof(Width)])).min(1)])
    .default('all')
    .describe(
      'Widths that change: all that have a producer, a consumer and no layer norm (a cosine classifier is none), or a list of ' +
        'widths or their names',
    ),
  rate: z
    .number()
    .gt(0)
    .max(4)
    .default(0.5)
    .describe('Units added per cycle, as a share of the base size (rounded up)'),
  period: count.default(4).describe('Epochs of one cycle'),
  grownEpochs: count.default(2).describe('Epochs of a cycle at the grown size'),
  warmup: fraction.default(0.1).describe('Share of the epochs before which nothing grows'),
  lastShrink: fraction
    .default(0.75)
    .describe('Share of the epochs (rounded down) after which the last removal happens'),
  lastPhase: fraction
    .default(0.9)
    .describe(
      'Share of the epochs (rounded down) after which the last phase ends, if not before lastShrink; those that end after lastShrink, ' +
        'but for the first of all, change no neuron, only what else the grown phases change, loss or sampler',
    ),
  allocation: z
    .enum(allocations)
    .default('proportional')
    .describe(
      'How the newborn, always as many in sum, are shared out among the widths: by base size, evenly, or by base size times the ' +
        'mean gradient or the effective rank of the incoming weights',
    ),
  init: z
    .enum(GROWTH_INITS)
    .default('zero-out')
    .describe(
      'How newborn units start; gradmax only between two linear layers or two convolutions without batch norm; variance-transfer ' +
        'changes the function, also when the units go: outgoing weights are scaled to the width',
    ),
  spread: z
    .enum(['kaiming', 'match'])
    .default('kaiming')
    .describe('Spread of drawn weights: by fan-in, or that of the old weights'),
  noise: z.number().min(0).default(0).describe('split: relative noise on the incoming weights of copies'),
  steer: z
    .enum(['none', 'tail'])
    .default('tail')
    .describe('split: copy the units that the tail needs most (by class-taylor on a sample at growth), or ones drawn'),
  steerWeighting: z
    .enum(classWeightings)
    .default('inverse')
    .describe('steer: weight of each class in what the tail needs'),
  growthSamples: count
    .default(60)
    .describe('Samples per class that steer, gradmax, shelter and allocation gradient look at when units are born'),
  score: z.enum(scoreNames).default('class-taylor').describe('What decides which units are removed'),
  classWeighting: z.enum(classWeightings).default('uniform').describe('Weight of each class in the class-taylor score'),
  effectiveBeta: z.number().min(0).lt(1).default(0.9999).describe('Beta of the effective number of samples'),
  maturity: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('Steps before a unit may be removed, as long as enough older ones are left'),
  foldMean: z.boolean().default(true).describe("Fold a removed unit's mean activation into the next bias"),
  retain: fraction
    .nullable()
    .default(null)
    .describe(
      'Never remove a unit in this top share of a head class, as long as enough others are left (null: no such rule)',
    ),
  shelter: fraction
    .nullable()
    .default(null)
    .describe(
      'While grown, the own weights of units in this top share of a head class learn at shelterFactor times the rate (null: no such rule)',
    ),
  shelterFactor: fraction.default(0).describe('shelter: factor on the learning rate; at 0 the weights stand still'),
  newbornRate: z
    .number()
    .gt(0)
    .max(100)
    .default(1)
    .describe(
      'While grown, the own weights of the newborn learn at this many times the rate (none are in modes replace and phases)',
    ),
  headClasses: count
    .nullable()
    .default(null)
    .describe('retain, shelter: how many of the most frequent classes are head classes (null: a third, rounded)'),
  probe: z
    .union([z.literal('running'), z.strictObject({ samplesPerClass: count })])
    .default('running')
    .describe('Score during the grown phase, or on a class-balanced sample of the training set at its end'),
  scoreEpochs: count
    .nullable()
    .default(1)
    .describe('running: the last epochs of the grown phase that the statistics cover (null: all of it)'),
  seed: z.number().int().min(0).default(0).describe('Seed of newborn weights, donors and random scores'),
  adjust: z
    .custom<(phase: 'grown' | 'base', context: PlasticityContext) => void | Promise<void>>(
      (f) => typeof f === 'function',
    )
    .optional()
    .describe('Called when a phase begins: set a tail-weighted loss or sampler in the grown phase, and back'),
});

export type CycleOptions = z.input<typeof cycleSchema>;
export type CycleSettings = z.output<typeof cycleSchema>;

/** What stands at `path` of the options, for messages. */
function valueAt(options: unknown, path: readonly PropertyKey[]): string {
  let value = options;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  return inspect(value, { depth: 1, breakLength: Infinity });
}

/** Options with defaults filled in. Throws ConfigError naming every field that is unknown or out of range. */
export function parseCycleOptions(options: CycleOptions): CycleSettings {
  const parsed = cycleSchema.safeParse(options);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) =>
      path.length > 0
        ? `'${path.map(String).join('.')}': ${expectation(message)}, got ${valueAt(options, path)}`
        : message,
    );
    throw new ConfigError(`PlasticityCycle: ${problems.join('; ')}`);
  }
  const [problem] = contradictions(parsed.data);
  if (problem) throw new ConfigError(`PlasticityCycle: '${problem.field}': ${problem.message}`);
  return parsed.data;
}

/** Fields that don't go together, each with a message. */
export function contradictions(
  settings: Pick<CycleSettings, 'mode' | 'period' | 'grownEpochs' | 'allocation'>,
): { field: string; message: string }[] {
  const { mode, period, grownEpochs, allocation } = settings;
  const out: { field: string; message: string }[] = [];
  if (grownEpochs > period) {
    out.push({ field: 'grownEpochs', message: `expected at most the period (${period}), got ${grownEpochs}` });
  }
  if (mode === 'replace' && allocation !== 'proportional') {
    out.push({ field: 'allocation', message: `expected proportional in mode replace, got ${allocation}` });
  }
  return out;
}

/** Units that a cycle adds to a width of that base size, before it is known how they are shared out. */
export function unitsPerCycle({ rate }: Pick<CycleSettings, 'rate'>, base: number): number {
  return Math.ceil(rate * base - 1e-9);
}

/** A phase of the cycle, in epochs: from the start of `from` to the end of `to - 1`. */
export interface Phase {
  from: number;
  to: number;
  /** Whether neurons are born and removed in it (in the controls: would be). */
  neurons: boolean;
}

/**
 * The phases of a training. They are counted back from the end of the last one, so that the length of the training decides about
 * the first phase and not about how long the final network is trained.
 */
export function cyclePhases(settings: CycleSettings, epochs: number): Phase[] {
  const { warmup, period, grownEpochs, lastShrink, lastPhase } = settings;
  const end = (share: number): number => Math.floor(share * epochs + 1e-9);
  const first = Math.round(warmup * epochs);
  const out: Phase[] = [];
  for (let to = end(Math.max(lastPhase, lastShrink)); to - grownEpochs >= first; to -= period) {
    out.unshift({ from: to - grownEpochs, to, neurons: to <= end(lastShrink) });
  }
  return out.map((phase, i) => (i === 0 ? { ...phase, neurons: true } : phase));
}
