/**
 * How long the rest of an experiment will take, by the times of cells that are alike.
 */
import { mean } from '../report-summary.js';
import type { CellName } from './grid.js';

type Kind = Pick<CellName, 'dataset' | 'model' | 'if' | 'method'>;

/** What makes cells alike, from the closest likeness to none. */
const LIKENESS: readonly ((cell: Kind) => string)[] = [
  (cell) => JSON.stringify([cell.dataset, cell.model, cell.if, cell.method]),
  (cell) => JSON.stringify([cell.dataset, cell.model, cell.if]),
  (cell) => JSON.stringify([cell.dataset, cell.model]),
  (cell) => JSON.stringify([cell.model]),
  () => '',
];

export class TimeLeft {
  readonly #times = new Map<string, number[]>();

  /** A cell that took that long. */
  add(cell: Kind, seconds: number): void {
    LIKENESS.forEach((of, i) => {
      const key = `${i}${of(cell)}`;
      this.#times.set(key, [...(this.#times.get(key) ?? []), seconds]);
    });
  }

  /** Seconds that a cell will take; undefined while nothing is known. */
  expected(cell: Kind): number | undefined {
    for (const [i, of] of LIKENESS.entries()) {
      const times = this.#times.get(`${i}${of(cell)}`);
      if (times) return mean(times);
    }
    return undefined;
  }

  /** Seconds until all are done with that many at a time; undefined while nothing is known. */
  left(
    queue: readonly Kind[],
    running: readonly { cell: Kind; share: number; began: number }[],
    jobs: number,
  ): number | undefined {
    let sum = 0;
    let longest = 0;
    for (const { cell, share, began } of running) {
      // Half a per cent into a run its own pace says more than the others.
      const own = share > 0.005 ? (performance.now() - began) / 1000 / share : this.expected(cell);
      if (own === undefined) return undefined;
      sum += own * (1 - share);
      longest = Math.max(longest, own * (1 - share));
    }
    for (const cell of queue) {
      const seconds = this.expected(cell);
      if (seconds === undefined) return undefined;
      sum += seconds;
    }
    return Math.max(longest, sum / jobs);
  }
}
