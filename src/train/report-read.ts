/**
 * Reads a results file and checks it before anything is made of it.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { expectation, FormatError, IOError } from '../device/index.js';
import type { CompareResult } from './results.js';

// JSON has no NaN: a diverged run's losses come as null and are shown as missing.
const rate = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);
const rates = z.array(rate);
const size = z.number().int().min(0);

const evaluation = z.looseObject({
  top1: rate,
  meanRecall: rate,
  head: rate,
  mid: rate,
  tail: rate,
  perClass: rates,
  loss: rate,
});

const runSchema = z
  .looseObject({
    name: z.string(),
    seed: z.number(),
    config: z.record(z.string(), z.unknown()),
    dataset: z.looseObject({
      name: z.string(),
      source: z.string(),
      trainRows: size,
      testRows: size,
      imbalanceFactor: rate,
      classNames: z.array(z.string()),
      classCounts: z.array(size).min(1),
    }),
    parameters: z.looseObject({ start: size, end: size }),
    multiplyAdds: z.looseObject({ forward: size, training: z.number().min(0) }).optional(),
    epochs: z.array(
      z.looseObject({
        epoch: z.number(),
        stage: z.literal(2).optional(),
        trainLoss: rate,
        trainAccuracy: rate,
        test: evaluation.optional(),
        widths: z.record(z.string(), z.number()),
        diagnostics: z.record(z.string(), z.record(z.string(), rate)).optional(),
      }),
    ),
    events: z.array(
      z.looseObject({
        step: z.number(),
        epoch: z.number(),
        kind: z.enum(['grow', 'prune', 'reset']),
        layer: z.string(),
        unitIds: z.array(z.number()),
        width: z.number(),
        scores: z.array(z.looseObject({ id: z.number(), score: rate })).optional(),
      }),
    ),
    secondStage: z.looseObject({ method: z.string(), tau: z.number().optional() }).optional(),
    final: evaluation.extend({ ece: rate, confusion: z.array(z.array(z.number())) }),
    interrupted: z.boolean(),
    seconds: z.number(),
  })
  .superRefine((run, context) => {
    const classes = run.dataset.classCounts.length;
    const square = run.final.confusion.length === classes && run.final.confusion.every((row) => row.length === classes);
    if (!square)
      context.addIssue({
        code: 'custom',
        path: ['final', 'confusion'],
        message: `expected ${classes} x ${classes} counts`,
      });
    if (run.final.perClass.length !== classes)
      context.addIssue({ code: 'custom', path: ['final', 'perClass'], message: `expected ${classes} rates` });
  });

const resultSchema = z.looseObject({
  format: z.literal('gyrus-results'),
  version: z.literal(1),
  createdAt: z.string(),
  command: z.string().optional(),
  machine: z.looseObject({ node: z.string(), isa: z.string(), threads: z.number(), cpu: z.string() }),
  runs: z.array(runSchema).min(1, 'expected at least one run'),
});

/** Checks a parsed results file. Throws FormatError naming the first field that is wrong. */
export function checkResults(value: unknown, where = 'results'): CompareResult {
  const parsed = resultSchema.safeParse(value);
  if (parsed.success) return parsed.data as unknown as CompareResult;
  const issue = parsed.error.issues[0];
  const field = issue.path.length > 0 ? `'${issue.path.map(String).join('.')}'` : 'the file';
  throw new FormatError(`report: ${where} is not a results file of Gyrus: ${field}: ${expectation(issue.message)}`);
}

/** Reads and checks a results file. Throws IOError when it can't be read, FormatError when it is not one. */
export async function readResults(path: string): Promise<CompareResult> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new IOError(`report: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FormatError(`report: expected JSON in ${path}: ${(error as Error).message}`, { cause: error });
  }
  return checkResults(value, path);
}
