import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { classCounts } from '../../src/longtail/profiles.js';
import { createSampler, samplerNames } from '../../src/longtail/samplers.js';

const labels = Int32Array.from([...Array(900).fill(0), ...Array(90).fill(1), ...Array(10).fill(2)]);
const make = (name: (typeof samplerNames)[number], seed = 1) => createSampler(name, labels, 3, { seed, epochs: 5 });
const shares = (order: Int32Array): number[] =>
  classCounts(
    Array.from(order, (r) => labels[r]),
    3,
  ).map((n) => n / order.length);

describe('samplers', () => {
  it.each(samplerNames)('%s depends on seed and epoch alone', (name) => {
    const order = make(name).epoch(3);
    expect(order.length).toBe(labels.length);
    const other = make(name);
    other.epoch(0);
    expect(other.epoch(3)).toEqual(order);
    expect(make(name).epoch(2)).not.toEqual(order);
    expect(make(name, 2).epoch(3)).not.toEqual(order);
  });

  it('instance visits every row once', () => {
    expect([...make('instance').epoch(0)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  it('class-balanced visits classes equally often, and no row much more often than its like', () => {
    const order = make('class-balanced').epoch(0);
    for (const share of shares(order)) expect(Math.abs(share - 1 / 3)).toBeLessThan(0.05);
    const visits = new Map<number, number>();
    for (const row of order) if (labels[row] === 2) visits.set(row, (visits.get(row) ?? 0) + 1);
    expect(Math.max(...visits.values()) - Math.min(...visits.values())).toBeLessThanOrEqual(1);
  });

  it('square-root lies between', () => {
    const roots = [30, Math.sqrt(90), Math.sqrt(10)];
    const sum = roots.reduce((a, b) => a + b);
    shares(make('square-root').epoch(0)).forEach((share, c) =>
      expect(Math.abs(share - roots[c] / sum)).toBeLessThan(0.05),
    );
  });

  it('progressive goes from instance to class-balanced', () => {
    const sampler = make('progressive');
    expect(shares(sampler.epoch(0))[2]).toBeLessThan(0.03);
    expect(Math.abs(shares(sampler.epoch(4))[2] - 1 / 3)).toBeLessThan(0.05);
  });

  it('refuses bad arguments', () => {
    expect(() => make('lottery' as never)).toThrow(/expected one of instance, class-balanced/);
    expect(() => make('instance', -1)).toThrow(ConfigError);
    expect(() => make('instance').epoch(0.5)).toThrow(/expected an epoch from 0, got 0.5/);
    expect(() => createSampler('class-balanced', [0, 3], 3, { seed: 0, epochs: 1 })).toThrow(
      /labels from 0 to 2, got 3/,
    );
  });
});
