/**
 * The choices of the resets: which method, and its own fields with the defaults of its paper.
 */
import { z } from 'zod';
import { ConfigError, expectation, shown } from '../device/index.js';
import { init } from '../nn/index.js';

const fraction = z.number().min(0).max(1);
const count = z.number().int().min(1);

export const resetMethods = ['redo', 'regrama', 'cbp', 'zap'] as const;
export type ResetMethod = (typeof resetMethods)[number];

/** Fields that belong to some methods only, with their defaults. */
const OWN = {
  period: { redo: 1000, regrama: 1000, zap: 1 },
  unit: { redo: 'steps', regrama: 'steps', zap: 'epochs' },
  tau: { redo: 0.025, regrama: 0.025 },
  window: { redo: 8, regrama: 8 },
  rate: { cbp: 1e-4 },
  decay: { cbp: 0.99 },
  maturity: { cbp: 100 },
  spread: { redo: 'kaiming', regrama: 'kaiming', cbp: 'kaiming' },
  widths: { redo: 'all', regrama: 'all', cbp: 'all' },
  rows: { zap: 'all' },
  tailClasses: { zap: null },
  init: { zap: 'kaiming-uniform' },
} as const satisfies Record<string, Partial<Record<ResetMethod, unknown>>>;

export const resetSchema = z
  .strictObject({
    method: z
      .enum(resetMethods)
      .default('redo')
      .describe('Dormant units, units of small gradients, units of little use, or the last layer'),
    widths: z
      .union([z.literal('all'), z.array(z.string()).min(1)])
      .optional()
      .describe("redo, regrama, cbp: names of the widths whose units are reset (default 'all')"),
    period: count.optional().describe('redo, regrama, zap: from one reset to the next (defaults 1000, 1000, 1)'),
    unit: z
      .enum(['steps', 'epochs'])
      .optional()
      .describe('redo, regrama, zap: of the period (default steps; zap: epochs)'),
    tau: z
      .number()
      .min(0)
      .optional()
      .describe('redo, regrama: units of at most this score, relative to the mean of their layer (default 0.025)'),
    window: count.optional().describe('redo, regrama: steps before a reset that the scores cover (default 8)'),
    rate: fraction.optional().describe('cbp: share of the mature units replaced per step (default 0.0001)'),
    decay: z.number().min(0).lt(1).optional().describe('cbp: decay of the running utility (default 0.99)'),
    maturity: z.number().int().min(0).optional().describe('cbp: steps before a unit may be replaced (default 100)'),
    spread: z
      .enum(['kaiming', 'match'])
      .optional()
      .describe('redo, regrama, cbp: spread of drawn weights: by fan-in (default), or that of the old weights'),
    rows: z.enum(['all', 'tail']).optional().describe('zap: all classes of the last layer (default), or the rarest'),
    tailClasses: count
      .nullable()
      .optional()
      .describe('zap: how many classes are the rarest (default: a third, rounded)'),
    init: z.enum(init.INIT_NAMES).optional().describe("zap: how rows are drawn (default 'kaiming-uniform')"),
    until: fraction.default(1).describe('Share of the steps after which nothing is reset'),
  })
  .superRefine((options, context) => {
    for (const [field, defaults] of Object.entries(OWN)) {
      if (options[field as keyof typeof OWN] === undefined || options.method in defaults) continue;
      const message = `expected it with method ${Object.keys(defaults).join(' or ')} only, not ${options.method}`;
      context.addIssue({ code: 'custom', path: [field], message });
    }
  });

export type ResetOptionsInput = z.input<typeof resetSchema>;

/** All fields with their defaults filled in; those of other methods mean nothing. */
export interface ResetSettings {
  method: ResetMethod;
  widths: 'all' | readonly string[];
  period: number;
  unit: 'steps' | 'epochs';
  tau: number;
  window: number;
  rate: number;
  decay: number;
  maturity: number;
  spread: 'kaiming' | 'match';
  rows: 'all' | 'tail';
  tailClasses: number | null;
  init: init.InitName;
  until: number;
}

/** Options with the defaults of their method. Throws ConfigError naming every field that is unknown or out of range. */
export function parseResetOptions(options: ResetOptionsInput): ResetSettings {
  const parsed = resetSchema.safeParse(options);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => {
      const name = path.map(String).join('.');
      const got = shown((options as Record<string, unknown>)[name]);
      return path.length > 0 ? `'${name}': ${expectation(message)}, got ${got}` : message;
    });
    throw new ConfigError(`resets: ${problems.join('; ')}`);
  }
  const { method } = parsed.data;
  const defaults = Object.entries(OWN).map(([field, own]) => [field, (own as Record<string, unknown>)[method]]);
  return { ...Object.fromEntries(defaults), ...withoutUndefined(parsed.data) } as ResetSettings;
}

function withoutUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined));
}
