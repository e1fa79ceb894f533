/**
 * grad and valueAndGrad: derivatives of functions of tensors.
 */
import { ConfigError } from '../device/index.js';
import { expectTensor, zerosLike } from '../ops/index.js';
import { isFloat, type Tensor, tidy, withGradMode } from '../tensor/index.js';
import { gradients } from './backward.js';

export interface GradOptions {
  /** Which arguments to differentiate by. Default: all floating ones (grad: the first). */
  argnums?: readonly number[];
  /** Make the gradients differentiable themselves. Default: true when an argument requires a gradient already (nested grad). */
  createGraph?: boolean;
}

/**
 * A function that returns the value of `f` and its gradients by the chosen arguments. Tensors that `f` makes are disposed of, unless
 * the gradients are to be differentiated again or they are kept with `keep`.
 * @param f a function of tensors that returns a tensor of one element
 */
export function valueAndGrad(
  f: (...args: Tensor[]) => Tensor,
  options: GradOptions = {},
): (...args: Tensor[]) => { value: Tensor; grads: Tensor[] } {
  const run = (
    args: Tensor[],
    argnums: readonly number[],
    createGraph: boolean,
  ): { value: Tensor; grads: Tensor[] } => {
    const inputs = args.map((arg, i) => {
      if (!argnums.includes(i) || arg.requiresGrad) return arg;
      const leaf = arg.detach();
      leaf.requiresGrad = true;
      return leaf;
    });
    const value = f(...inputs);
    expectTensor('valueAndGrad', value);
    const wanted = argnums.map((i) => inputs[i]);
    const found = value.requiresGrad
      ? gradients(value, wanted, { createGraph, retainGraph: createGraph })
      : wanted.map(() => undefined);
    return { value: createGraph ? value : value.detach(), grads: found.map((grad, i) => grad ?? zerosLike(wanted[i])) };
  };
  return (...args) => {
    args.forEach((arg) => expectTensor('valueAndGrad', arg));
    const argnums = options.argnums ?? args.map((_, i) => i).filter((i) => isFloat(args[i].dtype));
    for (const i of argnums) {
      if (!(i in args)) throw new ConfigError(`valueAndGrad: expected argnums within 0..${args.length - 1}, got ${i}`);
    }
    const createGraph = options.createGraph ?? args.some((arg) => arg.requiresGrad);
    return withGradMode(true, () => {
      return createGraph ? run(args, argnums, true) : tidy(() => run(args, argnums, false));
    });
  };
}

/** A function that returns the gradient of `f` by its first argument (or by the one given). */
export function grad(f: (...args: Tensor[]) => Tensor, options: GradOptions = {}): (...args: Tensor[]) => Tensor {
  const run = valueAndGrad(f, { argnums: [0], ...options });
  return (...args) => {
    const { value, grads } = run(...args);
    if (!value.requiresGrad) value.dispose();
    return grads[0];
  };
}
