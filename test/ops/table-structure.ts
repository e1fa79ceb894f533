/**
 * Rows of the op table for movement, indexing, linear algebra, softmax, losses and norms.
 */
import * as ops from '../../src/ops/index.js';
import type { Tensor } from '../../src/tensor/index.js';
import * as ref from './reference.js';
import { type Ref } from './reference.js';
import { every, i32, type Input, numeric, row, sigmoid } from './table.js';

const of = (shape: number[], layout: Input['layout'] = 'plain', values: Input['values'] = 'any'): Input => ({
  shape,
  layout,
  values,
});

// ---- movement -------------------------------------------------------------------------------------------

function move(name: string, input: Input, run: (x: Tensor) => Tensor, reference: (x: Ref) => Ref): void {
  row({ name, samples: [[input]], run: ([x]) => run(x), reference: ([x]) => reference(x), dtypes: every });
}
const reshaped = (x: Ref, shape: number[]): Ref => ({ shape, data: x.data });

for (const layout of ['plain', 'transposed', 'sliced', 'expanded'] as const) {
  move(
    `reshape ${layout}`,
    of([4, 6], layout),
    (x) => ops.reshape(x, [2, -1, 3]),
    (x) => reshaped(x, [2, 4, 3]),
  );
  move(
    `flatten ${layout}`,
    of([2, 3, 4], layout),
    (x) => ops.flatten(x, 1),
    (x) => reshaped(x, [2, 12]),
  );
  move(
    `slice ${layout}`,
    of([4, 5], layout),
    (x) => ops.slice(x, [1, -3], [3]),
    (x) => ref.build([2, 3], ([i, j]) => ref.at(x, [i + 1, j + 2])),
  );
  move(
    `pad ${layout}`,
    of([2, 3], layout),
    (x) =>
      ops.pad(
        x,
        [
          [1, 0],
          [2, 1],
        ],
        1,
      ),
    (x) => ref.build([3, 6], ([i, j]) => (i >= 1 && j >= 2 && j < 5 ? ref.at(x, [i - 1, j - 2]) : 1)),
  );
}
move(
  'reshape of nothing',
  of([0, 3]),
  (x) => ops.reshape(x, [3, 0, 2]),
  () => ({ shape: [3, 0, 2], data: [] }),
);
move(
  'reshape of a scalar',
  of([]),
  (x) => ops.reshape(x, [1, 1]),
  (x) => reshaped(x, [1, 1]),
);
move(
  'transpose',
  of([2, 3, 4]),
  (x) => ops.transpose(x),
  (x) => ref.build([4, 3, 2], ([i, j, k]) => ref.at(x, [k, j, i])),
);
move(
  'transpose by axes',
  of([2, 3, 4], 'sliced'),
  (x) => ops.transpose(x, [1, -1, 0]),
  (x) => ref.build([3, 4, 2], ([i, j, k]) => ref.at(x, [k, i, j])),
);
move(
  'swapAxes',
  of([2, 3]),
  (x) => ops.swapAxes(x, 0, -1),
  (x) => ref.build([3, 2], ([i, j]) => ref.at(x, [j, i])),
);
move(
  'squeeze',
  of([2, 1, 3, 1]),
  (x) => ops.squeeze(x),
  (x) => reshaped(x, [2, 3]),
);
move(
  'squeeze an axis',
  of([2, 1, 3, 1]),
  (x) => ops.squeeze(x, 1),
  (x) => reshaped(x, [2, 3, 1]),
);
move(
  'unsqueeze',
  of([2, 3], 'transposed'),
  (x) => ops.unsqueeze(x, -1),
  (x) => reshaped(x, [2, 3, 1]),
);
move(
  'expand',
  of([3, 1]),
  (x) => ops.expand(x, [2, 3, 4]),
  (x) => ref.build([2, 3, 4], ([, j]) => ref.at(x, [j, 0])),
);
move(
  'narrow',
  of([3, 6], 'transposed'),
  (x) => ops.narrow(x, 1, 2, 3),
  (x) => ref.build([3, 3], ([i, j]) => ref.at(x, [i, j + 2])),
);
row({
  name: 'split',
  samples: [[of([5, 2], 'transposed')]],
  run: ([x]) => ops.split(x, [2, 3]),
  reference: ([x]) => [ref.build([2, 2], (i) => ref.at(x, i)), ref.build([3, 2], ([i, j]) => ref.at(x, [i + 2, j]))],
  dtypes: every,
});
row({
  name: 'concat',
  samples: [
    [of([2, 3]), of([2, 0]), of([2, 4], 'transposed')],
    [of([2, 1], 'sliced'), of([2, 2], 'expanded'), of([2, 3])],
  ],
  run: (xs) => ops.concat(xs, -1),
  reference: (xs) => {
    const width = xs.reduce((n, x) => n + x.shape[1], 0);
    return ref.build([2, width], ([i, j]) => {
      let at = j;
      for (const x of xs) {
        if (at < x.shape[1]) return ref.at(x, [i, at]);
        at -= x.shape[1];
      }
      return NaN;
    });
  },
  dtypes: every,
});
row({
  name: 'stack',
  samples: [[of([2, 3]), of([2, 3], 'transposed')]],
  run: (xs) => ops.stack(xs, 1),
  reference: ([a, b]) => ref.build([2, 2, 3], ([i, k, j]) => ref.at(k === 0 ? a : b, [i, j])),
  dtypes: every,
});

// ---- indexing -------------------------------------------------------------------------------------------

row({
  name: 'gather',
  samples: [[of([3, 4], 'sliced'), i32([3, 5], [0, 3, 1, 1, 2, 3, 3, 3, 0, 0, 2, 1, 0, 2, 3])]],
  run: ([x, index]) => ops.gather(x, 1, index),
  reference: ([x, index]) => ref.build([3, 5], ([i, j]) => ref.at(x, [i, ref.at(index, [i, j])])),
  dtypes: every,
});
row({
  name: 'scatterAdd',
  samples: [[of([3, 4]), i32([2, 4], [0, 2, 2, 1, 0, 1, 2, 1]), of([2, 4], 'transposed')]],
  run: ([x, index, source]) => ops.scatterAdd(x, 0, index, source),
  reference: ([x, index, source]) => {
    const out = [...x.data];
    for (const [k, j] of ref.indices([2, 4])) out[ref.at(index, [k, j]) * 4 + j] += ref.at(source, [k, j]);
    return { shape: [3, 4], data: out };
  },
  dtypes: numeric,
});
row({
  name: 'indexSelect',
  samples: [[of([3, 4], 'transposed'), i32([5], [2, -1, 0, 3, 2])]],
  run: ([x, index]) => ops.indexSelect(x, index, 1, { fill: 1 }),
  reference: ([x, index]) => ref.build([3, 5], ([i, j]) => (index.data[j] < 0 ? 1 : ref.at(x, [i, index.data[j]]))),
  dtypes: every,
});
row({
  name: 'indexAdd',
  samples: [[of([3, 4]), i32([4], [2, -1, 0, 2]), of([4, 4], 'sliced')]],
  run: ([x, index, source]) => ops.indexAdd(x, index, source, 0),
  reference: ([x, index, source]) => {
    const out = [...x.data];
    for (const [k, j] of ref.indices([4, 4]))
      if (index.data[k] >= 0) out[index.data[k] * 4 + j] += ref.at(source, [k, j]);
    return { shape: [3, 4], data: out };
  },
  dtypes: numeric,
});
row({
  name: 'oneHot',
  samples: [[i32([2, 3], [0, 3, 1, 2, 2, 0])]],
  run: ([index]) => ops.oneHot(index, 4, { on: 2, off: -1 }),
  reference: ([index]) => ref.build([2, 3, 4], ([i, j, k]) => (ref.at(index, [i, j]) === k ? 2 : -1)),
  differentiable: false,
});

// ---- linear algebra -------------------------------------------------------------------------------------

const products: [Input, Input][] = [
  [of([3, 4]), of([4, 5])],
  [of([17, 9]), of([9, 33])],
  [of([3, 4], 'transposed'), of([4, 5], 'sliced')],
  [of([4]), of([4])],
  [of([4]), of([2, 4, 3])],
  [of([2, 3, 4]), of([4])],
  [of([2, 3, 4]), of([4, 5])],
  [of([2, 3, 4], 'transposed'), of([2, 4, 3])],
  [of([2, 1, 3, 4]), of([3, 4, 2])],
  [of([3, 0]), of([0, 2])],
  [of([0, 3]), of([3, 2])],
  [of([2, 3, 4], 'expanded'), of([4, 2], 'transposed')],
];
for (const [a, b] of products) {
  row({
    name: `matmul [${a.shape.join()}] x [${b.shape.join()}] ${a.layout} ${b.layout}`,
    samples: [[a, b]],
    run: ([x, y]) => ops.matmul(x, y),
    reference: ([x, y]) => ref.matmul(x, y),
    tolerance: 1e-4,
  });
}

const activations: Record<string, (x: number) => number> = {
  none: (x) => x,
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  sigmoid,
  gelu: (v: number) => 0.5 * v * (1 + ref.erf(v / Math.SQRT2)),
  silu: (v: number) => v * sigmoid(v),
};
function dense([x, w, bias]: Ref[], f: (v: number) => number): Ref {
  return ref.build([...x.shape.slice(0, -1), w.shape[0]], (index) => {
    const n = index[index.length - 1];
    let sum = bias ? bias.data[n] : 0;
    for (let k = 0; k < w.shape[1]; k++) sum += ref.at(x, [...index.slice(0, -1), k]) * ref.at(w, [n, k]);
    return f(sum);
  });
}
/** 0, 3, 6, ... below n */
function every3(n: number): number[] {
  return Array.from({ length: Math.ceil(n / 3) }, (_, i) => 3 * i);
}
for (const activation of ['none', 'relu', 'tanh', 'sigmoid', 'gelu', 'silu'] as const) {
  row({
    name: `linear ${activation}`,
    samples: [
      [of([3, 4]), of([5, 4]), of([5])],
      [of([3, 4], 'transposed'), of([5, 4], 'sliced'), of([5], 'sliced')],
      [of([5, 7]), of([3, 7])],
      [of([2, 3, 4]), of([2, 4]), of([2])],
      [of([4]), of([3, 4]), of([3])],
      [of([0, 4]), of([3, 4]), of([3])],
      [of([19, 37]), of([18, 37]), of([18])],
    ],
    run: ([x, w, b]) => ops.linear(x, w, b, { activation }),
    reference: (xs) => dense(xs, activations[activation]),
    tolerance: 1e-4,
  });
}
row({
  name: 'linear with a residual',
  samples: [
    [of([3, 4]), of([5, 4]), of([3, 5])],
    [of([2, 3, 4]), of([6, 4], 'sliced'), of([2, 3, 6], 'transposed')],
  ],
  run: ([x, w, residual]) => ops.linear(x, w, null, { activation: 'sigmoid', residual }),
  reference: ([x, w, residual]) => {
    const y = dense([x, w], sigmoid);
    return { shape: y.shape, data: y.data.map((v, i) => v + residual.data[i]) };
  },
  tolerance: 1e-4,
});
/** The lines of a matrix or vector that a list names. */
function listed(x: Ref, list: Ref | undefined, axis: number): Ref {
  if (!list) return x;
  const shape = x.shape.map((extent, i) => (i === axis ? list.shape[0] : extent));
  return ref.build(shape, (index) =>
    ref.at(
      x,
      index.map((at, i) => (i === axis ? list.data[at] : at)),
    ),
  );
}
const list = (values: readonly number[]): Input => ({ shape: [values.length], values, dtype: 'i32' });
row({
  name: 'linear with lists of active neurons',
  samples: [
    [of([3, 2]), of([5, 4]), of([5]), list([0, 2, 4]), list([1, 3])],
    [
      of([19, 30]),
      of([40, 37], 'sliced'),
      of([40]),
      list(every3(40)),
      list(Array.from({ length: 30 }, (_, i) => i + 3)),
    ],
  ],
  run: ([x, w, b, outputs, inputs]) => ops.linear(x, w, b, { activation: 'tanh', outputs, inputs }),
  reference: ([x, w, b, outputs, inputs]) =>
    dense([x, listed(listed(w, outputs, 0), inputs, 1), listed(b, outputs, 0)], Math.tanh),
  differentiable: [0, 1, 2],
  tolerance: 1e-4,
});
row({
  name: 'linear with a list of outputs',
  samples: [[of([6, 4]), of([5, 4], 'sliced'), of([5]), list([1, 4])]],
  run: ([x, w, b, outputs]) => ops.linear(x, w, b, { outputs }),
  reference: ([x, w, b, outputs]) => dense([x, listed(w, outputs, 0), listed(b, outputs, 0)], (v) => v),
  differentiable: [0, 1, 2],
  tolerance: 1e-4,
});

// ---- softmax, losses ------------------------------------------------------------------------------------

for (const [name, run, f] of [
  ['softmax', ops.softmax, (r: number[]) => ref.softmaxRow(r)],
  ['logSoftmax', ops.logSoftmax, (r: number[]) => ref.softmaxRow(r).map(Math.log)],
] as const) {
  row({
    name,
    samples: [
      [of([3, 5])],
      [of([7])],
      [of([0, 4])],
      [of([2, 3, 9], 'transposed')],
      [of([4, 33], 'sliced')],
      [of([3, 5], 'expanded')],
    ],
    run: ([x]) => run(x),
    reference: ([x]) => ref.alongAxis(x, x.shape.length - 1, f),
  });
  row({
    name: `${name} along axis 0`,
    samples: [[of([4, 3])], [of([3, 2, 2], 'transposed')]],
    run: ([x]) => run(x, 0),
    reference: ([x]) => ref.alongAxis(x, 0, f),
  });
}

interface LossCase {
  weights?: boolean;
  offsets?: boolean;
  margins?: boolean;
  smoothing?: number;
  reduction: 'mean' | 'sum' | 'none';
}
for (const options of [
  { reduction: 'mean' },
  { reduction: 'none', smoothing: 0.1 },
  { reduction: 'mean', weights: true },
  { reduction: 'sum', offsets: true },
  { reduction: 'sum', margins: true, smoothing: 0.2 },
  { reduction: 'mean', weights: true, offsets: true, margins: true, smoothing: 0.1 },
] as LossCase[]) {
  const flags = [options.weights, options.offsets, options.margins];
  const extra = flags.filter(Boolean).map(() => of([6], 'plain', 'positive'));
  const take = <T>(xs: T[]): (T | undefined)[] => {
    const rest = xs.slice(2);
    return flags.map((flag) => (flag ? rest.shift() : undefined));
  };
  row({
    name: `crossEntropy ${JSON.stringify(options)}`,
    samples: [
      [of([4, 6]), i32([4], [0, 5, 2, 2]), ...extra],
      [of([2, 3, 6], 'sliced'), i32([2, 3], [0, 5, 2, 2, 1, 4]), ...extra],
    ],
    run: (xs) => {
      const [classWeights, offsets, margins] = take(xs);
      const rest = { labelSmoothing: options.smoothing, reduction: options.reduction };
      return ops.crossEntropy(xs[0], xs[1], { classWeights, offsets, margins, ...rest });
    },
    reference: (xs) => {
      const [w, offset, margin] = take(xs);
      const [logits, labels] = xs;
      const s = options.smoothing ?? 0;
      const losses = labels.data.map((label, r) => {
        const z = Array.from(
          { length: 6 },
          (_, c) => logits.data[r * 6 + c] + (offset?.data[c] ?? 0) - (c === label ? (margin?.data[c] ?? 0) : 0),
        );
        const logp = ref.softmaxRow(z).map(Math.log);
        return (w?.data[label] ?? 1) * (-(1 - s) * logp[label] - (s / 6) * logp.reduce((a, b) => a + b, 0));
      });
      if (options.reduction === 'none') return { shape: labels.shape, data: losses };
      const sum = losses.reduce((a, b) => a + b, 0);
      const divisor = options.reduction === 'sum' ? 1 : labels.data.reduce((a, label) => a + (w?.data[label] ?? 1), 0);
      return { shape: [], data: [sum / divisor] };
    },
    differentiable: [0],
  });
}

// ---- norms ----------------------------------------------------------------------------------------------

function unit(values: number[], eps = 1e-5): number[] {
  const centre = ref.mean(values);
  const scale = 1 / Math.sqrt(ref.variance(values, 0) + eps);
  return values.map((v) => (v - centre) * scale);
}
row({
  name: 'layerNorm',
  samples: [
    [of([3, 6]), of([6]), of([6])],
    [of([2, 3, 5], 'transposed'), of([5]), of([5])],
    [of([4, 33], 'sliced')],
    [of([6])],
  ],
  run: ([x, gamma, beta]) => ops.layerNorm(x, gamma, beta),
  reference: ([x, gamma, beta]) => {
    const y = ref.alongAxis(x, x.shape.length - 1, (r) => unit(r));
    return gamma ? ref.zip((v, a, b) => v * a + b, y, gamma, beta) : y;
  },
  tolerance: 2e-4,
});
const stats = (n: number): Input[] => [of([n]), of([n]), of([n]), of([n], 'plain', 'positive')];
/** batchNorm with what may follow it: a ReLU, a residual (the last input). */
function batchNormRows(relu: boolean, residual: boolean): void {
  const name = (relu ? ' relu' : '') + (residual ? ' residual' : '');
  const side = (shape: number[]): Input[] => (residual ? [of(shape, 'sliced')] : []);
  const options = (xs: readonly Tensor[]) => ({ relu, residual: residual ? xs[5] : undefined });
  const follow = (y: Ref, xs: readonly Ref[]): Ref => {
    const sum = residual ? ref.zip((a, b) => a + b, y, xs[5]) : y;
    return relu ? ref.map(sum, (v) => Math.max(0, v)) : sum;
  };
  row({
    name: `batchNorm in training${name}`,
    samples: [
      [of([5, 3]), ...stats(3), ...side([5, 3])],
      [of([4, 2, 3], 'transposed'), ...stats(3), ...side([4, 2, 3])],
      [of([6, 17], 'sliced'), ...stats(17), ...side([6, 17])],
    ],
    run: (xs) => {
      const [x, gamma, beta, mean, variance] = xs;
      const running = [ops.clone(mean.detach()), ops.clone(variance.detach())];
      const rest = { training: true, momentum: 0.2, ...options(xs) };
      return [ops.batchNorm(x, gamma, beta, running[0], running[1], rest), ...running];
    },
    reference: (xs) => {
      const [x, gamma, beta, mean, variance] = xs;
      const channels = x.shape[x.shape.length - 1];
      const flat = { shape: [ref.count(x.shape) / channels, channels], data: x.data };
      const y = ref.zip(
        (v, a, b) => v * a + b,
        ref.alongAxis(flat, 0, (r) => unit(r)),
        gamma,
        beta,
      );
      return [
        follow({ shape: x.shape, data: y.data }, xs),
        ref.zip((old, batch) => 0.8 * old + 0.2 * batch, mean, ref.reduce(flat, [0], false, ref.mean)),
        ref.zip(
          (old, batch) => 0.8 * old + 0.2 * batch,
          variance,
          ref.reduce(flat, [0], false, (v) => ref.variance(v, 1)),
        ),
      ];
    },
    differentiable: [0, 1, 2, 5],
    tolerance: 2e-4,
  });
  row({
    name: `batchNorm in evaluation${name}`,
    samples: [
      [of([5, 3]), ...stats(3), ...side([5, 3])],
      [of([1, 3]), ...stats(3), ...side([1, 3])],
      [of([2, 2, 4]), ...stats(4), ...side([2, 2, 4])],
    ],
    run: (xs) => ops.batchNorm(xs[0], xs[1], xs[2], xs[3], xs[4], { training: false, ...options(xs) }),
    reference: (xs) => {
      const [x, gamma, beta, mean, variance] = xs;
      return follow(
        ref.zip((v, a, b, m, s) => ((v - m) / Math.sqrt(s + 1e-5)) * a + b, x, gamma, beta, mean, variance),
        xs,
      );
    },
    tolerance: 2e-4,
  });
}
for (const relu of [false, true]) for (const residual of [false, true]) batchNormRows(relu, residual);
