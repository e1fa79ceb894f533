/**
 * From options to the reset callback of that method.
 */
import type { Module } from '../nn/index.js';
import { ContinualBackprop } from './continual.js';
import { DormantResets } from './redo.js';
import { parseResetOptions, type ResetOptionsInput } from './reset-options.js';
import type { ResetCallback, ResetSource } from './resets.js';
import { Zapping } from './zap.js';

/**
 * ReDo, ReGraMa, continual backpropagation or zapping for a model, as a training callback.
 * @throws ConfigError for unknown fields, values out of range, fields of another method, and widths that can't be reset
 */
export function createResets(options: ResetOptionsInput, model: Module, source: ResetSource = {}): ResetCallback {
  const settings = parseResetOptions(options);
  if (settings.method === 'cbp') return new ContinualBackprop(settings, model, source);
  if (settings.method === 'zap') return new Zapping(settings, model, source);
  return new DormantResets(settings, model, source);
}
