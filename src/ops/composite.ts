/**
 * Gradient rules by the engine itself: where a closed form would be painful, an op names an equal composite of differentiable
 * ops, and its gradient is that of the composite. The engine (autograd/) is above this folder and registers itself here.
 */
import { AutogradError } from '../device/index.js';
import { gradEnabled, setGradMode, type Tensor } from '../tensor/index.js';
import { defineOp, type GradContext } from './define.js';
import { viewOf } from './movement.js';

/**
 * Gradients of `outputs` (weighted by `grads`) with respect to `inputs`, not looking behind them. Recorded, when createGraph.
 */
export type VectorJacobian = (
  outputs: readonly Tensor[],
  grads: readonly Tensor[],
  inputs: readonly Tensor[],
  createGraph: boolean,
) => (Tensor | undefined)[];

let engine: VectorJacobian | undefined;

export function setEngine(vjp: VectorJacobian): void {
  engine = vjp;
}

const identityOp = defineOp<undefined>({
  name: 'identity',
  forward: ([x]) => [viewOf(x, x.shape, x.strides)],
  backward: (_, [g]) => [g],
  flops: () => 0,
});

/** The same elements as a new place in the graph. */
export function identity(x: Tensor): Tensor {
  return identityOp([x], undefined)[0];
}

/**
 * A backward rule from a composite: `formula` gets the op's inputs and returns what the op's first outputs are equal to.
 * It must read only inputs that the op saves.
 */
export function compositeRule<P>(formula: (inputs: readonly Tensor[], params: P) => Tensor[]) {
  return (
    { inputs, params, needs, dtypes }: GradContext<P>,
    grads: readonly (Tensor | undefined)[],
  ): (Tensor | undefined)[] => {
    if (!engine) throw new AutogradError('backward: the gradient engine is not loaded; import autograd/');
    const createGraph = gradEnabled();
    const before = setGradMode(true);
    try {
      const places: number[] = [];
      const wanted: Tensor[] = [];
      // New places in the graph cut the formula off from how its inputs depend on each other.
      const cut = inputs.map((x, i) => {
        if (!x || !needs[i] || (dtypes[i] !== 'f32' && dtypes[i] !== 'f64')) return x;
        const start = createGraph ? identity(x) : x.detach();
        if (!createGraph) start.requiresGrad = true;
        places.push(i);
        wanted.push(start);
        return start;
      });
      const results = formula(cut, params);
      const outputs: Tensor[] = [];
      const weights: Tensor[] = [];
      grads.forEach((g, i) => {
        if (!g || !results[i]?.requiresGrad) return;
        outputs.push(results[i]);
        weights.push(g);
      });
      const out = new Array<Tensor | undefined>(needs.length).fill(undefined);
      if (outputs.length === 0) return out;
      engine(outputs, weights, wanted, createGraph).forEach((grad, i) => (out[places[i]] = grad));
      return out;
    } finally {
      setGradMode(before);
    }
  };
}
