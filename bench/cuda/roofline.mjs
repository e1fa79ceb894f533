#!/usr/bin/env node
/**
 * What the CUDA kernels should reach, by a roofline: predictions, not measurements. No figure here comes from a GPU; they were written
 * down before the first run on hardware, and `npm run bench -- gemm conv mask score step --device cuda:0` puts them beside what it
 * measures. On an H100 products in f32 reached 0.7 of them and steps of an MLP 0.65. Products on tensor cores reached 0.36 (TF32) and
 * 0.23 (BF16) of what was predicted then; their kernels are others now, and so are these predictions, which nothing has been put beside.
 *
 *   node bench/cuda/roofline.mjs        writes bench/results/cuda-predictions.csv
 *
 * A kernel takes the longest of three times, plus one launch:
 *   memory      bytes that must cross the memory bus, over its bandwidth
 *   issue       instructions of the inner loop, over what the multiprocessors issue: for a product of R x R sums a thread the R^2
 *               multiply-adds go along with R / 2 shared-memory reads of 16 bytes and some bookkeeping
 *               on tensor cores, the most of the products' own time, what a warp issues for each, the bytes of shared memory for
 *               its fragments and the tile, and those of L2
 *   occupancy   as many waves of blocks as it takes: the last, partly filled one costs as much as a full one
 * Resident blocks come from the table of resources (bench/results/cuda-resources.csv) where it has the kernel.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readCsv, writeCsv } from './csv.mjs';
import { LIMITS } from './limits.mjs';

const RESULTS = join(dirname(fileURLToPath(import.meta.url)), '..', 'results');

/** Multiprocessors, boost clock in GHz, FP32 lanes per multiprocessor, GB/s, dense TF32 and BF16 TFLOP/s: the vendor's data sheets. */
export const GPUS = {
  T4: { arch: 75, sms: 40, clock: 1.59, lanes: 64, bandwidth: 320 },
  A100: { arch: 80, sms: 108, clock: 1.41, lanes: 64, bandwidth: 1555, tf32: 156, bf16: 312 },
  'RTX 4090': { arch: 89, sms: 128, clock: 2.52, lanes: 128, bandwidth: 1008, tf32: 82.6, bf16: 165 },
  'H100 SXM': { arch: 90, sms: 132, clock: 1.98, lanes: 128, bandwidth: 3350, tf32: 494, bf16: 989 },
  'H200 SXM': { arch: 90, sms: 132, clock: 1.98, lanes: 128, bandwidth: 4800, tf32: 494, bf16: 989 },
};
/** Share of the bus that plain streaming reaches, and seconds that a kernel of a replayed graph costs beside its work: assumptions. */
const STREAMING = 0.9;
const LAUNCH = 2e-6;
/** mma.sync reaches about this share of the peak that the wider instructions of compute capability 9.0 have: an assumption. */
const MMA_SHARE = { 80: 0.75, 89: 0.75, 90: 0.5 };

/** Tiles of native/cuda/gemm/fma.cu: extent, threads, sums a thread along each side. */
const TILES = {
  large: { extent: 128, threads: 256, side: 8 },
  medium: { extent: 64, threads: 256, side: 4 },
  small: { extent: 32, threads: 64, side: 4 },
};

/** The choice of native/cuda/gemm/multiply.cu, as tiles and choice were when the predictions were made. */
export function planOf({ m, n, k }) {
  const blocks = (tile) => Math.ceil(m / tile) * Math.ceil(n / tile);
  const splits = (tile) => Math.max(1, Math.min(Math.floor(128 / blocks(tile)), Math.floor(k / 128), 32));
  if (m > 64 && n > 64 && blocks(128) >= 128) return { tile: 'large', splits: 1 };
  if (m > 32 && n > 32 && blocks(64) * splits(64) >= 96) return { tile: 'medium', splits: splits(64) };
  return { tile: 'small', splits: splits(32) };
}

/**
 * Tiles of native/cuda/gemm/tf32.cu and bf16.cu: extent of a block's and of a warp's, and instructions that a warp issues for each product
 * of 16 x 8 in the machine code for 9.0, A along K and B across it. Packed: both along.
 */
const TENSOR_TILES = {
  huge: { rows: 256, cols: 128, warp: [64, 64], issued: { tf32: 5.8, packed: 2.6 } },
  large: { rows: 128, cols: 128, warp: [64, 64], issued: { tf32: 5.9, bf16: 5.8, packed: 2.7 } },
  tall: { rows: 128, cols: 64, warp: [64, 32], issued: { tf32: 8, bf16: 7.3 } },
  medium: { rows: 64, cols: 64, warp: [32, 32], issued: { tf32: 12.5, bf16: 9.5 } },
};
/** Bytes a cycle of a multiprocessor's shared memory, and what L2 delivers over what memory does: the latter an assumption. */
const SHARED = 128;
const L2 = 2;

/** The choice of native/cuda/gemm/multiply.cu on tensor cores. */
export function tensorPlanOf({ m, n, k }, precision) {
  const blocks = (rows, cols) => Math.ceil(m / rows) * Math.ceil(n / cols);
  const name =
    m > 128 && n > 64 && blocks(256, 128) >= 128
      ? 'huge'
      : m > 64 && n > 64 && blocks(128, 128) >= 128
        ? 'large'
        : m > 64 && blocks(128, 64) >= 96
          ? 'tall'
          : 'medium';
  const { rows, cols } = TENSOR_TILES[name];
  const large = name === 'huge' || name === 'large';
  const reads = m * Math.ceil(n / 128) + n * Math.ceil(m / rows);
  const packed = precision === 'bf16' && large && reads >= 6 * (m + n);
  const splits = name === 'medium' ? Math.min(Math.floor(128 / blocks(rows, cols)), Math.floor(k / 256), 32) : 1;
  return { tile: precision === 'bf16' && !packed && large ? 'large' : name, packed, splits: Math.max(1, splits) };
}

function tensorTime(gpu, shape, precision) {
  const { m, n, k } = shape;
  const { tile, packed, splits } = tensorPlanOf(shape, precision);
  const { rows, cols, warp, issued } = TENSOR_TILES[tile];
  // Everything a block does for one word of depth, which is two numbers where they are packed.
  const depths = packed ? 2 : 1;
  const products = (rows * cols * depths) / (128 * (precision === 'bf16' ? 16 : 8));
  const warps = (rows * cols) / (warp[0] * warp[1]);
  const clock = gpu.clock * 1e9;
  const l2 = (4 * (rows + cols)) / ((gpu.bandwidth * 1e9 * L2) / gpu.sms);
  const each = Math.max(
    (rows * cols * depths * 2) / ((gpu[precision] * 1e12 * MMA_SHARE[gpu.arch]) / gpu.sms),
    (products * issued[packed ? 'packed' : precision]) / (4 * clock),
    (4 * (warps * (warp[0] + warp[1]) + rows + cols)) / (SHARED * clock),
    l2,
  );
  const blocks = Math.ceil(m / rows) * Math.ceil(n / cols) * splits;
  const words = Math.ceil(k / splits / depths / 16) * 16;
  const packing = packed ? streaming(gpu, 6 * k * (m + n)) + LAUNCH : 0;
  const parts = splits > 1 ? streaming(gpu, 4 * m * n * (splits * 2 + 1)) + LAUNCH : 0;
  return { arithmetic: Math.ceil(blocks / gpu.sms) * words * each, before: packing, after: parts };
}

const peakOf = ({ sms, clock, lanes }) => sms * clock * 1e9 * lanes * 2;
const streaming = (gpu, bytes) => bytes / (gpu.bandwidth * 1e9 * STREAMING);

/** Blocks of a tile that fit on a multiprocessor at once. */
function residentOf(arch, tile, resources) {
  const { threads } = TILES[tile];
  const sums = TILES[tile].side ** 2;
  const row = resources?.find((r) => r.file === 'gemm/fma.cu' && r.kernel.includes('float') && matches(r, tile));
  const { warps } = LIMITS[arch];
  // The table may be of some architectures only.
  if (row?.[`occupancy${arch}`])
    return Math.max(1, Math.round((Number(row[`occupancy${arch}`]) * warps) / (threads / 32)));
  return Math.max(1, Math.floor(65536 / ((sums * 1.5 + 32) * threads)));
}
const matches = ({ kernel }, tile) =>
  kernel.includes(`Tile<${{ large: '16, 16, 8', medium: '16, 16, 4', small: '8, 8, 4' }[tile]}`);

/**
 * Seconds of C [m, n] = A [m, k] B [k, n] in f32, or on tensor cores.
 * @param bytes that must cross the bus; default: A, B and C once
 */
export function productTime(gpu, shape, { precision = 'f32', resources, bytes } = {}) {
  const { m, n, k } = shape;
  const traffic = streaming(gpu, bytes ?? 4 * (m * k + k * n + m * n));
  if (precision !== 'f32') {
    const { arithmetic, before, after } = tensorTime(gpu, shape, precision);
    return {
      seconds: before + Math.max(arithmetic, traffic) + after + LAUNCH,
      bound: arithmetic >= traffic ? 'arithmetic' : 'memory',
    };
  }
  const { tile, splits } = planOf(shape);
  const { extent, side } = TILES[tile];
  const blocks = Math.ceil(m / extent) * Math.ceil(n / extent) * splits;
  const resident = residentOf(gpu.arch, tile, resources);
  // A wave keeps all multiprocessors busy; a partly filled one lasts as long as its fullest multiprocessor.
  const perSm = Math.ceil(blocks / gpu.sms);
  const depth = Math.ceil(k / splits / 16) * 16;
  const flopPerSm = perSm * extent * extent * depth * 2;
  const perIssue = side ** 2 / (side ** 2 + side / 2 + 0.06 * side ** 2);
  // With 64 lanes a multiply-add takes two of a scheduler's slots, so that the others are hidden behind it.
  const issue = gpu.lanes === 64 ? Math.min(1, perIssue * 1.9) * 0.97 : perIssue;
  // One resident block of few warps can't hide the latency of its own barriers.
  const hiding = Math.min(1, (Math.min(resident, perSm) * TILES[tile].threads) / 256) ** 0.5;
  const arithmetic = flopPerSm / ((peakOf(gpu) / gpu.sms) * issue * hiding);
  const parts = splits > 1 ? streaming(gpu, 4 * m * n * (splits * 2 + 1)) + LAUNCH : 0;
  return {
    seconds: Math.max(arithmetic, traffic) + parts + LAUNCH,
    bound: arithmetic >= traffic ? 'arithmetic' : 'memory',
  };
}

const SQUARES = [256, 512, 1024, 2048, 4096, 8192];
const CONVS = [
  [32, 16, 16, 3, 1],
  [16, 32, 32, 3, 1],
  [8, 64, 64, 3, 1],
  [32, 64, 64, 3, 1],
  [16, 128, 128, 3, 1],
  [8, 256, 256, 3, 1],
  [4, 512, 512, 3, 1],
];
const SHARES = [0.1, 0.25, 0.5, 0.75, 0.9, 1];

function* predictions(resources) {
  for (const [name, gpu] of Object.entries(GPUS)) {
    const precisions = ['f32', ...['tf32', 'bf16'].filter((p) => gpu[p])];
    for (const precision of precisions) {
      for (const n of SQUARES) {
        const { seconds, bound } = productTime(gpu, { m: n, n, k: n }, { precision, resources });
        const value = (2 * n ** 3) / seconds / 1e12;
        yield { gpu: name, suite: 'gemm', case: `${n}x${n} * ${n}x${n}`, precision, value, unit: 'TFLOP/s', bound };
      }
    }
    for (const [size, inputs, outputs, kernel, stride] of CONVS) {
      const batch = 128;
      const out = Math.ceil(size / stride);
      const shape = { m: batch * out * out, n: outputs, k: kernel * kernel * inputs };
      const bytes = 4 * (batch * size * size * inputs + shape.n * shape.k + shape.m * shape.n);
      const { seconds, bound } = productTime(gpu, shape, { resources, bytes });
      const value = (2 * shape.m * shape.n * shape.k) / seconds / 1e12;
      const text = `${kernel}x${kernel} ${size}x${size} ${inputs}->${outputs}, batch ${batch}, forward`;
      yield { gpu: name, suite: 'conv', case: text, precision: 'f32', value, unit: 'TFLOP/s', bound };
    }
    for (const n of [1024, 4096]) {
      for (const share of SHARES) {
        const active = Math.floor(share * n);
        const { seconds, bound } = productTime(gpu, { m: 128, n: active, k: n }, { resources });
        const text = `linear ${n}, batch 128, forward, prefix ${share * 100} %`;
        yield {
          gpu: name,
          suite: 'mask',
          case: text,
          precision: 'f32',
          value: 1e-3 / seconds,
          unit: '1000 calls/s',
          bound,
        };
      }
    }
    for (const size of [512, 1024, 2048, 4096]) {
      for (const [score, arrays] of Object.entries({ l2: 1, 'taylor-weight': 2 })) {
        const bytes = 4 * arrays * size * size;
        const value = bytes / (streaming(gpu, bytes) + LAUNCH) / 1e9;
        yield {
          gpu: name,
          suite: 'score',
          case: `${score} ${size}x${size}`,
          precision: 'f32',
          value,
          unit: 'GB/s',
          bound: 'memory',
        };
      }
    }
    for (const optimizer of ['sgd', 'adam']) {
      const value = 1 / mlpStep(gpu, [784, 512, 256, 10], 128, optimizer, resources);
      const text = `MLP 784-512-256-10, batch 128, ${optimizer}`;
      yield { gpu: name, suite: 'step', case: text, precision: 'f32', value, unit: 'steps/s', bound: 'launches' };
    }
  }
}

/** Seconds of a training step: the products of every layer, and kernels beside them that a launch each pays for. */
function mlpStep(gpu, sizes, batch, optimizer, resources) {
  let seconds = 3 * LAUNCH;
  let parameters = 0;
  for (let i = 0; i + 1 < sizes.length; i++) {
    const [inputs, outputs] = [sizes[i], sizes[i + 1]];
    parameters += inputs * outputs + outputs;
    seconds += productTime(gpu, { m: batch, n: outputs, k: inputs }, { resources }).seconds;
    seconds += productTime(gpu, { m: outputs, n: inputs, k: batch }, { resources }).seconds;
    if (i > 0) seconds += productTime(gpu, { m: batch, n: inputs, k: outputs }, { resources }).seconds;
    seconds += 2 * LAUNCH;
  }
  const perParameter = optimizer === 'adam' ? 7 : 5;
  return seconds + streaming(gpu, 4 * perParameter * parameters) + LAUNCH;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const rows = [...predictions(readCsv(join(RESULTS, 'cuda-resources.csv')))].map((row) => ({
    ...row,
    value: Number(row.value.toPrecision(3)),
    kind: 'prediction',
  }));
  const unknown = rows.find(({ value }) => !(value > 0));
  if (unknown) throw new Error(`roofline: expected a positive prediction, got ${JSON.stringify(unknown)}`);
  writeCsv(join(RESULTS, 'cuda-predictions.csv'), rows);
  console.log(`${rows.length} predictions, none of them measured; wrote bench/results/cuda-predictions.csv`);
}
