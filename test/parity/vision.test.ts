/**
 * Attention, norms and resize as PyTorch computes them, with their gradients. Fixtures by make_vision_fixtures.py.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import '../../src/autograd/index.js';
import { attention, groupNorm, layerNorm, linspace, mul, reshape, resizeBilinear, sum } from '../../src/ops/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { distance, values } from '../nn/helpers.js';

interface Packed {
  shape: number[];
  data: string;
}
interface Case {
  inputs: Packed[];
  output: Packed;
  gradients: Packed[];
}

const { cases } = JSON.parse(readFileSync(new URL('vision.json', import.meta.url), 'utf8')) as {
  cases: Record<string, Case>;
};

const numbers = ({ data }: Packed): Float32Array =>
  new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer);

const ours: Record<string, (...xs: Tensor[]) => Tensor> = {
  attention: (q, k, v) => attention(q, k, v),
  'attention causal': (q, k, v) => attention(q, k, v, { causal: true }),
  groupNorm: (x, gamma, beta) => groupNorm(x, 3, gamma, beta),
  layerNorm: (x, gamma, beta) => layerNorm(x, gamma, beta),
  'resize up': (x) => resizeBilinear(x, [9, 8]),
  'resize down': (x) => resizeBilinear(x, [2, 3]),
};

test('there is a function for each case', () => {
  expect(Object.keys(ours).sort()).toEqual(Object.keys(cases).sort());
});

test.each(Object.entries(cases))('%s: values and gradients as PyTorch', (name, { inputs, output, gradients }) => {
  tidy(() => {
    const xs = inputs.map((packed) => tensor(numbers(packed), { shape: packed.shape, requiresGrad: true }));
    const y = ours[name](...xs);
    expect(y.shape).toEqual(output.shape);
    expect(distance(values(y), numbers(output))).toBeLessThan(2e-6);
    sum(mul(y, reshape(linspace(-1, 1, y.size), y.shape))).backward();
    xs.forEach((x, i) => {
      expect(x.grad!.shape).toEqual(gradients[i].shape);
      expect(distance(values(x.grad!), numbers(gradients[i])), `input ${i}`).toBeLessThan(1e-5);
      x.grad!.dispose();
    });
  });
});
