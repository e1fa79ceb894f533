import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { classCounts, exponentialCounts, longTailSubset, stepCounts } from '../../src/longtail/profiles.js';

const balanced = (classes: number, each: number): Int32Array =>
  Int32Array.from({ length: classes * each }, (_, i) => i % classes);

describe('profiles', () => {
  it('gives the published counts of CIFAR-10 and Fashion-MNIST at imbalance factor 100', () => {
    expect(exponentialCounts(5000, 10, 100)).toEqual([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
    expect(exponentialCounts(6000, 10, 100)).toEqual([6000, 3596, 2156, 1292, 774, 464, 278, 166, 100, 60]);
  });

  it('has the step profile in two levels', () => {
    expect(stepCounts(500, 4, 10)).toEqual([500, 500, 50, 50]);
    expect(stepCounts(500, 4, 10, 0.25)).toEqual([500, 500, 500, 50]);
  });

  it('is flat at factor 1', () => {
    expect(exponentialCounts(7, 3, 1)).toEqual([7, 7, 7]);
  });

  it.each([
    [() => exponentialCounts(10, 1, 10), /at least 2 classes, got 1/],
    [() => exponentialCounts(10, 3, 0.5), /imbalance factor of at least 1, got 0.5/],
    [() => exponentialCounts(10, 3, NaN), /imbalance factor of at least 1, got NaN/],
    [() => exponentialCounts(0, 3, 2), /at least 1 sample, got 0/],
    [() => stepCounts(10, 3, 2, 2), /from 0 to 1, got 2/],
  ])('refuses nonsense %#', (run, message) => {
    expect(run).toThrow(ConfigError);
    expect(run).toThrow(message);
  });
});

describe('longTailSubset', () => {
  it('takes as many rows of each class as asked, each row once, in order', () => {
    const labels = balanced(3, 100);
    const rows = longTailSubset(labels, [100, 30, 5], 7);
    expect(
      classCounts(
        Array.from(rows, (r) => labels[r]),
        3,
      ),
    ).toEqual([100, 30, 5]);
    expect(new Set(rows).size).toBe(135);
    expect([...rows]).toEqual([...rows].sort((a, b) => a - b));
  });

  it('is fixed by its seed, and a smaller subset is part of a larger one', () => {
    const labels = balanced(3, 100);
    const rows = longTailSubset(labels, [50, 30, 5], 7);
    expect(longTailSubset(labels, [50, 30, 5], 7)).toEqual(rows);
    expect(longTailSubset(labels, [50, 30, 5], 8)).not.toEqual(rows);
    const larger = new Set(longTailSubset(labels, [60, 40, 9], 7));
    expect([...rows].every((row) => larger.has(row))).toBe(true);
  });

  it('names the class that has too few rows', () => {
    expect(() => longTailSubset(balanced(2, 5), [5, 6], 0)).toThrow(/at most 5 samples of class 1, got 6/);
    expect(() => longTailSubset([0, 1, 2], [1, 1], 0)).toThrow(/labels from 0 to 1, got 2 in row 2/);
  });
});
