import { describe, expect, it } from 'vitest';
import { balancedSplit, createDataset } from '../../src/data/index.js';
import { classCounts } from '../../src/longtail/index.js';

describe('balancedSplit', () => {
  const counts = [50, 20, 5, 2, 1];
  const labels = counts.flatMap((n, c) => new Array<number>(n).fill(c));
  const set = createDataset({ name: 's', data: Float32Array.from(labels, (_, i) => i), labels, shape: [1] });

  it('takes as many of each class as there are to take, and the rest is for training', () => {
    const { train, test } = balancedSplit(set, { perClass: 10, share: 0.4 });
    expect(classCounts(test.labels, 5)).toEqual([10, 8, 2, 1, 0]);
    expect(classCounts(train.labels, 5)).toEqual([40, 12, 3, 1, 1]);
    const all = [...train.data, ...test.data].sort((a, b) => a - b);
    expect(all).toEqual([...set.data]);
    for (const part of [train, test]) part.labels.forEach((c, i) => expect(c).toBe(labels[part.data[i]]));
  });

  it('depends on the seed alone', () => {
    const rows = (seed: number): number[] => [...balancedSplit(set, { perClass: 10, seed }).test.data];
    expect(rows(1)).toEqual(rows(1));
    expect(rows(1)).not.toEqual(rows(2));
  });
});
