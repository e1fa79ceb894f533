import { describe, expect, it } from 'vitest';
import { backward } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import { mlp } from '../../src/models/index.js';
import { BatchNorm, CosineLinear, Width } from '../../src/nn/index.js';
import { Generator, normal, sum } from '../../src/ops/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';

const x = tensor([
  [1, 2, 3],
  [0, -1, 0.5],
]);

describe('mlp', () => {
  it('has the layers, widths and parameters asked for', () => {
    const net = mlp({
      inputs: 3,
      hidden: [5, new Width(4, { name: 'mine' })],
      classes: 2,
      norm: 'batch',
      dropout: 0.5,
    });
    expect(net.widths().map((width) => [width.name, width.size])).toEqual([
      ['hidden1', 5],
      ['mine', 4],
    ]);
    expect(net.parameterCount()).toBe(3 * 5 + 5 + 2 * 5 + 5 * 4 + 4 + 2 * 4 + 4 * 2 + 2);
    expect(net.modules().filter((m) => m instanceof BatchNorm)).toHaveLength(2);
    expect(tidy(() => net.forward(x).shape)).toEqual([2, 2]);
    net.dispose();
  });

  it('starts the same for the same seed', async () => {
    const weights = async (seed: number): Promise<number[]> => {
      const net = mlp({ inputs: 3, hidden: [4], classes: 2, seed });
      const out = [...(await net.parameters()[0].value.data())];
      net.dispose();
      return out;
    };
    expect(await weights(1)).toEqual(await weights(1));
    expect(await weights(1)).not.toEqual(await weights(2));
  });

  it('keeps its function when a hidden layer grows', async () => {
    const net = mlp({ inputs: 3, hidden: [4, 4], classes: 2, seed: 1 });
    const before = [...(await net.forward(x).data())];
    for (const width of net.widths()) width.grow(3);
    expect([...(await net.forward(x).data())]).toEqual(before);
    net.dispose();
  });

  it('refuses sizes below 1', () => {
    expect(() => mlp({ inputs: 0, hidden: [2], classes: 2 })).toThrow(ConfigError);
    expect(() => mlp({ inputs: 2, hidden: [0], classes: 2 })).toThrow(/got 0/);
  });
});

describe('CosineLinear', () => {
  it('gives cosines, and finite gradients for rows of zeros', async () => {
    const layer = new CosineLinear(3, 4);
    const input = tensor(
      [
        [3, 0, 0],
        [0, 0, 0],
      ],
      { requiresGrad: true },
    );
    const out = layer.forward(input);
    const values = [...(await out.data())];
    const weights = [...(await layer.inner.weight.value.data())];
    for (let c = 0; c < 4; c++) {
      const w = weights.slice(3 * c, 3 * c + 3);
      expect(values[c]).toBeCloseTo(w[0] / Math.hypot(...w), 5);
    }
    expect(values.slice(4)).toEqual([0, 0, 0, 0]);
    backward(sum(out));
    expect([...(await input.grad!.data())].every(Number.isFinite)).toBe(true);
    layer.dispose();
  });

  it.each(['zero-out', 'paired', 'split'] as const)(
    'its input grows: logits of a sample scaled by one factor: %s',
    (init) => {
      const generator = new Generator(3);
      const width = new Width(5, { name: 'w' });
      const net = mlp({ inputs: 4, hidden: [width], classes: 6, classifier: 'cosine', seed: 2 });
      const x = normal([9, 4], { generator });
      expect([width.mixers.length, width.scalers.length]).toEqual([0, 1]);
      const rows = (t: Tensor): number[][] =>
        Array.from({ length: 9 }, (_, i) => [...t.dataSync()].slice(6 * i, 6 * i + 6));
      const before = rows(net.forward(x));
      width.grow(4, { init, generator });
      const after = rows(net.forward(x));
      expect(after.flat().every((v) => Math.abs(v) <= 1 + 1e-6)).toBe(true);
      if (init === 'zero-out') {
        before.forEach((row, i) => {
          const factor = Math.hypot(...after[i]) / Math.hypot(...row);
          expect(factor).toBeLessThanOrEqual(1 + 1e-6);
          after[i].forEach((value, c) => expect(value).toBeCloseTo(row[c] * factor, 5));
        });
        expect(before.some((row, i) => Math.hypot(...after[i]) < 0.99 * Math.hypot(...row))).toBe(true);
      }
      // What is pruned again leaves no trace where nothing was shared out.
      width.prune([5, 6, 7, 8]);
      if (init !== 'split') expect(rows(net.forward(x))).toEqual(before);
      net.dispose();
      expect(width.scalers.length).toBe(0);
    },
  );
});
