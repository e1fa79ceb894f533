/**
 * The configuration of a run: one schema for the command line, config files and the library. Unknown keys are refused with the
 * nearest known one; every field has a default and a description.
 */
import { closest, distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { datasetNames } from '../data/index.js';
import { ConfigError, expectation } from '../device/index.js';
import { samplerNames } from '../longtail/index.js';
import { contradictions, cyclePhases, cycleSchema, regularizerSchema, resetSchema } from '../plasticity/index.js';
import { diagnosticsSchema } from './diagnostics.js';
import { lossSchema } from './loss-config.js';
import { mixProblems, mixSchema } from './mix-config.js';
import { modelSchema } from './model-config.js';
import { secondStageProblems, secondStageSchema } from './second-stage-config.js';

const fraction = z.number().min(0).max(1);
const count = z.number().int().min(1);

/** The cycle's own options, and what else changes in the grown phase. Its seed follows from the run's. */
export const plasticitySchema = cycleSchema.omit({ widths: true, seed: true, adjust: true }).extend({
  widths: z
    .union([z.literal('all'), z.array(z.string()).min(1)])
    .default('all')
    .describe("Widths that change: 'all' or a list of names, e.g. hidden1, conv2, stage1.block1, heads1, mlp1"),
  grownLoss: z
    .enum(['same', 'effective', 'inverse'])
    .default('same')
    .describe('Class weights of the loss in the grown phase, on top of its own'),
  grownSampler: z
    .enum(['auto', 'same', ...samplerNames])
    .default('auto')
    .describe(
      'Sampler in the grown phase; auto is square-root where nothing else makes up for rare classes (loss ce or focal, sampler ' +
        'instance), and otherwise same',
    ),
});

const optimizerSchema = z.strictObject({
  name: z.enum(['sgd', 'adam', 'adamw']).default('sgd').describe('Optimiser'),
  lr: z.number().gt(0).max(100).default(0.05).describe('Learning rate'),
  momentum: z.number().min(0).lt(1).default(0.9).describe('SGD: momentum'),
  nesterov: z.boolean().default(false).describe('SGD: Nesterov momentum'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Adam: decay of the first moment'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Adam: decay of the second moment'),
  eps: z.number().gt(0).default(1e-8).describe('Adam: added to the root of the second moment'),
  weightDecay: z.number().min(0).max(1).default(5e-4).describe('Weight decay'),
  youngSteps: z.number().int().min(0).default(0).describe('No weight decay on units younger than this many steps'),
  clipNorm: z
    .number()
    .gt(0)
    .nullable()
    .default(null)
    .describe('Largest norm of all gradients together (null: no limit)'),
});

const scheduleSchema = z.strictObject({
  name: z.enum(['constant', 'step', 'cosine']).default('cosine').describe('Learning rate over the training'),
  warmupEpochs: z.number().min(0).default(0).describe('Epochs of linear warm-up'),
  milestones: z.array(fraction).default([0.8, 0.9]).describe('Step: shares of the training at which the rate drops'),
  gamma: z.number().gt(0).max(1).default(0.1).describe('Step: factor at each milestone'),
});

const datasetSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .default('auto')
    .describe(`${datasetNames.join(', ')}, or auto: the first of the first two that is there`),
  dir: z
    .string()
    .min(1)
    .optional()
    .describe('Folder of the files (default: GYRUS_DATA or ~/.cache/gyrus, then where packages put them)'),
  train: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Own data instead of a named set: a training file (.csv, .tsv, .npy, .idx, .bin) or a folder of pictures per class',
    ),
  test: z.string().min(1).optional().describe('Own data: test file or folder, as balanced as can be'),
  label: z
    .union([z.string(), z.number().int()])
    .optional()
    .describe("Own CSV data: name or index of the label's column (default: the last)"),
  standardize: z.boolean().optional().describe('Own data: every feature to mean 0 and deviation 1 (default true)'),
  normalize: z
    .boolean()
    .default(false)
    .describe('Every channel to mean 0 and deviation 1 over the long-tailed training set'),
  imbalanceFactor: z
    .number()
    .min(1)
    .nullable()
    .default(100)
    .describe('Samples of the most frequent class over those of the rarest (null: the data as it is)'),
  profile: z.enum(['exponential', 'step']).default('exponential').describe('Samples over classes'),
  subsetSeed: z.number().int().min(0).default(0).describe('Chooses the rows of the long-tailed subset'),
  trainRows: count.optional().describe('Use at most this many training rows (before the profile), for quick tries'),
  testRows: count.optional().describe('Use at most this many test rows'),
});

export const runConfigSchema = z.strictObject({
  dataset: datasetSchema.prefault({}).describe('Data'),
  model: modelSchema.prefault({}),
  optimizer: optimizerSchema.prefault({}).describe('Optimiser'),
  schedule: scheduleSchema.prefault({}).describe('Learning-rate schedule'),
  loss: lossSchema.prefault({}),
  sampler: z.enum(samplerNames).default('instance').describe('Order and frequency of the training rows'),
  augment: z
    .strictObject({
      padding: z.number().int().min(0).max(65535).default(0).describe('Largest shift of a picture, in pixels'),
      flip: fraction.default(0).describe('Probability of mirroring left and right'),
    })
    .nullable()
    .default(null)
    .describe('Random augmentation of the training pictures (null: none)'),
  mix: mixSchema
    .nullable()
    .default(null)
    .describe('Mixing of training samples; training accuracy is by the label of the larger part (null: none)'),
  secondStage: secondStageSchema
    .nullable()
    .default(null)
    .describe('What becomes of the classifier once the epochs are over (null: nothing)'),
  plasticity: plasticitySchema.nullable().default(null).describe('Grow-and-prune cycle (null: fixed width)'),
  resets: resetSchema
    .nullable()
    .default(null)
    .describe('Units started afresh in place, instead of the grow-and-prune cycle (null: none)'),
  regularizers: z
    .array(regularizerSchema)
    .default([])
    .describe('Added to the loss: a list of { name: similarity | t1 | t2, weight, widths }'),
  diagnostics: diagnosticsSchema,
  epochs: count.max(100000).default(40).describe('Epochs'),
  batchSize: count
    .max(1 << 20)
    .default(128)
    .describe('Samples per step'),
  seed: z.number().int().min(0).default(0).describe('Seed of everything random but the subset'),
  threads: count.max(256).nullable().default(null).describe('Threads of the pool (null: GYRUS_THREADS or all cores)'),
  device: z.string().min(1).nullable().default(null).describe("Device: cpu, cuda:0, ... (null: GYRUS_DEVICE or 'cpu')"),
  recording: z
    .enum(['size', 'capacity'])
    .default('size')
    .describe(
      'Training and evaluation steps are recorded at the size of the widths, again whenever one changes, or once at their capacity, ' +
        'with kernels that read the sizes; on a CPU the results are the same bit for bit',
    ),
  evalEvery: count.default(1).describe('Epochs between evaluations; the last epoch is always evaluated'),
  checkpoint: z
    .strictObject({
      path: z.string().min(1).describe('File of the checkpoint'),
      every: count.default(1).describe('Epochs between checkpoints'),
      seconds: z.number().min(0).default(0).describe('Least time between checkpoints; the last epoch has one anyway'),
    })
    .nullable()
    .default(null)
    .describe('Where checkpoints go (null: none)'),
});

/** A complete configuration. */
export type RunConfig = z.output<typeof runConfigSchema>;
/** A configuration with fields left out. */
export type RunConfigInput = z.input<typeof runConfigSchema>;
export type PlasticityConfig = z.output<typeof plasticitySchema>;

/** One field of the configuration. */
export interface ConfigField {
  /** Dotted path, e.g. 'optimizer.lr'. */
  key: string;
  /** E.g. 'number', "'sgd' | 'adam'". */
  type: string;
  default: unknown;
  description: string;
}

function inner(schema: z.ZodType): z.ZodType {
  type Wrapper = z.ZodType & { def: { type: string; innerType?: z.ZodType; in?: z.ZodType } };
  let s = schema as Wrapper;
  for (
    let next: z.ZodType | undefined = s;
    next;
    next = wrapped.includes(s.def.type) ? (s.def.innerType ?? s.def.in) : undefined
  )
    s = next;
  return s;
}
const wrapped = ['default', 'prefault', 'optional', 'nullable', 'pipe'];

/** The objects that a schema stands for: itself, the options of a union by kind or name, or none. */
function objectsOf(schema: z.ZodType): z.ZodObject[] {
  const s = inner(schema);
  if (s instanceof z.ZodDiscriminatedUnion) return s.options as unknown as z.ZodObject[];
  return s instanceof z.ZodObject ? [s] : [];
}

/** The field that tells the options of a union apart. */
function discriminatorOf(schema: z.ZodType): string {
  return (inner(schema) as z.ZodDiscriminatedUnion).def.discriminator;
}

/** What one option of a union is chosen by. */
function choiceOf(option: z.ZodObject, discriminator: string): string {
  return String((inner(option.shape[discriminator] as z.ZodType) as z.ZodLiteral).value);
}

/** The object that a value is checked by: the option that it names, or the one whose name may be left out. */
function objectFor(schema: z.ZodType, value: unknown): z.ZodObject | undefined {
  const objects = objectsOf(schema);
  if (objects.length <= 1) return objects[0];
  const discriminator = discriminatorOf(schema);
  const choice = ((value ?? {}) as Record<string, unknown>)[discriminator];
  return objects.find((option) => (option.shape[discriminator] as z.ZodType).safeParse(choice).success);
}

function typeName(schema: z.ZodType): string {
  const s = inner(schema) as z.ZodType & {
    def: { type: string; element?: z.ZodType; entries?: object; options?: z.ZodType[]; values?: unknown[] };
  };
  switch (s.def.type) {
    case 'enum':
      return Object.keys(s.def.entries ?? {})
        .map((v) => `'${v}'`)
        .join(' | ');
    case 'array': {
      const element = typeName(s.def.element as z.ZodType);
      return element.includes(' | ') ? `(${element})[]` : `${element}[]`;
    }
    case 'union':
      return (s.def.options ?? []).map(typeName).join(' | ');
    case 'literal':
      return (s.def.values ?? []).map((v) => `'${String(v)}'`).join(' | ');
    default:
      return s.def.type;
  }
}

function defaultOf(schema: z.ZodType): unknown {
  const parsed = schema.safeParse(undefined);
  return parsed.success ? parsed.data : undefined;
}

function fieldsOf(schema: z.ZodType, path: string): ConfigField[] {
  const objects = objectsOf(schema);
  if (objects.length > 1) return unitedFields(schema, path);
  return Object.entries<z.ZodType>(objects[0]?.shape ?? {}).flatMap(([name, field]) =>
    fieldsAt(path === '' ? name : `${path}.${name}`, field),
  );
}

/** A field, or what it is made of. */
function fieldsAt(key: string, field: z.ZodType): ConfigField[] {
  const own = { key, type: typeName(field), default: defaultOf(field), description: field.description ?? '' };
  if (objectsOf(field).length === 0) return [own];
  return own.default === null ? [own, ...fieldsOf(field, key)] : fieldsOf(field, key);
}

/** The fields of all options, each once; where these differ in default or meaning, the description has it for each of them. */
function unitedFields(union: z.ZodType, path: string): ConfigField[] {
  const objects = objectsOf(union);
  const discriminator = discriminatorOf(union);
  const choices = objects.map((object) => choiceOf(object, discriminator));
  const each = objects.flatMap((object, i) =>
    Object.entries<z.ZodType>(object.shape).flatMap(([name, field]) =>
      fieldsAt(`${path}.${name}`, field).map((own) => ({ ...own, choice: choices[i] })),
    ),
  );
  return [...new Set(each.map(({ key }) => key))].map((key) => {
    const having = each.filter((field) => field.key === key);
    const type = [...new Set(having.map((field) => field.type))].join(' | ');
    const [first] = having;
    if (key === `${path}.${discriminator}`) {
      return { key, type, default: first.default, description: first.description };
    }
    const groups = new Map<string, string[]>();
    for (const { choice, default: value, description } of having) {
      const text = value === undefined ? description : `${description} [${JSON.stringify(value)}]`;
      groups.set(text, [...(groups.get(text) ?? []), choice]);
    }
    if (groups.size === 1) {
      const of = among(
        having.map(({ choice }) => choice),
        choices,
      );
      return { key, type, default: first.default, description: `${of}${first.description}` };
    }
    const description = [...groups].map(([text, of]) => `${among(of, choices)}${text}`).join('; ');
    return { key, type, default: undefined, description };
  });
}

/** 'vit, mixer: ', 'all but mlp: ' where that is shorter, and nothing for all. */
function among(some: readonly string[], all: readonly string[]): string {
  const others = all.filter((choice) => !some.includes(choice));
  if (others.length === 0) return '';
  return others.length < some.length / 2 ? `all but ${others.join(', ')}: ` : `${some.join(', ')}: `;
}

/** All fields with their types, defaults and descriptions, for help texts and documentation. */
export function configFields(): ConfigField[] {
  return fieldsOf(runConfigSchema, '');
}

/** What checks the value at a path of the input. */
function schemaAt(root: z.ZodObject, path: readonly PropertyKey[], input: unknown): z.ZodType | undefined {
  let schema: z.ZodType | undefined = root;
  path.forEach((part, i) => {
    const here = schema && (inner(schema) as z.ZodType & { def: { element?: z.ZodType } });
    const list = typeof part === 'number' ? here?.def.element : undefined;
    const object = schema && objectFor(schema, valueAt(input, path.slice(0, i)));
    schema = list ?? (object?.shape[String(part)] as z.ZodType | undefined);
  });
  return schema;
}

function unknownKey(root: z.ZodObject, key: string, path: readonly PropertyKey[], input: unknown): string {
  const schema = schemaAt(root, path, input) ?? root;
  const object = objectFor(schema, valueAt(input, path)) ?? root;
  const here = Object.keys(object.shape);
  const where = path.length === 0 ? '' : `${path.map(String).join('.')}.`;
  if (objectsOf(schema).some((option) => Object.hasOwn(option.shape, key))) {
    const discriminator = discriminatorOf(schema);
    // A loss has a name, a model a kind.
    const what = discriminator === 'name' ? String(path.at(-1)) : discriminator;
    return `'${where}${key}' is no field of ${what} ${choiceOf(object, discriminator)}, which has: ${here.join(', ')}`;
  }
  const near = closest(key, here);
  const fits = (known: string): boolean =>
    distance(key.toLowerCase(), known.toLowerCase()) <= Math.max(2, key.length / 3);
  if (near && fits(near)) return `unknown key '${where}${key}'; did you mean '${where}${near}'?`;
  // A key that is right but stands on the wrong level.
  const elsewhere = fieldsOf(root, '').find((field) => field.key.split('.').at(-1) === key);
  if (elsewhere) return `unknown key '${where}${key}'; did you mean '${elsewhere.key}'?`;
  return `unknown key '${where}${key}'; known here: ${here.join(', ')}`;
}

function show(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const part of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[part];
  return value;
}

/** What a schema refused, a line for each: the field, what was expected and what came; unknown keys with the nearest known one. */
export function problemsOf(schema: z.ZodObject, error: z.ZodError, input: unknown): string[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(schema, key, issue.path, input));
    const name = issue.path.length === 0 ? 'the configuration' : `'${issue.path.map(String).join('.')}'`;
    if (issue.code === 'invalid_key') return [`${name}: ${issue.issues[0].message}`];
    return [`${name}: ${expectation(issue.message)}, got ${show(valueAt(input, issue.path))}`];
  });
}

/**
 * Checks a configuration and fills in the defaults.
 * @param where named in messages, e.g. the file; default 'config'
 * @throws ConfigError listing every problem: the field, what was expected and what came; unknown keys with the nearest known one
 */
export function parseConfig(input: unknown, where = 'config'): RunConfig {
  const parsed = runConfigSchema.safeParse(input);
  if (!parsed.success) {
    throw new ConfigError(`${where}: ${problemsOf(runConfigSchema, parsed.error, input).join('\n  ')}`);
  }
  const problems: string[] = [];
  const config = parsed.data;
  for (const { field, message } of config.plasticity ? contradictions(config.plasticity) : []) {
    problems.push(`'plasticity.${field}': ${message}`);
  }
  const { plasticity, dataset } = config;
  if (plasticity && config.resets) {
    problems.push(
      `'resets': expected null beside 'plasticity', since the two are alternatives, got ${config.resets.method}`,
    );
  }
  if ((dataset.train === undefined) !== (dataset.test === undefined)) {
    problems.push(`'dataset': expected both train and test, or neither, got only ${dataset.train ? 'train' : 'test'}`);
  }
  if (plasticity && cyclePhases({ ...plasticity, seed: 0 }, config.epochs).length === 0) {
    const { warmup, grownEpochs, lastPhase } = plasticity;
    problems.push(
      `'plasticity': expected room for one cycle in ${config.epochs} epochs, got warmup ${warmup}, grownEpochs ${grownEpochs} ` +
        `and lastPhase ${lastPhase}`,
    );
  }
  problems.push(...mixProblems(config.mix, config.loss.name), ...secondStageProblems(config));
  if (config.schedule.warmupEpochs >= config.epochs && config.schedule.warmupEpochs > 0) {
    problems.push(
      `'schedule.warmupEpochs': expected fewer than the epochs (${config.epochs}), got ${config.schedule.warmupEpochs}`,
    );
  }
  if (problems.length > 0) throw new ConfigError(`${where}: ${problems.join('\n  ')}`);
  return config;
}
