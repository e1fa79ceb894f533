import { describe, expect, it } from 'vitest';
import { capture } from '../../src/autograd/index.js';
import { ConfigError } from '../../src/device/index.js';
import {
  createLoss,
  effectiveNumberWeights,
  exponentialCounts,
  ldamMargins,
  logPriors,
  type LossOptions,
} from '../../src/longtail/index.js';
import { tensor, tidy } from '../../src/tensor/index.js';
import { ce, counts, labels, logits, meanOf } from './sample.js';

/** The textbook formulas, in double precision. */
const meanOver = (f: (z: number[], y: number) => number): number => meanOf(logits.map((z, i) => f(z, labels[i])));
function weighted(f: (z: number[], y: number) => number, w: number[]): number {
  const total = labels.reduce((s, y) => s + w[y], 0);
  return logits.reduce((s, z, i) => s + w[labels[i]] * f(z, labels[i]), 0) / total;
}

function value(options: LossOptions, prepare?: (loss: ReturnType<typeof createLoss>) => void): number {
  const loss = createLoss(options, counts);
  prepare?.(loss);
  const out = tidy(() => loss.compute(tensor(logits), tensor(Int32Array.from(labels))).itemSync());
  loss.dispose();
  return out;
}

const priors = logPriors(counts);

describe('checked values', () => {
  it('gives the margins and priors of CIFAR-10 at imbalance factor 100', () => {
    const cifar = exponentialCounts(5000, 10, 100);
    const margins = ldamMargins(cifar);
    expect(margins[0]).toBeCloseTo(0.15811, 5);
    expect(margins[9]).toBeCloseTo(0.5, 12);
    expect(logPriors(cifar)[9]).toBeCloseTo(-5.5139, 4);
  });

  it('normalises the effective-number weights to sum C', () => {
    const w = effectiveNumberWeights(counts);
    expect(w.reduce((a, b) => a + b)).toBeCloseTo(3, 12);
    expect(w[2] / w[0]).toBeCloseTo((1 - 0.9999 ** 100) / (1 - 0.9999 ** 5), 10);
  });
});

describe('losses', () => {
  it.each([
    ['cross-entropy', { name: 'ce' }, meanOver(ce)],
    ['focal', { name: 'focal' }, meanOver((z, y) => (1 - Math.exp(-ce(z, y))) ** 2 * ce(z, y))],
    ['focal with gamma 0 is cross-entropy', { name: 'focal', gamma: 0 }, meanOver(ce)],
    ['class-balanced', { name: 'class-balanced' }, weighted(ce, effectiveNumberWeights(counts))],
    [
      'LDAM',
      { name: 'ldam', scale: 2 },
      meanOver((z, y) => {
        const m = ldamMargins(counts);
        return ce(
          z.map((v, c) => 2 * (v - (c === y ? m[y] : 0))),
          y,
        );
      }),
    ],
    [
      'logit adjustment',
      { name: 'logit-adjustment', tau: 1.5 },
      meanOver((z, y) =>
        ce(
          z.map((v, c) => v + 1.5 * priors[c]),
          y,
        ),
      ),
    ],
    [
      'balanced softmax',
      { name: 'balanced-softmax' },
      meanOver((z, y) =>
        ce(
          z.map((v, c) => v + priors[c]),
          y,
        ),
      ),
    ],
    [
      'VS',
      { name: 'vs' },
      meanOver((z, y) =>
        ce(
          z.map((v, c) => v * (counts[c] / 100) ** 0.15 + 1.25 * priors[c]),
          y,
        ),
      ),
    ],
    [
      'label smoothing',
      { name: 'ce', labelSmoothing: 0.3 },
      meanOver((z, y) => 0.7 * ce(z, y) + 0.1 * [0, 1, 2].reduce((s, c) => s + ce(z, c), 0)),
    ],
  ] as [string, LossOptions, number][])('%s follows its formula', (_, options, expected) => {
    expect(value(options)).toBeCloseTo(expected, 5);
  });

  it('predicts with the priors taken off, post hoc', async () => {
    const loss = createLoss({ name: 'logit-adjustment', mode: 'post-hoc' }, counts);
    expect(value({ name: 'logit-adjustment', mode: 'post-hoc' })).toBeCloseTo(meanOver(ce), 5);
    const predicted = await loss.predict(tensor([[0, 0, 0]])).data();
    priors.forEach((prior, c) => expect(predicted[c]).toBeCloseTo(-prior, 5));
    loss.dispose();
  });

  it('re-weights from the share of epochs asked for, in a captured step too', () => {
    const options: LossOptions = { name: 'ce', drw: { from: 0.8 } };
    const plain = meanOver(ce);
    const later = weighted(ce, effectiveNumberWeights(counts));
    expect(value(options, (loss) => loss.onEpoch(7, 10))).toBeCloseTo(plain, 5);
    expect(value(options, (loss) => loss.onEpoch(8, 10))).toBeCloseTo(later, 5);

    const loss = createLoss(options, counts);
    using z = tensor(logits);
    using y = tensor(Int32Array.from(labels));
    const step = capture((a: typeof z, b: typeof y) => loss.compute(a, b));
    expect(step(z, y).itemSync()).toBeCloseTo(plain, 5);
    loss.onEpoch(9, 10);
    expect(step(z, y).itemSync()).toBeCloseTo(later, 5);
    loss.onEpoch(0, 10);
    expect(step(z, y).itemSync()).toBeCloseTo(plain, 5);
    expect(step.recordings).toBe(1);
    step.dispose();
    loss.dispose();
  });

  it('takes extra weights and gives them back', () => {
    const options: LossOptions = { name: 'ce', reweightable: true };
    const w = [0.5, 1, 4];
    expect(value(options, (loss) => loss.setExtraWeights(w))).toBeCloseTo(weighted(ce, w), 5);
    const off = (loss: ReturnType<typeof createLoss>): void => {
      loss.setExtraWeights(w);
      loss.setExtraWeights(undefined);
    };
    expect(value(options, off)).toBeCloseTo(meanOver(ce), 5);
    expect(() => value({ name: 'ce' }, (loss) => loss.setExtraWeights(w))).toThrow(/option reweightable/);
    expect(() => value(options, (loss) => loss.setExtraWeights([1]))).toThrow(/expected 3 class weights, got 1/);
  });

  it('has gradients that follow finite differences', async () => {
    for (const name of ['ce', 'focal', 'class-balanced', 'ldam', 'logit-adjustment', 'vs'] as const) {
      const loss = createLoss({ name, scale: 3 }, counts);
      const y = tensor(Int32Array.from(labels));
      const at = (change: number, i: number): number => {
        const z = Float32Array.from(logits.flat());
        z[i] += change;
        return tidy(() => loss.compute(tensor(z, { shape: [4, 3] }), y).itemSync());
      };
      const z = tensor(logits, { requiresGrad: true });
      loss.compute(z, y).backward();
      const grad = await z.grad!.data();
      grad.forEach((g, i) => expect(g, `${name} ${i}`).toBeCloseTo((at(0.02, i) - at(-0.02, i)) / 0.04, 3));
      loss.dispose();
    }
  });

  it.each([
    [{ name: 'hinge' }, /expected one of ce, focal/],
    [{ name: 'focal', gamma: -1 }, /focal loss: expected gamma from 0 to 10, got -1/],
    [{ name: 'class-balanced', beta: 1 }, /beta/],
    [{ name: 'ldam', scale: NaN }, /scale from 0.001 to 1000, got NaN/],
    [{ name: 'ce', labelSmoothing: 2 }, /labelSmoothing from 0 to 1, got 2/],
    [{ name: 'ce', drw: { from: 7 } }, /drw.from from 0 to 1, got 7/],
  ])('refuses %j', (options, message) => {
    expect(() => createLoss(options as LossOptions, counts)).toThrow(ConfigError);
    expect(() => createLoss(options as LossOptions, counts)).toThrow(message);
  });

  it('refuses classes without samples', () => {
    expect(() => createLoss({ name: 'ce' }, [5, 0])).toThrow(/at least one sample .* \[5, 0\]/);
  });
});
