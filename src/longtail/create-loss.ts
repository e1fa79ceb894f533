/**
 * createLoss: a loss by its name.
 */
import type { Device } from '../device/index.js';
import { InfluenceBalancedLoss } from './influence.js';
import { LadeLoss } from './lade.js';
import { checkCounts, CountLoss, type Loss, type LossOptions } from './losses.js';

/**
 * The loss of that name for a training set with `counts` samples per class.
 * Formulas (z logits, y label, n_c counts, pi = n / N):
 * ce -log softmax(z)_y; focal (1 - p)^gamma ce; class-balanced: weights (1-b)/(1-b^n_c) with sum C; ldam: z_y -= m_y, ce(s z) over
 * cosines; logit-adjustment, balanced-softmax: ce(z + tau log pi); vs: ce(z (n_c/n_max)^gamma + tau log pi); influence-balanced and
 * lade: see {@link InfluenceBalancedLoss} and {@link LadeLoss}.
 * @throws ConfigError for unknown names, parameters out of range, or a class without samples
 */
export function createLoss(options: LossOptions, counts: readonly number[], device?: Device | string): Loss {
  checkCounts('createLoss', counts);
  if (options.name === 'influence-balanced') return new InfluenceBalancedLoss(options, counts, device);
  if (options.name === 'lade') return new LadeLoss(options, counts, device);
  return new CountLoss(options, counts, device);
}
