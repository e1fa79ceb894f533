/**
 * From an experiment to its cells: every model with every data set, imbalance factor, method and seed that the filters leave, each
 * with its complete configuration and the hash that it is known by.
 */
import { closest } from 'fastest-levenshtein';
import { autoDatasets, datasetNames, listDatasets } from '../../data/index.js';
import { ConfigError, shown } from '../../device/index.js';
import { parseConfig, type RunConfig } from '../config.js';
import { configHash } from './hash.js';
import type { CellFilter, Experiment, ConfigPart } from './schema.js';

/** What a cell is called by. */
export interface CellName {
  dataset: string;
  model: string;
  /** Imbalance factor; null: the data as it is. */
  if: number | null;
  method: string;
  seed: number;
}

/** One run of an experiment. */
export interface Cell extends CellName {
  /** 'dataset/model/if100/method/seed0' */
  id: string;
  hash: string;
  config: RunConfig;
}

const isTree = (value: unknown): value is ConfigPart =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Parts of a configuration laid over each other: objects field by field, everything else as a whole, later ones win. */
export function mergeConfigs(...parts: readonly ConfigPart[]): ConfigPart {
  const merged = new Map<string, unknown>();
  for (const part of parts) {
    for (const [key, value] of Object.entries(part)) {
      const before = merged.get(key);
      merged.set(key, isTree(value) ? mergeConfigs(isTree(before) ? before : {}, value) : value);
    }
  }
  return Object.fromEntries(merged);
}

/** 'if100', or 'natural' for the data as it is. */
export function factorName(factor: number | null): string {
  return factor === null ? 'natural' : `if${factor}`;
}

export function cellId({ dataset, model, if: factor, method, seed }: CellName): string {
  return [dataset, model, factorName(factor), method, `seed${seed}`].join('/');
}

function fits(wanted: unknown, value: string | number | null): boolean {
  if (wanted === undefined) return true;
  return (Array.isArray(wanted) ? wanted : [wanted]).some((one: unknown) => {
    if (typeof one !== 'string' || !one.includes('*')) return one === value;
    const escaped = one.split('*').map((text) => text.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
    return new RegExp(`^${escaped.join('.*')}$`).test(String(value));
  });
}

/** Whether a cell fits every field of a filter. */
export function matches(filter: CellFilter, cell: CellName): boolean {
  return (['dataset', 'model', 'if', 'method', 'seed'] as const).every((field) => fits(filter[field], cell[field]));
}

/** A filter that names what isn't there is a mistake that would otherwise go unnoticed. */
function checkFilter(filter: CellFilter, where: string, known: Record<keyof CellFilter, readonly unknown[]>): void {
  for (const field of ['dataset', 'model', 'if', 'method', 'seed'] as const) {
    const wanted = filter[field];
    for (const one of wanted === undefined ? [] : Array.isArray(wanted) ? wanted : [wanted]) {
      if (known[field].length === 0 || known[field].some((value) => fits(one, value as string))) continue;
      const names = known[field].map(String);
      const near = typeof one === 'string' ? closest(one, names) : undefined;
      throw new ConfigError(
        `${where}: '${field}': expected one of ${names.join(', ')}, got ${JSON.stringify(one)}` +
          (near === undefined ? '' : `; did you mean '${near}'?`),
      );
    }
  }
}

/** The configuration that a method stands for: its own, or those it is combined of, in their order. */
function methodConfig(experiment: Experiment, name: string, where: string, inside: readonly string[] = []): ConfigPart {
  if (inside.includes(name)) {
    throw new ConfigError(`${where}: method '${name}': expected parts, got itself: ${[...inside, name].join(' > ')}`);
  }
  const { methods, parts } = experiment;
  const own = Object.hasOwn(methods, name) ? methods[name] : Object.hasOwn(parts, name) ? parts[name] : undefined;
  if (own === undefined) {
    const names = [...Object.keys(methods), ...Object.keys(parts)];
    throw new ConfigError(
      `${where}: method '${inside.at(-1)}': expected methods and parts (${names.join(', ')}), got '${name}'`,
    );
  }
  if (own !== null && !Array.isArray(own)) return own;
  if (own === null && !name.includes('+')) return {};
  return mergeConfigs(
    ...(own ?? name.split('+')).map((part) => methodConfig(experiment, part, where, [...inside, name])),
  );
}

/** 'auto' means different data on different machines, so it is settled before a cell gets its hash. */
function settled(config: RunConfig): RunConfig {
  const { dataset } = config;
  if (dataset.train !== undefined) return config;
  if (dataset.name !== 'auto' && !datasetNames.includes(dataset.name)) {
    throw new ConfigError(
      `: 'dataset.name': expected one of auto, ${datasetNames.join(', ')}, got ${shown(dataset.name)}`,
    );
  }
  if (dataset.name !== 'auto' || dataset.dir !== undefined) return config;
  const found = listDatasets().find((set) => set.found && autoDatasets.includes(set.name));
  return found ? { ...config, dataset: { ...dataset, name: found.name } } : config;
}

/** A checked configuration; `epochsFactor`, which is no field of a run, multiplies its epochs. */
function stretched({ epochsFactor = 1, ...fields }: ConfigPart): RunConfig {
  if (typeof epochsFactor !== 'number' || !(epochsFactor > 0) || !Number.isFinite(epochsFactor)) {
    throw new ConfigError(`: 'epochsFactor': expected a number above 0, got ${shown(epochsFactor)}`);
  }
  const config = parseConfig(fields, '');
  if (epochsFactor === 1) return config;
  return parseConfig({ ...fields, epochs: Math.max(1, Math.round(config.epochs * epochsFactor)) }, '');
}

/** All cells of an experiment by seed first, so that an interrupted one has whole pairs. Throws ConfigError naming the cells, IOError. */
export function expandGrid(experiment: Experiment): Cell[] {
  const { name: where, base, models, datasets, seeds, include, exclude, overrides } = experiment;
  const factors = experiment.imbalanceFactors ?? [undefined];
  const known = {
    dataset: Object.keys(datasets),
    model: Object.keys(models),
    if: experiment.imbalanceFactors ?? [],
    method: Object.keys(experiment.methods),
    seed: seeds,
  };
  const filters = { include, exclude, overrides };
  for (const [kind, list] of Object.entries(filters)) {
    list?.forEach((filter, i) => checkFilter(filter, `${where}: ${kind}[${i}]`, known));
  }
  const usual = parseConfig({}).dataset.imbalanceFactor;
  const methods = new Map(known.method.map((name) => [name, methodConfig(experiment, name, where)]));

  const problems = new Map<string, string[]>();
  const cells: Cell[] = [];
  const digests = new Map<string, string>();
  for (const seed of seeds) {
    for (const dataset of known.dataset) {
      for (const factor of factors) {
        for (const model of known.model) {
          for (const method of known.method) {
            const data = mergeConfigs(
              base,
              datasets[dataset],
              factor === undefined ? {} : { dataset: { imbalanceFactor: factor } },
            );
            const given = isTree(data.dataset)
              ? (data.dataset.imbalanceFactor as number | null | undefined)
              : undefined;
            const name = { dataset, model, if: given === undefined ? usual : given, method, seed };
            if (include && !include.some((filter) => matches(filter, name))) continue;
            if (exclude?.some((filter) => matches(filter, name))) continue;
            const own = overrides
              .filter((filter) => matches(filter, name))
              .map((filter) => filter.config as ConfigPart);
            const merged = mergeConfigs(data, models[model], methods.get(method) ?? {}, ...own, { seed });
            try {
              const config = settled(stretched(merged));
              cells.push({ ...name, id: cellId(name), hash: configHash(config, digests), config });
            } catch (error) {
              if (!(error instanceof ConfigError)) throw error;
              problems.set(error.message, [...(problems.get(error.message) ?? []), cellId(name)]);
            }
          }
        }
      }
    }
  }
  if (problems.size > 0) {
    const lines = [...problems].map(([message, ids]) => {
      const others = ids.length > 1 ? ` and ${ids.length - 1} more` : '';
      return `cell ${ids[0]}${others}${message}`;
    });
    throw new ConfigError(`${where}: ${lines.join('\n  ')}`);
  }
  if (cells.length === 0) throw new ConfigError(`${where}: expected cells, but the filters leave none`);
  return cells;
}
