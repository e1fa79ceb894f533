/**
 * The dense layer y = act(x w^T + bias) and its gradients as ops of their own: bias and activation are epilogues of the product, and
 * the scores of neurons are accumulated by the product that makes the gradient of x (see Gate).
 */
import { type ActivationKind, ConfigError, DTypeError, KIND_CODE, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, sizeOf, type Tensor } from '../tensor/index.js';
import { reluGrad, sigmoidGrad, tanhGrad } from './binary.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { addScores, type Gate, working } from './gate.js';
import { expand, reshape } from './movement.js';

const floats: readonly DType[] = ['f32', 'f64'];

interface LinearParams {
  activation: ActivationKind;
  gate: Gate | undefined;
  /** Of the rows of x. Default: each row is one. */
  samples?: number;
}

type Run<P> = (inputs: readonly Tensor[], params: P) => Tensor[];

const linearOp: Run<LinearParams> = defineOp<LinearParams>({
  name: 'linear',
  forward: (inputs, { activation }) => {
    const [x, w] = inputs;
    const record = [Number(inputs.length > 2), KIND_CODE.activation[activation]];
    return enqueue('linear', x.device, [{ shape: [x.shape[0], w.shape[0]], dtype: x.dtype }], inputs, record);
  },
  backward: ({ inputs: [x, w], outputs: [y], needs, params }, [g]) => {
    if (!g) return [];
    const { activation, gate, samples = x?.shape[0] } = params;
    let h = g;
    if (activation === 'relu') h = reluGrad(g, y);
    else if (activation === 'tanh') h = tanhGrad(g, y);
    else if (activation === 'sigmoid') h = sigmoidGrad(g, y);
    const dx = needs[0] ? linearGradInput(h, w, gate && { gate, activations: x, samples }) : undefined;
    if (!needs[1] && !needs[2]) return [dx];
    const [dw, db] = linearGradWeightOp([h, x], needs[2] ?? false);
    return [dx, dw, db];
  },
  saves: {
    // x is read for the weights' gradient and by the gate, w for the gradient of x.
    inputs: (needs, { gate }) => {
      const x = needs[1] || needs[2] || gate !== undefined;
      return needs[0] ? (x ? [0, 1] : [1]) : [0];
    },
    outputs: (_, { activation }) => (activation === 'none' ? [] : [0]),
  },
  flops: ([x, w, bias]) => 2 * x.size * w.shape[0] + (bias ? x.shape[0] * w.shape[0] : 0),
});

interface Score {
  gate: Gate;
  activations: Tensor;
  samples: number;
}

const linearGradInputOp: Run<Score | undefined> = defineOp<Score | undefined>({
  name: 'linearGradInput',
  forward: ([g, w], score) => {
    const fresh = [{ shape: [g.shape[0], w.shape[1]], dtype: g.dtype }];
    const gate = score && working('linearGradInput', score.gate, g.shape[0], score.samples, w.shape[1]);
    if (!gate) return enqueue('linearGradInput', g.device, fresh, [g, w], [0, 1]);
    if (gate.positions > 1) {
      const [dx] = enqueue('linearGradInput', g.device, fresh, [g, w], [0, 1]);
      addScores(score.gate, gate, score.activations, dx);
      return [dx];
    }
    const inputs = [g, w, score.activations, gate.labels];
    return enqueue('linearGradInput', g.device, fresh, inputs, [1, score.gate.scale], [gate.stats]);
  },
  backward: ({ inputs: [g, w], needs }, [h]) => [
    h && needs[0] ? linearOp([h, w], { activation: 'none', gate: undefined })[0] : undefined,
    h && needs[1] ? linearGradWeightOp([g, h], false)[0] : undefined,
  ],
  saves: { inputs: (needs) => (needs[0] ? (needs[1] ? [0, 1] : [1]) : [0]) },
  flops: ([g, w]) => 2 * g.size * w.shape[1],
});

/** dx [M, K] = g [M, N] w [N, K], with the score epilogue when a gate is at work. */
function linearGradInput(g: Tensor, w: Tensor, score: Score | undefined): Tensor {
  return linearGradInputOp([g, w], score)[0];
}

/** dw [N, K] = g^T x and, when asked for, db [N]. */
const linearGradWeightOp: Run<boolean> = defineOp<boolean>({
  name: 'linearGradWeight',
  forward: ([g, x], bias) => {
    const fresh = [{ shape: [g.shape[1], x.shape[1]], dtype: g.dtype }];
    if (bias) fresh.push({ shape: [g.shape[1]], dtype: g.dtype });
    return enqueue('linearGradWeight', g.device, fresh, [g, x], [Number(bias)]);
  },
  backward: ({ inputs: [g, x], shapes, needs }, [hw, hb]) => {
    let dg: Tensor | undefined;
    if (needs[0]) {
      if (hw) dg = linearOp(hb ? [x, hw, hb] : [x, hw], { activation: 'none', gate: undefined })[0];
      else if (hb) dg = expand(hb, shapes[0]);
    }
    return [dg, needs[1] && hw ? linearGradInput(g, hw, undefined) : undefined];
  },
  saves: { inputs: [0, 1] },
  flops: ([g, x], bias) => 2 * g.size * x.shape[1] + (bias ? g.size : 0),
});

/** Options of {@link linear}. */
export interface LinearOptions {
  /** Applied to the result, within the product's kernel. Default 'none'. */
  activation?: ActivationKind;
  /** Scores of the neurons that x holds, accumulated when backward runs. */
  gate?: Gate;
}

/**
 * Dense layer: y [..., N] = act(x [..., K] w^T + bias), w [N, K], bias [N]. Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for an unknown activation
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor | null, options: LinearOptions = {}): Tensor {
  expectOptions('linear', options);
  expectTensor('linear', x);
  expectTensor('linear', w);
  expectDType('linear', x.dtype, floats);
  const { activation = 'none', gate } = options;
  if (!Object.hasOwn(KIND_CODE.activation, activation)) {
    throw new ConfigError(
      `linear: expected activation ${Object.keys(KIND_CODE.activation).join(', ')}, got ${String(activation)}`,
    );
  }
  if (w.dtype !== x.dtype) throw new DTypeError(`linear: expected weights of dtype ${x.dtype}, got ${w.dtype}`);
  if (x.rank === 0 || w.rank !== 2 || x.shape[x.rank - 1] !== w.shape[1]) {
    throw new ShapeError(
      `linear: expected x [...,K] and weights [N,K], got ${describe(x.shape)} and ${describe(w.shape)}`,
    );
  }
  const k = w.shape[1];
  const lead = x.shape.slice(0, -1);
  const flat = x.rank === 2 ? x : reshape(x, [sizeOf(lead), k]);
  const inputs = [flat, w];
  if (bias !== undefined && bias !== null) {
    expectTensor('linear', bias);
    if (bias.dtype !== x.dtype) throw new DTypeError(`linear: expected a bias of dtype ${x.dtype}, got ${bias.dtype}`);
    if (bias.rank !== 1 || bias.shape[0] !== w.shape[0]) {
      throw new ShapeError(`linear: expected a bias of shape [${w.shape[0]}], got ${describe(bias.shape)}`);
    }
    inputs.push(bias);
  }
  const [y] = linearOp(inputs, { activation, gate, samples: x.rank > 1 ? x.shape[0] : 1 });
  return x.rank === 2 ? y : reshape(y, [...lead, w.shape[0]]);
}
