/**
 * The configuration of mixing: `mix`.
 */
import { z } from 'zod';
import { mixMethods } from '../data/index.js';
import { type LossName, unmixable } from '../longtail/index.js';

export const mixSchema = z.strictObject({
  method: z
    .enum(mixMethods)
    .default('mixup')
    .describe('mixup, Remix (labels lean to the rarer class) or CutMix (boxes of pictures)'),
  alpha: z.number().gt(0).max(1000).default(1).describe('Shares are drawn from Beta(alpha, alpha)'),
  probability: z.number().min(0).max(1).default(1).describe('Probability of a sample to be mixed'),
  until: z.number().min(0).max(1).default(1).describe('Share of the epochs after which samples are not mixed any more'),
  kappa: z
    .number()
    .min(1)
    .max(1e6)
    .optional()
    .describe('Remix: ratio of class sizes from which labels lean, default 3'),
  tau: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('Remix: the rarer label takes all above a share of 1 - tau, default 0.5'),
});
export type MixConfig = z.output<typeof mixSchema>;

/** What doesn't fit together, as messages. */
export function mixProblems(mix: MixConfig | null, loss: LossName): string[] {
  if (!mix) return [];
  const problems: string[] = [];
  for (const field of ['kappa', 'tau'] as const) {
    if (mix[field] !== undefined && mix.method !== 'remix')
      problems.push(`'mix.${field}': expected the method remix, got ${mix.method}`);
  }
  if (unmixable.includes(loss)) problems.push(`'mix': expected a loss of mixed samples, got ${loss}`);
  return problems;
}
