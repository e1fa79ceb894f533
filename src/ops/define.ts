/**
 * How an op is declared: once, with its work, its gradient rule made of differentiable ops, what the rule needs saved, and its
 * flop count. `defineOp` returns the function that runs it and records it on the graph; `opTable` lists all for tests.
 */
import { AutogradError, type Device, type OpName } from '../device/index.js';
import {
  BYTES,
  DTYPE_CODE,
  type DType,
  gradEnabled,
  type GradMeta,
  type GradNode,
  isFloat,
  noGrad,
  type Shape,
  sizeOf,
  Storage,
  stridesOf,
  Tensor,
} from '../tensor/index.js';

/** What a gradient rule sees. */
export interface GradContext<P> {
  /** The op's inputs; elements may be read only of those listed in `saves.inputs` (shape and dtype of all). */
  readonly inputs: readonly Tensor[];
  /** The op's outputs; elements may be read only of those listed in `saves.outputs`. */
  readonly outputs: readonly Tensor[];
  readonly params: P;
  /** Whether input i needs a gradient. */
  readonly needs: readonly boolean[];
}

export interface OpDef<P> {
  readonly name: string;
  /** Checks shapes and dtypes (throwing typed errors), enqueues the work, returns the outputs. Runs without recording. */
  forward(inputs: readonly Tensor[], params: P): Tensor[];
  /**
   * Gradients of the inputs, undefined where none is needed or the gradient is zero. `grads[i]` is undefined when output i was not used.
   * Made of differentiable ops, so that it can be differentiated again. null: the op has no gradient.
   */
  readonly backward:
    ((ctx: GradContext<P>, grads: readonly (Tensor | undefined)[]) => (Tensor | undefined)[]) | null;
  /** Which inputs and outputs the gradient rule reads. Default none. */
  readonly saves?: { readonly inputs?: readonly number[] | 'all'; readonly outputs?: readonly number[] | 'all' };
  /** Floating-point operations of the forward pass. Data movement has 0. */
  flops(inputs: readonly Tensor[], params: P): number;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export const opTable = new Map<string, OpDef<any>>();

class Saved {
  readonly tensor: Tensor;
  readonly version: number;
  constructor(tensor: Tensor) {
    this.tensor = tensor;
    this.version = tensor.storage.version;
  }
}

class Node<P> implements GradNode {
  readonly name: string;
  readonly inputs: readonly (GradMeta | undefined)[];
  #def: OpDef<P>;
  #params: P;
  #inputTensors: readonly Tensor[];
  #outputs: readonly Tensor[] = [];
  #saved: Saved[] = [];
  #released = false;
  #likes: readonly { shape: Shape; dtype: DType; device: Device }[] = [];

  constructor(def: OpDef<P>, inputs: readonly Tensor[], params: P) {
    this.name = def.name;
    this.#def = def;
    this.#params = params;
    this.inputs = inputs.map((input) => input.meta);
    this.#inputTensors = this.#save(inputs, def.saves?.inputs);
  }

  /** Called once the outputs have their place in the graph. */
  attach(outputs: readonly Tensor[]): void {
    this.#likes = outputs.map(({ shape, dtype, device }) => ({ shape, dtype, device }));
    this.#outputs = this.#save(outputs, this.#def.saves?.outputs);
  }

  /** Aliases for what the rule reads; the tensor itself (for its shape) where it reads no elements. */
  #save(tensors: readonly Tensor[], which: readonly number[] | 'all' | undefined): Tensor[] {
    return tensors.map((tensor, i) => {
      if (which !== 'all' && !which?.includes(i)) return tensor;
      const alias = tensor.alias();
      this.#saved.push(new Saved(alias));
      return alias;
    });
  }

  outputLike(i: number): { shape: Shape; dtype: DType; device: Device } {
    return this.#likes[i];
  }

  backward(grads: readonly (Tensor | undefined)[]): (Tensor | undefined)[] {
    if (this.#released) {
      throw new AutogradError(
        `backward: the tensors saved by ${this.name} were freed by an earlier backward; call it with retainGraph: true to go twice`,
      );
    }
    for (const { tensor, version } of this.#saved) {
      if (tensor.storage.version !== version) {
        throw new AutogradError(
          `backward: ${this.name} saved a tensor of shape [${tensor.shape.join(',')}] that was written in place since ` +
            `(expected version ${version}, got ${tensor.storage.version})`,
        );
      }
    }
    const rule = this.#def.backward;
    if (!rule) throw new AutogradError(`backward: ${this.name} has no gradient`);
    return rule(
      {
        inputs: this.#inputTensors,
        outputs: this.#outputs,
        params: this.#params,
        needs: this.inputs.map((meta) => meta !== undefined),
      },
      grads,
    );
  }

  release(): void {
    this.#released = true;
    for (const { tensor } of this.#saved) tensor.dispose();
    this.#saved = [];
    this.#inputTensors = [];
    this.#outputs = [];
  }
}

/** Declares an op and returns the function that runs it: outputs from inputs and parameters. */
export function defineOp<P>(def: OpDef<P>): (inputs: readonly Tensor[], params: P) => Tensor[] {
  if (opTable.has(def.name)) throw new AutogradError(`defineOp: '${def.name}' is declared twice`);
  opTable.set(def.name, def);
  return (inputs, params) => {
    for (const input of inputs) input.view(def.name);
    const record = gradEnabled() && def.backward !== null && inputs.some((input) => input.meta !== undefined);
    const outputs = noGrad(() => def.forward(inputs, params));
    if (!record) return outputs;
    const node = new Node(def, inputs, params);
    outputs.forEach((output, index) => {
      if (isFloat(output.dtype)) output.meta = { node, index };
    });
    node.attach(outputs);
    return outputs;
  };
}

/** Shape and dtype of a fresh output. */
export interface OutputSpec {
  shape: Shape;
  dtype: DType;
}

/**
 * Enqueues a native op: fresh contiguous outputs of the given shapes, then in-place ones, from the inputs.
 * In-place outputs have their storage version raised. Returns the fresh outputs.
 */
export function enqueue(
  op: OpName,
  device: Device,
  fresh: readonly OutputSpec[],
  inputs: readonly Tensor[],
  record: readonly number[],
  inPlace: readonly Tensor[] = [],
): Tensor[] {
  const outs = fresh.map(({ shape, dtype }) => ({ handle: 0, dtype: DTYPE_CODE[dtype], offset: 0, shape, strides: stridesOf(shape) }));
  const targets = inPlace.map((tensor) => tensor.view(op));
  device.enqueue(op, targets.length === 0 ? outs : [...outs, ...targets], inputs.map((t) => t.view(op)), record);
  for (const tensor of inPlace) tensor.storage.version++;
  return outs.map(
    (view, i) =>
      new Tensor(new Storage(device, view.handle, sizeOf(fresh[i].shape) * BYTES[fresh[i].dtype]), fresh[i].dtype, fresh[i].shape, view.strides),
  );
}
