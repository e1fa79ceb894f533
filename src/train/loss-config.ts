/**
 * The loss of a run: the fields of every loss in a configuration.
 */
import { z } from 'zod';
import { lossNames } from '../longtail/index.js';

const fraction = z.number().min(0).max(1);
const labelSmoothing = fraction.optional().describe('Share of a label that all classes get alike, default 0');
const drw = z
  .strictObject({
    from: fraction.optional().describe('Share of the epochs before the weights apply, default 0.8'),
    beta: z.number().min(0).lt(1).optional().describe('Of the effective number of samples, default 0.9999'),
  })
  .optional()
  .describe('Deferred re-weighting: class-balanced weights in the last part of the training');
const common = { labelSmoothing, drw };
const exponent = z.number().min(0).max(10).optional();
const factor = z.number().min(0).max(1000).optional();

/** Fields by `name`; a configuration without one is plain cross-entropy. None has a default here: the losses have theirs. */
export const lossSchema = z
  .discriminatedUnion(
    'name',
    [
      z.strictObject({
        name: z
          .literal('ce')
          .optional()
          .transform((name) => name ?? 'ce')
          .describe('Loss'),
        ...common,
      }),
      z.strictObject({ name: z.literal('focal'), gamma: exponent.describe('Exponent, default 2'), ...common }),
      z.strictObject({
        name: z.literal('class-balanced'),
        beta: z.number().min(0).lt(1).optional().describe('Of the effective number of samples, default 0.9999'),
        ...common,
      }),
      z.strictObject({
        name: z.literal('ldam'),
        maxMargin: z.number().min(0).max(2).optional().describe('Largest margin, default 0.5'),
        scale: z.number().gt(0).max(1000).optional().describe('Factor on the cosines, default 30'),
        ...common,
      }),
      z.strictObject({
        name: z.literal('logit-adjustment'),
        tau: exponent.describe('Factor on the log-priors, default 1'),
        mode: z.enum(['train', 'post-hoc']).optional().describe('At training (default) or when predicting'),
        ...common,
      }),
      z.strictObject({ name: z.literal('balanced-softmax'), ...common }),
      z.strictObject({
        name: z.literal('vs'),
        gamma: exponent.describe('Exponent of the ratio of counts, default 0.15'),
        tau: exponent.describe('Factor on the log-priors, default 1.25'),
        ...common,
      }),
      z.strictObject({
        name: z.literal('influence-balanced'),
        alpha: z.number().min(1e-6).max(1e9).optional().describe('Factor, default 1000'),
        from: fraction.optional().describe('Share of the epochs before its weights apply, default 0.5'),
        labelSmoothing,
      }),
      z.strictObject({
        name: z.literal('lade'),
        alpha: factor.describe('Weight of the estimator, default 0.1'),
        lambda: factor.describe('Weight of the squared log-normalisers, default 0.1'),
        ...common,
      }),
    ],
    { error: ({ code }) => (code === 'invalid_union' ? `expected one of ${lossNames.join(', ')}` : undefined) },
  )
  .describe('Loss');
