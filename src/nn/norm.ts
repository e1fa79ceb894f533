/**
 * Batch and layer normalisation over the last axis, and group normalisation.
 */
import { ConfigError, type Device, shown } from '../device/index.js';
import * as ops from '../ops/index.js';
import type { DType, Tensor } from '../tensor/index.js';
import { type Axis, CarriedArray } from './carried.js';
import { Module } from './module.js';
import { Buffer, Parameter } from './parameter.js';
import { extentOf, heardOf, Width } from './width.js';

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Weight of a new batch in the running statistics. Default 0.1. */
  momentum?: number;
  /** What follows the normalisation (and the residual), in the same pass over memory. Default 'none'. */
  activation?: 'none' | 'relu';
  dtype?: DType;
  device?: Device | string;
}

/**
 * x [..., C] -> activation(gamma (x - mean) / sqrt(var + eps) + beta (+ residual [..., C])), per channel: statistics of the batch in
 * training, running ones otherwise. A newborn channel starts with gamma 1, beta 0, mean 0, var 1. Source: Ioffe and Szegedy 2015.
 */
export class BatchNorm extends Module {
  readonly gamma: Parameter;
  readonly beta: Parameter;
  readonly runningMean: Buffer;
  readonly runningVar: Buffer;
  readonly eps: number;
  readonly momentum: number;
  readonly activation: 'none' | 'relu';

  constructor(width: Axis, options: BatchNormOptions = {}) {
    super();
    extentOf(width);
    const { activation = 'none', dtype = 'f32', device } = options;
    if (activation !== 'none' && activation !== 'relu')
      throw new ConfigError(`BatchNorm: expected activation to be 'none' or 'relu', got ${shown(activation)}`);
    this.activation = activation;
    const carried = (fill: number): CarriedArray =>
      new CarriedArray([width], { fill, role: 'norm', dtype, device, counted: true });
    this.gamma = new Parameter(carried(1), { name: 'gamma' });
    this.beta = new Parameter(carried(0), { name: 'beta' });
    this.runningMean = new Buffer(carried(0), { name: 'runningMean' });
    this.runningVar = new Buffer(carried(1), { name: 'runningVar' });
    this.eps = options.eps ?? 1e-5;
    this.momentum = options.momentum ?? 0.1;
    if (width instanceof Width) width.means.push(this.runningMean.array);
  }

  protected override unbind(): void {
    for (const width of this.runningMean.array.widths) width.forget(this.runningMean.array);
  }

  override forward(x: Tensor, residual?: Tensor): Tensor {
    const { training, momentum, eps, activation } = this;
    const [width] = this.gamma.array.widths as (Width | undefined)[];
    if (width) heardOf('BatchNorm', width, null);
    return ops.batchNorm(x, this.gamma.value, this.beta.value, this.runningMean.value, this.runningVar.value, {
      training,
      momentum,
      eps,
      relu: activation === 'relu',
      residual,
      count: width?.countOn(x.device)?.count,
    });
  }
}

/**
 * x [..., C] -> gamma (x - mean) / sqrt(var + eps) + beta with statistics over the last axis of each row. Since a neuron's value
 * depends on all of them, growing or pruning the width changes the function. Source: Ba et al. 2016.
 */
export class LayerNorm extends Module {
  readonly gamma: Parameter;
  readonly beta: Parameter;
  readonly eps: number;

  constructor(width: Axis, options: { eps?: number; dtype?: DType; device?: Device | string } = {}) {
    super();
    extentOf(width);
    const { dtype = 'f32', device } = options;
    const carried = (fill: number): CarriedArray =>
      new CarriedArray([width], { fill, role: 'norm', dtype, device, counted: true });
    this.gamma = new Parameter(carried(1), { name: 'gamma' });
    this.beta = new Parameter(carried(0), { name: 'beta' });
    this.eps = options.eps ?? 1e-5;
    if (width instanceof Width) width.mixers.push(this);
  }

  protected override unbind(): void {
    for (const width of this.gamma.array.widths) width.forget(this);
  }

  override forward(x: Tensor): Tensor {
    const [width] = this.gamma.array.widths as (Width | undefined)[];
    if (width) heardOf('LayerNorm', width, null);
    const count = width?.countOn(x.device)?.count;
    return ops.layerNorm(x, this.gamma.value, this.beta.value, this.eps, count);
  }
}

/**
 * x [B, ..., C] -> gamma (x - mean) / sqrt(var + eps) + beta, statistics per sample over groups of C / groups neighbouring channels and
 * all positions. Growing or pruning the width moves channels to other groups and so changes the function; the size must stay a multiple
 * of the groups. Source: Wu and He 2018.
 */
export class GroupNorm extends Module {
  readonly gamma: Parameter;
  readonly beta: Parameter;
  readonly groups: number;
  readonly eps: number;

  /** @throws ConfigError for groups that don't divide the channels */
  constructor(groups: number, width: Axis, options: { eps?: number; dtype?: DType; device?: Device | string } = {}) {
    super();
    const channels = extentOf(width);
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
      throw new ConfigError(`GroupNorm: expected groups that divide ${channels} channels, got ${String(groups)}`);
    }
    const { dtype = 'f32', device } = options;
    const carried = (fill: number): CarriedArray => new CarriedArray([width], { fill, role: 'norm', dtype, device });
    this.gamma = new Parameter(carried(1), { name: 'gamma' });
    this.beta = new Parameter(carried(0), { name: 'beta' });
    this.groups = groups;
    this.eps = options.eps ?? 1e-5;
    if (width instanceof Width) width.mixers.push(this);
  }

  protected override unbind(): void {
    for (const width of this.gamma.array.widths) width.forget(this);
  }

  override forward(x: Tensor): Tensor {
    return ops.groupNorm(x, this.groups, this.gamma.value, this.beta.value, this.eps);
  }
}
