#!/usr/bin/env node
/**
 * Holds our baselines against PyTorch's: the same ResNet, recipe, long-tailed pictures and number of steps, for several losses and
 * seeds, and prints the differences in mean class recall with 95 % intervals. First weights, order and augmentation are drawn
 * independently on either side, so the seeds are not paired. Runs that are in the file already are not repeated.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { optim, io, train as training } from '../dist/index.js';
import { DEVICE, onGpu } from './device.mjs';
import { PYTHON, torchAbsent } from './torch.mjs';

const HELP = `node bench/calibrate.mjs [options]
  --dataset NAME  default cifar-10 (gyrus data fetch cifar-10)
  --losses LIST   default ce,balanced-softmax,ldam-drw
  --seeds N       seeds 0..N-1, default 3
  --epochs N      default 200; the schedule keeps its proportions
  --depth N       of the ResNet, default 32
  --json FILE     results, read first where it exists; default calibration.json
  --report        runs nothing: reports what is in the file
Both run on the device that GYRUS_DEVICE names: cpu, or cuda:0.`;

const LOSSES = {
  ce: { name: 'ce' },
  'balanced-softmax': { name: 'balanced-softmax' },
  'ldam-drw': { name: 'ldam', drw: {} },
};
const PADDING = 4;
const FLIP = 0.5;

/** The recipe that long-tailed work trains ResNets with: 200 epochs, warm-up 5, x0.01 at 160 and at 180. */
function configOf({ dataset, loss, seed, epochs, depth }) {
  return {
    dataset: { name: dataset, imbalanceFactor: 100, normalize: true },
    model: { kind: 'resnet', depth },
    optimizer: { name: 'sgd', lr: 0.1, momentum: 0.9, weightDecay: 2e-4 },
    schedule: { name: 'step', warmupEpochs: epochs / 40, milestones: [0.8, 0.9], gamma: 0.01 },
    loss: LOSSES[loss],
    augment: { padding: PADDING, flip: FLIP },
    epochs,
    evalEvery: epochs,
    batchSize: 128,
    threads: 1,
    seed,
  };
}

async function ours(job) {
  const { final, seconds } = await training.train(configOf(job));
  return { recall: final.perClass, top1: final.top1, seconds };
}

function learningRates({ optimizer, schedule, epochs }, steps) {
  const { milestones, gamma, warmupEpochs } = schedule;
  const factor = optim.schedules.warmup(warmupEpochs / epochs, optim.schedules.step(milestones, gamma));
  return Array.from({ length: steps }, (_, step) => optimizer.lr * factor(step / steps));
}

/** What PyTorch is to read, in a folder of its own. */
async function exportData(folder, { train, test }) {
  for (const [name, { data, labels, rows, shape }] of Object.entries({ train, test })) {
    if (!(data instanceof Uint8Array)) throw new Error(`calibrate: expected pictures of bytes, got ${train.name}`);
    await io.writeNpy(join(folder, `${name}.npy`), { dtype: 'u8', shape: [rows, ...shape], data });
    await io.writeNpy(join(folder, `${name}_labels.npy`), { dtype: 'i32', shape: [rows], data: labels });
  }
}

function theirs(job, folder, { train }) {
  const config = configOf(job);
  const { optimizer, batchSize, epochs, seed } = config;
  const steps = Math.ceil(train.rows / batchSize) * epochs;
  const request = {
    depth: job.depth,
    seed,
    batch: batchSize,
    rates: learningRates(config, steps),
    momentum: optimizer.momentum,
    decay: optimizer.weightDecay,
    loss: job.loss,
    scale: train.scale,
    shift: train.shift,
    padding: PADDING,
    flip: FLIP,
    threads: 1,
    device: onGpu ? 'cuda' : 'cpu',
  };
  const script = fileURLToPath(new URL('torch_longtail.py', import.meta.url));
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(PYTHON, [script, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (part) => (text += part));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) return reject(new Error(`calibrate: torch_longtail.py ended with ${code}`));
      resolve({ ...JSON.parse(text), seconds: (performance.now() - began) / 1000 });
    });
    child.stdin.end(JSON.stringify(request));
  });
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const variance = (values) => values.reduce((sum, v) => sum + (v - mean(values)) ** 2, 0) / (values.length - 1);
/** Two-sided 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom. */
const T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

function report(runs) {
  const titleOf = ({ depth, epochs, device, loss }) => `ResNet-${depth}, ${epochs} epochs, ${device}, ${loss}`;
  for (const title of new Set(runs.map(titleOf))) {
    const [us, them] = ['gyrus', 'torch'].map((engine) =>
      runs.filter((run) => titleOf(run) === title && run.engine === engine).map(({ recall }) => 100 * mean(recall)),
    );
    if (us.length < 2 || them.length < 2) {
      const [ours, theirs] = [us, them].map((values) => `${values.map((v) => v.toFixed(2)).join(', ')}`);
      console.log(`${title}: gyrus ${ours}; torch ${theirs}: no interval from fewer than two runs of each`);
      continue;
    }
    // Welch's interval.
    const [a, b] = [variance(us) / us.length, variance(them) / them.length];
    const freedom = (a + b) ** 2 / (a ** 2 / (us.length - 1) + b ** 2 / (them.length - 1));
    const half = T[Math.min(T.length, Math.max(1, Math.floor(freedom))) - 1] * Math.sqrt(a + b);
    const difference = mean(us) - mean(them);
    console.log(
      `${title}: gyrus ${mean(us).toFixed(2)} (n ${us.length}), torch ${mean(them).toFixed(2)} (n ${them.length}), ` +
        `difference ${difference.toFixed(2)} +- ${half.toFixed(2)} points of mean class recall`,
    );
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      dataset: { type: 'string', default: 'cifar-10' },
      losses: { type: 'string', default: Object.keys(LOSSES).join(',') },
      seeds: { type: 'string', default: '3' },
      epochs: { type: 'string', default: '200' },
      depth: { type: 'string', default: '32' },
      json: { type: 'string', default: 'calibration.json' },
      report: { type: 'boolean', default: false },
      help: { type: 'boolean' },
    },
  });
  if (values.help) return console.log(HELP);
  const losses = values.losses.split(',');
  const unknown = losses.find((loss) => !Object.hasOwn(LOSSES, loss));
  if (unknown) throw new Error(`calibrate: expected losses among ${Object.keys(LOSSES).join(', ')}, got ${unknown}`);
  const [seeds, epochs, depth] = [values.seeds, values.epochs, values.depth].map(Number);

  const runs = existsSync(values.json) ? JSON.parse(readFileSync(values.json, 'utf8')) : [];
  if (values.report) return report(runs);
  const same = (run, job) => Object.keys(job).every((key) => run[key] === job[key]);
  const jobs = Array.from({ length: seeds }, (_, seed) =>
    losses.map((loss) => ({ dataset: values.dataset, loss, seed, epochs, depth, device: DEVICE })),
  ).flat();
  const missing = jobs.flatMap((job) =>
    ['gyrus', 'torch']
      .filter((engine) => !runs.some((run) => run.engine === engine && same(run, job)))
      .map((engine) => ({ job, engine })),
  );
  if (missing.length > 0) await runAll(missing, values.json, runs);
  report(runs.filter((run) => jobs.some((job) => same(run, job))));
}

/** Adds the missing runs, two at a time where there are two cores: this measures recall, not time. */
async function runAll(missing, file, runs) {
  if (torchAbsent()) throw new Error(`calibrate: ${torchAbsent()}`);
  const data = await training.prepareData(training.parseConfig(configOf(missing[0].job)).dataset);
  const folder = mkdtempSync(join(tmpdir(), 'gyrus-calibrate-'));
  const keep = (job, engine, result) => {
    runs.push({ ...job, engine, ...result });
    writeFileSync(`${file}.new`, `${JSON.stringify(runs, null, 1)}\n`);
    renameSync(`${file}.new`, file);
    console.error(
      `${engine} ${job.loss} seed ${job.seed}: ${(100 * mean(result.recall)).toFixed(2)} in ${result.seconds.toFixed(0)} s`,
    );
  };
  try {
    await exportData(folder, data);
    const run = { gyrus: ours, torch: (job) => theirs(job, folder, data) };
    const todo = [...missing];
    const worker = async () => {
      for (let next = todo.shift(); next; next = todo.shift()) {
        const { job, engine } = next;
        keep(job, engine, await run[engine](job));
      }
    };
    await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
