/**
 * Tensor: a strided view on a counted device buffer, with its place in the differentiation graph. Arithmetic is added by ops/,
 * `backward` by autograd/ (declaration merging), so that this file knows nothing of either.
 */
import { AutogradError, type Device, DTypeError, DisposedError, ShapeError, type TensorView } from '../device/index.js';
import { type AnyHostArray, BYTES, DTYPE_CODE, type DType, hostArray, isFloat } from './dtype.js';
import { SafetyNet, type Watched } from './net.js';
import { enterScope, leaveScope, type Scope } from './scope.js';
import { describe, isContiguous, type Shape, sizeOf, stridesOf } from './shape.js';
import { Storage } from './storage.js';
import { touchedGrad } from './track.js';

/** One recorded operation. Made by ops/define.ts, walked by autograd/backward.ts. */
export interface GradNode {
  readonly name: string;
  /** Where the gradient of each input goes; undefined for inputs that need none. */
  readonly inputs: readonly (GradMeta | undefined)[];
  /** Gradients of the inputs from those of the outputs. Throws AutogradError when the saved tensors are gone or overwritten. */
  backward(grads: readonly (Tensor | undefined)[]): (Tensor | undefined)[];
  /** Shape, dtype and device of output i, for a gradient of zeros. */
  outputLike(i: number): { shape: Shape; dtype: DType; device: Device };
  /** Lets go of the saved tensors. */
  release(): void;
  /** Counts who can still reach the node: tensors and later nodes. When nobody can, it lets go of what it saved. */
  retain(): void;
  drop(): void;
}

/** A tensor's place in the graph, shared by all aliases of the tensor. A leaf has no node and collects into `leaf.grad`. */
export interface GradMeta {
  readonly node?: GradNode;
  readonly index: number;
  readonly leaf?: Tensor;
}

const net = new SafetyNet<Storage>((storage) => storage.release());

export class Tensor implements Watched<Storage> {
  readonly dtype: DType;
  readonly shape: Shape;
  /** In elements. */
  readonly strides: readonly number[];
  /** In elements. */
  readonly offset: number;
  readonly storage: Storage;
  /** Place in the graph; undefined when no gradient is wanted. */
  meta: GradMeta | undefined;
  /** The scope that will dispose of the tensor. Written by scope.ts alone. */
  scope: Scope | undefined;
  /** Written by the safety net alone. */
  watch: Watched<Storage>['watch'] = 'no';
  #alive = true;
  #view: TensorView | undefined;
  #node: GradNode | undefined;
  #grad: Tensor | null = null;

  /**
   * Use `tensor`, `zeros` and the like. Retains the storage. `view`: the same layout as a
   * call takes it, when it is at hand. `scoped` null: somebody else sees to it that the tensor is disposed of.
   */
  constructor(
    storage: Storage,
    dtype: DType,
    shape: Shape,
    strides: readonly number[] = stridesOf(shape),
    offset = 0,
    scoped: boolean | null = true,
    view?: TensorView,
  ) {
    this.storage = storage.retain();
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
    this.#view = view;
    if (scoped !== null && !(scoped && enterScope(this))) net.add(this, storage.bytes);
  }

  get device(): Device {
    return this.storage.device;
  }
  get rank(): number {
    return this.shape.length;
  }
  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }
  get disposed(): boolean {
    return !this.#alive;
  }
  get contiguous(): boolean {
    return isContiguous(this.shape, this.strides);
  }
  get requiresGrad(): boolean {
    return this.meta !== undefined;
  }
  /** Makes a leaf collect gradients, or stop. Throws DTypeError for other than floating tensors, AutogradError for non-leaves. */
  set requiresGrad(on: boolean) {
    if (this.meta?.node) throw new AutogradError('requiresGrad: expected a leaf, got the result of an operation');
    if (on && !isFloat(this.dtype)) throw new DTypeError(`requiresGrad: expected dtype f32 or f64, got ${this.dtype}`);
    this.meta = on ? { index: 0, leaf: this } : undefined;
  }
  /** Accumulated by backward() on leaves that require a gradient; null before. */
  get grad(): Tensor | null {
    touchedGrad(this, this.#grad);
    return this.#grad;
  }
  set grad(grad: Tensor | null) {
    this.exchangeGrad(grad);
  }
  /** Sets the gradient whatever there was before, which is returned. */
  exchangeGrad(grad: Tensor | null): Tensor | null {
    touchedGrad(this, undefined);
    const before = this.#grad;
    this.#grad = grad;
    return before;
  }
  get isLeaf(): boolean {
    return this.meta?.node === undefined;
  }

  /** The view as a call takes it. Throws DisposedError naming the op. */
  view(op: string): TensorView {
    if (!this.#alive) throw new DisposedError(`${op}: a tensor of shape ${describe(this.shape)} was disposed of`);
    return (this.#view ??= {
      handle: this.storage.handle,
      dtype: DTYPE_CODE[this.dtype],
      offset: this.offset,
      shape: this.shape,
      strides: this.strides,
    });
  }

  /** Puts the tensor into the graph and keeps the node there until the tensor is disposed of. */
  place(meta: GradMeta | undefined): this {
    this.#node?.drop();
    this.meta = meta;
    this.#node = meta?.node;
    this.#node?.retain();
    return this;
  }

  /** Another tensor object on the same elements with the same place in the graph; not tied to the current scope. */
  alias(): Tensor {
    this.view('alias');
    const alias = new Tensor(this.storage, this.dtype, this.shape, this.strides, this.offset, false, this.#view);
    return alias.place(this.meta);
  }

  /** The same elements outside the graph. */
  detach(): Tensor {
    this.view('detach');
    return new Tensor(this.storage, this.dtype, this.shape, this.strides, this.offset);
  }

  /** Copies to the host without blocking: row-major elements, once the stream has computed them. */
  async data(): Promise<AnyHostArray> {
    const view = this.#readable('data');
    try {
      const out = hostArray(view.dtype, view.size);
      if (out.length > 0) await view.device.read(view.storage.handle, view.offset * BYTES[view.dtype], out);
      return out;
    } finally {
      if (view !== this) view.dispose();
    }
  }

  /** Copies to the host now, running what is queued on the calling thread. */
  dataSync(): AnyHostArray {
    const view = this.#readable('dataSync');
    try {
      const out = hostArray(view.dtype, view.size);
      if (out.length > 0) view.device.readSync(view.storage.handle, view.offset * BYTES[view.dtype], out);
      return out;
    } finally {
      if (view !== this) view.dispose();
    }
  }

  /** The value of a tensor of one element. Throws ShapeError for more. */
  async item(): Promise<number> {
    this.#expectOne('item');
    return (await this.data())[0];
  }
  /** The same, running what is queued on the calling thread. */
  itemSync(): number {
    this.#expectOne('itemSync');
    return this.dataSync()[0];
  }

  /** Nested arrays of the elements. */
  async toArray(): Promise<unknown> {
    return nest(await this.data(), this.shape, this.dtype);
  }

  /** Frees the buffer (when no view shares it). Safe to call twice. */
  dispose(): void {
    if (!this.#alive) return;
    this.#alive = false;
    if (this.watch !== 'no') net.remove(this);
    else if (this.scope !== undefined) leaveScope(this);
    this.storage.release();
    if (this.#node !== undefined) {
      this.#node.drop();
      this.#node = undefined;
    }
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Lets the garbage collector free the buffer, as a safety net. For scopes. */
  collectable(): void {
    net.add(this, this.storage.bytes);
  }
  get leftover(): Storage {
    return this.storage;
  }

  toString(): string {
    return `Tensor(${this.dtype} ${describe(this.shape)}${this.#alive ? '' : ', disposed'})`;
  }

  /** What console.log shows. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }

  /**
   * Text in a template; JavaScript's operators have no meaning here, and would quietly give NaN or text.
   * @throws DTypeError for `tensor + 1`, `tensor < 1` and the like
   */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString();
    throw new DTypeError(
      `${this.toString()}: expected a method such as add, mul or item(), got an operator of JavaScript`,
    );
  }

  #expectOne(op: string): void {
    if (this.size !== 1) throw new ShapeError(`${op}: expected one element, got shape ${describe(this.shape)}`);
  }

  /** This tensor, or a contiguous copy of it. */
  #readable(op: string): Tensor {
    const view = this.view(op);
    if (this.contiguous) return this;
    const { device } = this;
    const out: TensorView = { ...view, handle: 0, offset: 0, strides: stridesOf(this.shape) };
    device.enqueue('copy', [out], [view], []);
    return new Tensor(new Storage(device, out.handle, this.size * BYTES[this.dtype]), this.dtype, this.shape);
  }
}

function nest(data: ArrayLike<number>, shape: Shape, dtype: DType, from = 0): unknown {
  if (shape.length === 0) return dtype === 'bool' ? data[from] !== 0 : data[from];
  const rest = shape.slice(1);
  const step = sizeOf(rest);
  return Array.from({ length: shape[0] }, (_, i) => nest(data, rest, dtype, from + i * step));
}
