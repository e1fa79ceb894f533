/**
 * Diagnostics of a run: when they are taken, on which sample, and their configuration.
 */
import { z } from 'zod';
import { diagnose, type WidthDiagnostics } from '../plasticity/index.js';
import { Philox } from '../tensor/index.js';
import type { RunConfig } from './config.js';
import { type PreparedData, type PreparedRun, probeBatch } from './setup.js';

export const diagnosticsSchema = z
  .strictObject({
    every: z.number().int().min(1).default(1).describe('Epochs from one to the next; the last epoch always has them'),
    samplesPerClass: z
      .number()
      .int()
      .min(1)
      .default(50)
      .describe('Training samples per class, as far as there are, the same every time'),
    tau: z.number().min(0).default(0.025).describe('Relative activity up to which a neuron counts as dormant'),
  })
  .nullable()
  .default(null)
  .describe('Likeness, rank and idleness of the neurons of each width, measured as training goes on (null: none)');

/** The diagnostics due at the end of epoch `epoch` (from 1), or undefined. Takes nothing from the run's random numbers. */
export async function diagnosticsAt(
  { config, model }: Pick<PreparedRun, 'model'> & { config: Pick<RunConfig, 'diagnostics' | 'epochs' | 'seed'> },
  { train, counts }: Pick<PreparedData, 'train' | 'counts'>,
  epoch: number,
): Promise<Record<string, WidthDiagnostics> | undefined> {
  const { diagnostics, epochs, seed } = config;
  if (!diagnostics || (epoch % diagnostics.every !== 0 && epoch !== epochs)) return undefined;
  const { x, y } = probeBatch(train, counts, diagnostics.samplesPerClass, new Philox(seed, 'diagnostics').u32());
  y.dispose();
  try {
    return await diagnose(model, x, { tau: diagnostics.tau });
  } finally {
    x.dispose();
  }
}
