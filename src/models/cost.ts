/**
 * multiplyAdds: what a forward pass costs.
 */
import type { Module } from '../nn/index.js';
import { countProducts, zeros } from '../ops/index.js';
import { noGrad, type Shape, tidy } from '../tensor/index.js';

/**
 * Multiply-adds of one forward pass of one sample at the present widths: those of linear layers, matrix products, convolutions (taps on
 * the padding included) and attention (both of its products, softmax left out), counted as the model, in evaluation mode, runs on a
 * sample of zeros. Norms, activations, pooling, biases and sums don't count.
 * @param shape of one sample, e.g. [32, 32, 3] or [784]
 * @throws whatever the model throws for samples of another shape
 */
export function multiplyAdds(model: Module, shape: Shape): number {
  const modes = model.modules().map((module) => [module, module.training] as const);
  const device = model.parameters()[0]?.value.device;
  model.eval();
  try {
    return countProducts(() => tidy(() => noGrad(() => void model.forward(zeros([1, ...shape], { device })))));
  } finally {
    // Parents come first, so that what was set apart below them is set apart again.
    for (const [module, training] of modes) module.train(training);
  }
}
