/**
 * How an op is declared: once, with its work, its gradient rule made of differentiable ops, what the rule needs saved, and its
 * flop count. `defineOp` returns the function that runs it and records it on the graph; `opTable` lists all for tests.
 * Enqueueing is the hot path of every model: no closures here, and no arrays that could be avoided.
 */
import {
  AutogradError,
  ConfigError,
  type Device,
  DeviceError,
  type OpName,
  shown,
  type TensorView,
} from '../device/index.js';
import {
  BYTES,
  DTYPE_CODE,
  type DType,
  type GradMeta,
  type GradNode,
  gradEnabled,
  isFloat,
  isPacked,
  SafetyNet,
  setGradMode,
  type Shape,
  sizeOf,
  Storage,
  stridesOf,
  Tensor,
  type Watched,
  wrote,
} from '../tensor/index.js';

/** What a gradient rule sees. */
export interface GradContext<P> {
  /** Saved inputs, at the op's own positions; places that `saves` doesn't list are empty: use `shapes` and `dtypes`. */
  readonly inputs: readonly Tensor[];
  /** Saved outputs, in the same way. */
  readonly outputs: readonly Tensor[];
  /** Shapes of all inputs. */
  readonly shapes: readonly Shape[];
  /** Element types of all inputs. */
  readonly dtypes: readonly DType[];
  readonly params: P;
  /** Whether input i needs a gradient. */
  readonly needs: readonly boolean[];
}

/** Positions of what a rule reads; a function where it depends on which gradients are needed. */
export type Saves<P> = readonly number[] | 'all' | ((needs: readonly boolean[], params: P) => readonly number[]);

export interface OpDef<P> {
  readonly name: string;
  /** Checks shapes and dtypes (throwing typed errors), enqueues the work, returns the outputs. Runs without recording. */
  forward(inputs: readonly Tensor[], params: P): Tensor[];
  /**
   * Gradients of the inputs, undefined where none is needed or the gradient is zero. `grads[i]` is undefined when output i was not
   * used. Made of differentiable ops, so that it can be differentiated again. Never returns a saved tensor itself (backward frees
   * what it gets). null: the op has no gradient.
   */
  readonly backward: ((ctx: GradContext<P>, grads: readonly (Tensor | undefined)[]) => (Tensor | undefined)[]) | null;
  /** Which inputs and outputs the gradient rule reads. Default none. */
  readonly saves?: { readonly inputs?: Saves<P>; readonly outputs?: Saves<P> };
  /** Multiply-adds of the products in the forward pass; only ops that are products have some: linear, matmul, conv2d, attention. */
  products?(inputs: readonly Tensor[], params: P): number;
  /** Floating-point operations of the forward pass. Data movement has 0. */
  flops(inputs: readonly Tensor[], params: P): number;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export const opTable = new Map<string, OpDef<any>>();

/** Lets go of what a node saved when the collector finds the node first. */
const forgotten = new SafetyNet<Storage[]>((storages) => {
  for (const storage of storages) storage.release();
});

const NONE: readonly never[] = [];

class Node<P> implements GradNode, Watched<Storage[]> {
  readonly name: string;
  readonly inputs: readonly (GradMeta | undefined)[];
  #def: OpDef<P>;
  #params: P;
  #needs: boolean[];
  #shapes: Shape[];
  #dtypes: DType[];
  #inputs: readonly Tensor[];
  #outputs: readonly Tensor[];
  #saved: Tensor[] = [];
  #versions: number[] = [];
  readonly #likes: { shape: Shape; dtype: DType; device: Device }[] = [];
  #references = 0;
  #released = false;
  watch: Watched<Storage[]>['watch'] = 'no';

  constructor(def: OpDef<P>, inputs: readonly Tensor[], params: P, outputs: readonly Tensor[]) {
    this.name = def.name;
    this.#def = def;
    this.#params = params;
    const n = inputs.length;
    const metas = new Array<GradMeta | undefined>(n);
    const needs = new Array<boolean>(n);
    const shapes = new Array<Shape>(n);
    const dtypes = new Array<DType>(n);
    for (let i = 0; i < n; i++) {
      const input = inputs[i];
      metas[i] = input.meta;
      needs[i] = input.meta !== undefined;
      shapes[i] = input.shape;
      dtypes[i] = input.dtype;
      input.meta?.node?.retain();
    }
    this.inputs = metas;
    this.#needs = needs;
    this.#shapes = shapes;
    this.#dtypes = dtypes;
    for (let index = 0; index < outputs.length; index++) {
      const output = outputs[index];
      this.#likes.push({ shape: output.shape, dtype: output.dtype, device: output.device });
      if (isFloat(output.dtype)) output.place({ node: this, index });
    }
    this.#inputs = this.#save(inputs, def.saves?.inputs);
    this.#outputs = this.#save(outputs, def.saves?.outputs);
    if (this.#saved.length > 0) {
      let bytes = 0;
      for (const { storage } of this.#saved) bytes += storage.bytes;
      forgotten.add(this, bytes);
    }
  }

  get leftover(): Storage[] {
    return this.#saved.map((tensor) => tensor.storage);
  }

  /** Other tensor objects on what the rule reads, so that the user may dispose of his. They don't count as references to a node. */
  #save(tensors: readonly Tensor[], which: Saves<P> | undefined): readonly Tensor[] {
    if (which === undefined) return NONE;
    const list = typeof which === 'function' ? which(this.#needs, this.#params) : which;
    const out = new Array<Tensor>(tensors.length);
    const n = list === 'all' ? tensors.length : list.length;
    for (let i = 0; i < n; i++) {
      const at = list === 'all' ? i : list[i];
      const from = tensors[at];
      if (!from) continue;
      const copy = new Tensor(
        from.storage,
        from.dtype,
        from.shape,
        from.strides,
        from.offset,
        null,
        from.view(this.name),
      );
      copy.meta = from.meta;
      out[at] = copy;
      this.#saved.push(copy);
      this.#versions.push(from.storage.version);
    }
    return out;
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
    for (let i = 0; i < this.#saved.length; i++) {
      const { shape, storage } = this.#saved[i];
      if (storage.version !== this.#versions[i]) {
        throw new AutogradError(
          `backward: ${this.name} saved a tensor of shape [${shape.join(',')}] that was written in place since ` +
            `(expected version ${this.#versions[i]}, got ${storage.version})`,
        );
      }
    }
    const rule = this.#def.backward;
    if (!rule) throw new AutogradError(`backward: ${this.name} has no gradient`);
    const context: GradContext<P> = {
      inputs: this.#inputs,
      outputs: this.#outputs,
      shapes: this.#shapes,
      dtypes: this.#dtypes,
      params: this.#params,
      needs: this.#needs,
    };
    return rule(context, grads);
  }

  retain(): void {
    this.#references++;
  }

  drop(): void {
    if (--this.#references === 0) this.release();
  }

  release(): void {
    // A loop, not recursion: a chain of nodes can be far longer than the call stack is deep.
    const queue: Node<unknown>[] = [this as Node<unknown>];
    for (let node = queue.pop(); node; node = queue.pop()) {
      if (node.#released) continue;
      node.#released = true;
      if (node.#saved.length > 0) forgotten.remove(node);
      for (const tensor of node.#saved) tensor.dispose();
      node.#saved = [];
      node.#inputs = NONE;
      node.#outputs = NONE;
      for (const meta of node.inputs) {
        const input = meta?.node as Node<unknown> | undefined;
        if (input && --input.#references === 0) queue.push(input);
      }
    }
  }
}

/** Throws ConfigError unless x is a tensor. For arguments that JavaScript callers got wrong. */
export function expectTensor(op: string, x: unknown): asserts x is Tensor {
  if (!(x instanceof Tensor)) {
    throw new ConfigError(
      `${op}: expected a tensor, got ${x === null ? 'null' : Array.isArray(x) ? 'an array' : typeof x}`,
    );
  }
}

/** Throws ConfigError unless options is an object. */
export function expectOptions(op: string, options: unknown): void {
  if (typeof options !== 'object' || options === null) {
    throw new ConfigError(`${op}: expected options to be an object, got ${options === null ? 'null' : typeof options}`);
  }
}

/** Throws ConfigError unless x is a number. */
export function expectNumber(op: string, what: string, x: unknown): asserts x is number {
  if (typeof x !== 'number') throw new ConfigError(`${op}: expected ${what} to be a number, got ${typeof x}`);
}

/** Set while products are counted. */
let counted: number | undefined;

/**
 * Multiply-adds of the products that `fn` runs, see {@link OpDef.products}; those of gradients and of replayed graphs don't count.
 * @throws ConfigError for what is no function
 */
export function countProducts(fn: () => void): number {
  // It may come from JavaScript.
  if (typeof (fn as unknown) !== 'function')
    throw new ConfigError(`countProducts: expected a function, got ${shown(fn)}`);
  const outer = counted;
  counted = 0;
  try {
    fn();
    return counted;
  } finally {
    counted = outer;
  }
}

/** Declares an op and returns the function that runs it: outputs from inputs and parameters. */
export function defineOp<P>(def: OpDef<P>): (inputs: readonly Tensor[], params: P) => Tensor[] {
  if (opTable.has(def.name)) throw new ConfigError(`defineOp: '${def.name}' is declared twice`);
  opTable.set(def.name, def);
  const { name } = def;
  const differentiable = def.backward !== null;
  return function run(inputs, params) {
    let wanted = false;
    for (let i = 0; i < inputs.length; i++) {
      const input = inputs[i];
      expectTensor(name, input);
      input.view(name);
      if (input.meta !== undefined) wanted = true;
      if (input.storage.device !== inputs[0].storage.device) {
        throw new DeviceError(
          `${name}: expected tensors of one device, got ${inputs[0].device.name} and ${input.device.name}`,
        );
      }
    }
    const recording = setGradMode(false);
    let outputs: Tensor[];
    try {
      outputs = def.forward(inputs, params);
    } finally {
      setGradMode(recording);
    }
    if (counted !== undefined) counted += def.products?.(inputs, params) ?? 0;
    if (recording && wanted && differentiable) new Node(def, inputs, params, outputs);
    return outputs;
  };
}

/** Shape and dtype of a fresh output. */
export interface OutputSpec {
  shape: Shape;
  dtype: DType;
}

/** A tensor around the buffer that a call made for `view`; `shape` where the tensor's differs from the kernel's. */
function wrap(device: Device, view: TensorView, dtype: DType, shape?: Shape): Tensor {
  const storage = new Storage(device, view.handle, sizeOf(view.shape) * BYTES[dtype]);
  if (shape !== undefined) return new Tensor(storage, dtype, shape);
  return new Tensor(storage, dtype, view.shape, view.strides, 0, true, view);
}

const oneOutput: TensorView[] = [];
const oneInput: TensorView[] = [];
const twoInputs: TensorView[] = [];

/** Enqueues a native op with one fresh contiguous output. `shape`: what the kernel writes; `as`: the tensor's shape, of equal size. */
export function enqueueOne(
  op: OpName,
  device: Device,
  shape: Shape,
  dtype: DType,
  inputs: readonly TensorView[],
  record: readonly number[],
  as?: Shape,
): Tensor {
  const out: TensorView = { handle: 0, dtype: DTYPE_CODE[dtype], offset: 0, shape, strides: stridesOf(shape) };
  oneOutput[0] = out;
  device.enqueue(op, oneOutput, inputs, record);
  return wrap(device, out, dtype, as);
}

/** The same for an elementwise op: the output has the shape of x, and y (when there is one) has it, too. */
export function enqueueLike(
  op: OpName,
  name: string,
  x: Tensor,
  y: Tensor | undefined,
  dtype: DType,
  record: readonly number[],
): Tensor {
  const { device } = x.storage;
  const from = x.view(name);
  const { shape, strides } = from;
  const out: TensorView = {
    handle: 0,
    dtype: DTYPE_CODE[dtype],
    offset: 0,
    shape,
    strides: isPacked(shape, strides) ? strides : stridesOf(shape),
  };
  oneOutput[0] = out;
  if (y === undefined) {
    oneInput[0] = from;
    device.enqueue(op, oneOutput, oneInput, record);
  } else {
    twoInputs[0] = from;
    twoInputs[1] = y.view(name);
    device.enqueue(op, oneOutput, twoInputs, record);
  }
  return wrap(device, out, dtype);
}

/** The same for any op of one input whose output has its shape. */
export function enqueueUnary(op: OpName, x: Tensor, dtype: DType, record: readonly number[]): Tensor {
  return enqueueLike(op, op, x, undefined, dtype, record);
}

/** Whether an op on these has nothing to check but its own rules, and nothing to record: tensors of one device that need no gradient. */
export function isPlain(x: unknown, y: unknown): boolean {
  return (
    x instanceof Tensor &&
    y instanceof Tensor &&
    x.storage.device === y.storage.device &&
    ((x.meta === undefined && y.meta === undefined) || !gradEnabled())
  );
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
  inPlace: readonly Tensor[] = NONE,
): Tensor[] {
  const outs: TensorView[] = fresh.map(({ shape, dtype }) => {
    return { handle: 0, dtype: DTYPE_CODE[dtype], offset: 0, shape, strides: stridesOf(shape) };
  });
  const made = outs.length;
  for (const tensor of inPlace) outs.push(tensor.view(op));
  device.enqueue(
    op,
    outs,
    inputs.map((t) => t.view(op)),
    record,
  );
  for (const tensor of inPlace) wrote(tensor.storage);
  const tensors = new Array<Tensor>(made);
  for (let i = 0; i < made; i++) tensors[i] = wrap(device, outs[i], fresh[i].dtype);
  return tensors;
}
