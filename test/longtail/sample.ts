/**
 * Four samples of three classes, and their cross-entropy in double precision, for the tests of the losses.
 */

/** Training samples per class. */
export const counts = [100, 30, 5];
export const logits = [
  [2, 0.5, -1],
  [0.1, 0.2, 0.3],
  [-3, 1, 4],
  [0, 0, 0],
];
export const labels = [0, 2, 1, 1];

export const sumOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
export const meanOf = (values: readonly number[]): number => sumOf(values) / values.length;

export function softmax(z: readonly number[]): number[] {
  const all = z.map(Math.exp);
  return all.map((e) => e / sumOf(all));
}

/** -log softmax(z)_y */
export const ce = (z: readonly number[], y: number): number => -Math.log(softmax(z)[y]);
