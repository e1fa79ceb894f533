/**
 * The configuration of two-stage methods: `secondStage`.
 */
import { z } from 'zod';
import { samplerNames } from '../longtail/index.js';
import type { RunConfig } from './config.js';

export const secondStageSchema = z.strictObject({
  method: z
    .enum(['crt', 'tau-norm', 'lws'])
    .default('crt')
    .describe('cRT: the classifier is trained anew; tau-norm: its rows are scaled; LWS: the scales are trained'),
  epochs: z.number().int().min(1).max(100000).optional().describe('cRT, LWS: epochs of this stage, default 10'),
  lr: z.number().gt(0).max(100).optional().describe('cRT, LWS: first learning rate of a cosine, default optimizer.lr'),
  sampler: z.enum(samplerNames).optional().describe("cRT, LWS: default 'class-balanced'"),
  tau: z
    .union([z.number().min(0).max(10), z.literal('auto')])
    .optional()
    .describe(
      "tau-norm: rows are divided by |w|^tau; 'auto' (default): 0 to 2 by mean class recall on the training set",
    ),
});
export type SecondStageConfig = z.output<typeof secondStageSchema>;

/** Epochs of the second stage. */
export function secondEpochs(config: SecondStageConfig | null): number {
  if (!config || config.method === 'tau-norm') return 0;
  return config.epochs ?? 10;
}

/** Epochs of all stages. */
export function totalEpochs(config: Pick<RunConfig, 'epochs' | 'secondStage'>): number {
  return config.epochs + secondEpochs(config.secondStage);
}

/** What doesn't fit together, as messages. */
export function secondStageProblems({ secondStage, loss }: Pick<RunConfig, 'secondStage' | 'loss'>): string[] {
  if (!secondStage) return [];
  const { method } = secondStage;
  const problems: string[] = [];
  const others = method === 'tau-norm' ? (['epochs', 'lr', 'sampler'] as const) : (['tau'] as const);
  for (const field of others) {
    if (secondStage[field] !== undefined)
      problems.push(`'secondStage.${field}': expected nothing with the method ${method}, got ${secondStage[field]}`);
  }
  if (loss.name === 'ldam' && method !== 'crt')
    problems.push(
      `'secondStage.method': expected crt with the loss ldam, whose cosines no scale of rows changes, got ${method}`,
    );
  if (loss.name === 'logit-adjustment' && loss.mode === 'post-hoc')
    problems.push("'secondStage': expected one correction of the classifier, got it beside the loss's mode post-hoc");
  return problems;
}
