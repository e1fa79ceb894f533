/**
 * Cross-entropy leaves its gradient behind in the forward pass: the same as the one that can be differentiated again, and freed.
 */
import { expect, test } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { device } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { noGrad, tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const labels = [0, 5, 2, 2, 16];
const setUp = (dtype: 'f32' | 'f64'): { x: Tensor; y: Tensor; options: ops.CrossEntropyOptions } => {
  const generator = new ops.Generator(4);
  const x = ops.normal([5, 17], { generator, dtype, requiresGrad: true });
  const perClass = (): Tensor => ops.uniform([17], { generator, low: 0.1, high: 2, dtype });
  const options = { classWeights: perClass(), offsets: perClass(), margins: perClass(), labelSmoothing: 0.1 };
  generator.dispose();
  return { x, y: tensor(Int32Array.from(labels)), options };
};

test.each(['f32', 'f64'] as const)(
  '%s: both ways to the gradient agree, with a weight of their own per row',
  (dtype) => {
    tidy(() => {
      const { x, y, options } = setUp(dtype);
      for (const extra of [{}, options]) {
        const loss = (): Tensor => {
          const losses = ops.crossEntropy(x, y, { ...extra, reduction: 'none' });
          return ops.sum(ops.mul(losses, tensor([1, -2, 0, 0.5, 3], { dtype })));
        };
        const [kept] = gradients(loss(), [x]) as Tensor[];
        const [recorded] = gradients(loss(), [x], { createGraph: true }) as Tensor[];
        expect(kept.requiresGrad).toBe(false);
        expect(recorded.requiresGrad).toBe(true);
        const want = recorded.dataSync();
        kept.dataSync().forEach((value, i) => expect(value).toBeCloseTo(want[i], dtype === 'f32' ? 5 : 12));
        const silent = noGrad(() => ops.crossEntropy(x, y, { ...extra, reduction: 'sum' }));
        const heard = ops.crossEntropy(x, y, { ...extra, reduction: 'sum' });
        expect(silent.dataSync()[0]).toBe(heard.dataSync()[0]);
      }
    });
  },
);

test('what was left behind goes with the graph, and lasts for a second backward pass', () => {
  const { x, y } = setUp('f32');
  const before = device().memory().buffers;
  tidy(() => {
    const loss = ops.crossEntropy(x, y);
    loss.backward({ retainGraph: true });
    const once = x.grad?.dataSync().slice() as Float32Array;
    loss.backward();
    (x.grad as Tensor).dataSync().forEach((value, i) => expect(value).toBeCloseTo(2 * once[i], 6));
  });
  x.grad?.dispose();
  x.grad = null;
  expect(device().memory().buffers).toBe(before);
});
