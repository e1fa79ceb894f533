/**
 * The op table, part three: convolution and pooling.
 */
import * as ops from '../../src/ops/index.js';
import * as ref from './reference.js';
import type { Ref } from './reference.js';
import { type Input, row } from './table.js';

interface Windows {
  stride?: readonly [number, number];
  pad?: readonly [number, number];
  dilation?: readonly [number, number];
  groups?: number;
}

const sizeOf = (n: number, span: number, stride: number, pad: number): number =>
  Math.floor((n + 2 * pad - span) / stride) + 1;

/** The sum of products that defines a convolution, at every output. */
function convolve(x: Ref, w: Ref, options: Windows = {}, outputs?: readonly number[], inputs?: readonly number[]): Ref {
  const { stride = [1, 1], pad = [0, 0], dilation = [1, 1], groups = 1 } = options;
  const [n, height, width, channels] = x.shape;
  const [rows, kh, kw] = w.shape;
  const list = outputs ?? Array.from({ length: rows }, (_, i) => i);
  const own = channels / groups;
  const reads = inputs ?? Array.from({ length: own }, (_, i) => i);
  const shape = [
    n,
    sizeOf(height, (kh - 1) * dilation[0] + 1, stride[0], pad[0]),
    sizeOf(width, (kw - 1) * dilation[1] + 1, stride[1], pad[1]),
    list.length,
  ];
  return ref.build(shape, ([image, oy, ox, f]) => {
    const first = Math.floor(f / (list.length / groups)) * own;
    let sum = 0;
    for (let i = 0; i < kh; i++) {
      for (let j = 0; j < kw; j++) {
        const y = oy * stride[0] - pad[0] + i * dilation[0];
        const v = ox * stride[1] - pad[1] + j * dilation[1];
        if (y < 0 || y >= height || v < 0 || v >= width) continue;
        for (let c = 0; c < own; c++) sum += ref.at(x, [image, y, v, first + c]) * ref.at(w, [list[f], i, j, reads[c]]);
      }
    }
    return sum;
  });
}

const relu = (x: Ref): Ref => ref.map(x, (v) => Math.max(v, 0));
const add = (a: Ref, b: Ref): Ref => ref.zip((x, y) => x + y, a, b);
const mul = (a: Ref, b: Ref): Ref => ref.zip((x, y) => x * y, a, b);

row({
  name: 'conv2d',
  samples: [
    [{ shape: [1, 3, 3, 2] }, { shape: [2, 2, 2, 2] }],
    [{ shape: [2, 5, 4, 3] }, { shape: [4, 3, 3, 3] }],
    [
      { shape: [2, 4, 4, 3], layout: 'transposed' },
      { shape: [4, 3, 3, 3], layout: 'sliced' },
    ],
    [{ shape: [2, 4, 4, 20], layout: 'sliced' }, { shape: [18, 1, 1, 20] }],
    [{ shape: [0, 4, 4, 2] }, { shape: [3, 3, 3, 2] }],
  ],
  run: ([x, w]) => ops.conv2d(x, w),
  reference: ([x, w]) => convolve(x, w),
});
row({
  name: 'conv2d, stride 2, padding and bias',
  samples: [
    [{ shape: [1, 3, 3, 2] }, { shape: [2, 3, 3, 2] }, { shape: [2] }],
    [{ shape: [2, 6, 5, 3] }, { shape: [5, 3, 3, 3], layout: 'sliced' }, { shape: [5] }],
  ],
  run: ([x, w, b]) => ops.conv2d(x, w, b, { stride: 2, padding: 1 }),
  reference: ([x, w, b]) => add(convolve(x, w, { stride: [2, 2], pad: [1, 1] }), b),
});
row({
  name: 'conv2d, unequal stride, padding and dilation',
  samples: [
    [{ shape: [1, 5, 4, 1] }, { shape: [1, 2, 3, 1] }],
    [{ shape: [2, 9, 8, 2] }, { shape: [3, 3, 2, 2] }],
  ],
  run: ([x, w]) => ops.conv2d(x, w, null, { stride: [2, 1], padding: [0, 2], dilation: [2, 1] }),
  reference: ([x, w]) => convolve(x, w, { stride: [2, 1], pad: [0, 2], dilation: [2, 1] }),
});
row({
  name: 'conv2d, padding same',
  samples: [
    [{ shape: [1, 3, 3, 2] }, { shape: [2, 3, 3, 2] }],
    [{ shape: [2, 5, 6, 2] }, { shape: [3, 3, 3, 2] }],
  ],
  run: ([x, w]) => ops.conv2d(x, w, null, { padding: 'same' }),
  reference: ([x, w]) => convolve(x, w, { pad: [1, 1] }),
});
row({
  name: 'conv2d, groups',
  samples: [
    [{ shape: [1, 2, 2, 4] }, { shape: [2, 2, 2, 2] }],
    [{ shape: [2, 4, 3, 6] }, { shape: [4, 2, 2, 3] }],
  ],
  run: ([x, w]) => ops.conv2d(x, w, null, { groups: 2, padding: 1 }),
  reference: ([x, w]) => convolve(x, w, { groups: 2, pad: [1, 1] }),
});
row({
  name: 'conv2d, depthwise',
  samples: [
    [{ shape: [1, 2, 3, 3] }, { shape: [3, 2, 2, 1] }],
    [{ shape: [2, 5, 5, 3] }, { shape: [3, 3, 3, 1], layout: 'sliced' }],
  ],
  run: ([x, w]) => ops.conv2d(x, w, null, { groups: 3, padding: 1 }),
  reference: ([x, w]) => convolve(x, w, { groups: 3, pad: [1, 1] }),
});
const four: readonly Input[] = [{ shape: [2, 3, 3, 2] }, { shape: [3, 2, 2, 2] }, { shape: [3] }];
row({
  name: 'conv2d, relu and residual',
  samples: [[...four, { shape: [2, 2, 2, 3] }]],
  run: ([x, w, b, r]) => ops.conv2d(x, w, b, { activation: 'relu', residual: r }),
  reference: ([x, w, b, r]) => relu(add(add(convolve(x, w), b), r)),
});
row({
  name: 'conv2d, affine',
  samples: [[...four, { shape: [3] }, { shape: [3] }]],
  run: ([x, w, b, scale, shift]) => ops.conv2d(x, w, b, { affine: { scale, shift } }),
  reference: ([x, w, b, scale, shift]) => add(mul(add(convolve(x, w), b), scale), shift),
});
const list = (values: readonly number[]): Input => ({ shape: [values.length], values, dtype: 'i32' });
row({
  name: 'conv2d, lists of channels',
  samples: [[{ shape: [2, 3, 3, 2] }, { shape: [4, 2, 2, 3] }, list([0, 1, 3]), list([0, 2]), { shape: [4] }]],
  run: ([x, w, outputs, inputs, b]) => ops.conv2d(x, w, b, { outputs, inputs }),
  reference: ([x, w, outputs, inputs, b]) => {
    const chosen = { shape: outputs.shape, data: outputs.data.map((i) => b.data[i]) };
    return add(convolve(x, w, {}, outputs.data, inputs.data), chosen);
  },
});

/** Elements of each window that lie inside. */
function windows(x: Ref, kernel: number, stride: number, pad: number, f: (inside: number[]) => number): Ref {
  const [n, height, width, channels] = x.shape;
  const shape = [n, sizeOf(height, kernel, stride, pad), sizeOf(width, kernel, stride, pad), channels];
  return ref.build(shape, ([image, oy, ox, c]) => {
    const inside: number[] = [];
    for (let i = oy * stride - pad; i < oy * stride - pad + kernel; i++) {
      for (let j = ox * stride - pad; j < ox * stride - pad + kernel; j++) {
        if (i >= 0 && i < height && j >= 0 && j < width) inside.push(ref.at(x, [image, i, j, c]));
      }
    }
    return f(inside);
  });
}
const total = (inside: number[]): number => inside.reduce((a, b) => a + b, 0);
const images: readonly (readonly Input[])[] = [
  [{ shape: [2, 4, 4, 1], values: 'distinct' }],
  [{ shape: [2, 5, 4, 3], values: 'distinct', layout: 'transposed' }],
  [{ shape: [1, 4, 5, 19], values: 'distinct', layout: 'sliced' }],
  [{ shape: [0, 4, 4, 2] }],
];
row({
  name: 'maxPool2d',
  samples: images,
  run: ([x]) => ops.maxPool2d(x, 2),
  reference: ([x]) => windows(x, 2, 2, 0, (inside) => Math.max(...inside)),
});
row({
  name: 'maxPool2d, overlapping',
  samples: images,
  run: ([x]) => ops.maxPool2d(x, 3, { stride: 2, padding: 1 }),
  reference: ([x]) => windows(x, 3, 2, 1, (inside) => Math.max(...inside)),
});
row({
  name: 'square of maxPool2d',
  samples: images,
  run: ([x]) => ops.square(ops.maxPool2d(x, 2, { stride: 1 })),
  reference: ([x]) => windows(x, 2, 1, 0, (inside) => Math.max(...inside) ** 2),
});
row({
  name: 'avgPool2d',
  samples: images,
  run: ([x]) => ops.avgPool2d(x, 3, { stride: 2, padding: 1 }),
  reference: ([x]) => windows(x, 3, 2, 1, (inside) => total(inside) / 9),
});
row({
  name: 'avgPool2d without padding in the mean',
  samples: images,
  run: ([x]) => ops.avgPool2d(x, 3, { stride: 1, padding: 1, countPad: false }),
  reference: ([x]) => windows(x, 3, 1, 1, (inside) => total(inside) / inside.length),
});
row({
  name: 'globalAvgPool2d',
  samples: images,
  run: ([x]) => ops.globalAvgPool2d(x),
  reference: ([x]) => {
    const [n, height, width, channels] = x.shape;
    return ref.build([n, channels], ([image, c]) => {
      let sum = 0;
      for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) sum += ref.at(x, [image, i, j, c]);
      return sum / (height * width);
    });
  },
});
