/**
 * The file of an experiment: a grid of models, data sets, imbalance factors, methods and seeds, each named and each a part of a run's
 * configuration. Unknown keys are refused with the nearest known one.
 */
import { z } from 'zod';
import { ConfigError, shown } from '../../device/index.js';
import { problemsOf } from '../config.js';
import { parseSeeds } from '../seeds.js';

/** Names stand in a CSV file and in the names of cells, so they hold neither commas nor slashes. */
const nameSchema = z.string().regex(/^[A-Za-z0-9][\w.+-]*$/, 'expected a name of letters, digits and . _ + -');
const objectOf = <T extends z.ZodType>(key: z.ZodString, value: T): z.ZodRecord<z.ZodString, T> =>
  z.record(key, value, { error: ({ code }) => (code === 'invalid_type' ? 'expected an object of fields' : undefined) });
const partial = objectOf(z.string(), z.unknown());
const factor = z.number().min(1).nullable();
const oneOrMore = <T extends z.ZodType>(schema: T): z.ZodUnion<readonly [T, z.ZodArray<T>]> =>
  z.union([schema, z.array(schema).min(1)]);

/** Chooses cells: those that fit every field given. Names may hold `*`. */
const filterFields = {
  dataset: oneOrMore(z.string().min(1)).optional().describe('Data sets by name'),
  model: oneOrMore(z.string().min(1)).optional().describe('Models by name'),
  if: oneOrMore(factor).optional().describe('Imbalance factors'),
  method: oneOrMore(z.string().min(1)).optional().describe('Methods by name'),
  seed: oneOrMore(z.number().int()).optional().describe('Seeds'),
};
const filterSchema = z.strictObject(filterFields);

const methodSchema = z
  .union([z.array(z.string().min(1)).min(1), partial])
  .nullable()
  .describe(
    'Part of a configuration (epochsFactor multiplies the epochs), a list of methods and parts to combine, or nothing: the parts of its name',
  );

export const experimentSchema = z.strictObject({
  name: nameSchema.optional().describe('Folder of the results (default: the name of the file)'),
  description: z.string().optional().describe('What it is for'),
  base: partial.default({}).describe('Part of a configuration that all runs share'),
  models: objectOf(nameSchema, partial).describe('Parts of a configuration by name'),
  datasets: objectOf(nameSchema, partial).describe('Parts of a configuration by name'),
  imbalanceFactors: z
    .array(factor)
    .min(1)
    .optional()
    .describe('Imbalance factors, null for the data as it is (default: what the configuration says)'),
  methods: objectOf(nameSchema, methodSchema).describe('Methods by name'),
  parts: objectOf(nameSchema, partial).default({}).describe('What methods are combined of but is not run alone'),
  seeds: z
    .union([z.string(), z.array(z.number().int().min(0)).min(1)])
    .default('0-4')
    .transform((seeds, context) => {
      try {
        return parseSeeds(typeof seeds === 'string' ? seeds : seeds.join(','));
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message.replace(/^E/, 'e').replace(/\.$/, '') });
        return z.NEVER;
      }
    })
    .describe("Seeds, e.g. '0-4' or a list"),
  include: z.array(filterSchema).optional().describe('Only cells that fit one of these'),
  exclude: z.array(filterSchema).optional().describe('No cell that fits one of these'),
  overrides: z
    .array(z.strictObject({ ...filterFields, config: partial }))
    .default([])
    .describe('Parts of a configuration for the cells that fit; later ones win'),
  baseline: z.string().optional().describe('Method that the others are compared with (default: the first)'),
  compare: z
    .array(z.tuple([z.string(), z.string()]))
    .optional()
    .describe('Pairs [method, against] (default: each method against the baseline, x+y also against baseline+y)'),
});

/** A checked experiment, not yet expanded. */
export type Experiment = z.output<typeof experimentSchema> & { name: string };
/** An experiment as it is written. */
export type ExperimentInput = z.input<typeof experimentSchema>;
export type CellFilter = z.output<typeof filterSchema>;
/** A part of a run's configuration. */
export type ConfigPart = Record<string, unknown>;

function expectNames(where: string, what: string, known: readonly string[]): void {
  if (known.length === 0) throw new ConfigError(`${where}: '${what}': expected at least one, got none`);
}

/**
 * Checks the file of an experiment; the configurations of its cells are checked when they are put together, by `expandGrid`.
 * @param where named in messages, and the experiment's name where the file gives none
 * @throws ConfigError listing every problem
 */
export function parseExperiment(input: unknown, where = 'experiment'): Experiment {
  const parsed = experimentSchema.safeParse(input);
  if (!parsed.success) {
    throw new ConfigError(`${where}: ${problemsOf(experimentSchema, parsed.error, input).join('\n  ')}`);
  }
  const experiment = parsed.data;
  for (const what of ['models', 'datasets', 'methods'] as const)
    expectNames(where, what, Object.keys(experiment[what]));
  const methods = Object.keys(experiment.methods);
  const twice = methods.find((name) => Object.hasOwn(experiment.parts, name));
  if (twice !== undefined) throw new ConfigError(`${where}: '${twice}': expected a method or a part, got both`);
  for (const name of [experiment.baseline ?? methods[0], ...(experiment.compare ?? []).flat()]) {
    if (!methods.includes(name)) {
      throw new ConfigError(`${where}: expected one of the methods ${methods.join(', ')}, got ${shown(name)}`);
    }
  }
  return { ...experiment, name: experiment.name ?? where };
}
