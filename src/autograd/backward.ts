/**
 * Reverse-mode differentiation: walks the recorded graph from outputs to inputs, once per node, in topological order.
 */
import { AutogradError, ShapeError } from '../device/index.js';
import { add, clone, full } from '../ops/index.js';
import { describe, type GradMeta, type GradNode, keep, sameShape, Tensor, tidy, withGradMode } from '../tensor/index.js';

export interface BackwardOptions {
  /** Gradient of the final value with respect to the tensor; default 1 for a tensor of one element. */
  gradient?: Tensor;
  /** Keep the saved tensors for another backward. Default: createGraph. */
  retainGraph?: boolean;
  /** Record the gradient computation itself, for higher derivatives. Default false. */
  createGraph?: boolean;
}

/** Nodes reachable from the roots, each after every node that uses its outputs. */
function topological(roots: readonly GradMeta[]): GradNode[] {
  const order: GradNode[] = [];
  const seen = new Set<GradNode>();
  const stack: { node: GradNode; next: number }[] = [];
  for (const { node } of roots) {
    if (!node || seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const input = top.node.inputs[top.next++];
      if (top.next > top.node.inputs.length) {
        order.push(top.node);
        stack.pop();
      } else if (input?.node && !seen.has(input.node)) {
        seen.add(input.node);
        stack.push({ node: input.node, next: 0 });
      }
    }
  }
  return order.reverse();
}

/** Gradients on their way, by place in the graph; counts who still holds each tensor so that it is freed early. */
class Pending {
  #grads = new Map<GradMeta | GradNode, (Tensor | undefined)[]>();
  #holders = new Map<Tensor, number>();
  readonly #free: boolean;

  constructor(free: boolean) {
    this.#free = free;
  }

  hold(tensor: Tensor): void {
    this.#holders.set(tensor, (this.#holders.get(tensor) ?? 0) + 1);
  }

  drop(tensor: Tensor): void {
    const left = (this.#holders.get(tensor) ?? 0) - 1;
    this.#holders.set(tensor, left);
    if (left <= 0 && this.#free) tensor.dispose();
  }

  add(meta: GradMeta, grad: Tensor): void {
    const key = meta.node ?? meta;
    let slots = this.#grads.get(key);
    if (!slots) this.#grads.set(key, (slots = []));
    const before = slots[meta.index];
    this.hold(grad);
    if (!before) {
      slots[meta.index] = grad;
      return;
    }
    const sum = add(before, grad);
    this.hold(sum);
    slots[meta.index] = sum;
    this.drop(before);
    this.drop(grad);
  }

  take(key: GradMeta | GradNode): (Tensor | undefined)[] | undefined {
    const slots = this.#grads.get(key);
    this.#grads.delete(key);
    return slots;
  }

  leaves(): [GradMeta, Tensor][] {
    const out: [GradMeta, Tensor][] = [];
    for (const [key, slots] of this.#grads) if ('leaf' in key && slots[0]) out.push([key, slots[0]]);
    return out;
  }
}

function seed(output: Tensor, gradient: Tensor | undefined): Tensor {
  if (!output.meta) throw new AutogradError('backward: expected a tensor that requires a gradient, got one outside the graph');
  if (gradient) {
    if (!sameShape(gradient.shape, output.shape)) {
      throw new ShapeError(`backward: expected a gradient of shape ${describe(output.shape)}, got ${describe(gradient.shape)}`);
    }
    return gradient.detach();
  }
  if (output.size !== 1) {
    throw new ShapeError(`backward: expected a tensor of one element or a gradient, got shape ${describe(output.shape)}`);
  }
  return full(output.shape, 1, { dtype: output.dtype, device: output.device });
}

/** The walk both entry points share: gradients of the places in `wanted`, or of all leaves when undefined. */
function walk(
  output: Tensor,
  options: BackwardOptions,
  wanted: ReadonlySet<GradMeta> | undefined,
): Map<GradMeta, Tensor> {
  const createGraph = options.createGraph ?? false;
  const retain = options.retainGraph ?? createGraph;
  const wantedOf = new Map<GradNode, GradMeta[]>();
  for (const meta of wanted ?? []) {
    if (meta.node) wantedOf.set(meta.node, [...(wantedOf.get(meta.node) ?? []), meta]);
  }
  const run = (): Map<GradMeta, Tensor> => {
    const found = new Map<GradMeta, Tensor>();
    const root = output.meta as GradMeta;
    const pending = new Pending(!createGraph);
    pending.add(root, seed(output, options.gradient));
    for (const node of topological([root])) {
      const grads = pending.take(node);
      if (grads) {
        for (const meta of wantedOf.get(node) ?? []) {
          const grad = grads[meta.index];
          if (!grad) continue;
          pending.hold(grad);
          found.set(meta, grad);
        }
        const produced = createGraph ? node.backward(grads) : tidy(() => node.backward(grads));
        produced.forEach((grad, i) => {
          const meta = node.inputs[i];
          if (grad && meta) pending.add(meta, grad);
        });
        for (const grad of grads) if (grad) pending.drop(grad);
      }
      if (!retain) node.release();
    }
    for (const [meta, grad] of pending.leaves()) if (!wanted || wanted.has(meta)) found.set(meta, grad);
    return found;
  };
  return withGradMode(createGraph, () => (createGraph ? run() : tidy(run)));
}

/**
 * Gradients of a scalar with respect to everything it was computed from: adds them to `grad` of the leaves that require one.
 * Saved tensors are freed, so a second call throws AutogradError unless retainGraph is set.
 * @throws ShapeError when the tensor has more than one element and no gradient is given
 * @throws AutogradError when it is outside the graph, or a saved tensor was freed or overwritten
 */
export function backward(output: Tensor, options: BackwardOptions = {}): void {
  output.view('backward');
  if (!output.meta) throw new AutogradError('backward: expected a tensor that requires a gradient, got one outside the graph');
  for (const [{ leaf }, grad] of walk(output, options, undefined)) {
    if (!leaf || leaf.disposed) continue;
    const before = leaf.grad;
    leaf.grad = keep(withGradMode(options.createGraph ?? false, () => (before ? add(before, grad) : owned(grad))));
    if (before) before.dispose();
    if (leaf.grad !== grad && !options.createGraph) grad.dispose();
  }
}

/** The gradient itself when nobody else can write into its elements, else a copy: optimisers scale gradients in place. */
function owned(grad: Tensor): Tensor {
  return grad.contiguous && grad.storage.references === 1 ? grad : clone(grad);
}

/**
 * Gradients of a scalar with respect to chosen tensors (leaves or results), leaving `grad` alone. A tensor that the output doesn't
 * depend on has gradient undefined.
 */
export function gradients(
  output: Tensor,
  inputs: readonly Tensor[],
  options: BackwardOptions = {},
): (Tensor | undefined)[] {
  output.view('gradients');
  const metas = inputs.map((input, i) => {
    if (!input.meta) throw new AutogradError(`gradients: input ${i} doesn't require a gradient`);
    return input.meta;
  });
  const found = walk(output, options, new Set(metas));
  return metas.map((meta) => found.get(meta));
}

declare module '../tensor/tensor.js' {
  interface Tensor {
    /** Gradients of this scalar, added to `grad` of the leaves; see {@link BackwardOptions}. */
    backward(options?: BackwardOptions): void;
  }
}
Tensor.prototype.backward = function (options) {
  backward(this, options);
};
