/**
 * 2-D convolution over images [N, H, W, C] and its gradients as ops of their own: bias, a scale and shift per channel, a residual
 * and relu are epilogues of the kernel, and the scores of neurons are accumulated by the kernel that makes the gradient of x (see
 * Gate). Each of the three is linear in both of its tensors, so that their gradients are made of one another.
 */
import { ConfigError, DTypeError, ShapeError, shown } from '../device/index.js';
import { describe, type DType, expectDType, sameShape, type Shape, type Tensor } from '../tensor/index.js';
import { type Counted, expectNeurons, maskBeyond, neuronInputs, NEURONS, type Neurons } from './active.js';
import { mul, reluGrad } from './binary.js';
import { zeros } from './create.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { type Gate, working } from './gate.js';
import { indexSelect } from './indexing.js';
import { expand } from './movement.js';
import { sum } from './reduce.js';

/** One number for both axes, or [vertical, horizontal]. */
export type Pair = number | readonly [number, number];

/** How the window slides; paddings are those above and on the left, the output's size decides about the others. */
interface Windows {
  stride: readonly [number, number];
  pad: readonly [number, number];
  dilation: readonly [number, number];
  groups: number;
}

/** Lists or counts of channels of the weight, i32: they are inputs behind the two tensors. */
interface Listed {
  outputs: Neurons;
  inputs: Neurons;
}

interface ConvParams extends Windows {
  /** Height and width of the output. */
  size: readonly [number, number];
  listed: Listed;
  bias: boolean;
  affine: boolean;
  residual: boolean;
  relu: boolean;
  gate: Gate | undefined;
}

const floats: readonly DType[] = ['f32', 'f64'];

function shapeRecord({ stride, pad, dilation, groups }: Windows, listed: Listed): number[] {
  return [...stride, ...pad, ...dilation, groups, listed.outputs, listed.inputs];
}

/** The lists and counts among an op's inputs, which follow its two tensors. */
function listsOf(inputs: readonly Tensor[], listed: Listed): Tensor[] {
  return inputs.slice(2, 2 + neuronInputs(listed));
}

type Run<P> = (inputs: readonly Tensor[], params: P) => Tensor[];

function flopsOf(y: Shape, w: Shape): number {
  return 2 * y[0] * y[1] * y[2] * y[3] * w[1] * w[2] * w[3];
}

function forwardFlops(inputs: readonly Tensor[], { size, listed }: ConvParams): number {
  const [x, w] = inputs;
  const reads = listed.inputs === NEURONS.listed ? inputs[1 + neuronInputs(listed)].shape[0] : w.shape[3];
  const outputs = listed.outputs === NEURONS.listed ? inputs[2].shape[0] : w.shape[0];
  return flopsOf([x.shape[0], ...size, outputs], [0, w.shape[1], w.shape[2], reads]);
}

/** Inputs x, w, lists, then as flagged bias, scale and shift, residual. */
const conv2dOp: Run<ConvParams> = defineOp<ConvParams>({
  name: 'conv2d',
  forward: (inputs, params) => {
    const [x, w] = inputs;
    const { size, listed, bias, affine, residual, relu } = params;
    const outputs = listed.outputs === NEURONS.listed ? inputs[2].shape[0] : w.shape[0];
    const record = [...shapeRecord(params, listed), Number(bias), Number(affine), Number(residual), Number(relu)];
    return enqueue('conv2d', x.device, [{ shape: [x.shape[0], ...size, outputs], dtype: x.dtype }], inputs, record);
  },
  backward: ({ inputs, outputs: [y], shapes, needs, params }, [g]) => {
    if (!g) return [];
    const { listed, bias, affine, residual, relu, gate } = params;
    const [x, w] = inputs;
    const lists = listsOf(inputs, listed);
    const out = new Array<Tensor | undefined>(shapes.length).fill(undefined);
    let next = 2 + lists.length;
    const atBias = bias ? next++ : -1;
    const atScale = affine ? next : -1;
    if (affine) next += 2;
    let h = relu ? reluGrad(g, y) : g;
    if (residual) out[next] = listed.outputs === NEURONS.counted ? maskBeyond(h, lists[0]) : h;
    if (affine) {
      const before = { ...params, affine: false, residual: false, relu: false, gate: undefined };
      if (needs[atScale]) {
        const [plain] = conv2dOp(inputs.slice(0, atScale), before);
        out[atScale] = sum(mul(h, plain), [0, 1, 2]);
      }
      if (needs[atScale + 1]) out[atScale + 1] = sum(h, [0, 1, 2]);
      h = mul(h, inputs[atScale]);
    }
    if (needs[0]) out[0] = gradInput(h, w, lists, { ...params, source: shapes[0], gate, activations: gate && x });
    if (needs[1] || (bias && needs[atBias])) {
      const [dw, db] = gradWeightOp([h, x, ...lists], { ...params, weight: shapes[1], bias: bias && needs[atBias] });
      out[1] = dw;
      if (bias) out[atBias] = db;
    }
    return out;
  },
  saves: {
    inputs: (needs, { listed, bias, affine, gate }) => {
      const lists = neuronInputs(listed);
      const which: number[] = [];
      if (needs[1] || gate || affine || (bias && needs[2 + lists])) which.push(0);
      if (needs[0] || affine) which.push(1);
      for (let i = 2; i < 2 + lists; i++) which.push(i);
      if (affine) for (let i = 2 + lists; i < 3 + lists + Number(bias); i++) which.push(i);
      return which;
    },
    outputs: (_, { relu }) => (relu ? [0] : []),
  },
  products: (inputs, params) => forwardFlops(inputs, params) / 2,
  flops: forwardFlops,
});

interface GradInputParams extends Windows {
  source: Shape;
  listed: Listed;
  gate: Gate | undefined;
  activations: Tensor | undefined;
}

/** A convolution without anything around it. */
function plain(windows: Windows, listed: Listed, size: readonly [number, number]): ConvParams {
  const { stride, pad, dilation, groups } = windows;
  const none = { bias: false, affine: false, residual: false, relu: false, gate: undefined };
  return { stride, pad, dilation, groups, size, listed, ...none };
}

/** Inputs g, w, lists. */
const gradInputOp: Run<GradInputParams> = defineOp<GradInputParams>({
  name: 'conv2dGradInput',
  forward: (inputs, params) => {
    const [g] = inputs;
    const { source, listed, activations } = params;
    const fresh = [{ shape: source, dtype: g.dtype }];
    const record = shapeRecord(params, listed);
    const rows = source[0] * source[1] * source[2];
    const gate = activations && working('conv2dGradInput', params.gate, rows, source[0], source[3]);
    if (!gate || !params.gate) return enqueue('conv2dGradInput', g.device, fresh, inputs, [...record, 0, 1]);
    const scale = params.gate.scale;
    if (gate.labels.shape[0] === source[0]) {
      const all = [...inputs, activations, gate.labels];
      return enqueue('conv2dGradInput', g.device, fresh, all, [...record, 1, scale], [gate.stats]);
    }
    throw new ShapeError(
      `conv2dGradInput: expected gate labels of shape [${source[0]}], got ${describe(gate.labels.shape)}`,
    );
  },
  backward: ({ inputs, shapes, needs, params }, [h]) => {
    if (!h) return [];
    const [g, w] = inputs;
    const lists = listsOf(inputs, params.listed);
    const size = [shapes[0][1], shapes[0][2]] as const;
    return [
      needs[0] ? conv2dOp([h, w, ...lists], plain(params, params.listed, size))[0] : undefined,
      needs[1] ? gradWeightOp([g, h, ...lists], { ...params, weight: shapes[1], bias: false })[0] : undefined,
    ];
  },
  saves: { inputs: 'all' },
  flops: (inputs, { listed, source, groups }) => {
    const [g, w] = inputs;
    return flopsOf(g.shape, [
      0,
      w.shape[1],
      w.shape[2],
      listed.inputs === NEURONS.listed ? source[3] / groups : w.shape[3],
    ]);
  },
});

/** dx [N, H, W, C] of g [N, OH, OW, F] and w, with the score epilogue when a gate is at work. */
function gradInput(g: Tensor, w: Tensor, lists: readonly Tensor[], params: GradInputParams): Tensor {
  const { stride, pad, dilation, groups, source, listed, gate, activations } = params;
  return gradInputOp([g, w, ...lists], { stride, pad, dilation, groups, source, listed, gate, activations })[0];
}

interface GradWeightParams extends Windows {
  weight: Shape;
  listed: Listed;
  bias: boolean;
}

/** Inputs g, x, lists; outputs dw and, when asked for, db. */
const gradWeightOp: Run<GradWeightParams> = defineOp<GradWeightParams>({
  name: 'conv2dGradWeight',
  forward: (inputs, params) => {
    const [g] = inputs;
    const { weight, listed, bias } = params;
    const fresh = [{ shape: weight, dtype: g.dtype }];
    if (bias) fresh.push({ shape: [weight[0]], dtype: g.dtype });
    return enqueue('conv2dGradWeight', g.device, fresh, inputs, [...shapeRecord(params, listed), Number(bias)]);
  },
  backward: ({ inputs, shapes, needs, params }, [hw, hb]) => {
    const [g, x] = inputs;
    const lists = listsOf(inputs, params.listed);
    const size = [shapes[0][1], shapes[0][2]] as const;
    let dg: Tensor | undefined;
    if (needs[0] && hw) {
      const from = hb ? [x, hw, ...lists, hb] : [x, hw, ...lists];
      dg = conv2dOp(from, { ...plain(params, params.listed, size), bias: hb !== undefined })[0];
    } else if (needs[0] && hb && params.listed.outputs === NEURONS.counted) {
      const none = zeros(params.weight, { dtype: hb.dtype, device: hb.device });
      dg = conv2dOp([x, none, ...lists, hb], { ...plain(params, params.listed, size), bias: true })[0];
    } else if (needs[0] && hb) {
      dg = expand(params.listed.outputs === NEURONS.listed ? indexSelect(hb, lists[0]) : hb, shapes[0]);
    }
    const back = { ...params, source: shapes[1], gate: undefined, activations: undefined };
    return [dg, needs[1] && hw ? gradInput(g, hw, lists, back) : undefined];
  },
  saves: { inputs: 'all' },
  flops: ([g, x], { weight, bias, groups }) =>
    flopsOf(g.shape, [0, weight[1], weight[2], x.shape[3] / groups]) + (bias ? g.size : 0),
});

/** Options of {@link conv2d}. */
export interface Conv2dOptions {
  /** Steps of the window. Default 1. */
  stride?: Pair;
  /**
   * Zeros around the image: a number of them, 'valid' for none, or 'same' for an output of ceil(size / stride), where an odd one
   * out goes below and on the right. Default 0.
   */
  padding?: Pair | 'same' | 'valid';
  /** Distance of the kernel's taps. Default 1. */
  dilation?: Pair;
  /** Equal parts of the channels that see only one another; as many as channels makes it depthwise. Default 1. */
  groups?: number;
  /** Applied to the result, within the kernel. Default 'none'. */
  activation?: 'none' | 'relu';
  /** Per output channel, before residual and activation: result * scale + shift, both [F]. */
  affine?: { scale: Tensor; shift: Tensor } | undefined;
  /** Added before the activation; of the result's shape. */
  residual?: Tensor | undefined;
  /**
   * Active channels of the result: i32 [n], strictly ascending rows of w. The others are not computed; the result has n channels, bias
   * and the gradients of w and bias stay as large as they are, zero where nothing is listed. Or a count i32 [1] of the first ones, read
   * when the kernel runs (without groups): the result then has all F channels, 0 beyond the count. Default: all.
   */
  outputs?: Tensor | Counted | undefined;
  /**
   * Active channels of x: i32 [k], strictly ascending channels of w; x has k of them per group. Or a count, with x of all C channels,
   * which are not read beyond it and have a gradient of 0 there. Default: all.
   */
  inputs?: Tensor | Counted | undefined;
  /** Scores of the neurons that x holds, accumulated when backward runs. */
  gate?: Gate | undefined;
}

/** Of strides, paddings and kernels; the kernels have the same limit. */
const MOST = 2 ** 24;

/** Both numbers of a pair, whole and at least `least`. Throws ConfigError otherwise. */
export function pairOf(op: string, what: string, value: unknown, least: number): readonly [number, number] {
  const both = (Array.isArray(value) ? value : [value, value]) as unknown[];
  if (both.length !== 2 || both.some((n) => !Number.isInteger(n) || (n as number) < least || (n as number) > MOST)) {
    throw new ConfigError(`${op}: expected ${what} of whole numbers from ${least} to 2^24, got ${shown(value)}`);
  }
  return both as unknown as readonly [number, number];
}

/** Output extent and leading padding of each axis. */
export function slide(
  op: string,
  shape: Shape,
  kernel: readonly [number, number],
  { stride = 1, padding = 0, dilation = 1 }: Pick<Conv2dOptions, 'stride' | 'padding' | 'dilation'>,
): {
  stride: readonly [number, number];
  pad: [number, number];
  dilation: readonly [number, number];
  size: [number, number];
} {
  const s = pairOf(op, 'a stride', stride, 1);
  const d = pairOf(op, 'a dilation', dilation, 1);
  if (typeof padding === 'string' && padding !== 'same' && padding !== 'valid') {
    throw new ConfigError(`${op}: expected padding to be numbers, 'same' or 'valid', got ${shown(padding)}`);
  }
  const given = typeof padding === 'string' ? ([0, 0] as const) : pairOf(op, 'a padding', padding, 0);
  const axes = [0, 1].map((i) => {
    const extent = shape[i + 1];
    const span = (kernel[i] - 1) * d[i] + 1;
    if (padding === 'same') {
      const size = Math.ceil(extent / s[i]);
      return { size, pad: Math.floor(Math.max(0, (size - 1) * s[i] + span - extent) / 2) };
    }
    const room = extent + 2 * given[i] - span;
    if (room < 0) {
      throw new ShapeError(
        `${op}: expected an image no smaller than the window of ${span}, got ${describe(shape)} with padding ${given[i]}`,
      );
    }
    return { size: Math.floor(room / s[i]) + 1, pad: given[i] };
  });
  return { stride: s, dilation: d, pad: [axes[0].pad, axes[1].pad], size: [axes[0].size, axes[1].size] };
}

/**
 * Convolution (cross-correlation) of images: y [N, OH, OW, F] = act((x * w + bias) * scale + shift + residual), x [N, H, W, C],
 * w [F, KH, KW, C / groups], bias [F]. Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for options that make no sense; ShapeError when a value is read for a list with an index
 * out of range or out of order
 */
export function conv2d(x: Tensor, w: Tensor, bias?: Tensor | null, options: Conv2dOptions = {}): Tensor {
  expectOptions('conv2d', options);
  expectTensor('conv2d', x);
  expectTensor('conv2d', w);
  expectDType('conv2d', x.dtype, floats);
  const { groups = 1, activation = 'none', affine, residual, gate } = options;
  if (activation !== 'none' && activation !== 'relu') {
    throw new ConfigError(`conv2d: expected activation none or relu, got ${shown(activation)}`);
  }
  if (!Number.isInteger(groups) || groups < 1) {
    throw new ConfigError(`conv2d: expected a whole number of groups >= 1, got ${shown(groups)}`);
  }
  if (w.dtype !== x.dtype) throw new DTypeError(`conv2d: expected weights of dtype ${x.dtype}, got ${w.dtype}`);
  const listed = [
    expectNeurons('conv2d', 'outputs', options.outputs, w.shape[0]),
    expectNeurons('conv2d', 'inputs', options.inputs, w.shape[3]),
  ] as const;
  if (groups > 1 && listed.some(({ kind }) => kind === NEURONS.counted)) {
    throw new ConfigError(`conv2d: expected no count of channels with groups, got ${groups} groups`);
  }
  const reads = listed[1].extent;
  const outputs = listed[0].extent;
  if (x.rank !== 4 || w.rank !== 4 || x.shape[3] !== reads * groups || outputs % groups !== 0) {
    throw new ShapeError(
      `conv2d: expected x [N,H,W,C] and weights [F,KH,KW,C/groups] in ${groups} groups, ` +
        `got ${describe(x.shape)} and ${describe(w.shape)}`,
    );
  }
  const at = slide('conv2d', x.shape, [w.shape[1], w.shape[2]], options);
  const inputs = [x, w, ...listed.map(({ tensor }) => tensor).filter((list) => list !== undefined)];
  const perChannel = (what: string, t: Tensor): void => {
    expectTensor('conv2d', t);
    if (t.dtype !== x.dtype) throw new DTypeError(`conv2d: expected ${what} of dtype ${x.dtype}, got ${t.dtype}`);
    if (t.rank !== 1 || t.shape[0] !== w.shape[0]) {
      throw new ShapeError(`conv2d: expected ${what} of shape [${w.shape[0]}], got ${describe(t.shape)}`);
    }
    inputs.push(t);
  };
  if (bias !== undefined && bias !== null) perChannel('a bias', bias);
  if (affine) {
    if (listed[0].kind === NEURONS.listed)
      throw new ConfigError('conv2d: expected no affine together with a list of outputs');
    perChannel('a scale', affine.scale);
    perChannel('a shift', affine.shift);
  }
  if (residual) {
    expectTensor('conv2d', residual);
    if (residual.dtype !== x.dtype) {
      throw new DTypeError(`conv2d: expected a residual of dtype ${x.dtype}, got ${residual.dtype}`);
    }
    const shape = [x.shape[0], ...at.size, outputs];
    if (!sameShape(residual.shape, shape)) {
      throw new ShapeError(`conv2d: expected a residual of shape ${describe(shape)}, got ${describe(residual.shape)}`);
    }
    inputs.push(residual);
  }
  return conv2dOp(inputs, {
    ...at,
    groups,
    listed: { outputs: listed[0].kind, inputs: listed[1].kind },
    bias: bias !== undefined && bias !== null,
    affine: affine !== undefined,
    residual: residual !== undefined,
    relu: activation === 'relu',
    gate,
  })[0];
}
