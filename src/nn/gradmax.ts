/**
 * GradMax: for newborn neurons with incoming weights of 0, the outgoing weights that give these incoming weights the largest gradient.
 * Between linear layers, with M = E[dL/dz h^T], z what the next layer computes and h what the neurons read, outgoing weights u give
 * the incoming ones the gradient f'(0) u^T M: largest in sum for the left singular vectors of M with the largest singular values.
 * Between convolutions both kernels are flat vectors, and M has a row for each output channel f and tap t of the second: the gradient
 * that the first kernel gets from dL/dz_f through a second one that is 1 at tap t and 0 elsewhere.
 *
 * Not through batch norm on the neurons: it makes the function jump at incoming weights of 0. A step of any length, however small, is
 * divided by its own deviation, so that what the newborn add is as large as what neurons add after a whole training.
 * Source: Evci et al. 2022, arXiv 2201.05125.
 */
import { grad } from '../autograd/index.js';
import { ConfigError } from '../device/index.js';
import { add, conv2d, matmul, mul, reluGrad, reshape, sum, transpose, zeros } from '../ops/index.js';
import { describe, keep, noGrad, sameShape, type Tensor, tensor, tidy } from '../tensor/index.js';
import { Conv2d } from './conv.js';
import { leftSingular, rowsOf } from './directions.js';
import { Linear } from './layers.js';
import type { Module } from './module.js';
import type { Width } from './width.js';

/** Calls `through` in place of the module's forward pass until the returned function is called. */
function intercept(module: Module, through: (x: Tensor, forward: (x: Tensor) => Tensor) => Tensor): () => void {
  const forward = module.forward.bind(module);
  module.forward = (x) => through(x, forward);
  return () => void delete (module as Partial<Module>).forward;
}

/** The layers around a width: of one kind. */
type Around = { producer: Linear; consumer: Linear } | { producer: Conv2d; consumer: Conv2d };

/**
 * The two layers around a width that gradmax can be used for.
 * @throws ConfigError unless the width lies between exactly two linear layers or two convolutions, the first with a bias and no batch
 * norm behind it, the second with no activation or ReLU and no cosine classifier
 */
export function expectGradmax(width: Width): Around {
  const what = `gradmax '${width.name}'`;
  const [producer, consumer] = [width.producers[0], width.consumers[0]];
  if (width.producers.length !== 1 || width.consumers.length !== 1) {
    throw new ConfigError(
      `${what}: expected one layer that computes the neurons and one that reads them, got ${width.producers.length} and ` +
        `${width.consumers.length}`,
    );
  }
  const linear = producer instanceof Linear && consumer instanceof Linear;
  const convolutions = producer instanceof Conv2d && consumer instanceof Conv2d;
  if (!linear && !convolutions) {
    throw new ConfigError(`${what}: expected two linear layers or two convolutions around the width, got other kinds`);
  }
  if (
    producer.weight.array.spans.some((span) => span !== 1) ||
    consumer.weight.array.spans.some((span) => span !== 1)
  ) {
    throw new ConfigError(`${what}: expected units of one row and one column, got wider ones`);
  }
  if (!producer.bias)
    throw new ConfigError(`${what}: expected a bias in the layer that computes the neurons, got none`);
  if (width.means.length > 0) {
    throw new ConfigError(
      `${what}: expected no batch norm on the neurons, since it divides by their deviation, which is 0 for these newborn, got one`,
    );
  }
  if (width.scalers.length > 0) throw new ConfigError(`${what}: expected a linear reader, got a cosine classifier`);
  if (!['none', 'relu'].includes(consumer.activation)) {
    throw new ConfigError(`${what}: expected activation none or relu in the reader, got ${consumer.activation}`);
  }
  return { producer, consumer } as Around;
}

/** What a pass tells of the layers around a width. */
interface Seen {
  /** What the producer reads. */
  h: Tensor;
  /** What it computes, and what the consumer reads: of the same pixels or positions unless something lies between. */
  before: Tensor;
  behind: Tensor;
  /** dL/dz, z what the consumer computes before its activation. */
  deltas: Tensor;
}

/** Rows of M: one per output of the consumer. */
function linearRows(width: Width, { h, deltas }: Seen): Float64Array[] {
  const flat = (t: Tensor): Tensor => reshape(t, [-1, t.shape.at(-1) as number]);
  const [g, features] = [flat(deltas), flat(h)];
  if (features.shape[0] !== g.shape[0]) throw apart(width, h, deltas);
  return rowsOf(matmul(transpose(g), features).dataSync(), g.shape[1]);
}

/** Rows of M: one per output channel and tap of the consumer, in the order of its weights. */
function convRows(width: Width, producer: Conv2d, consumer: Conv2d, seen: Seen): Float64Array[] {
  const { h, before, behind, deltas } = seen;
  if (!sameShape(before.shape, behind.shape)) throw apart(width, before, behind);
  const { dtype, device } = h;
  const [, kh, kw, inputs] = producer.weight.shape;
  const [outputs, rows, columns] = consumer.weight.shape;
  const kernel = zeros([outputs, kh, kw, inputs], { dtype, device });
  const perTap = Array.from({ length: rows * columns }, (_, tap) => {
    // Channel f of what lies between goes to channel f of the output, by this tap alone.
    const through = new Float64Array(outputs * rows * columns * outputs);
    for (let f = 0; f < outputs; f++) through[(f * rows * columns + tap) * outputs + f] = 1;
    return tidy(() => {
      const reader = tensor(through, { shape: [outputs, rows, columns, outputs], dtype, device });
      const along = grad((w: Tensor) =>
        sum(mul(conv2d(conv2d(h, w, null, producer.windows), reader, null, consumer.windows), deltas)),
      );
      return rowsOf(along(kernel).dataSync(), outputs);
    });
  });
  return Array.from({ length: outputs }, (_, f) => perTap.map((of) => of[f])).flat();
}

function apart(width: Width, before: Tensor, behind: Tensor): ConfigError {
  return new ConfigError(
    `gradmax '${width.name}': expected as many positions before and behind the width, got ${describe(before.shape)} and ` +
      `${describe(behind.shape)}`,
  );
}

/**
 * Orthonormal directions for the outgoing weights of the newborn, best first, for {@link NewbornOptions.directions}: in the order of the
 * reader's weights, [outputs] or [outputs, kh, kw]. Reads the device. The work on the host grows with the cube of the smaller of the
 * numbers of incoming and of outgoing weights of a neuron: with several hundred of both it takes long.
 * @param count directions wanted at most; fewer come back where M has a lower rank
 * @param pass runs the model forward and the loss backward on a batch
 * @throws ConfigError as {@link expectGradmax} does; unless the pass uses each of the two layers once and leaves a gradient; and where
 * something between convolutions changes the size of the image, as pooling does
 */
export function gradmaxDirections(width: Width, count: number, pass: () => void): Float64Array[] {
  const { producer, consumer } = expectGradmax(width);
  const held: Tensor[] = [];
  const hold = (t: Tensor): Tensor => {
    held.push(keep(t));
    return t;
  };
  const inputs: { x: Tensor; y: Tensor }[] = [];
  const outputs: { x: Tensor; y: Tensor; shift: Tensor }[] = [];
  const ends = [
    intercept(producer, (x, forward) => {
      const y = forward(x);
      inputs.push({ x: hold(x.detach()), y: hold(y.detach()) });
      return y;
    }),
    intercept(consumer, (x, forward) => {
      const y = forward(x);
      // A leaf of zeros: its gradient is dL/dy.
      const shift = hold(zeros(y.shape, { dtype: y.dtype, device: y.device, requiresGrad: true }));
      outputs.push({ x: hold(x.detach()), y: hold(y.detach()), shift });
      return add(y, shift);
    }),
  ];
  try {
    pass();
    const [first] = inputs;
    const [out] = outputs;
    if (inputs.length !== 1 || outputs.length !== 1 || !out.shift.grad) {
      throw new ConfigError(
        `gradmax '${width.name}': expected each of the layers around the width once in the pass, with a gradient, got ` +
          `${inputs.length} and ${outputs.length} uses`,
      );
    }
    for (const end of ends.splice(0)) end();
    const matrix = noGrad(() =>
      tidy(() => {
        const g = out.shift.grad as Tensor;
        const deltas = consumer.activation === 'relu' ? reluGrad(g, out.y) : g;
        const seen = { h: first.x, before: first.y, behind: out.x, deltas };
        return producer instanceof Linear
          ? linearRows(width, seen)
          : convRows(width, producer, consumer as Conv2d, seen);
      }),
    );
    return leftSingular(matrix).vectors.slice(0, count);
  } finally {
    for (const end of ends) end();
    for (const { shift } of outputs) shift.grad?.dispose();
    for (const tensor of held) tensor.dispose();
  }
}
