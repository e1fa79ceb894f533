/**
 * Rows of the op table for attention, group norm and pictures.
 */
import * as ops from '../../src/ops/index.js';
import * as ref from './reference.js';
import { type Ref } from './reference.js';
import { type Input, row } from './table.js';

const of = (shape: number[], layout: Input['layout'] = 'plain', values: Input['values'] = 'any'): Input => ({
  shape,
  layout,
  values,
});

// ---- attention ------------------------------------------------------------------------------------------

function attend(q: Ref, k: Ref, v: Ref, causal: boolean, scale: number): Ref {
  const [, , , d] = q.shape;
  return ref.build(q.shape, ([b, i, h, c]) => {
    const seen = causal ? Math.min(i + 1, k.shape[1]) : k.shape[1];
    const scores = Array.from({ length: seen }, (_, j) => {
      let sum = 0;
      for (let e = 0; e < d; e++) sum += ref.at(q, [b, i, h, e]) * ref.at(k, [b, j, h, e]);
      return sum * scale;
    });
    return ref.softmaxRow(scores).reduce((sum, p, j) => sum + p * ref.at(v, [b, j, h, c]), 0);
  });
}

for (const causal of [false, true]) {
  row({
    name: `attention ${causal ? 'causal' : 'of all keys'}`,
    samples: [
      [of([1, 3, 2, 2]), of([1, 4, 2, 2]), of([1, 4, 2, 2])],
      [of([2, 5, 3, 8], 'sliced'), of([2, 5, 3, 8], 'sliced'), of([2, 5, 3, 8], 'transposed')],
      [of([1, 7, 1, 5], 'transposed'), of([1, 6, 1, 5], 'expanded'), of([1, 6, 1, 5])],
    ],
    run: ([q, k, v]) => ops.attention(q, k, v, { causal, scale: 0.6 }),
    reference: ([q, k, v]) => attend(q, k, v, causal, 0.6),
    tolerance: 1e-4,
  });
  row({
    name: `selfAttention ${causal ? 'causal' : 'of all keys'}`,
    samples: [[of([1, 3, 2, 3, 2])], [of([2, 4, 1, 3, 5], 'sliced')], [of([1, 5, 2, 3, 3], 'transposed')]],
    run: ([qkv]) => ops.selfAttention(qkv, { causal }),
    reference: ([qkv]) => {
      const [b, t, h, , d] = qkv.shape;
      const [q, k, v] = [0, 1, 2].map((p) =>
        ref.build([b, t, h, d], ([n, i, head, c]) => ref.at(qkv, [n, i, head, p, c])),
      );
      return attend(q, k, v, causal, 1 / Math.sqrt(d));
    },
    tolerance: 1e-4,
  });
}

// ---- group norm -----------------------------------------------------------------------------------------

row({
  name: 'groupNorm',
  samples: [
    [of([2, 2, 6]), of([6]), of([6])],
    [of([2, 3, 2, 6], 'transposed'), of([6]), of([6])],
    [of([3, 9, 12], 'sliced')],
    [of([2, 6])],
  ],
  run: ([x, gamma, beta]) => ops.groupNorm(x, 3, gamma, beta),
  reference: ([x, gamma, beta]) => {
    const { shape } = x;
    const channels = shape[shape.length - 1];
    const each = channels / 3;
    const flat = { shape: [shape[0], x.data.length / shape[0] / channels, 3, each], data: x.data };
    const kept = {
      mean: ref.reduce(flat, [1, 3], true, ref.mean),
      variance: ref.reduce(flat, [1, 3], true, (v) => ref.variance(v, 0)),
    };
    const unit = ref.zip((v, m, s) => (v - m) / Math.sqrt(s + 1e-5), flat, kept.mean, kept.variance);
    const y = { shape, data: unit.data };
    return gamma ? ref.zip((v, a, b) => v * a + b, y, gamma, beta) : y;
  },
  tolerance: 2e-4,
});

// ---- pictures -------------------------------------------------------------------------------------------

for (const size of [
  [4, 3],
  [2, 7],
  [1, 1],
] as const) {
  row({
    name: `resizeBilinear to ${size.join('x')}`,
    samples: [
      [of([1, 2, 3, 2])],
      [of([2, 5, 4, 3], 'sliced')],
      [of([1, 3, 3, 1], 'transposed')],
      [of([1, 4, 3, 2], 'expanded')],
    ],
    run: ([x]) => ops.resizeBilinear(x, size),
    reference: ([x]) => {
      const [b, h, w, c] = x.shape;
      const place = (i: number, from: number, to: number): [number, number, number] => {
        const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
        const low = Math.floor(at);
        return [low, Math.min(from - 1, low + 1), at - low];
      };
      return ref.build([b, ...size, c], ([n, i, j, k]) => {
        const [r0, r1, p] = place(i, h, size[0]);
        const [s0, s1, q] = place(j, w, size[1]);
        const line = (r: number): number => (1 - q) * ref.at(x, [n, r, s0, k]) + q * ref.at(x, [n, r, s1, k]);
        return (1 - p) * line(r0) + p * line(r1);
      });
    },
  });
}

// Without shifts and mirroring nothing is left to chance.
row({
  name: 'augment by nothing but numbers',
  samples: [[of([2, 3, 2, 3])], [of([1, 2, 5, 1], 'sliced')], [of([2, 2, 3, 2], 'transposed')]],
  run: ([x]) => {
    const generator = new ops.Generator(1);
    try {
      return ops.augment(x, { mean: 0.5, std: 4, generator });
    } finally {
      generator.dispose();
    }
  },
  reference: ([x]) => ref.map(x, (v) => (v - 0.5) / 4),
  dtypes: ['f32', 'u8'],
  differentiable: false,
});
