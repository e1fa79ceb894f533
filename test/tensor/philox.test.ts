import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { Philox } from '../../src/tensor/index.js';

describe('Philox', () => {
  it('gives the known words of key 0', () => {
    const random = new Philox(0);
    expect([random.u32(), random.u32(), random.u32(), random.u32()]).toEqual([
      0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8,
    ]);
  });

  it('goes on from a saved state, across block borders', () => {
    const random = new Philox(2 ** 40 + 5, 'x');
    for (let i = 0; i < 1021; i++) random.u32();
    const copy = Philox.from(JSON.parse(JSON.stringify(random.state())));
    const next = (r: Philox): number[] => Array.from({ length: 20 }, () => r.u32());
    expect(next(copy)).toEqual(next(random));
  });

  it('has independent streams', () => {
    const first = (seed: number, stream: string): number => new Philox(seed, stream).u32();
    expect(new Set([first(1, 'a'), first(1, 'b'), first(2, 'a'), first(1, '')]).size).toBe(4);
  });

  it('draws uniform, normal and bounded numbers with the right moments', () => {
    const random = new Philox(3);
    const n = 20000;
    const mean = (draw: () => number): number => Array.from({ length: n }, draw).reduce((a, b) => a + b) / n;
    expect(mean(() => random.uniform())).toBeCloseTo(0.5, 1);
    expect(Math.abs(mean(() => random.normal()))).toBeLessThan(0.03);
    expect(Math.abs(mean(() => random.normal() ** 2) - 1)).toBeLessThan(0.05);
    expect(Math.abs(mean(() => random.below(7)) - 3)).toBeLessThan(0.06);
  });

  it('permutes', () => {
    expect([...new Philox(1).permutation(50)].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it.each([-1, 0.5, NaN, 2 ** 53])('refuses seed %s', (seed) => {
    expect(() => new Philox(seed)).toThrow(ConfigError);
  });
});
