/**
 * The initialisations that need linear algebra: orthogonal ones are orthogonal, gradmax has the largest gradient.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backward } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import {
  BatchNorm,
  Conv2d,
  type Conv2dOptions,
  CosineLinear,
  GlobalAvgPool2d,
  gradmaxDirections,
  Linear,
  MaxPool2d,
  type Module,
  ReLU,
  Sequential,
  Width,
} from '../../src/nn/index.js';
import { eigen, gram, leftSingular } from '../../src/nn/directions.js';
import { conv2d, crossEntropy, Generator, normal, type Pair, relu } from '../../src/ops/index.js';
import { slide } from '../../src/ops/conv.js';
import { noGrad, tensor, tidy } from '../../src/tensor/index.js';
import { distance, makeBatch, makeNet, type Net, values } from './helpers.js';

const batch = makeBatch(32);

function pass({ net }: Net): void {
  net.zeroGrad();
  tidy(() => backward(crossEntropy(net.forward(batch.x), batch.y)));
}

const rows = (flat: number[], n: number): number[][] =>
  Array.from({ length: n }, (_, i) => flat.slice((i * flat.length) / n, ((i + 1) * flat.length) / n));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
const length = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

describe('eigen', () => {
  test('rebuilds the matrix, orthonormal and in order, for any rank', () => {
    const matrices = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.integer());
    fc.assert(
      fc.property(matrices, ([n, columns, seed]) => {
        const flat = tidy(() => values(normal([n, columns], { generator: new Generator(Math.abs(seed)) })));
        const matrix = gram(rows(flat, n).map((row) => Float64Array.from(row)));
        const { values: lambda, vectors } = eigen(matrix);
        const rank = Math.min(n, columns);
        expect([...lambda].every((x, i) => i === 0 || x <= lambda[i - 1])).toBe(true);
        expect([...lambda].slice(rank).every((x) => x < 1e-9 * lambda[0])).toBe(true);
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) {
            const sum = vectors.reduce((s, v, k) => s + lambda[k] * v[i] * v[j], 0);
            expect(Math.abs(sum - matrix[i][j])).toBeLessThan(1e-9 * lambda[0]);
          }
        }
        for (let i = 0; i < rank; i++) {
          for (let j = 0; j <= i; j++) expect(dot(vectors[i], vectors[j])).toBeCloseTo(i === j ? 1 : 0, 6);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('left singular vectors rebuild wide and tall matrices', () => {
    for (const [n, m] of [
      [3, 7],
      [7, 3],
      [4, 4],
      [1, 5],
      [5, 1],
    ]) {
      const flat = tidy(() => values(normal([n, m], { generator: new Generator(n * 10 + m) })));
      const matrix = rows(flat, n).map((row) => Float64Array.from(row));
      const { values: sigma, vectors } = leftSingular(matrix);
      expect(sigma).toHaveLength(Math.min(n, m));
      expect(vectors.map(({ length }) => length)).toEqual(vectors.map(() => n));
      expect(sigma.reduce((s, x) => s + x * x, 0)).toBeCloseTo(dot(flat, flat), 8);
      vectors.forEach((u, k) => {
        vectors.slice(0, k + 1).forEach((v, j) => expect(dot(u, v)).toBeCloseTo(j === k ? 1 : 0, 8));
        const image = Float64Array.from({ length: m }, (_, j) => matrix.reduce((s, row, i) => s + u[i] * row[j], 0));
        expect(length(image)).toBeCloseTo(sigma[k], 8);
      });
    }
    // Rank 1, and none.
    expect(leftSingular([Float64Array.of(1, 2), Float64Array.of(2, 4), Float64Array.of(3, 6)]).values).toHaveLength(1);
    expect(leftSingular([new Float64Array(2), new Float64Array(2)]).vectors).toEqual([]);
  });

  test('of nothing is nothing', () => {
    expect(eigen([new Float64Array(2), new Float64Array(2)])).toEqual({
      values: new Float64Array(2),
      vectors: [new Float64Array(2), new Float64Array(2)],
    });
  });
});

describe('orthogonal', () => {
  test('new rows are orthogonal to the old ones and to each other, as long as those drawn', () => {
    const width = new Width(5, { name: 'w' });
    const make = () => new Linear(20, width, { generator: new Generator(2) });
    const layer = make();
    const before = rows(values(layer.weight.value), 5);
    width.grow(7, { init: 'orthogonal', generator: new Generator(4) });
    const after = rows(values(layer.weight.value), 12);
    expect(after.slice(0, 5)).toEqual(before);
    for (let i = 5; i < 12; i++) {
      for (let j = 0; j < i; j++) expect(Math.abs(dot(after[i], after[j]))).toBeLessThan(1e-6);
    }
    const other = new Width(5, { name: 'w' });
    const plain = new Linear(20, other, { generator: new Generator(2) });
    other.grow(7, { init: 'zero-out', generator: new Generator(4) });
    rows(values(plain.weight.value), 12).forEach((row, i) => expect(length(after[i])).toBeCloseTo(length(row), 5));
  });

  test('falls back to the plain draw where no direction is left', () => {
    const draws = (['orthogonal', 'zero-out'] as const).map((init) => {
      const width = new Width(4, { name: 'w' });
      const layer = new Linear(6, width, { generator: new Generator(2) });
      width.grow(5, { init, generator: new Generator(4) });
      return rows(values(layer.weight.value), 9);
    });
    // 6 inputs, 4 old rows: two of the newborn have a direction of their own.
    expect(draws[0].slice(6)).toEqual(draws[1].slice(6));
    for (const i of [4, 5]) expect(draws[0][i]).not.toEqual(draws[1][i]);
    expect(Math.abs(dot(draws[0][5], draws[0][0]))).toBeLessThan(1e-6);
  });

  test('of convolution kernels: as flat vectors', () => {
    const channels = new Width(3, { name: 'c' });
    const conv = new Conv2d(2, channels, 3, { generator: new Generator(1) });
    channels.grow(4, { init: 'orthogonal', generator: new Generator(2) });
    const kernels = rows(values(conv.weight.value), 7);
    for (let i = 3; i < 7; i++) {
      for (let j = 0; j < i; j++) expect(Math.abs(dot(kernels[i], kernels[j]))).toBeLessThan(1e-6);
    }
  });
});

describe('gradmax', () => {
  /** Norm of the gradient of the newborn's incoming weights with these directions. */
  function gradientNorm(which: 'first' | 'second', directions: (made: Net) => ArrayLike<number>[]): number {
    const made = makeNet();
    const width = made[which];
    const before = width.size;
    const u = directions(made);
    const y = values(made.net.forward(batch.x));
    width.grow(2 * u.length, { init: 'gradmax', directions: u, generator: new Generator(1) });
    expect(distance(values(made.net.forward(batch.x)), y)).toBeLessThan(2e-6);
    pass(made);
    const { weight } = width.producers[0];
    const born = rows(values(weight.grad!), width.size).slice(before);
    return length(born.flat());
  }
  /** n orthonormal directions. */
  const random = (seed: number, n: number, outputs: number): ArrayLike<number>[] => {
    const drawn = rows(values(normal([outputs, outputs], { generator: new Generator(seed) })), outputs);
    return eigen(gram(drawn.map((row) => Float64Array.from(row)))).vectors.slice(0, n);
  };

  test.each([
    ['first', 7],
    ['second', 4],
  ] as const)('the gradient of %s is larger than with random directions, as many and as long', (which, outputs) => {
    for (const n of [1, 2, 3]) {
      const best = gradientNorm(which, (made) => gradmaxDirections(made[which], n, () => pass(made)));
      expect(best).toBeGreaterThan(0);
      for (let seed = 0; seed < 8; seed++) {
        expect(gradientNorm(which, () => random(seed, n, outputs))).toBeLessThan(best);
      }
    }
  });

  describe('between convolutions', () => {
    interface Case {
      first?: Conv2dOptions;
      second?: Conv2dOptions;
      kernels?: [Pair, Pair];
    }
    const [inputs, outputs, extents] = [2, 3, [7, 6]];
    const images = normal([5, ...extents, inputs], { generator: new Generator(21) });
    const labels = tensor(Int32Array.of(0, 1, 2, 1, 0));

    function makeConvs({ first, second, kernels = [3, 3] }: Case) {
      const generator = new Generator(5);
      const width = new Width(4, { name: 'c', capacity: 12 });
      const [producer, consumer] = [
        new Conv2d(inputs, width, kernels[0], { generator, ...first }),
        new Conv2d(width, outputs, kernels[1], { generator, ...second }),
      ];
      const net = new Sequential(
        producer,
        new ReLU(),
        consumer,
        new GlobalAvgPool2d(),
        new Linear(outputs, 3, { generator }),
      );
      const pass = (): void => {
        net.zeroGrad();
        tidy(() => backward(crossEntropy(net.forward(images), labels)));
      };
      return { net, width, producer, consumer, pass };
    }
    type Convs = ReturnType<typeof makeConvs>;

    /** dL/dz, z what the second convolution computes before its activation, with its shape. */
    function deltasOf({ net, producer, consumer }: Convs): { shape: readonly number[]; values: number[] } {
      const z = noGrad(() =>
        conv2d(relu(producer.forward(images)), consumer.weight.value, consumer.bias?.value, consumer.windows),
      );
      const leaf = z.detach();
      leaf.requiresGrad = true;
      const rest = net.layers.slice(3);
      const y = consumer.activation === 'relu' ? relu(leaf) : leaf;
      backward(
        crossEntropy(
          rest.reduce((x, layer) => layer.forward(x), y),
          labels,
        ),
      );
      return { shape: z.shape, values: values(leaf.grad!) };
    }

    /** M by its definition: a row for each output channel and tap of the second kernel, a column for each weight of the first. */
    function reference(made: Convs): Float64Array[] {
      const { producer, consumer } = made;
      const { shape, values: g } = deltasOf(made);
      const at = (layer: Conv2d, extent: readonly number[]) =>
        slide('test', [1, ...extent, 1], [layer.weight.shape[1], layer.weight.shape[2]], layer.windows);
      const one = at(producer, extents);
      const two = at(consumer, one.size);
      const [, kh, kw] = producer.weight.shape;
      const [, rows, columns] = consumer.weight.shape;
      const x = values(images);
      const matrix = Array.from({ length: outputs * rows * columns }, () => new Float64Array(kh * kw * inputs));
      for (let n = 0; n < shape[0]; n++)
        for (let qy = 0; qy < shape[1]; qy++)
          for (let qx = 0; qx < shape[2]; qx++)
            for (let i = 0; i < rows; i++)
              for (let j = 0; j < columns; j++) {
                const py = qy * two.stride[0] + i * two.dilation[0] - two.pad[0];
                const px = qx * two.stride[1] + j * two.dilation[1] - two.pad[1];
                if (py < 0 || px < 0 || py >= one.size[0] || px >= one.size[1]) continue;
                for (let a = 0; a < kh; a++)
                  for (let b = 0; b < kw; b++) {
                    const [sy, sx] = [
                      py * one.stride[0] + a * one.dilation[0] - one.pad[0],
                      px * one.stride[1] + b * one.dilation[1] - one.pad[1],
                    ];
                    if (sy < 0 || sx < 0 || sy >= extents[0] || sx >= extents[1]) continue;
                    for (let f = 0; f < outputs; f++)
                      for (let c = 0; c < inputs; c++) {
                        const h = x[((n * extents[0] + sy) * extents[1] + sx) * inputs + c];
                        const delta = g[((n * shape[1] + qy) * shape[2] + qx) * outputs + f];
                        matrix[(f * rows + i) * columns + j][(a * kw + b) * inputs + c] += delta * h;
                      }
                  }
              }
      return matrix;
    }

    const cases: [string, Case][] = [
      ['padded', { first: { padding: 1 }, second: { padding: 1 } }],
      ['with strides', { first: { stride: 2, padding: 'same' }, second: { stride: [1, 2], padding: 1 } }],
      [
        'with dilation and relu',
        { first: { padding: 'same' }, second: { dilation: 2, padding: 2, activation: 'relu' } },
      ],
      ['with few incoming weights', { kernels: [1, 3], second: { padding: 1 } }],
      ['with few outgoing weights', { kernels: [[2, 3], 1] }],
    ];

    test.each(cases)('%s: directions are those of the dense matrix', (_name, options) => {
      const made = makeConvs(options);
      const matrix = reference(made);
      const { values: sigma } = leftSingular(matrix);
      const count = Math.min(5, sigma.length);
      const directions = gradmaxDirections(made.width, count, made.pass);
      expect(directions).toHaveLength(count);
      directions.forEach((u, k) => {
        directions.slice(0, k + 1).forEach((v, j) => expect(dot(u, v)).toBeCloseTo(j === k ? 1 : 0, 5));
        // |u^T M| is the singular value.
        const image = Float64Array.from(matrix[0], (_x, j) => matrix.reduce((s, row, i) => s + u[i] * row[j], 0));
        expect(length(image) / sigma[k]).toBeCloseTo(1, 3);
      });
    });

    test.each(cases)(
      '%s: the function stays, and the newborn have the gradient of the singular values',
      (_name, options) => {
        const made = makeConvs(options);
        const { net, width, producer, consumer, pass } = made;
        const { values: sigma } = leftSingular(reference(made));
        const before = values(net.forward(images));
        const columns = (flat: number[], n: number) => (j: number) => flat.filter((_x, at) => at % n === j);
        const old = columns(values(consumer.weight.value), 4);
        const scale = [0, 1, 2, 3].reduce((s, j) => s + length(old(j)) / 4, 0);
        const directions = gradmaxDirections(width, 2, pass);
        width.grow(5, { init: 'gradmax', directions, generator: new Generator(1) });
        expect(distance(values(net.forward(images)), before)).toBeLessThan(2e-6);
        const own = columns(values(consumer.weight.value), 9);
        pass();
        const born = rows(values(producer.weight.grad!), 9);
        const incoming = rows(values(producer.weight.value), 9);
        for (const [k, j] of [
          [0, 4],
          [1, 6],
        ]) {
          expect(length(own(j))).toBeCloseTo(scale, 5);
          expect(own(j + 1)).toEqual(own(j).map((x) => -x));
          expect([...incoming[j], ...incoming[j + 1]].every((x) => x === 0)).toBe(true);
          expect(length(born[j]) / (scale * sigma[k])).toBeCloseTo(1, 3);
          expect(length(born[j + 1]) / (scale * sigma[k])).toBeCloseTo(1, 3);
        }
        // The odd one is zero-out.
        expect(own(8).every((x) => x === 0)).toBe(true);
        expect(incoming[8].every((x) => x !== 0)).toBe(true);
      },
    );
  });

  test('directions are orthonormal, no more than M has, and twins start in opposite directions', () => {
    const made = makeNet();
    const directions = gradmaxDirections(made.second, 9, () => pass(made));
    // Gradients of logits sum to 0: rank 3 of 4 classes.
    expect(directions.length).toBe(3);
    directions.forEach((u, i) =>
      directions.slice(0, i + 1).forEach((v, j) => expect(dot(u, v)).toBeCloseTo(i === j ? 1 : 0, 6)),
    );
    const columns = (flat: number[]) => (j: number) => rows(flat, 4).map((row) => row[j]);
    const old = columns(values(made.second.consumers[0].weight.value));
    const mean = [0, 1, 2, 3, 4, 5, 6].reduce((s, j) => s + length(old(j)) / 7, 0);
    made.second.grow(9, { init: 'gradmax', directions, generator: new Generator(1) });
    const column = columns(values(made.second.consumers[0].weight.value));
    for (let k = 0; k < 3; k++) {
      expect(length(column(7 + 2 * k))).toBeCloseTo(mean, 5);
      expect(column(8 + 2 * k)).toEqual(column(7 + 2 * k).map((x) => -x));
    }
    // No direction is left for the last three: zero-out.
    const incoming = rows(values(made.second.producers[0].weight.value), 16);
    for (let j = 13; j < 16; j++) {
      expect(column(j)).toEqual([0, 0, 0, 0]);
      expect(incoming[j].every((x) => x !== 0)).toBe(true);
    }
    for (let j = 7; j < 13; j++) expect(incoming[j].every((x) => x === 0)).toBe(true);
    pass(made);
    const grad = rows(values(made.second.producers[0].weight.grad!), 16);
    for (const j of [7, 9, 11]) {
      expect(length(grad[j])).toBeGreaterThan(0);
      expect(
        distance(
          grad[j + 1],
          grad[j].map((x) => -x),
        ),
      ).toBeLessThan(1e-6);
    }
  });

  test('the pass leaves the layers as they were', () => {
    const made = makeNet();
    const before = values(made.net.forward(batch.x));
    const { device } = batch.x;
    device.sync();
    gradmaxDirections(made.first, 2, () => pass(made));
    made.net.zeroGrad();
    device.sync();
    const { buffers } = device.memory();
    for (let i = 0; i < 5; i++) gradmaxDirections(made.first, 2, () => pass(made));
    made.net.zeroGrad();
    device.sync();
    expect(device.memory().buffers).toBe(buffers);
    expect(values(made.net.forward(batch.x))).toEqual(before);
    expect(Object.keys(made.net.layers[0])).not.toContain('forward');
  });

  test('refuses what its rule does not hold for', () => {
    const normed = makeNet({ norm: true });
    const unbiased = makeNet({ bias: false });
    const channels = new Width(3, { name: 'c' });
    const mixed = new Sequential(
      new Conv2d(2, channels, 3),
      new ReLU(),
      new GlobalAvgPool2d(),
      new Linear(channels, 2),
    );
    const convs = (between: (w: Width) => Module) => {
      const width = new Width(3, { name: 'convs' });
      const net = new Sequential(
        new Conv2d(2, width, 3, { padding: 1 }),
        between(width),
        new Conv2d(width, 4, 3, { padding: 1, activation: 'relu' }),
        new GlobalAvgPool2d(),
      );
      return { net, width };
    };
    const normedConvs = convs((width) => new BatchNorm(width));
    const pooled = convs(() => new MaxPool2d(2));
    const images = normal([2, 6, 6, 2], { generator: new Generator(3) });
    const passConvs = ({ net }: { net: Sequential }): void =>
      tidy(() => backward(crossEntropy(net.forward(images), tensor(Int32Array.of(1, 2)))));
    const features = new Width(3, { name: 'f' });
    const cosine = new Sequential(new Linear(6, features), new ReLU(), new CosineLinear(features, 4));
    const alone = new Width(3, { name: 'alone' });
    const head = new Sequential(new Linear(6, alone), new BatchNorm(alone));
    const idle = makeNet();
    const bad: [() => unknown, RegExp][] = [
      [() => gradmaxDirections(normed.first, 1, () => pass(normed)), /'first': expected no batch norm/],
      [() => gradmaxDirections(unbiased.first, 1, () => pass(unbiased)), /expected a bias/],
      [() => gradmaxDirections(channels, 1, () => mixed), /'c': expected two linear layers or two convolutions around/],
      [
        () => gradmaxDirections(normedConvs.width, 1, () => passConvs(normedConvs)),
        /'convs': expected no batch norm on the neurons, since it divides by their deviation, which is 0/,
      ],
      [
        () => gradmaxDirections(pooled.width, 1, () => passConvs(pooled)),
        /'convs': expected as many positions before and behind the width, got \[2,6,6,3\] and \[2,3,3,3\]/,
      ],
      [() => gradmaxDirections(features, 1, () => cosine), /expected a linear reader, got a cosine classifier/],
      [() => gradmaxDirections(alone, 1, () => head), /one that reads them, got 1 and 0/],
      [() => gradmaxDirections(idle.first, 1, () => undefined), /once in the pass, with a gradient, got 0 and 0 uses/],
    ];
    for (const [run, message] of bad) {
      expect(run).toThrow(ConfigError);
      expect(run).toThrow(message);
    }
  });
});
