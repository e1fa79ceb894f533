/**
 * Module: something with parameters and a forward pass. Parameters, buffers and submodules are found among the public fields, in
 * the order of their definition, and named by field: 'weight', 'layers.0.bias'. A list of modules counts as well.
 */
import { ConfigError, ShapeError, shown } from '../device/index.js';
import { assign } from '../ops/index.js';
import { describe, noGrad, sameShape, type Tensor, track, type Versioned } from '../tensor/index.js';
import { Buffer, Parameter } from './parameter.js';
import type { Width } from './width.js';

/** Version of a mode is the mode itself, so that going back makes older recordings valid again. */
class Mode implements Versioned {
  version = 1;
}

export abstract class Module {
  readonly #mode = new Mode();

  /** The computation. Shapes are documented by each module. */
  abstract forward(x: Tensor): Tensor;

  /** Whether the module is in training mode (the default). Captured graphs record again when it has changed. */
  get training(): boolean {
    track(this.#mode);
    return this.#mode.version === 1;
  }

  /** Sets training mode here and below. */
  train(on = true): this {
    for (const module of this.modules()) module.#mode.version = on ? 1 : 0;
    return this;
  }
  eval(): this {
    return this.train(false);
  }

  /** Direct submodules by name. */
  get children(): Map<string, Module> {
    const out = new Map<string, Module>();
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) out.set(name, value);
      else if (Array.isArray(value)) {
        value.forEach((item, i) => {
          if (item instanceof Module) out.set(this.childName(name, i), item);
        });
      }
    }
    return out;
  }

  /** Name of the i-th module in the list `field`. */
  protected childName(field: string, i: number): string {
    return `${field}.${i}`;
  }

  /** This module and all below it, parents first, each once. */
  modules(): Module[] {
    return [...new Set(this.#walk().map(({ module }) => module))];
  }

  /** Parameters by full name. One that is shared appears once, under its first name. */
  namedParameters(): Map<string, Parameter> {
    return this.#named(Parameter);
  }
  /** Buffers by full name. */
  namedBuffers(): Map<string, Buffer> {
    return this.#named(Buffer);
  }
  parameters(): Parameter[] {
    return [...this.namedParameters().values()];
  }
  buffers(): Buffer[] {
    return [...this.namedBuffers().values()];
  }

  /** The distinct widths of parameters and buffers, in order of first use. */
  widths(): Width[] {
    const all = [...this.parameters(), ...this.buffers()].flatMap(({ array }) => array.widths);
    const produced = new Set(all.filter((width) => width.producers.length > 0));
    return [...new Set([...produced, ...all])];
  }

  /** Number of active parameter elements. */
  parameterCount(): number {
    return this.parameters().reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Parameters and buffers by full name, at their active size, as views outside the graph: they show later changes until a width
   * changes. Copy or write them out before.
   */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [name, { array }] of this.#entries()) state.set(name, array.active.detach());
    return state;
  }

  /**
   * Copies a state into parameters and buffers. Widths must have their sizes already (Width.load).
   * @throws ConfigError for missing or unknown names; ShapeError naming the parameter whose shape differs. Nothing is copied then.
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>): void {
    if (!((state as unknown) instanceof Map)) {
      throw new ConfigError(`loadStateDict: expected a Map of tensors, as stateDict() gives, got ${shown(state)}`);
    }
    const entries = this.#entries();
    const missing = [...entries.keys()].filter((name) => !state.has(name));
    const unknown = [...state.keys()].filter((name) => !entries.has(name));
    if (missing.length > 0 || unknown.length > 0) {
      throw new ConfigError(
        `loadStateDict: expected exactly the names of the module; missing: ${missing.join(', ') || 'none'}; ` +
          `unknown: ${unknown.join(', ') || 'none'}`,
      );
    }
    for (const [name, { array }] of entries) {
      const given = state.get(name) as Tensor;
      if (!sameShape(given.shape, array.shape) || given.dtype !== array.dtype) {
        throw new ShapeError(
          `loadStateDict: '${name}': expected ${array.dtype} ${describe(array.shape)}, got ${given.dtype} ${describe(given.shape)}`,
        );
      }
    }
    noGrad(() => {
      for (const [name, { array }] of entries) assign(array.active, state.get(name) as Tensor);
    });
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = null;
  }

  /** For modules that widths know of: takes them out. Called on each module when it, or one above it, is disposed of. */
  protected unbind(): void {
    // Most modules are known to no width.
  }

  /** Frees parameters and buffers; widths forget the layers. */
  dispose(): void {
    for (const module of this.modules()) module.unbind();
    for (const parameter of this.parameters()) parameter.dispose();
    for (const buffer of this.buffers()) buffer.dispose();
  }

  #walk(): { prefix: string; module: Module }[] {
    const out: { prefix: string; module: Module }[] = [];
    const visit = (prefix: string, module: Module): void => {
      out.push({ prefix, module });
      for (const [name, child] of module.children) visit(`${prefix}${name}.`, child);
    };
    visit('', this);
    return out;
  }

  #named<T extends Parameter | Buffer>(Class: abstract new (...args: never[]) => T): Map<string, T> {
    const out = new Map<string, T>();
    const seen = new Set<T>();
    for (const { prefix, module } of this.#walk()) {
      for (const [name, value] of Object.entries(module)) {
        if (!(value instanceof Class) || seen.has(value)) continue;
        seen.add(value);
        out.set(prefix + name, value);
      }
    }
    return out;
  }

  #entries(): Map<string, Parameter | Buffer> {
    return new Map<string, Parameter | Buffer>([...this.namedParameters(), ...this.namedBuffers()]);
  }
}
