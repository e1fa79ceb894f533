/**
 * Callbacks: what may look at, and act on, a training while it runs. Between two hooks nothing else is enqueued.
 */
import type { Loss } from '../longtail/index.js';
import type { Module } from '../nn/index.js';
import type { Optimizer } from '../optim/index.js';
import type { Tensor } from '../tensor/index.js';
import type { EpochRecord, PlasticityEvent } from './results.js';

/** What a callback sees. The numbers are current at each call. */
export interface TrainContext {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  /** Epochs of the first stage, which for most trainings is the only one. */
  readonly epochs: number;
  /** Current epoch, from 0. In onEpochEnd: the one that just ended. */
  readonly epoch: number;
  /** Steps taken so far. */
  readonly step: number;
  readonly stepsPerEpoch: number;
  /** Training samples per class. */
  readonly classCounts: readonly number[];
  /**
   * A class-balanced sample of the training set: x f32 [rows, features] and labels y i32 [rows], the same for the same epoch. Classes
   * with fewer samples give all they have. The caller disposes of both.
   */
  probe(samplesPerClass: number): { x: Tensor; y: Tensor };
}

/** Every hook may be async; the training waits for it. */
export interface Callback {
  onTrainStart?(context: TrainContext): void | Promise<void>;
  onEpochStart?(context: TrainContext): void | Promise<void>;
  onStepEnd?(context: TrainContext): void | Promise<void>;
  /** After the last step of an epoch, before its evaluation. */
  onEpochEnd?(context: TrainContext): void | Promise<void>;
  onTrainEnd?(context: TrainContext): void | Promise<void>;
}

/** Where a training stands; sent every few steps. */
export interface Progress {
  name: string;
  seed: number;
  /** From 1. */
  epoch: number;
  epochs: number;
  /** Steps taken of the whole training. */
  step: number;
  steps: number;
  /** Means over the epoch so far. */
  loss: number;
  accuracy: number;
  /** Active units of each width by name. */
  widths: Record<string, number>;
  samplesPerSecond: number;
  secondsLeft: number;
}

/** What a run reports while it goes on. */
export interface RunHooks {
  onProgress?(progress: Progress): void;
  onEpoch?(record: EpochRecord): void;
  onEvent?(event: PlasticityEvent): void;
}
