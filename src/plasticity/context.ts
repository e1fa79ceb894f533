/**
 * What the cycle needs to see of a training. The training loop's own context fits it (the types are structural).
 */
import type { Module } from '../nn/index.js';
import type { Optimizer } from '../optim/index.js';
import type { Tensor } from '../tensor/index.js';

export interface PlasticityContext {
  readonly model: Module;
  readonly optimizer: Optimizer;
  /** Epochs of the whole training. */
  readonly epochs: number;
  /** Current epoch, from 0; in onEpochEnd the one that just ended. */
  readonly epoch: number;
  /** Steps taken so far. */
  readonly step: number;
  readonly stepsPerEpoch: number;
  /** Training samples per class. Needed by scores of the gate, class weights and `retain`. */
  readonly classCounts?: readonly number[];
  /** A class-balanced sample of the training set: x [rows, ...] and labels y i32 [rows], freed by the cycle. */
  probe?(samplesPerClass: number): { x: Tensor; y: Tensor } | Promise<{ x: Tensor; y: Tensor }>;
}
