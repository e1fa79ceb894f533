/**
 * The log of births and deaths: one event per change of one width, in the form that results.json keeps.
 */

/** A birth or a death of neurons. */
export interface PlasticityEvent {
  step: number;
  /** Completed epochs, fractional inside an epoch. */
  epoch: number;
  kind: 'grow' | 'prune' | 'reset';
  /** Name of the width. */
  layer: string;
  /** Ids of the units born, removed or reset. */
  unitIds: number[];
  /** Units active afterwards. */
  width: number;
  /** On prune and reset: id and score of every unit that was active, in slot order. */
  scores?: { id: number; score: number }[];
}
