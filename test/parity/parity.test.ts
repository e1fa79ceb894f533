/**
 * The same training as PyTorch's: loss curve within 1e-5, weights within 1e-4. Fixtures by make_fixtures.py.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { BatchNorm, Dropout, Linear, ReLU, Sequential, Tanh, Width } from '../../src/nn/index.js';
import { narrow } from '../../src/ops/index.js';
import { AdamW, SGD, type SgdOptions } from '../../src/optim/index.js';
import { type Tensor, tensor, tidy } from '../../src/tensor/index.js';
import { stepOf, values } from '../nn/helpers.js';

interface Packed {
  dtype: 'f32' | 'i32';
  shape: number[];
  data: string;
}
interface Run {
  options: SgdOptions;
  first: Record<string, Packed>;
  losses: number[];
  last: Record<string, Packed>;
  logits: Packed;
}
interface Fixture {
  batch: number;
  x: Packed;
  y: Packed;
  runs: Record<string, Run>;
}

const fixture = JSON.parse(readFileSync(new URL('mlp.json', import.meta.url), 'utf8')) as Fixture;

function unpack({ dtype, shape, data }: Packed): Tensor {
  const { buffer } = Uint8Array.from(Buffer.from(data, 'base64'));
  return tensor(dtype === 'f32' ? new Float32Array(buffer) : new Int32Array(buffer), { shape });
}

/** Largest absolute difference. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a, (value, i) => Math.abs(value - b[i])).reduce((worst, d) => Math.max(worst, d), 0);
}

const x = unpack(fixture.x);
const y = unpack(fixture.y);

test.each(Object.entries(fixture.runs))('%s: 50 steps, loss curve and weights as PyTorch', (name, run) => {
  for (const mode of ['eager', 'captured'] as const) {
    const hidden = new Width(24, { capacity: 40, name: 'hidden' });
    const net = new Sequential(
      new Linear(12, hidden, { bias: false }),
      new BatchNorm(hidden),
      new ReLU(),
      new Dropout(0),
      new Linear(hidden, 24),
      new Tanh(),
      new Linear(24, 5),
    );
    net.loadStateDict(new Map(Object.entries(run.first).map(([key, packed]) => [key, unpack(packed)])));
    const make = name.startsWith('SGD') ? SGD : AdamW;
    const optimizer = new make(net.parameters(), run.options);
    const step = stepOf(net, optimizer);
    const go = mode === 'captured' ? capture(step) : (a: Tensor, b: Tensor) => tidy(() => step(a, b));
    run.losses.forEach((expected, i) => {
      const from = (i * fixture.batch) % x.shape[0];
      const loss = tidy(() => {
        const [rows, labels] = [narrow(x, 0, from, fixture.batch).clone(), narrow(y, 0, from, fixture.batch).clone()];
        return go(rows, labels).itemSync();
      });
      expect(Math.abs(loss - expected) / Math.abs(expected), `step ${i}`).toBeLessThan(1e-5);
    });
    for (const [key, t] of net.stateDict()) {
      expect(apart(values(t), values(unpack(run.last[key]))), key).toBeLessThan(1e-4);
    }
    net.eval();
    const logits = net.forward(narrow(x, 0, 0, fixture.batch));
    expect(apart(values(logits), values(unpack(run.logits)))).toBeLessThan(1e-3);
  }
});
