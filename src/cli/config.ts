/**
 * From flags and a file to a configuration. Flags win over the file; both are checked by the one schema of the library.
 */
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parse as parseYaml } from 'yaml';
import { ConfigError, FormatError, shown } from '../device/index.js';
import { configFields, parseSeeds } from '../train/index.js';

type Tree = Record<string, unknown>;

const isTree = (value: unknown): value is Tree => value !== null && typeof value === 'object' && !Array.isArray(value);

function toNumber(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isNaN(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
}

function toNumbers(text: string): number[] {
  return text.split(',').map(toNumber);
}

/** Seeds as '0,1,2' or '0-4'. */
export function toSeeds(text: string): number[] {
  try {
    return parseSeeds(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

interface Flag {
  flags: string;
  key: string;
  text: string;
  parse?: (text: string) => unknown;
}

/** Stands for null, which the parser of flags takes for a flag without a value. */
const NONE = Symbol('none');
const orNone = (parse: (text: string) => unknown) => (text: string) => (text === 'none' ? NONE : parse(text));

/** Flags of `train`; --set reaches every other field. */
const FLAGS: readonly Flag[] = [
  { flags: '--dataset <name>', key: 'dataset.name', text: "a set of 'gyrus data list', or 'auto'" },
  { flags: '--data-dir <dir>', key: 'dataset.dir', text: 'folder of its files' },
  {
    flags: '--imbalance <factor>',
    key: 'dataset.imbalanceFactor',
    text: "most over least frequent class, or 'none'",
    parse: orNone(toNumber),
  },
  { flags: '--model <kind>', key: 'model.kind', text: 'mlp, convnet, vgg11, resnet, wrn, vit or mixer' },
  {
    flags: '--hidden <sizes>',
    key: 'model.hidden',
    text: 'units of the hidden layers of an mlp, e.g. 64,32',
    parse: toNumbers,
  },
  { flags: '--norm <kind>', key: 'model.norm', text: 'of an mlp: none, batch or layer' },
  { flags: '--dropout <p>', key: 'model.dropout', text: 'probability of dropout', parse: toNumber },
  { flags: '--optimizer <name>', key: 'optimizer.name', text: 'sgd, adam or adamw' },
  { flags: '--lr <rate>', key: 'optimizer.lr', text: 'learning rate', parse: toNumber },
  { flags: '--momentum <m>', key: 'optimizer.momentum', text: 'of SGD', parse: toNumber },
  { flags: '--weight-decay <w>', key: 'optimizer.weightDecay', text: 'weight decay', parse: toNumber },
  { flags: '--schedule <name>', key: 'schedule.name', text: 'constant, step or cosine' },
  { flags: '--loss <name>', key: 'loss.name', text: 'loss; see the list of fields' },
  { flags: '--sampler <name>', key: 'sampler', text: 'order and frequency of training rows' },
  { flags: '--epochs <n>', key: 'epochs', text: 'epochs', parse: toNumber },
  { flags: '--batch-size <n>', key: 'batchSize', text: 'samples per step', parse: toNumber },
  { flags: '--seed <n>', key: 'seed', text: 'seed of everything random', parse: toNumber },
  { flags: '--threads <n>', key: 'threads', text: 'threads', parse: toNumber },
  { flags: '--device <name>', key: 'device', text: 'cpu, cuda:0, ...' },
  {
    flags: '--rate <share>',
    key: 'plasticity.rate',
    text: 'units added per cycle (implies --plastic)',
    parse: toNumber,
  },
  {
    flags: '--period <epochs>',
    key: 'plasticity.period',
    text: 'length of a cycle (implies --plastic)',
    parse: toNumber,
  },
  { flags: '--score <name>', key: 'plasticity.score', text: 'what decides which units go (implies --plastic)' },
];

function optionOf({ flags, key, text, parse }: Flag): Option {
  const option = new Option(flags, text);
  if (parse) option.argParser(parse);
  return option.helpGroup(key.startsWith('plasticity') ? 'Neurons that come and go:' : 'Configuration:');
}

function assignment(text: string, before: [string, unknown][] = []): [string, unknown][] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Expected key=value, e.g. optimizer.nesterov=true.');
  let value: unknown;
  try {
    value = parseYaml(text.slice(at + 1));
  } catch {
    throw new InvalidArgumentError('Expected a value as in YAML, e.g. 0.1, true, [64, 32].');
  }
  return [...before, [text.slice(0, at), value]];
}

/** Adds the flags that make a configuration. */
export function addConfigOptions(command: Command): Command {
  command.addOption(
    new Option('-c, --config <file>', 'JSON or YAML file; flags win over it').helpGroup('Configuration:'),
  );
  for (const flag of FLAGS) command.addOption(optionOf(flag));
  command.addOption(new Option('--plastic', 'grow and prune neurons').helpGroup('Neurons that come and go:'));
  command.addOption(
    new Option('--no-plastic', 'fixed width, whatever the file says').helpGroup('Neurons that come and go:'),
  );
  command.addOption(
    new Option('--set <key=value>', 'any field by its path; may be repeated')
      .argParser(assignment)
      .helpGroup('Configuration:'),
  );
  return command;
}

function put(tree: Tree, path: string, value: unknown): void {
  const parts = path.split('.');
  const last = parts.pop() as string;
  let node = tree;
  for (const part of parts) {
    if (!isTree(node[part])) node[part] = {};
    node = node[part] as Tree;
  }
  if (['__proto__', 'constructor', 'prototype'].some((name) => name === last || parts.includes(name))) {
    throw new ConfigError(`--set: unknown key '${path}'`);
  }
  node[last] = value;
}

/** Lays the fields that were given as flags over a configuration. */
export function applyFlags(base: Tree, options: Record<string, unknown>): Tree {
  const config = structuredClone(base);
  if (options.plastic === true && !isTree(config.plasticity)) config.plasticity = {};
  for (const flag of FLAGS) {
    const name = new Option(flag.flags).attributeName();
    if (options[name] !== undefined) put(config, flag.key, options[name] === NONE ? null : options[name]);
  }
  for (const [key, value] of (options.set as [string, unknown][] | undefined) ?? []) put(config, key, value);
  if (options.plastic === false) config.plasticity = null;
  return config;
}

/** What the parser says, without its picture of the place. */
function firstLine(error: unknown): string {
  return (error as Error).message.split('\n', 1)[0].replace(/:$/, '');
}

/** Levels of objects and lists in a file: far more than any configuration has. */
const DEEPEST = 32;

/** Whether objects and lists are nested deeper than that: by hand, or without end, since YAML may refer to what it is inside of. */
function isTooDeep(value: unknown): boolean {
  let level = new Set([value]);
  for (let depth = 0; depth <= DEEPEST; depth++) {
    const below = [...level].flatMap((node): unknown[] =>
      node !== null && typeof node === 'object' ? Object.values(node) : [],
    );
    if (below.length === 0) return false;
    level = new Set(below);
  }
  return true;
}

/** Reads a JSON or YAML configuration file, not yet checked. Throws ConfigError, FormatError. */
export async function readConfig(path: string): Promise<Tree> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`config: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parseYaml(text);
  } catch (error) {
    throw new ConfigError(
      `config: expected ${path.endsWith('.json') ? 'JSON' : 'YAML'} in ${path}: ${firstLine(error)}`,
      { cause: error },
    );
  }
  if (!isTree(value)) throw new ConfigError(`config: expected an object of fields in ${path}, got ${shown(value)}`);
  if (isTooDeep(value)) throw new ConfigError(`config: expected at most ${DEEPEST} levels in ${path}, got more`);
  return value;
}

/** The configuration inside a training checkpoint. Throws FormatError when it holds none. */
export function configOf(meta: Record<string, unknown>, path: string): Tree {
  if (!isTree(meta.config))
    throw new FormatError(`resume: ${path}: expected a training checkpoint, found no configuration in it`);
  return meta.config;
}

/** All fields with type, default and meaning, for help. */
export function fieldsHelp(): string {
  const lines = configFields().map(({ key, type, default: value, description }) => {
    const text = value === undefined ? '' : ` [${JSON.stringify(value)}]`;
    return `  ${key.padEnd(30)} ${type}${text}\n  ${''.padEnd(30)} ${description}`;
  });
  return `Fields of a configuration (file, --set), with defaults:\n${lines.join('\n')}`;
}
