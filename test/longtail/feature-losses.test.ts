/** Influence-balanced loss, LADE, and losses of mixed samples, against their formulas in double precision. */
import { describe, expect, it } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import {
  createLoss,
  effectiveNumberWeights,
  inverseFrequencyWeights,
  ldamMargins,
  logPriors,
  type Loss,
  type LossInputs,
  type LossOptions,
} from '../../src/longtail/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';
import { ce, counts, labels, logits, meanOf, softmax, sumOf } from './sample.js';

const features = [
  [1, -2],
  [0.5, 0],
  [3, 1],
  [-0.25, 0.25],
];
const classes = [0, 1, 2];
const priors = counts.map((n) => n / 135);

const y = (): Tensor => tensor(Int32Array.from(labels));
function valueOf(loss: Loss, z: number[][], inputs: LossInputs = {}): number {
  return tidy(() => loss.compute(tensor(z), y(), inputs).itemSync());
}

function influenceBalanced(z: number[][], h: number[][], alpha = 1000): number {
  const w = inverseFrequencyWeights(counts);
  return meanOf(
    z.map((row, i) => {
      const p = softmax(row);
      const pull = sumOf(classes.map((c) => Math.abs(p[c] - Number(c === labels[i])))) * sumOf(h[i].map(Math.abs));
      return (alpha * w[labels[i]] * ce(row, labels[i])) / (pull + 1e-3);
    }),
  );
}

function lade(z: number[][], alpha = 0.1, lambda = 0.1): number {
  const balanced = meanOf(
    z.map((row, i) =>
      ce(
        row.map((v, c) => v + Math.log(priors[c])),
        labels[i],
      ),
    ),
  );
  const estimate = classes.map((c) => {
    const own = z.filter((_, i) => labels[i] === c).map((row) => row[c]);
    const s = Math.log(meanOf(z.map((row) => Math.exp(row[c]) / priors[c] / 3)));
    return priors[c] * (-(own.length === 0 ? 0 : meanOf(own)) + s + lambda * s * s);
  });
  return balanced + alpha * sumOf(estimate);
}

/** d value / d entries of a matrix, by central differences of the reference. */
function differences(f: (m: number[][]) => number, m: number[][]): number[] {
  return m.flatMap((row, i) =>
    row.map((_, j) => {
      const at = (h: number): number => f(m.map((r, a) => r.map((v, b) => (a === i && b === j ? v + h : v))));
      return (at(1e-5) - at(-1e-5)) / 2e-5;
    }),
  );
}

async function expectGradient(leaf: Tensor, expected: number[]): Promise<void> {
  const size = Math.max(...expected.map(Math.abs));
  const grad = [...((await leaf.grad?.data()) ?? [])];
  expect(grad).toHaveLength(expected.length);
  grad.forEach((g, i) => expect(g / size, String(i)).toBeCloseTo(expected[i] / size, 4));
}

describe('influence-balanced loss', () => {
  it('has weights 1 / n_c with sum C', () => {
    const w = inverseFrequencyWeights(counts);
    expect(sumOf(w)).toBeCloseTo(3, 12);
    expect(w[2] / w[0]).toBeCloseTo(20, 12);
  });

  it('is cross-entropy first and follows its formula from the share of epochs asked for', () => {
    const loss = createLoss({ name: 'influence-balanced', alpha: 7 }, counts);
    expect([loss.usesFeatures, loss.mixable, loss.cosine]).toEqual([true, false, false]);
    const plain = meanOf(logits.map((row, i) => ce(row, labels[i])));
    const h = tensor(features);
    loss.onEpoch(4, 10);
    expect(valueOf(loss, logits, { features: h })).toBeCloseTo(plain, 5);
    expect(valueOf(loss, logits)).toBeCloseTo(plain, 5);
    loss.onEpoch(5, 10);
    expect(valueOf(loss, logits, { features: h })).toBeCloseTo(influenceBalanced(logits, features, 7), 4);
    expect(() => valueOf(loss, logits)).toThrow(/expected the classifier's input/);
    loss.onEpoch(0, 10);
    expect(valueOf(loss, logits, { features: h })).toBeCloseTo(plain, 5);
    loss.dispose();
  });

  it('changes over inside a captured step', () => {
    const loss = createLoss({ name: 'influence-balanced', from: 0.2, reweightable: true }, counts);
    const step = capture((z: Tensor, l: Tensor, h: Tensor) => loss.compute(z, l, { features: h }));
    const run = (): number => step(tensor(logits), y(), tensor(features)).itemSync();
    loss.onEpoch(1, 10);
    expect(run()).toBeCloseTo(meanOf(logits.map((row, i) => ce(row, labels[i]))), 5);
    loss.onEpoch(2, 10);
    const expected = influenceBalanced(logits, features);
    expect(run() / expected).toBeCloseTo(1, 5);
    loss.setExtraWeights([2, 2, 2]);
    expect(run() / expected).toBeCloseTo(2, 5);
    expect(step.recordings).toBe(2);
    step.dispose();
    loss.dispose();
  });

  it('has gradients for logits and features', async () => {
    const loss = createLoss({ name: 'influence-balanced', from: 0 }, counts);
    loss.onEpoch(0, 10);
    const z = tensor(logits, { requiresGrad: true });
    // Away from the kinks of |h|.
    const hs = [
      [1, -2],
      [0.5, 0.2],
      [3, 1],
      [-0.25, 0.25],
    ];
    const h = tensor(hs, { requiresGrad: true });
    loss.compute(z, y(), { features: h }).backward();
    await expectGradient(
      z,
      differences((m) => influenceBalanced(m, hs), logits),
    );
    await expectGradient(
      h,
      differences((m) => influenceBalanced(logits, m), hs),
    );
    loss.dispose();
  });

  it('stays finite where a sample has no influence', () => {
    const loss = createLoss({ name: 'influence-balanced', from: 0 }, counts);
    loss.onEpoch(0, 10);
    const zeros = tensor(features.map(() => [0, 0]));
    expect(
      valueOf(
        loss,
        logits.map((_, i) => classes.map((c) => (c === labels[i] ? 200 : 0))),
        { features: zeros },
      ),
    ).toBe(0);
    loss.dispose();
  });
});

describe('LADE', () => {
  it('follows its formula, with classes that the batch lacks', () => {
    const loss = createLoss({ name: 'lade', alpha: 0.3, lambda: 0.2 }, counts);
    expect(valueOf(loss, logits)).toBeCloseTo(lade(logits, 0.3, 0.2), 5);
    const some = logits.slice(0, 2);
    const got = tidy(() => loss.compute(tensor(some), tensor(Int32Array.of(0, 2))).itemSync());
    expect(got).toBeCloseTo(lade(some, 0.3, 0.2), 5);
    loss.dispose();
  });

  it('is balanced softmax with alpha 0, and takes large logits', () => {
    const [one, two] = [
      createLoss({ name: 'lade', alpha: 0 }, counts),
      createLoss({ name: 'balanced-softmax' }, counts),
    ];
    expect(valueOf(one, logits)).toBeCloseTo(valueOf(two, logits), 6);
    const loss = createLoss({ name: 'lade' }, counts);
    const large = logits.map((row) => row.map((v) => 50 * v));
    expect(valueOf(loss, large) / lade(large)).toBeCloseTo(1, 5);
    for (const l of [one, two, loss]) l.dispose();
  });

  it('has gradients that follow finite differences', async () => {
    const loss = createLoss({ name: 'lade', alpha: 2, lambda: 0.5 }, counts);
    const z = tensor(logits, { requiresGrad: true });
    loss.compute(z, y()).backward();
    await expectGradient(
      z,
      differences((m) => lade(m, 2, 0.5), logits),
    );
    loss.dispose();
  });

  it('predicts with the logits as they are', () => {
    const loss = createLoss({ name: 'lade', mode: 'post-hoc' }, counts);
    expect(valueOf(loss, logits)).toBeCloseTo(lade(logits), 5);
    const z = tensor(logits);
    expect(loss.predict(z)).toBe(z);
    loss.dispose();
  });
});

describe('mixed samples', () => {
  const others = [1, 2, 0, 2];
  const share = [0.7, 1, 0.5, 0.9];
  const mixed = (): LossInputs => ({
    mixed: { labels: tensor(Int32Array.from(others)), share: tensor(Float32Array.from(share)) },
  });
  const both = (f: (z: number[], y: number) => number): number[] =>
    logits.map((z, i) => share[i] * f(z, labels[i]) + (1 - share[i]) * f(z, others[i]));
  const cb = effectiveNumberWeights(counts);
  const cbSum = sumOf(both((_, c) => cb[c]));

  it.each([
    ['ce', {}, meanOf(both(ce))],
    ['focal', {}, meanOf(both((z, c) => (1 - softmax(z)[c]) ** 2 * ce(z, c)))],
    ['class-balanced', {}, sumOf(both((z, c) => cb[c] * ce(z, c))) / cbSum],
    [
      'balanced-softmax',
      {},
      meanOf(
        both((z, c) =>
          ce(
            z.map((v, k) => v + logPriors(counts)[k]),
            c,
          ),
        ),
      ),
    ],
    [
      'ldam',
      { scale: 2 },
      meanOf(
        both((z, c) =>
          ce(
            z.map((v, k) => 2 * (v - (k === c ? ldamMargins(counts)[c] : 0))),
            c,
          ),
        ),
      ),
    ],
    [
      'vs',
      {},
      meanOf(
        both((z, c) =>
          ce(
            z.map((v, k) => v * (counts[k] / 100) ** 0.15 + 1.25 * logPriors(counts)[k]),
            c,
          ),
        ),
      ),
    ],
  ] as [LossOptions['name'], Partial<LossOptions>, number][])(
    'count by their shares with %s',
    (name, options, expected) => {
      const loss = createLoss({ name, ...options }, counts);
      expect(loss.mixable).toBe(true);
      expect(valueOf(loss, logits, mixed())).toBeCloseTo(expected, 5);
      loss.dispose();
    },
  );

  it('have gradients that follow finite differences', async () => {
    const loss = createLoss({ name: 'class-balanced' }, counts);
    const z = tensor(logits, { requiresGrad: true });
    loss.compute(z, y(), mixed()).backward();
    const reference = (m: number[][]): number =>
      sumOf(
        m.map(
          (row, i) =>
            share[i] * cb[labels[i]] * ce(row, labels[i]) + (1 - share[i]) * cb[others[i]] * ce(row, others[i]),
        ),
      ) / cbSum;
    await expectGradient(z, differences(reference, logits));
    loss.dispose();
  });

  it.each(['influence-balanced', 'lade'] as const)('are refused by %s', (name) => {
    const loss = createLoss({ name }, counts);
    expect(loss.mixable).toBe(false);
    expect(() => valueOf(loss, logits, mixed())).toThrow(ConfigError);
    loss.dispose();
  });
});

describe('bad parameters', () => {
  it.each([
    [{ name: 'influence-balanced', alpha: 0 }, /alpha from 0.000001 to 1000000000, got 0/],
    [{ name: 'influence-balanced', from: 2 }, /from from 0 to 1, got 2/],
    [{ name: 'influence-balanced', drw: {} }, /expected no drw/],
    [{ name: 'lade', alpha: -1 }, /alpha/],
    [{ name: 'lade', lambda: NaN }, /lambda from 0 to 1000, got NaN/],
  ] as [LossOptions, RegExp][])('refuses %j', (options, message) => {
    expect(() => createLoss(options, counts)).toThrow(ConfigError);
    expect(() => createLoss(options, counts)).toThrow(message);
  });
});
