/**
 * A small results object with made-up numbers, hostile names and a missing loss, for the tests of the report.
 */
import type { CompareResult, RunResult } from '../../src/train/results.js';

export const HOSTILE = '<img src="https://evil.example/x.png" onerror=alert(1)>&\'"';

function run(name: string, seed: number, shift: number, plastic: boolean): RunResult {
  const perClass = [0.9, 0.6 + shift, 0.3 + 2 * shift];
  const meanRecall = perClass.reduce((a, b) => a + b) / 3;
  const confusion = perClass.map((p, c) =>
    perClass.map((_, j) => (j === c ? Math.round(100 * p) : Math.round((100 * (1 - p)) / 2))),
  );
  const evaluation = {
    top1: meanRecall,
    meanRecall,
    head: 0.9,
    mid: 0.6 + shift,
    tail: 0.3 + 2 * shift,
    perClass,
    loss: 0.8,
  };
  return {
    name,
    seed,
    config: { epochs: 3, optimizer: { lr: 0.1 }, note: HOSTILE, plasticity: plastic ? { rate: 0.5 } : null },
    dataset: {
      name: 'toy',
      source: HOSTILE,
      trainRows: 111,
      testRows: 300,
      imbalanceFactor: 100,
      classNames: ['common', HOSTILE, 'rare'],
      classCounts: [100, 10, 1],
    },
    parameters: { start: 50, end: 50 },
    multiplyAdds: { forward: 40, training: 4800 },
    epochs: [1, 2, 3].map((epoch) => ({
      epoch,
      step: epoch * 4,
      learningRate: 0.1,
      trainLoss: epoch === 2 ? Number.NaN : 1 / epoch,
      trainAccuracy: 0.5 + epoch / 10,
      test: evaluation,
      widths: { hidden: 4 },
      samplesPerSecond: 1000,
      seconds: 0.1,
    })),
    events: plastic
      ? [
          { step: 4, epoch: 1, kind: 'grow', layer: 'hidden', unitIds: [4, 5], width: 6 },
          {
            step: 8,
            epoch: 2,
            kind: 'prune',
            layer: 'hidden',
            unitIds: [1, 5],
            width: 4,
            scores: [0.5, 0.001, 0.2, 0.4, 0.3, 0].map((score, id) => ({ id, score })),
          },
        ]
      : [],
    final: { ...evaluation, ece: 0.05, confusion },
    interrupted: false,
    seconds: 1,
  };
}

/** Two groups, each with these seeds. */
export function sample(seeds: number[] = [0]): CompareResult {
  return {
    format: 'gyrus-results',
    version: 1,
    createdAt: '2026-01-01T00:00:00.000Z',
    command: 'npx gyrus compare a.json b.json --json results.json',
    machine: { node: 'v20.19.0', isa: 'avx2', threads: 2, cpu: 'Some CPU' },
    runs: seeds.flatMap((seed) => [run('fixed', seed, 0, false), run('plastic', seed, 0.02 + 0.001 * seed, true)]),
  };
}
