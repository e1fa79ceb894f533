/**
 * Convolution and pooling layers over images [N, H, W, C]. The channels that go in and out may be Widths.
 */
import { ConfigError, type Device, expectKeys, shown } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { AvgPoolOptions, Generator, Pair, PoolOptions } from '../ops/index.js';
import { type DType, noGrad, type Tensor, tidy } from '../tensor/index.js';
import { type Axis, CarriedArray } from './carried.js';
import { initializer, type Initializer, type InitName } from './init.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';
import { type Consumer, extentOf, neuronsOf, type Producer, Width } from './width.js';

export interface Conv2dOptions {
  /** Steps of the window. Default 1. */
  stride?: Pair;
  /** Zeros around the image: numbers, 'valid' for none, 'same' for an output of ceil(size / stride). Default 0. */
  padding?: Pair | 'same' | 'valid';
  /** Distance of the kernel's taps. Default 1. */
  dilation?: Pair;
  /** Parts of the channels that see only one another; with more than one, channels are numbers, no Widths. Default 1. */
  groups?: number;
  /** Default true. */
  bias?: boolean;
  /** Of the weight [out, kh, kw, in / groups]; the bias starts at 0. Default 'kaiming-uniform'. */
  init?: InitName | Initializer;
  /** Source of the first weights. Default: the default generator. */
  generator?: Generator;
  /** Fused behind the convolution. Default 'none'. */
  activation?: 'none' | 'relu';
  /** Default f32. */
  dtype?: DType;
  device?: Device | string;
}

const OPTIONS = [
  'stride',
  'padding',
  'dilation',
  'groups',
  'bias',
  'init',
  'generator',
  'activation',
  'dtype',
  'device',
] as const;

/** Both numbers of a kernel's size. */
function kernelOf(layer: string, kernel: Pair): readonly [number, number] {
  const both: readonly unknown[] = Array.isArray(kernel) ? kernel : [kernel, kernel];
  if (both.length !== 2 || both.some((n) => !Number.isInteger(n) || (n as number) < 1)) {
    throw new ConfigError(`${layer}: expected a kernel of whole numbers >= 1, got ${shown(kernel)}`);
  }
  return both as readonly [number, number];
}

/** y = activation(x * W + b): x [N, H, W, in] -> y [N, OH, OW, out]. A Width as input or output ties the layer to those channels. */
export class Conv2d extends Module implements Producer, Consumer {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  readonly activation: 'none' | 'relu';
  /** How the window slides, as it was asked for. */
  readonly windows: Readonly<Pick<Conv2dOptions, 'stride' | 'padding' | 'dilation' | 'groups'>>;
  readonly #input: Axis;
  readonly #output: Axis;

  /**
   * @throws ShapeError for a number of channels that is no Width and no whole number >= 1; ConfigError for a kernel that is no whole
   * numbers >= 1, groups that don't divide the channels or are of a Width, an unknown init, activation or option
   */
  constructor(input: Axis, output: Axis, kernel: Pair, options: Conv2dOptions = {}) {
    super();
    expectKeys('Conv2d', options, OPTIONS);
    const { activation = 'none', groups = 1, stride, padding, dilation } = options;
    if (activation !== 'none' && activation !== 'relu') {
      throw new ConfigError(`Conv2d: expected activation none or relu, got ${shown(activation)}`);
    }
    const [kh, kw] = kernelOf('Conv2d', kernel);
    const [ins, outs] = [extentOf(input), extentOf(output)];
    if (!Number.isInteger(groups) || groups < 1 || ins % groups !== 0 || outs % groups !== 0) {
      throw new ConfigError(`Conv2d: expected groups that divide ${ins} and ${outs} channels, got ${shown(groups)}`);
    }
    if (groups > 1 && (input instanceof Width || output instanceof Width)) {
      throw new ConfigError('Conv2d: expected numbers of channels with groups, got a Width');
    }
    this.#input = input;
    this.#output = output;
    this.windows = {
      groups,
      ...(stride === undefined ? {} : { stride }),
      ...(padding === undefined ? {} : { padding }),
      ...(dilation === undefined ? {} : { dilation }),
    };
    this.activation = activation;
    const { generator, dtype = 'f32', device } = options;
    const init = initializer(options.init ?? 'kaiming-uniform');
    const reads = input instanceof Width ? input : ins / groups;
    const array = noGrad(() =>
      tidy(() => {
        const initial = init([outs, kh, kw, ins / groups], { generator, dtype, device });
        const role = ['incoming', 'incoming', 'outgoing', 'outgoing'] as const;
        return new CarriedArray([output, kh, kw, reads], { role, dtype, initial, counted: true });
      }),
    );
    this.weight = new Parameter(array, { name: 'weight' });
    this.bias =
      options.bias === false
        ? undefined
        : new Parameter(new CarriedArray([output], { role: 'bias', dtype, device: array.full.device, counted: true }), {
            name: 'bias',
          });
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
    const outputs = neuronsOf('Conv2d', this.#output, 1, x.device);
    const inputs = neuronsOf('Conv2d', input, 1, x.device);
    const looked = input instanceof Width && !input.gated && !input.heard ? input : undefined;
    looked?.show(x);
    const gate = looked?.gate;
    const options = { ...this.windows, activation: this.activation, gate, outputs, inputs };
    return ops.conv2d(x, this.weight.value, this.bias?.value, options);
  }
}

/** The largest of each window: [N, H, W, C] -> [N, OH, OW, C]. */
export class MaxPool2d extends Module {
  readonly kernel: readonly [number, number];

  /** @throws ConfigError for a kernel that is no whole numbers >= 1 */
  constructor(
    kernel: Pair,
    readonly options: PoolOptions = {},
  ) {
    super();
    this.kernel = kernelOf('MaxPool2d', kernel);
  }
  override forward(x: Tensor): Tensor {
    return ops.maxPool2d(x, this.kernel, this.options);
  }
}

/** The mean of each window: [N, H, W, C] -> [N, OH, OW, C]. */
export class AvgPool2d extends Module {
  readonly kernel: readonly [number, number];

  /** @throws ConfigError for a kernel that is no whole numbers >= 1 */
  constructor(
    kernel: Pair,
    readonly options: AvgPoolOptions = {},
  ) {
    super();
    this.kernel = kernelOf('AvgPool2d', kernel);
  }
  override forward(x: Tensor): Tensor {
    return ops.avgPool2d(x, this.kernel, this.options);
  }
}

/** The mean over all pixels: [N, H, W, C] -> [N, C]. */
export class GlobalAvgPool2d extends Module {
  override forward(x: Tensor): Tensor {
    return ops.globalAvgPool2d(x);
  }
}
