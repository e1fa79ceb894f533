/**
 * The dense layer y = act(x w^T + bias) and its gradients as ops of their own: bias and activation are epilogues of the product, and
 * the scores of neurons are accumulated by the product that makes the gradient of x (see Gate).
 */
import { type ActivationKind, ConfigError, DTypeError, KIND_CODE, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, gradEnabled, sizeOf, type Tensor } from '../tensor/index.js';
import { type Counted, expectNeurons, maskBeyond, neuronInputs, NEURONS, type Neurons } from './active.js';
import { add, reluGrad, sigmoidGrad, tanhGrad } from './binary.js';
import { zeros } from './create.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { addScores, type Gate, working } from './gate.js';
import { indexSelect } from './indexing.js';
import { contiguous, expand, reshape } from './movement.js';
import { gelu, silu } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

/** Which of the optional inputs a call has; they follow each other in this order. */
interface Extras {
  bias: boolean;
  residual: boolean;
  outputs: Neurons;
  inputs: Neurons;
}
const NO_EXTRAS: Extras = { bias: false, residual: false, outputs: NEURONS.all, inputs: NEURONS.all };

/** The lists or counts of active neurons, the last of an op's inputs. */
function listsOf(tensors: readonly Tensor[], extras: Extras): Tensor[] {
  return tensors.slice(tensors.length - neuronInputs(extras));
}
/** Where those stand. */
function listIndices(count: number, extras: Extras): number[] {
  const lists = neuronInputs(extras);
  return Array.from({ length: lists }, (_, i) => count - lists + i);
}
function inputsOf(first: number, extras: Extras): number {
  return first + Object.values(extras).filter(Boolean).length;
}
/** Extents [n, k] of the activations: those listed, or all of w [N, K]. */
function extentsOf(w: readonly number[], lists: readonly Tensor[], { outputs, inputs }: Extras): [number, number] {
  return [
    outputs === NEURONS.listed ? lists[0].shape[0] : w[0],
    inputs === NEURONS.listed ? lists[lists.length - 1].shape[0] : w[1],
  ];
}

interface LinearParams {
  activation: ActivationKind;
  gate: Gate | undefined;
  extras: Extras;
  /** Of the rows of x. Default: each row is one. */
  samples?: number;
}

type Run<P> = (inputs: readonly Tensor[], params: P) => Tensor[];

const linearOp: Run<LinearParams> = defineOp<LinearParams>({
  name: 'linear',
  forward: (inputs, { activation, extras }) => {
    const [x, w] = inputs;
    const [n] = extentsOf(w.shape, listsOf(inputs, extras), extras);
    const { bias, residual, ...lists } = extras;
    const record = [Number(bias), KIND_CODE.activation[activation], Number(residual), lists.outputs, lists.inputs];
    return enqueue('linear', x.device, [{ shape: [x.shape[0], n], dtype: x.dtype }], inputs, record);
  },
  backward: ({ inputs, outputs: [y], shapes, needs, params }, [g]) => {
    if (!g) return [];
    const [x, w] = inputs;
    const { activation, gate, extras, samples = x?.shape[0] } = params;
    const lists = listsOf(inputs, extras);
    let h = g;
    if (activation === 'relu') h = reluGrad(g, y);
    else if (activation === 'tanh') h = tanhGrad(g, y);
    else if (activation === 'sigmoid') h = sigmoidGrad(g, y);
    const dx = needs[0] ? linearGradInput(h, w, lists, extras, gate && { gate, activations: x, samples }) : undefined;
    const wantsBias = extras.bias && (needs[2] ?? false);
    const grads: (Tensor | undefined)[] = [dx];
    if (needs[1] || wantsBias) grads.push(...linearGradWeight(h, x, lists, extras, shapes[1], wantsBias));
    if (extras.residual)
      grads[2 + Number(extras.bias)] = extras.outputs === NEURONS.counted ? maskBeyond(g, lists[0]) : g;
    return grads;
  },
  saves: {
    // x is read for the weights' gradient and by the gate, w for the gradient of x.
    inputs: (needs, { gate, extras }) => {
      const x = needs[1] || (extras.bias && needs[2]) || gate !== undefined;
      const lists = listIndices(inputsOf(2, extras), extras);
      return needs[0] ? [...(x ? [0, 1] : [1]), ...lists] : [0, ...lists];
    },
    outputs: (_, { activation }) => (activation === 'none' ? [] : [0]),
  },
  products: (inputs, { extras }) => {
    const [x, w] = inputs;
    return x.size * extentsOf(w.shape, listsOf(inputs, extras), extras)[0];
  },
  flops: (inputs, { extras }) => {
    const [x, w] = inputs;
    const [n] = extentsOf(w.shape, listsOf(inputs, extras), extras);
    return 2 * x.size * n + (extras.bias ? x.shape[0] * n : 0);
  },
});

interface Score {
  gate: Gate;
  activations: Tensor;
  samples: number;
}
interface GradInputParams {
  score: Score | undefined;
  extras: Extras;
}

const linearGradInputOp: Run<GradInputParams> = defineOp<GradInputParams>({
  name: 'linearGradInput',
  forward: (inputs, { score, extras }) => {
    const [g, w] = inputs;
    const lists = listsOf(inputs, extras);
    const [, k] = extentsOf(w.shape, lists, extras);
    const fresh = [{ shape: [g.shape[0], k], dtype: g.dtype }];
    const flags = [extras.outputs, extras.inputs];
    const gate = score && working('linearGradInput', score.gate, g.shape[0], score.samples, k);
    if (!gate || gate.positions > 1) {
      const [dx] = enqueue('linearGradInput', g.device, fresh, inputs, [0, 1, ...flags]);
      if (gate) addScores(score.gate, gate, score.activations, dx);
      return [dx];
    }
    const all = [g, w, score.activations, gate.labels, ...lists];
    return enqueue('linearGradInput', g.device, fresh, all, [1, score.gate.scale, ...flags], [gate.stats]);
  },
  backward: ({ inputs, shapes, needs, params: { extras } }, [h]) => {
    if (!h) return [];
    const [g, w] = inputs;
    const lists = listsOf(inputs, extras);
    return [
      needs[0] ? linearOp([h, w, ...lists], { activation: 'none', gate: undefined, extras })[0] : undefined,
      needs[1] ? linearGradWeight(g, h, lists, extras, shapes[1], false)[0] : undefined,
    ];
  },
  saves: {
    inputs: (needs, { extras }) => [
      ...(needs[0] ? (needs[1] ? [0, 1] : [1]) : [0]),
      ...listIndices(inputsOf(2, extras), extras),
    ],
  },
  flops: ([g, w, ...lists], { extras }) => 2 * g.size * extentsOf(w.shape, lists, extras)[1],
});

/** dx [M, k] = g [M, n] w [N, K], with the score epilogue when a gate is at work. */
function linearGradInput(g: Tensor, w: Tensor, lists: readonly Tensor[], of: Extras, score?: Score): Tensor {
  return linearGradInputOp([g, w, ...lists], { score, extras: { ...of, bias: false, residual: false } })[0];
}

interface GradWeightParams {
  bias: boolean;
  /** Of w. */
  shape: readonly number[];
  extras: Extras;
}

const linearGradWeightOp: Run<GradWeightParams> = defineOp<GradWeightParams>({
  name: 'linearGradWeight',
  forward: (inputs, { bias, shape, extras }) => {
    const [g] = inputs;
    const fresh = [{ shape, dtype: g.dtype }];
    if (bias) fresh.push({ shape: [shape[0]], dtype: g.dtype });
    const record = [Number(bias), extras.outputs, extras.inputs];
    return enqueue('linearGradWeight', g.device, fresh, inputs, record);
  },
  backward: ({ inputs, shapes, needs, params: { extras } }, [hw, hb]) => {
    const [g, x] = inputs;
    const lists = listsOf(inputs, extras);
    let dg: Tensor | undefined;
    if (needs[0]) {
      const more = { ...extras, bias: hb !== undefined };
      if (hw) {
        const all = hb ? [x, hw, hb, ...lists] : [x, hw, ...lists];
        dg = linearOp(all, { activation: 'none', gate: undefined, extras: more })[0];
      } else if (hb && extras.outputs === NEURONS.counted) {
        const none = zeros([hb.shape[0], x.shape[1]], { dtype: hb.dtype, device: hb.device });
        dg = linearOp([x, none, hb, ...lists], { activation: 'none', gate: undefined, extras: more })[0];
      } else if (hb) dg = expand(extras.outputs === NEURONS.listed ? indexSelect(hb, lists[0]) : hb, shapes[0]);
    }
    return [dg, needs[1] && hw ? linearGradInput(g, hw, lists, extras) : undefined];
  },
  saves: { inputs: (_, { extras }) => [0, 1, ...listIndices(inputsOf(2, extras), extras)] },
  flops: ([g, x], { bias }) => 2 * g.size * x.shape[1] + (bias ? g.size : 0),
});

/** dw [N, K] = g^T x and, when asked for, db [N]; zero where nothing is active. */
function linearGradWeight(
  g: Tensor,
  x: Tensor,
  lists: readonly Tensor[],
  of: Extras,
  shape: readonly number[],
  bias: boolean,
): Tensor[] {
  return linearGradWeightOp([g, x, ...lists], { bias, shape, extras: { ...of, bias: false, residual: false } });
}

/** Options of {@link linear}. */
export interface LinearOptions {
  /** Applied to the result, within the product's kernel. Default 'none'. */
  activation?: ActivationKind;
  /** Added behind the activation, of the result's shape. */
  residual?: Tensor;
  /**
   * Active neurons of the result: i32 [n], strictly ascending rows of w. The others are not computed; the result has n columns,
   * bias and the gradients of w and bias stay as large as they are, zero where nothing is listed. Or a count i32 [1] of the first ones,
   * read when the kernel runs: the result then has all N columns, 0 beyond the count. Default: all.
   */
  outputs?: Tensor | Counted | undefined;
  /**
   * Active neurons of x: i32 [k], strictly ascending columns of w; x has k columns. Or a count, with x of all K columns, which are not
   * read beyond it and have a gradient of 0 there. Default: all.
   */
  inputs?: Tensor | Counted | undefined;
  /** Scores of the neurons that x holds, accumulated when backward runs. */
  gate?: Gate;
}

/**
 * Dense layer: y [..., n] = act(x [..., k] w^T + bias) + residual, w [N, K], bias [N]; n = N and k = K unless `outputs` and
 * `inputs` list the active neurons. Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for an unknown activation; ShapeError when a value is read for a list with an index
 * out of range or out of order
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor | null, options: LinearOptions = {}): Tensor {
  expectOptions('linear', options);
  expectTensor('linear', x);
  expectTensor('linear', w);
  expectDType('linear', x.dtype, floats);
  const { activation = 'none', residual, gate } = options;
  if (!Object.hasOwn(KIND_CODE.activation, activation)) {
    throw new ConfigError(
      `linear: expected activation ${Object.keys(KIND_CODE.activation).join(', ')}, got ${String(activation)}`,
    );
  }
  if (w.dtype !== x.dtype) throw new DTypeError(`linear: expected weights of dtype ${x.dtype}, got ${w.dtype}`);
  const outputs = expectNeurons('linear', 'outputs', options.outputs, w.shape[0]);
  const inputs = expectNeurons('linear', 'inputs', options.inputs, w.shape[1]);
  const k = inputs.extent;
  if (x.rank === 0 || w.rank !== 2 || x.shape[x.rank - 1] !== k) {
    const listed = inputs.kind === NEURONS.listed ? ` of which ${k} columns are listed` : '';
    throw new ShapeError(
      `linear: expected x [...,K] and weights [N,K], got ${describe(x.shape)} and ${describe(w.shape)}${listed}`,
    );
  }
  const n = outputs.extent;
  const lead = x.shape.slice(0, -1);
  const out = [...lead, n];
  const flat = (t: Tensor, columns: number): Tensor => (x.rank === 2 ? t : reshape(t, [sizeOf(lead), columns]));
  const operands = [flat(x, k), w];
  const extras = { ...NO_EXTRAS, outputs: outputs.kind, inputs: inputs.kind };
  if (bias !== undefined && bias !== null) {
    expectTensor('linear', bias);
    if (bias.dtype !== x.dtype) throw new DTypeError(`linear: expected a bias of dtype ${x.dtype}, got ${bias.dtype}`);
    if (bias.rank !== 1 || bias.shape[0] !== w.shape[0]) {
      throw new ShapeError(`linear: expected a bias of shape [${w.shape[0]}], got ${describe(bias.shape)}`);
    }
    operands.push(bias);
    extras.bias = true;
  }
  if (residual !== undefined) {
    expectTensor('linear', residual);
    if (residual.dtype !== x.dtype)
      throw new DTypeError(`linear: expected a residual of dtype ${x.dtype}, got ${residual.dtype}`);
    if (describe(residual.shape) !== describe(out))
      throw new ShapeError(`linear: expected a residual of shape ${describe(out)}, got ${describe(residual.shape)}`);
  }
  const samples = x.rank > 1 ? x.shape[0] : 1;
  const lists = [outputs.tensor, inputs.tensor].filter((list) => list !== undefined);
  const shaped = (y: Tensor): Tensor => (x.rank === 2 ? y : reshape(y, out));
  // The gradient of gelu and silu needs what goes into them, that of the others what comes out: a result that is fused with
  // more than that is for when no gradient is asked for.
  const differentiable = gradEnabled() && [...operands, ...(residual ? [residual] : [])].some((t) => t.requiresGrad);
  const curved = activation === 'gelu' || activation === 'silu';
  if (differentiable && (curved || (residual && activation !== 'none'))) {
    const [z] = linearOp([...operands, ...lists], { activation: curved ? 'none' : activation, gate, extras, samples });
    const y = shaped(activation === 'gelu' ? gelu(z) : activation === 'silu' ? silu(z) : z);
    if (!residual) return y;
    // Beyond a count the result is 0, whatever the residual has there.
    return extras.outputs === NEURONS.counted ? add(y, maskBeyond(residual, lists[0])) : add(y, residual);
  }
  if (residual) {
    operands.push(contiguous(flat(residual, n)));
    extras.residual = true;
  }
  return shaped(linearOp([...operands, ...lists], { activation, gate, extras, samples })[0]);
}
