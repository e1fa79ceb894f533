/**
 * A small long-tailed problem that a network of a few units learns in milliseconds, and what comparisons of runs need.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { createDataset, type Dataset } from '../../src/data/index.js';
import { loadCheckpoint } from '../../src/io/index.js';
import { Philox } from '../../src/tensor/index.js';
import {
  type Callback,
  longTailed,
  type PreparedData,
  type RunConfigInput,
  type RunOptions,
  type RunResult,
  train,
} from '../../src/train/index.js';

/** Classes are noisy bumps around random centres in `features` dimensions. */
export function bumps(name: string, perClass: number, classes = 4, features = 6, seed = 1): Dataset {
  const centres = new Philox(seed, 'centres');
  const mean = Array.from({ length: classes * features }, () => centres.normal());
  const noise = new Philox(seed, name);
  const labels = Int32Array.from({ length: classes * perClass }, (_, i) => i % classes);
  const data = Float32Array.from({ length: labels.length * features }, (_, i) => {
    const row = Math.floor(i / features);
    return mean[labels[row] * features + (i % features)] + 0.7 * noise.normal();
  });
  return createDataset({ name, data, labels, shape: [features] });
}

export function smallData(perClass = 100): PreparedData {
  const pair = { name: 'bumps', source: 'test', train: bumps('train', perClass), test: bumps('test', 25) };
  return longTailed(pair, { imbalanceFactor: 10, profile: 'exponential', subsetSeed: 0 });
}

/** 8 epochs of a network that grows twice. */
export const plastic: RunConfigInput = {
  model: { hidden: [8, 6], dropout: 0.1, norm: 'batch' },
  optimizer: { name: 'adamw', lr: 0.01, clipNorm: 5 },
  plasticity: { rate: 0.5, period: 3, grownEpochs: 2, warmup: 0.1, lastShrink: 0.8, lastPhase: 0.8 },
  loss: { name: 'balanced-softmax' },
  epochs: 8,
  batchSize: 16,
  seed: 3,
};

/** A folder that goes away with the test file. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'gyrus-train-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** A result without what differs from run to run: times and paths. */
export function timeless(result: RunResult): unknown {
  return {
    ...result,
    config: undefined,
    seconds: 0,
    epochs: result.epochs.map((record) => ({ ...record, seconds: 0, samplesPerSecond: 0 })),
  };
}

/** All tensors of a checkpoint as hex, and the state of widths and random numbers. */
export async function fingerprint(path: string): Promise<unknown> {
  const { meta, tensors } = await loadCheckpoint(path);
  const hex = [...tensors].map(([name, { data, shape }]) => {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return [name, shape.join('x'), bytes.toString('hex')];
  });
  const { widths, generator, cycle, optimizer, secondStage } = meta;
  return { hex, widths, generator, cycle, optimizer, secondStage };
}

/** Trainings on some data with checkpoints in a folder that goes away with the test file. */
export function trainings(data: PreparedData) {
  const dir = temporaryFolder();
  let files = 0;
  const path = (): string => join(dir, `${files++}.ckpt`);
  const saving = (config: RunConfigInput, to: string, every = 1000): RunConfigInput => ({
    ...config,
    checkpoint: { path: to, every },
  });

  /** Trains to the end and returns the result and the fingerprint of all state at the end. */
  async function whole(config: RunConfigInput, options: RunOptions = {}) {
    const to = path();
    const result = await train(saving(config, to), { data, ...options });
    return { result: timeless(result), state: await fingerprint(to) };
  }

  /** Stops after `step` steps. */
  function stopAt(step: number): RunOptions {
    const controller = new AbortController();
    const callback: Callback = {
      onStepEnd: (context) => {
        if (context.step === step) controller.abort();
      },
    };
    return { data, signal: controller.signal, callbacks: [callback] };
  }
  return { dir, path, saving, whole, stopAt };
}
