/**
 * grad and valueAndGrad: derivatives of functions of tensors.
 */
import { type Tensor, withGradMode } from '../tensor/index.js';
import { gradients } from './backward.js';
import { zerosLike } from '../ops/index.js';

export interface GradOptions {
  /** Which arguments to differentiate by. Default: all. */
  argnums?: readonly number[];
  /** Make the gradients differentiable themselves. Default: true when an argument requires a gradient already (nested grad). */
  createGraph?: boolean;
}

/**
 * A function that returns the value of `f` and its gradients by the chosen arguments.
 * @param f a function of tensors that returns a tensor of one element
 */
export function valueAndGrad(
  f: (...args: Tensor[]) => Tensor,
  options: GradOptions = {},
): (...args: Tensor[]) => { value: Tensor; grads: Tensor[] } {
  return (...args) =>
    withGradMode(true, () => {
      const argnums = options.argnums ?? args.map((_, i) => i);
      const nested = args.some((arg) => arg.requiresGrad);
      const createGraph = options.createGraph ?? nested;
      const inputs = args.map((arg, i) => {
        if (!argnums.includes(i) || arg.requiresGrad) return arg;
        const leaf = arg.detach();
        leaf.requiresGrad = true;
        return leaf;
      });
      const value = f(...inputs);
      const wanted = argnums.map((i) => inputs[i]);
      const found = value.requiresGrad
        ? gradients(value, wanted, { createGraph, retainGraph: createGraph })
        : wanted.map(() => undefined);
      return { value, grads: found.map((grad, i) => grad ?? zerosLike(wanted[i])) };
    });
}

/** A function that returns the gradient of `f` by its first argument (or by the one given). */
export function grad(f: (...args: Tensor[]) => Tensor, options: GradOptions = {}): (...args: Tensor[]) => Tensor {
  const run = valueAndGrad(f, { argnums: [0], ...options });
  return (...args) => run(...args).grads[0];
}
