/**
 * GradMax: for newborn neurons with incoming weights of 0, the outgoing weights that give these incoming weights the largest gradient.
 * With M = E[dL/dz h^T], z what the next layer computes and h what the neurons read, outgoing weights u give the incoming ones the
 * gradient f'(0) u^T M: largest in sum for the left singular vectors of M with the largest singular values.
 * Source: Evci et al. 2022, arXiv 2201.05125.
 */
import { ConfigError } from '../device/index.js';
import { add, matmul, reluGrad, reshape, transpose, zeros } from '../ops/index.js';
import { describe, keep, noGrad, type Tensor, tidy } from '../tensor/index.js';
import { Linear } from './layers.js';
import type { Module } from './module.js';
import { eigen, gram, rowsOf } from './directions.js';
import type { Width } from './width.js';

/** Calls `through` in place of the module's forward pass until the returned function is called. */
function intercept(module: Module, through: (x: Tensor, forward: (x: Tensor) => Tensor) => Tensor): () => void {
  const forward = module.forward.bind(module);
  module.forward = (x) => through(x, forward);
  return () => void delete (module as Partial<Module>).forward;
}

/**
 * The two layers around a width that gradmax can be used for.
 * @throws ConfigError unless the width lies between exactly two linear layers, the first with a bias and no batch norm behind it, the
 * second with no activation or ReLU and no cosine classifier
 */
export function expectGradmax(width: Width): { producer: Linear; consumer: Linear } {
  const what = `gradmax '${width.name}'`;
  const [producer, consumer] = [width.producers[0], width.consumers[0]];
  if (width.producers.length !== 1 || width.consumers.length !== 1) {
    throw new ConfigError(
      `${what}: expected one layer that computes the neurons and one that reads them, got ${width.producers.length} and ` +
        `${width.consumers.length}`,
    );
  }
  if (!(producer instanceof Linear) || !(consumer instanceof Linear)) {
    throw new ConfigError(`${what}: expected linear layers around the width, got another kind`);
  }
  if (producer.weight.array.spans[0] !== 1 || consumer.weight.array.spans[1] !== 1) {
    throw new ConfigError(`${what}: expected units of one row and one column, got wider ones`);
  }
  if (!producer.bias)
    throw new ConfigError(`${what}: expected a bias in the layer that computes the neurons, got none`);
  if (width.means.length > 0) {
    throw new ConfigError(
      `${what}: expected no batch norm on the neurons, since it divides by their deviation, got one`,
    );
  }
  if (width.scalers.length > 0) throw new ConfigError(`${what}: expected a linear reader, got a cosine classifier`);
  if (!['none', 'relu'].includes(consumer.activation)) {
    throw new ConfigError(`${what}: expected activation none or relu in the reader, got ${consumer.activation}`);
  }
  return { producer, consumer };
}

/**
 * Orthonormal directions for the outgoing weights of the newborn, best first, for {@link NewbornOptions.directions}. Reads the device.
 * @param count directions wanted at most; fewer come back where M has a lower rank
 * @param pass runs the model forward and the loss backward on a batch
 * @throws ConfigError as {@link expectGradmax} does, and unless the pass uses each of the two layers once and leaves a gradient
 */
export function gradmaxDirections(width: Width, count: number, pass: () => void): Float64Array[] {
  const { producer, consumer } = expectGradmax(width);
  const held: Tensor[] = [];
  const hold = (t: Tensor): Tensor => {
    held.push(keep(t));
    return t;
  };
  const inputs: Tensor[] = [];
  const outputs: { y: Tensor; shift: Tensor }[] = [];
  const ends = [
    intercept(producer, (x, forward) => {
      inputs.push(hold(x.detach()));
      return forward(x);
    }),
    intercept(consumer, (x, forward) => {
      const y = forward(x);
      // A leaf of zeros: its gradient is dL/dy.
      const shift = hold(zeros(y.shape, { dtype: y.dtype, device: y.device, requiresGrad: true }));
      outputs.push({ y: hold(y.detach()), shift });
      return add(y, shift);
    }),
  ];
  try {
    pass();
    const [h] = inputs;
    const [out] = outputs;
    if (inputs.length !== 1 || outputs.length !== 1 || !out.shift.grad) {
      throw new ConfigError(
        `gradmax '${width.name}': expected each of the layers around the width once in the pass, with a gradient, got ` +
          `${inputs.length} and ${outputs.length} uses`,
      );
    }
    const matrix = noGrad(() =>
      tidy(() => {
        const g = out.shift.grad as Tensor;
        const deltas = reshape(consumer.activation === 'relu' ? reluGrad(g, out.y) : g, [
          -1,
          out.y.shape.at(-1) as number,
        ]);
        const features = reshape(h, [-1, h.shape.at(-1) as number]);
        if (features.shape[0] !== deltas.shape[0]) {
          throw new ConfigError(
            `gradmax '${width.name}': expected as many positions before and behind the width, got ` +
              `${describe(h.shape)} and ${describe(out.y.shape)}`,
          );
        }
        return rowsOf(matmul(transpose(deltas), features).dataSync(), deltas.shape[1]);
      }),
    );
    // Left singular vectors of M are eigenvectors of M M^T.
    const { values, vectors } = eigen(gram(matrix));
    return vectors.slice(0, count).filter((_, i) => values[i] > 1e-12 * values[0]);
  } finally {
    for (const end of ends) end();
    for (const { shift } of outputs) shift.grad?.dispose();
    for (const tensor of held) tensor.dispose();
  }
}
