/**
 * What a run leaves behind: the types of results.json, written by `gyrus train` and `gyrus compare` and read by `gyrus report`.
 * All rates are fractions (0..1), losses are means per sample in nats, times are seconds.
 */
import type { WidthDiagnostics } from '../plasticity/diagnostics.js';
import type { PlasticityEvent } from '../plasticity/events.js';

export type { PlasticityEvent };

/** One evaluation on a balanced test set. */
export interface Evaluation {
  /** Share of test samples whose label has the highest logit. */
  top1: number;
  /** Mean of perClass. */
  meanRecall: number;
  /** Mean recall of the most frequent, middle and rarest classes. */
  head: number;
  mid: number;
  tail: number;
  /** Recall of each class, most frequent first as in `classCounts`. */
  perClass: number[];
  /** Mean cross-entropy. */
  loss: number;
  /** Expected calibration error, 15 bins. */
  ece: number;
  /** confusion[label][prediction] */
  confusion: number[][];
}

export interface EpochRecord {
  /** From 1, over both stages. */
  epoch: number;
  /** 2 in the second stage of a two-stage method. */
  stage?: 2;
  step: number;
  learningRate: number;
  trainLoss: number;
  trainAccuracy: number;
  /** Absent in epochs without evaluation. */
  test?: Pick<Evaluation, 'top1' | 'meanRecall' | 'head' | 'mid' | 'tail' | 'perClass' | 'loss'>;
  /** Active units of each plastic width at the end of the epoch, by name. */
  widths: Record<string, number>;
  /** By width; absent in epochs without, and in runs that ask for none. */
  diagnostics?: Record<string, WidthDiagnostics>;
  samplesPerSecond: number;
  seconds: number;
}

export interface RunResult {
  name: string;
  seed: number;
  /** The validated configuration, with defaults filled in. */
  config: Record<string, unknown>;
  dataset: {
    name: string;
    source: string;
    trainRows: number;
    testRows: number;
    imbalanceFactor: number;
    classNames: string[];
    /** Training samples per class. */
    classCounts: number[];
  };
  parameters: { start: number; end: number };
  /**
   * Multiply-adds of linear layers, matrix products, convolutions and attention: of one sample's forward pass through the final
   * network, and of the whole training, where a sample's step counts as three forward passes at the widths of that step, and as one in
   * a second stage.
   */
  multiplyAdds: { forward: number; training: number };
  epochs: EpochRecord[];
  events: PlasticityEvent[];
  /** What a two-stage method did after the first stage. */
  secondStage?: { method: string; tau?: number };
  final: Evaluation;
  /** True when the run was ended by a signal; `final` is then of the last weights. */
  interrupted: boolean;
  seconds: number;
}

export interface CompareResult {
  format: 'gyrus-results';
  version: 1;
  createdAt: string;
  /** The command line that wrote it, where there was one. */
  command?: string;
  machine: { node: string; isa: string; threads: number; cpu: string };
  runs: RunResult[];
}
