import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { classCounts } from '../../src/longtail/profiles.js';
import {
  classGroups,
  classificationMetrics,
  ConfusionMatrix,
  expectedCalibrationError,
} from '../../src/longtail/metrics.js';

describe('metrics', () => {
  it('groups ten classes 3, 4, 3 by frequency', () => {
    const counts = [60, 100, 166, 278, 464, 774, 1292, 2156, 3596, 6000];
    expect(classGroups(counts)).toEqual({ head: [9, 8, 7], mid: [6, 5, 4, 3], tail: [2, 1, 0] });
  });

  it('groups many classes by 100 and 20 samples', () => {
    const counts = [500, 101, 100, 50, 20, 19, 1];
    expect(classGroups(counts)).toEqual({ head: [0, 1], mid: [2, 3, 4], tail: [5, 6] });
  });

  it('falls back to ranks when a group would be empty', () => {
    const { head, mid, tail } = classGroups([900, 800, 700]);
    expect([head, mid, tail]).toEqual([[0], [1], [2]]);
  });

  it('counts recalls from the confusion matrix', () => {
    const m = classificationMetrics([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 0, 0], [100, 50, 1]);
    expect(m.confusion).toEqual([
      [3, 1, 0],
      [1, 1, 0],
      [1, 0, 0],
    ]);
    expect(m.perClass).toEqual([0.75, 0.5, 0]);
    expect(m.top1).toBeCloseTo(4 / 7, 12);
    expect(m.meanRecall).toBeCloseTo(1.25 / 3, 12);
    expect([m.head, m.mid, m.tail]).toEqual([0.75, 0.5, 0]);
  });

  it('refuses labels and predictions out of range', () => {
    const matrix = new ConfusionMatrix(3);
    expect(() => matrix.add([0, 3], [0, 1])).toThrow(/label from 0 to 2, got 3/);
    expect(() => matrix.add([0], [-1])).toThrow(/prediction from 0 to 2, got -1/);
    expect(() => matrix.add([0], [])).toThrow(/as many predictions as labels \(1\), got 0/);
  });

  it('has no calibration error when confidence is accuracy, and the gap otherwise', () => {
    const confidences = Array(10).fill(0.8) as number[];
    const right = confidences.map((_, i) => i < 8);
    expect(expectedCalibrationError(confidences, right)).toBeCloseTo(0, 12);
    expect(expectedCalibrationError([1, 1, 1, 1], [1, 0, 0, 0])).toBeCloseTo(0.75, 12);
    expect(expectedCalibrationError([0.95, 0.15], [1, 1])).toBeCloseTo((0.05 + 0.85) / 2, 12);
    expect(expectedCalibrationError([], [])).toBe(0);
  });
});

describe('metrics of bad numbers', () => {
  it('refuses NaN confidences and unequal lengths', () => {
    expect(() => expectedCalibrationError([0.5, NaN], [1, 0])).toThrow(ConfigError);
    expect(() => expectedCalibrationError([0.5, 0.5], [1])).toThrow(ConfigError);
    expect(() => expectedCalibrationError([0.5], [1], 0)).toThrow(ConfigError);
  });

  it('refuses labels that are no whole numbers, and then adds nothing', () => {
    const matrix = new ConfusionMatrix(2);
    expect(() => matrix.add([0, 0.5], [0, 1])).toThrow(ConfigError);
    expect(() => matrix.add([0, 1], [0, 2])).toThrow(ConfigError);
    expect(matrix.total).toBe(0);
    expect(() => classCounts([0.5], 2)).toThrow(ConfigError);
  });
});
