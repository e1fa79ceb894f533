/**
 * CosineLinear: a classifier whose logits are cosines between features and class weights, as LDAM wants them.
 */
import { add, gate, matmul, mul, rsqrt, square, sum, transpose } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import type { Axis } from './carried.js';
import { Linear, type LinearOptions } from './layers.js';
import { Module } from './module.js';
import { Width } from './width.js';

/** Rows divided by their length; a row of zeros stays one, and has a finite gradient: ReLU makes such rows. */
function unitRows(x: Tensor): Tensor {
  return mul(x, rsqrt(add(sum(square(x), -1, { keepDims: true }), 1e-12)));
}

/**
 * y = (x / |x|) (W / |W|)^T: x [N, in] -> y [N, out] in -1..1. No bias.
 * The length of x is over all neurons. Where the newborn's outgoing weights are 0, growing the input width therefore scales all logits of
 * a sample by one factor, |x| before over |x| after: the predicted class stays, its confidence drops a little. Source: Cao et al. 2019 (LDAM), "normalised" classifier.
 */
export class CosineLinear extends Module {
  readonly inner: Linear;

  constructor(input: Axis, output: Axis, options: Omit<LinearOptions, 'bias' | 'activation'> = {}) {
    super();
    this.inner = new Linear(input, output, { ...options, bias: false });
    if (input instanceof Width) input.scalers.push(this);
  }

  protected override unbind(): void {
    const { input } = this.inner;
    if (input instanceof Width) input.forget(this);
  }

  override forward(x: Tensor): Tensor {
    const { input, weight } = this.inner;
    const looked = input instanceof Width && !input.gated ? input : undefined;
    looked?.show(x);
    const scores = looked?.gate;
    const gated = scores ? gate(x, scores) : x;
    return matmul(unitRows(gated), transpose(unitRows(weight.value)));
  }
}
