/**
 * The last layer of all models.
 */
import { ConfigError, shown } from '../device/index.js';
import { type Axis, type Classifier, CosineLinear, Linear, type LinearOptions } from '../nn/index.js';

/** Last layer of a model: logits, or cosines in -1..1. */
export type ClassifierName = 'linear' | 'cosine';

/** The last layer of that name: [N, in] -> [N, classes]. Throws ConfigError for another name. */
export function classifierOf(
  name: ClassifierName,
  input: Axis,
  classes: number,
  options: Pick<LinearOptions, 'init' | 'generator'>,
): Classifier {
  // It may come from JavaScript.
  if (!['linear', 'cosine'].includes(name)) {
    throw new ConfigError(`model: expected classifier to be linear or cosine, got ${shown(name)}`);
  }
  return name === 'cosine' ? new CosineLinear(input, classes, options) : new Linear(input, classes, options);
}
