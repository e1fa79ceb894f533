/**
 * What the frequent classes have learned is retained in two ways: units that a head class needs are not removed (`retain`), and their own
 * weights stand still while newborn units learn (`shelter`, by UnitRates).
 */
import type { GateStats } from './collector.js';
import { lowest } from './scores.js';

/** The most frequent classes: as many as given, or a third, rounded. */
export function headClasses(counts: readonly number[], many: number | null): number[] {
  const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
  return order.slice(0, many ?? Math.max(1, Math.round(counts.length / 3)));
}

/** Slots in the top share of any of the classes, by mean |a dL/da| over the class. */
export function neededUnits({ perClass }: GateStats, classes: readonly number[], share: number): Set<number> {
  const needed = new Set<number>();
  for (const c of classes) {
    const row = perClass[c];
    const top = lowest(
      row.map((value) => -value),
      Math.ceil(share * row.length - 1e-9),
    );
    for (const slot of top) needed.add(slot);
  }
  return needed;
}
