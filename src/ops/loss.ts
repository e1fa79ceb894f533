/**
 * Cross-entropy of logits with the weights, offsets and margins that long-tailed losses are made of, in one kernel.
 */
import { AutogradError, ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, gradEnabled, noGrad, sameShape, type Tensor } from '../tensor/index.js';
import { add, div, mul, sub } from './binary.js';
import { compositeRule } from './composite.js';
import { defineOp, enqueue, expectOptions, expectTensor } from './define.js';
import { indexSelect, oneHot } from './indexing.js';
import { reshape, unsqueeze } from './movement.js';
import { mean, sum } from './reduce.js';
import { softmax } from './softmax.js';
import { affine } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

/** Which of the optional inputs are there, and the smoothing: the kernel's record. */
interface Flags {
  weights: boolean;
  offsets: boolean;
  margins: boolean;
  smoothing: number;
}

function recordOf({ weights, offsets, margins, smoothing }: Flags): number[] {
  return [Number(weights), Number(offsets), Number(margins), smoothing];
}

/** dlogits = g w[y] (softmax(z) - target) */
const crossEntropyGrad = defineOp<Flags>({
  name: 'crossEntropyGrad',
  forward: (inputs, flags) => {
    const [g, logits] = inputs;
    return enqueue(
      'crossEntropyGrad',
      g.device,
      [{ shape: logits.shape, dtype: logits.dtype }],
      inputs,
      recordOf(flags),
    );
  },
  backward: compositeRule(([g, logits, labels, ...rest], { weights, offsets, margins, smoothing }) => {
    const classes = logits.shape[1];
    const hot = oneHot(labels, classes, { dtype: logits.dtype });
    const weight = weights ? rest.shift() : undefined;
    let z = logits;
    if (offsets) z = add(z, rest.shift() as Tensor);
    if (margins) z = sub(z, mul(hot, rest.shift() as Tensor));
    const factor = weight ? mul(g, indexSelect(weight, labels)) : g;
    return [mul(unsqueeze(factor, 1), sub(softmax(z), affine(hot, 1 - smoothing, smoothing / classes)))];
  }),
  saves: { inputs: 'all' },
  flops: ([, logits]) => 6 * logits.size,
});

/** Outputs: the losses and, when `slope`, their gradients with respect to the logits, which the forward pass has at hand. */
const crossEntropyOp = defineOp<Flags & { slope: boolean }>({
  name: 'crossEntropy',
  forward: (inputs, flags) => {
    const [{ device, shape, dtype }] = inputs;
    const fresh = [{ shape: [shape[0]], dtype }];
    if (flags.slope) fresh.push({ shape: [...shape], dtype });
    return enqueue('crossEntropy', device, fresh, inputs, recordOf(flags));
  },
  backward: ({ inputs, outputs: [, slope], params }, [g]) => {
    if (!g) return [undefined];
    // A gradient that is to be differentiated again has to know the logits.
    return [!slope || gradEnabled() ? crossEntropyGrad([g, ...inputs], params)[0] : mul(unsqueeze(g, 1), slope)];
  },
  saves: { inputs: 'all', outputs: (_, { slope }) => (slope ? [1] : []) },
  flops: ([logits]) => 6 * logits.size,
});

/** Options of {@link crossEntropy}. */
export interface CrossEntropyOptions {
  /** Weight of each class [C]. */
  classWeights?: Tensor;
  /** Added to the logits, per class [C]: logit adjustment. */
  offsets?: Tensor;
  /** Taken off the label's own logit, per class [C]: LDAM. */
  margins?: Tensor;
  /** Share of the target spread evenly over all classes. Default 0. */
  labelSmoothing?: number;
  /** 'mean' (default; with class weights the sum is divided by that of the labels' weights), 'sum' or 'none'. */
  reduction?: 'mean' | 'sum' | 'none';
}

/**
 * Cross-entropy of logits [..., C] with labels i32 [...]: -log softmax(z)[label], z = logits + offsets - margins at the label.
 * @throws ShapeError, DTypeError, ConfigError; a label outside 0..C-1 is thrown where a value is next read
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  expectOptions('crossEntropy', options);
  expectTensor('crossEntropy', logits);
  expectTensor('crossEntropy', labels);
  expectDType('crossEntropy', logits.dtype, floats);
  if (labels.dtype !== 'i32') throw new DTypeError(`crossEntropy: expected labels of dtype i32, got ${labels.dtype}`);
  const { classWeights, offsets, margins, labelSmoothing = 0, reduction = 'mean' } = options;
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new ConfigError(`crossEntropy: expected labelSmoothing in 0..1, got ${labelSmoothing}`);
  }
  if (reduction !== 'mean' && reduction !== 'sum' && reduction !== 'none') {
    throw new ConfigError(`crossEntropy: expected reduction mean, sum or none, got ${String(reduction)}`);
  }
  if (logits.rank === 0 || !sameShape(labels.shape, logits.shape.slice(0, -1))) {
    throw new ShapeError(
      `crossEntropy: expected logits [...,C] and labels [...], got ${describe(logits.shape)} and ${describe(labels.shape)}`,
    );
  }
  const classes = logits.shape[logits.rank - 1];
  if (classes === 0)
    throw new ShapeError(`crossEntropy: expected at least one class, got logits ${describe(logits.shape)}`);
  const flat = logits.rank === 2 ? logits : reshape(logits, [labels.size, classes]);
  const flatLabels = labels.rank === 1 ? labels : reshape(labels, [labels.size]);
  const inputs = [flat, flatLabels];
  const perClass: [string, Tensor | undefined][] = [
    ['classWeights', classWeights],
    ['offsets', offsets],
    ['margins', margins],
  ];
  for (const [what, tensor] of perClass) {
    if (!tensor) continue;
    expectTensor('crossEntropy', tensor);
    if (tensor.dtype !== logits.dtype) {
      throw new DTypeError(`crossEntropy: expected ${what} of dtype ${logits.dtype}, got ${tensor.dtype}`);
    }
    if (tensor.rank !== 1 || tensor.shape[0] !== classes) {
      throw new ShapeError(`crossEntropy: expected ${what} of shape [${classes}], got ${describe(tensor.shape)}`);
    }
    if (tensor.requiresGrad) {
      throw new AutogradError(
        `crossEntropy: expected ${what} that need no gradient; there is none with respect to them`,
      );
    }
    inputs.push(tensor);
  }
  const flags = { weights: !!classWeights, offsets: !!offsets, margins: !!margins, smoothing: labelSmoothing };
  const slope = gradEnabled() && flat.requiresGrad;
  const [losses, saved] = crossEntropyOp(inputs, { ...flags, slope });
  if (slope) saved.dispose();
  if (reduction === 'none') return labels.rank === 1 ? losses : reshape(losses, labels.shape);
  if (reduction === 'sum') return sum(losses);
  if (!classWeights) return mean(losses);
  return div(
    sum(losses),
    noGrad(() => sum(indexSelect(classWeights, flatLabels))),
  );
}
