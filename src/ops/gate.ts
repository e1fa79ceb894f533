/**
 * Gates: where the importance of neurons is accumulated while gradients are computed, by the kernels that make the gradient or by
 * an op of their own.
 */
import { ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, sizeOf, type Tensor } from '../tensor/index.js';
import { defineOp, enqueue, expectTensor } from './define.js';
import { reshape, viewOf } from './movement.js';

/**
 * Where the importance of neurons is accumulated while gradients are computed. Read when backward runs: nothing is added unless
 * it is active and both tensors are set. `stats` f32 [C + 4, K]: rows 0..C-1 per class sum |a * dL/da|, then sum |a|, sum a, the
 * count of a == 0 and sum (a * dL/da)^2; `labels` i32 [M]; `scale` multiplies the gradient (the batch size undoes the mean of a loss). Where a sample has
 * several positions (pixels, tokens) and a label of its own, |.| and the square are taken of the sum over them, and the others are means over them.
 */
export interface Gate {
  active: boolean;
  labels: Tensor | undefined;
  stats: Tensor | undefined;
  scale: number;
  /** Of the active neurons where they are counted (see Counted); the sums of the others stay as they are. */
  count?: Tensor | undefined;
}

const floats: readonly DType[] = ['f32', 'f64'];

/** Labels and sums of a gate that is at work, and the rows that share a label. */
export interface WorkingGate {
  labels: Tensor;
  stats: Tensor;
  positions: number;
}

/** The gate if it is at work, checked against activations [M, K] of which each of `samples` has M / samples rows. */
export function working(
  op: string,
  gate: Gate | undefined,
  rows: number,
  samples: number,
  units: number,
): WorkingGate | undefined {
  if (!gate?.active || !gate.labels || !gate.stats) return undefined;
  const { labels, stats } = gate;
  expectDType(op, labels.dtype, ['i32']);
  expectDType(op, stats.dtype, ['f32']);
  if (labels.rank !== 1 || (labels.shape[0] !== rows && labels.shape[0] !== samples)) {
    const or = samples === rows ? '' : ` or [${samples}]`;
    throw new ShapeError(`${op}: expected gate labels of shape [${rows}]${or}, got ${describe(labels.shape)}`);
  }
  if (stats.rank !== 2 || stats.shape[0] < 5 || stats.shape[1] !== units) {
    throw new ShapeError(`${op}: expected gate stats of shape [classes + 4,${units}], got ${describe(stats.shape)}`);
  }
  return { labels, stats, positions: labels.shape[0] === rows ? 1 : rows / samples };
}

/** Adds what activations a [M, K] and their gradients g give to the sums. */
export function addScores(
  { scale, count }: Gate,
  { labels, stats, positions }: WorkingGate,
  a: Tensor,
  g: Tensor,
): void {
  enqueue('gateStats', a.device, [], count ? [a, g, labels, count] : [a, g, labels], [scale, positions], [stats]);
}

const gateOp = defineOp<Gate>({
  name: 'gate',
  forward: ([x]) => [viewOf(x, x.shape, x.strides)],
  backward: ({ inputs: [x], params: gate }, [g]) => {
    if (!g) return [undefined];
    const units = x.shape[x.rank - 1];
    const rows = sizeOf(x.shape.slice(0, -1));
    const at = working('gate', gate, rows, x.rank > 1 ? x.shape[0] : 1, units);
    if (at) {
      const a = reshape(x.detach(), [rows, units]);
      const flat = reshape(g.detach(), [rows, units]);
      addScores(gate, at, a, flat);
    }
    return [g];
  },
  saves: { inputs: [0] },
  flops: () => 0,
});

/** x [..., K] itself; when backward comes by, the gate's sums are added to. For neurons that no linear layer consumes directly. */
export function gate(x: Tensor, sums: Gate): Tensor {
  expectTensor('gate', x);
  expectDType('gate', x.dtype, floats);
  if (x.rank === 0) throw new ShapeError(`gate: expected at least one axis, got ${describe(x.shape)}`);
  return gateOp([x], sums)[0];
}
