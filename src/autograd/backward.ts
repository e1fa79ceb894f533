/**
 * Reverse-mode differentiation: walks the recorded graph from outputs to inputs, once per node, in topological order.
 */
import { AutogradError, DTypeError, ShapeError } from '../device/index.js';
import { add, clone, expectTensor, full, identity, setEngine } from '../ops/index.js';
import {
  describe,
  type GradMeta,
  type GradNode,
  keep,
  sameShape,
  Tensor,
  tidy,
  withGradMode,
} from '../tensor/index.js';

export interface BackwardOptions {
  /** Gradient of the final value with respect to the tensor; default 1 for a tensor of one element. */
  gradient?: Tensor;
  /** Keep the saved tensors for another backward. Default: createGraph. */
  retainGraph?: boolean;
  /** Record the gradient computation itself, for higher derivatives. Default false. */
  createGraph?: boolean;
}

/**
 * Nodes reachable from the roots, each after every node that uses its outputs. Where only some gradients are wanted, nodes that lead
 * to none of them are left out, and so is what lies behind the `ends`.
 */
function topological(
  roots: readonly GradMeta[],
  wanted: ReadonlySet<GradMeta> | undefined,
  ends: ReadonlySet<GradNode>,
): GradNode[] {
  const order: GradNode[] = [];
  const useful = new Map<GradNode, boolean>();
  const stack: { node: GradNode; next: number }[] = [];
  const targets = new Set<GradNode>();
  for (const { node } of wanted ?? []) if (node) targets.add(node);
  for (const { node: root } of roots) {
    if (!root || useful.has(root)) continue;
    useful.set(root, !wanted || targets.has(root));
    stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const { node } = top;
      if (top.next === node.inputs.length || ends.has(node)) {
        stack.pop();
        if (!useful.get(node)) continue;
        order.push(node);
        if (stack.length > 0) useful.set(stack[stack.length - 1].node, true);
        continue;
      }
      const input = node.inputs[top.next++];
      if (!input) continue;
      const before = input.node;
      if (!before) {
        if (wanted?.has(input)) useful.set(node, true);
        continue;
      }
      const known = useful.get(before);
      if (known === undefined) {
        useful.set(before, !wanted || targets.has(before));
        stack.push({ node: before, next: 0 });
      } else if (known) {
        useful.set(node, true);
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

  /** Adds a gradient unless nobody asked for it; then it is freed. */
  addOrDrop(meta: GradMeta, grad: Tensor, asked: boolean): void {
    if (asked) {
      this.add(meta, grad);
      return;
    }
    this.hold(grad);
    this.drop(grad);
  }

  leaves(): [GradMeta, Tensor][] {
    const out: [GradMeta, Tensor][] = [];
    for (const [key, slots] of this.#grads) if ('leaf' in key && slots[0]) out.push([key, slots[0]]);
    return out;
  }
}

function seed(output: Tensor, gradient: Tensor | undefined, createGraph: boolean): Tensor {
  if (gradient) {
    if (!sameShape(gradient.shape, output.shape)) {
      throw new ShapeError(
        `backward: expected a gradient of shape ${describe(output.shape)}, got ${describe(gradient.shape)}`,
      );
    }
    if (gradient.dtype !== output.dtype) {
      throw new DTypeError(`backward: expected a gradient of dtype ${output.dtype}, got ${gradient.dtype}`);
    }
    return createGraph ? identity(gradient) : gradient.detach();
  }
  if (output.size !== 1) {
    throw new ShapeError(
      `backward: expected a tensor of one element or a gradient, got shape ${describe(output.shape)}`,
    );
  }
  return full(output.shape, 1, { dtype: output.dtype, device: output.device });
}

interface WalkOptions {
  createGraph: boolean;
  retain: boolean;
  /** Places whose gradients are asked for; undefined: all leaves. */
  wanted?: ReadonlySet<GradMeta>;
  /** Don't look behind the wanted places. */
  stop?: boolean;
}

const NO_ENDS: ReadonlySet<GradNode> = new Set();

/** The walk all entry points share, from outputs and the gradients they start with. */
function walk(roots: readonly GradMeta[], seeds: () => Tensor[], options: WalkOptions): Map<GradMeta, Tensor> {
  const { createGraph, retain, wanted, stop } = options;
  const wantedOf = new Map<GradNode, GradMeta[]>();
  for (const meta of wanted ?? []) {
    if (meta.node) wantedOf.set(meta.node, [...(wantedOf.get(meta.node) ?? []), meta]);
  }
  const ends = stop ? new Set(wantedOf.keys()) : NO_ENDS;
  const order = topological(roots, wanted, ends);
  const visited = new Set(order);
  // A node must not go when the last tensor that holds it does, before its turn has come.
  for (const node of order) node.retain();
  const run = (): Map<GradMeta, Tensor> => {
    const found = new Map<GradMeta, Tensor>();
    const pending = new Pending(!createGraph);
    const asked = (meta: GradMeta): boolean => (meta.node ? visited.has(meta.node) : !wanted || wanted.has(meta));
    seeds().forEach((grad, i) => pending.addOrDrop(roots[i], grad, asked(roots[i])));
    for (const node of order) {
      const grads = pending.take(node);
      if (grads) {
        for (const meta of wantedOf.get(node) ?? []) {
          const grad = grads[meta.index];
          if (!grad) continue;
          pending.hold(grad);
          found.set(meta, grad);
        }
        if (!ends.has(node)) {
          const produced = createGraph ? node.backward(grads) : tidy(() => node.backward(grads));
          produced.forEach((grad, i) => {
            const meta = node.inputs[i];
            if (grad && meta) pending.addOrDrop(meta, grad, asked(meta));
          });
        }
        for (const grad of grads) if (grad) pending.drop(grad);
      }
      if (!retain && !ends.has(node)) node.release();
    }
    for (const [meta, grad] of pending.leaves()) if (!wanted || wanted.has(meta)) found.set(meta, grad);
    return found;
  };
  try {
    return withGradMode(createGraph, () => (createGraph ? run() : tidy(run)));
  } finally {
    for (const node of order) node.drop();
  }
}

/**
 * Gradients of a scalar with respect to everything it was computed from: adds them to `grad` of the leaves that require one.
 * Saved tensors are freed, so a second call throws AutogradError unless retainGraph is set.
 * @throws ShapeError when the tensor has more than one element and no gradient is given
 * @throws AutogradError when it is outside the graph, or a saved tensor was freed or overwritten
 */
export function backward(output: Tensor, options: BackwardOptions = {}): void {
  const root = placeOf('backward', output);
  const createGraph = options.createGraph ?? false;
  const start = (): Tensor[] => [seed(output, options.gradient, createGraph)];
  const found = walk([root], start, { createGraph, retain: options.retainGraph ?? createGraph });
  // Two leaves may have got the same tensor (the operands of an add): each needs elements of its own.
  const uses = new Map<Tensor, number>();
  for (const grad of found.values()) uses.set(grad, (uses.get(grad) ?? 0) + 1);
  for (const [{ leaf }, grad] of found) {
    const left = (uses.get(grad) as number) - 1;
    uses.set(grad, left);
    if (leaf && !leaf.disposed) {
      const before = leaf.grad;
      const alone = left === 0 && grad.contiguous && grad.storage.references === 1;
      leaf.grad = keep(withGradMode(createGraph, () => (before ? add(before, grad) : alone ? grad : clone(grad))));
      // With a graph the old sum may be part of somebody's expression.
      if (!createGraph) before?.dispose();
    }
    if (left === 0 && !createGraph && leaf?.grad !== grad) grad.dispose();
  }
}

function placeOf(op: string, output: Tensor): GradMeta {
  expectTensor(op, output);
  output.view(op);
  if (!output.meta)
    throw new AutogradError(`${op}: expected a tensor that requires a gradient, got one outside the graph`);
  return output.meta;
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
  const root = placeOf('gradients', output);
  const metas = inputs.map((input, i) => {
    if (!input.meta)
      throw new AutogradError(`gradients: expected inputs that require a gradient, got input ${i} outside the graph`);
    return input.meta;
  });
  const createGraph = options.createGraph ?? false;
  const start = (): Tensor[] => [seed(output, options.gradient, createGraph)];
  const found = walk([root], start, {
    createGraph,
    retain: options.retainGraph ?? createGraph,
    wanted: new Set(metas),
  });
  // Two inputs may have got the same tensor (the operands of an add): each needs one that can be freed by itself.
  const given = new Set<Tensor>();
  return metas.map((meta) => {
    const grad = found.get(meta);
    if (!grad) return undefined;
    if (given.has(grad)) return withGradMode(createGraph, () => clone(grad));
    given.add(grad);
    return grad;
  });
}

setEngine((outputs, grads, inputs, createGraph) => {
  const metas = inputs.map((input) => input.meta as GradMeta);
  const start = (): Tensor[] => grads.map((grad) => (createGraph ? identity(grad) : grad.detach()));
  const options = { createGraph, retain: createGraph, wanted: new Set(metas), stop: true };
  const found = walk(
    outputs.map((output) => output.meta as GradMeta),
    start,
    options,
  );
  return metas.map((meta) => found.get(meta));
});

declare module '../tensor/tensor.js' {
  interface Tensor {
    /** Gradients of this scalar, added to `grad` of the leaves; see {@link BackwardOptions}. */
    backward(options?: BackwardOptions): void;
  }
}
Tensor.prototype.backward = function (options) {
  backward(this, options);
};
