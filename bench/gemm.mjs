/**
 * Suite `gemm`: C[M,N] = op(A) * op(B) in f32, row-major, GFLOP/s. Ours is `matmul` of the public interface, transposed operands being
 * views; so many calls are captured and replayed at once that the kernel is measured and not the call. The C libraries are called
 * directly; PyTorch and onnxruntime through their own interface, each into an output that exists.
 */
import { AddonDevice, matmul, uniform } from '../dist/index.js';
import { DEVICE, onGpu } from './device.mjs';
import { bar, compare, geometricMean, OURS, ratioToBest, worstBar } from './format.mjs';
import { replayed } from './measure.mjs';
import { nativeEngine, peakEngine } from './native.mjs';
import { onnxEngine } from './onnx.mjs';
import { torchEngine } from './torch.mjs';

export const NOTE = 'gemm: GFLOP/s of many captured calls, replayed; peak is the rate of multiply-adds in registers.';

/** The three products of a linear layer of `rows` samples: forward, weight gradient A^T*B, input gradient A*B^T. */
function layer(rows, inputs, outputs) {
  const name = `${rows}x${inputs} * ${inputs}x${outputs}`;
  return [
    { name, m: rows, k: inputs, n: outputs },
    { name: `${name}, its dW = A^T*B`, m: inputs, k: rows, n: outputs, ta: true },
    { name: `${name}, its dX = A*B^T`, m: rows, k: outputs, n: inputs, tb: true },
  ];
}

const CASES = [
  ...[64, 128, 256, 512, 1024, 2048, ...(onGpu ? [4096, 8192] : [])].map((n) => ({
    name: `${n}x${n} * ${n}x${n}`,
    m: n,
    n,
    k: n,
    quick: n <= 128,
  })),
  ...layer(128, 784, 512),
  ...layer(128, 512, 256),
  ...layer(128, 256, 10).map((c) => ({ ...c, quick: true })),
  ...layer(256, 3072, 1024),
  ...layer(32, 4096, 4096),
  { name: 'im2col 65536x27 * 27x32', m: 65536, k: 27, n: 32 },
  { name: 'im2col 65536x288 * 288x64', m: 65536, k: 288, n: 64 },
  { name: 'its dW, 288x65536 * 65536x64, A^T*B', m: 288, k: 65536, n: 64, ta: true },
  { name: 'its dX, 65536x64 * 64x288, A*B^T', m: 65536, k: 64, n: 288, tb: true },
  { name: 'im2col 131072x144 * 144x16', m: 131072, k: 144, n: 16 },
];

const flopOf = ({ m, n, k }) => 2 * m * n * k;
const shapeOf = (entry) => CASES.find(({ name }) => name === entry.case);
/** What the GPU multiplies in: tensor cores, on which squares are measured, round their inputs. */
const PRECISIONS = onGpu ? ['f32', 'tf32', 'bf16'] : ['f32'];

/** Ours, and what frees its memory. */
function ours({ m, n, k, ta, tb }, device) {
  const a = uniform(ta ? [k, m] : [m, k], { low: -1, high: 1, device });
  const b = uniform(tb ? [n, k] : [k, n], { low: -1, high: 1, device });
  const right = tb ? b.transpose() : b;
  const product = replayed((x) => matmul(ta ? x.transpose() : x, right), a, flopOf({ m, n, k }));
  return {
    measure: product.measure,
    dispose: () => [product, ...new Set([right, a, b])].forEach((held) => held.dispose()),
  };
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const precision of PRECISIONS) {
    const device = onGpu ? new AddonDevice(DEVICE, { precision }) : undefined;
    for (const shape of CASES) {
      const { m, n, k, ta = false, tb = false } = shape;
      const name = precision === 'f32' ? shape.name : `${shape.name}, ${precision}`;
      if (!wants(name) || (quick && !shape.quick) || (precision !== 'f32' && (m !== n || m !== k))) continue;
      const flop = flopOf(shape);
      const mine = ours(shape, device);
      for (const count of threads) {
        const request = `gemm ${m} ${n} ${k} ${Number(ta)} ${Number(tb)}`;
        const engines = {
          gyrus: () => mine.measure(seconds),
          peak: await peakEngine(count, flop, Math.min(seconds, 0.2)),
          ...(onGpu
            ? { cublas: await nativeEngine('cublas', count, `${request} ${precision}`, seconds) }
            : {
                openblas: await nativeEngine('openblas', count, request, seconds),
                onednn: await nativeEngine('onednn', count, request, seconds),
                'onnxruntime-node': await onnxEngine({ m, n, k, ta, tb }, count, seconds),
              }),
          torch:
            precision === 'f32'
              ? torchEngine('torch_kernels:gemm', count, seconds, { m, n, k, ta, tb })
              : { absent: 'measured in f32 only' },
        };
        const common = { suite: 'gemm', name, unit: 'GFLOP/s', threads: count, rounds, scale: flop / 1e9 };
        entries.push(...(await compare({ ...common, engines })));
      }
      mine.dispose();
    }
    device?.dispose();
  }
  return entries;
}

export function bars(entries) {
  const mine = entries.filter(({ engine }) => engine === OURS);
  const single = mine.filter(({ threads }) => threads === 1);
  const large = single.filter((entry) => {
    const { m, n, k } = shapeOf(entry);
    return Math.min(m, n, k) >= 64 && entry.ratio_to.peak !== undefined;
  });
  const at = (entry) => entry.case;
  const peers = single.map((entry) => ({
    value: ratioToBest(entry, ['openblas', 'onednn', 'onnxruntime-node']),
    where: at(entry),
  }));
  const scaling = mine
    .filter((entry) => entry.threads === 2 && flopOf(shapeOf(entry)) >= 1e7)
    .map((entry) => {
      const one = single.find((other) => other.case === entry.case);
      return { value: one ? entry.value / one.value : null, where: at(entry) };
    });
  return [
    bar(
      'gemm: geometric mean of gyrus/peak over M, N, K >= 64, 1 thread',
      large.length > 0 ? geometricMean(large.map(({ ratio_to }) => ratio_to.peak)) : null,
      { atLeast: 0.95 },
      `${large.length} cases`,
    ),
    worstBar('gemm: gyrus over the best of OpenBLAS, oneDNN, onnxruntime, 1 thread', peers, { atLeast: 0.95 }),
    worstBar('gemm: 2 threads over 1 thread, cases of >= 10 MFLOP', scaling, { atLeast: 1.9 }),
  ];
}
