/**
 * Layers with parameters that don't normalise: Linear. And those without: activations, dropout, shape, containers.
 */
import { type ActivationKind, ConfigError, type Device, expectKeys, KINDS, shown } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { Generator } from '../ops/index.js';
import { type DType, noGrad, type Tensor, tidy } from '../tensor/index.js';
import { type Axis, CarriedArray } from './carried.js';
import { initializer, type Initializer, type InitName } from './init.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { type Consumer, extentOf, neuronsOf, type Producer, Width } from './width.js';

export interface LinearOptions {
  /** Default true. */
  bias?: boolean;
  /** Of the weight; the bias starts at 0. Default 'kaiming-uniform'. */
  init?: InitName | Initializer;
  /** Source of the first weights. Default: the default generator. */
  generator?: Generator;
  /** Fused behind the product. Default 'none'. */
  activation?: ActivationKind;
  /** Columns of x that one unit of the input owns, neighbours: behind pictures [N, H, W, C] move C before H and W. Default 1. */
  inputSpan?: number;
  /** Columns of y that one unit of the output owns, neighbours. Default 1. */
  outputSpan?: number;
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
}

/** y = activation(x W^T + b): x [..., in] -> y [..., out]. A Width as input or output ties the layer to those neurons. */
export class Linear extends Module implements Producer, Consumer {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  readonly activation: ActivationKind;
  readonly #input: Axis;
  readonly #output: Axis;

  /** @throws ShapeError for a size that is no Width and no whole number >= 1; ConfigError for an unknown init, activation or option */
  constructor(input: Axis, output: Axis, options: LinearOptions = {}) {
    super();
    expectKeys('Linear', options, [
      'bias',
      'init',
      'generator',
      'activation',
      'inputSpan',
      'outputSpan',
      'dtype',
      'device',
    ]);
    const { activation = 'none' } = options;
    if (!KINDS.activation.includes(activation)) {
      throw new ConfigError(
        `Linear: expected activation among ${KINDS.activation.join(', ')}, got ${shown(activation)}`,
      );
    }
    this.#input = input;
    this.#output = output;
    this.activation = activation;
    const { generator, dtype = 'f32', device, inputSpan = 1, outputSpan = 1 } = options;
    const shape = [extentOf(output) * outputSpan, extentOf(input) * inputSpan];
    const init = initializer(options.init ?? 'kaiming-uniform');
    const array = noGrad(() =>
      tidy(() => {
        const initial = init(shape, { generator, dtype, device });
        const span = [outputSpan, inputSpan];
        return new CarriedArray([output, input], {
          role: ['incoming', 'outgoing'],
          dtype,
          initial,
          span,
          counted: true,
        });
      }),
    );
    this.weight = new Parameter(array, { name: 'weight' });
    this.bias =
      options.bias === false
        ? undefined
        : new Parameter(
            new CarriedArray([output], {
              role: 'bias',
              dtype,
              device: array.full.device,
              span: outputSpan,
              counted: true,
            }),
            {
              name: 'bias',
            },
          );
    if (output instanceof Width) output.producers.push(this);
    if (input instanceof Width) input.consumers.push(this);
  }

  get input(): Axis {
    return this.#input;
  }
  get output(): Axis {
    return this.#output;
  }

  protected override unbind(): void {
    for (const axis of [this.#input, this.#output]) if (axis instanceof Width) axis.forget(this);
  }

  override forward(x: Tensor): Tensor {
    const input = this.#input;
    // Units of several columns are looked at by whoever knows how they lie in x.
    const { spans } = this.weight.array;
    const { device } = x;
    const outputs = neuronsOf('Linear', this.#output, spans[0], device);
    const inputs = neuronsOf('Linear', input, spans[1], device);
    const looked = spans[1] === 1 && input instanceof Width && !input.gated && !input.heard ? input : undefined;
    looked?.show(x);
    const gate = looked?.gate;
    return ops.linear(x, this.weight.value, this.bias?.value, { activation: this.activation, gate, outputs, inputs });
  }
}

/** The identity; its backward pass hands activations and gradients of these neurons to the scores (see Width.gate). */
export class UnitGate extends Module {
  readonly #width: Width;

  /** Needed only where several layers read the neurons: then no single one of them sees the whole gradient. */
  constructor(width: Width) {
    super();
    this.#width = width;
    width.gated = true;
  }

  protected override unbind(): void {
    this.#width.gated = false;
    this.#width.touch();
  }

  override forward(x: Tensor): Tensor {
    const { gate } = this.#width;
    if (!this.#width.heard) this.#width.show(x);
    return gate ? ops.gate(x, gate) : x;
  }
}

export class ReLU extends Module {
  override forward(x: Tensor): Tensor {
    return ops.relu(x);
  }
}
export class LeakyReLU extends Module {
  /** slope of the negative side, default 0.01 */
  constructor(readonly slope = 0.01) {
    super();
  }
  override forward(x: Tensor): Tensor {
    return ops.leakyRelu(x, this.slope);
  }
}
export class ELU extends Module {
  /** alpha (exp(x) - 1) for x < 0; default 1 */
  constructor(readonly alpha = 1) {
    super();
  }
  override forward(x: Tensor): Tensor {
    return ops.elu(x, this.alpha);
  }
}
/** x Phi(x), exact (by erf). */
export class GELU extends Module {
  override forward(x: Tensor): Tensor {
    return ops.gelu(x);
  }
}
/** x sigmoid(x) */
export class SiLU extends Module {
  override forward(x: Tensor): Tensor {
    return ops.silu(x);
  }
}
export class Tanh extends Module {
  override forward(x: Tensor): Tensor {
    return ops.tanh(x);
  }
}
export class Sigmoid extends Module {
  override forward(x: Tensor): Tensor {
    return ops.sigmoid(x);
  }
}
/** log(1 + exp(x)) */
export class Softplus extends Module {
  override forward(x: Tensor): Tensor {
    return ops.softplus(x);
  }
}
export class Identity extends Module {
  override forward(x: Tensor): Tensor {
    return x;
  }
}
/** [N, ...] -> [N, product of the rest] */
export class Flatten extends Module {
  override forward(x: Tensor): Tensor {
    return ops.flatten(x, 1);
  }
}

export interface DropoutOptions {
  /** Default: the default generator. */
  generator?: Generator;
  /** The neurons of the last axis of x: a function recorded at capacity then draws numbers for the active ones only, as without that. */
  width?: Axis;
}

/** In training: each element becomes 0 with probability p, the others are divided by 1 - p. Otherwise the identity. */
export class Dropout extends Module {
  readonly p: number;
  readonly #generator: Generator | undefined;
  readonly #width: Axis | undefined;

  /** @throws ConfigError unless 0 <= p < 1, or for an unknown option; ShapeError for a width that is no Width and no whole number >= 1 */
  constructor(p = 0.5, options: DropoutOptions = {}) {
    super();
    expectKeys('Dropout', options, ['generator', 'width']);
    if (!(p >= 0 && p < 1)) throw new ConfigError(`Dropout: expected 0 <= p < 1, got ${String(p)}`);
    this.p = p;
    this.#generator = options.generator;
    if (options.width !== undefined) extentOf(options.width);
    this.#width = options.width;
  }

  override forward(x: Tensor): Tensor {
    const width = this.#width instanceof Width ? this.#width : undefined;
    const count = width?.countOn(x.device)?.count;
    return ops.dropout(x, this.p, { training: this.training, generator: this.#generator, count });
  }
}

/** In training: whole samples of [N, ...] become 0 with probability p, the others are divided by 1 - p. Otherwise the identity. */
export class DropPath extends Module {
  readonly p: number;
  readonly #generator: Generator | undefined;

  /** @throws ConfigError unless 0 <= p < 1 */
  constructor(p = 0.1, options: { generator?: Generator } = {}) {
    super();
    if (!(p >= 0 && p < 1)) throw new ConfigError(`DropPath: expected 0 <= p < 1, got ${String(p)}`);
    this.p = p;
    this.#generator = options.generator;
  }

  override forward(x: Tensor): Tensor {
    if (this.p === 0) return x;
    return ops.dropPath(x, this.p, { training: this.training, generator: this.#generator });
  }
}

/** One module after the other; they are named '0', '1', ... */
export class Sequential extends Module {
  readonly layers: readonly Module[];

  constructor(...layers: readonly Module[]) {
    super();
    const wrong = layers.findIndex((layer) => !(layer instanceof Module));
    if (wrong >= 0)
      throw new ConfigError(`Sequential: expected modules, got ${typeof layers[wrong]} at position ${wrong}`);
    this.layers = layers;
  }

  protected override childName(_field: string, i: number): string {
    return String(i);
  }

  override forward(x: Tensor): Tensor {
    return this.layers.reduce((value, layer) => layer.forward(value), x);
  }
}
