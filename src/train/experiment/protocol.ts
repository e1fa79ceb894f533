/**
 * What an experiment and its workers say to each other, over the channel that `fork` opens.
 */
import type { RunConfig } from '../config.js';
import type { RunRecord } from './record.js';

export type ToWorker =
  | { type: 'run'; id: string; hash: string; config: RunConfig; cache: string }
  /** Ends the run in progress at the next step, with its checkpoint. */
  | { type: 'stop' };

export type FromWorker =
  | { type: 'ready' }
  /** Share of the run's steps that are done. */
  | { type: 'progress'; share: number }
  | { type: 'done'; record: RunRecord }
  | { type: 'interrupted' }
  | { type: 'failed'; message: string };
