/**
 * Ops on batches of pictures [B, H, W, C]: bilinear resize, and the usual random augmentation.
 */
import { ConfigError, DTypeError, ShapeError } from '../device/index.js';
import { describe, type DType, expectDType, type Tensor } from '../tensor/index.js';
import { div, mul } from './binary.js';
import { full } from './create.js';
import { defineOp, enqueue, enqueueOne, expectOptions, expectTensor } from './define.js';
import { defaultGenerator, Generator } from './random.js';
import { neg } from './unary.js';

const floats: readonly DType[] = ['f32', 'f64'];

type Size = readonly [number, number];

const resizeOp = defineOp<Size>({
  name: 'resizeBilinear',
  forward: ([x], [h, w]) => {
    const shape = [x.shape[0], h, w, x.shape[3]];
    return [enqueueOne('resizeBilinear', x.device, shape, x.dtype, [x.view('resizeBilinear')], [])];
  },
  backward: ({ shapes: [[, h, w]] }, [g]) => [g && resizeGradOp([g], [h, w])[0]],
  flops: ([x], [h, w]) => 7 * x.shape[0] * h * w * x.shape[3],
});

/** Input g [B, h, w, C]; output [B, H, W, C] of the size given. */
const resizeGradOp: (inputs: readonly Tensor[], params: Size) => Tensor[] = defineOp<Size>({
  name: 'resizeBilinearGrad',
  forward: ([g], [h, w]) => {
    const shape = [g.shape[0], h, w, g.shape[3]];
    return [enqueueOne('resizeBilinearGrad', g.device, shape, g.dtype, [g.view('resizeBilinearGrad')], [])];
  },
  backward: ({ shapes: [[, h, w]] }, [g]) => [g && resizeOp([g], [h, w])[0]],
  flops: ([g]) => 8 * g.size,
});

/**
 * x [B, H, W, C] at another size [B, h, w, C], by bilinear interpolation: pixel centres at halves, corners not aligned, held at the
 * border (PyTorch's interpolate with align_corners = false, without antialiasing). Dtypes: f32, f64.
 * @throws ShapeError, DTypeError; ConfigError for a size that isn't two whole numbers >= 1
 */
export function resizeBilinear(x: Tensor, size: Size): Tensor {
  expectTensor('resizeBilinear', x);
  expectDType('resizeBilinear', x.dtype, floats);
  if (x.rank !== 4 || x.shape[1] < 1 || x.shape[2] < 1) {
    throw new ShapeError(`resizeBilinear: expected x [B,H,W,C] with at least one pixel, got ${describe(x.shape)}`);
  }
  if (!Array.isArray(size) || size.length !== 2 || size.some((n) => !Number.isInteger(n) || n < 1 || n > 2 ** 24)) {
    throw new ConfigError(`resizeBilinear: expected a size of two whole numbers >= 1, got ${describeValue(size)}`);
  }
  return resizeOp([x], [size[0], size[1]])[0];
}

function describeValue(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(String).join(',')}]` : String(value);
}

interface AugmentParams {
  padding: number;
  flip: number;
  generator: Generator;
}

/** Inputs x, scale, shift. */
const augmentOp = defineOp<AugmentParams>({
  name: 'augment',
  forward: (inputs, { padding, flip, generator }) =>
    enqueue(
      'augment',
      inputs[0].device,
      [{ shape: inputs[0].shape, dtype: 'f32' }],
      inputs,
      [padding, flip],
      [generator.state],
    ),
  backward: null,
  flops: ([x]) => 2 * x.size,
});

/** Options of {@link augment}. */
export interface AugmentOptions {
  /** Largest shift in pixels along each axis; what comes in from outside is 0 before normalising. Default 0. */
  padding?: number;
  /** Probability of mirroring left and right. Default 0. */
  flip?: number;
  /** Per channel, in the units of x: (x - mean) / std. Numbers for all channels, or f32 tensors [C]. Default 0 and 1. */
  mean?: number | Tensor;
  std?: number | Tensor;
  /** Default: the device's default generator. */
  generator?: Generator;
}

/**
 * Pictures u8 or f32 [B, H, W, C] -> f32: per sample a random crop of the zero-padded picture back to its own size and a random mirror
 * image, then normalised per channel. Driven by the device's generator: a captured step draws anew at each replay, and the values are
 * the same for every instruction set and number of threads. No gradient.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function augment(x: Tensor, options: AugmentOptions = {}): Tensor {
  expectOptions('augment', options);
  expectTensor('augment', x);
  expectDType('augment', x.dtype, ['u8', 'f32']);
  const { padding = 0, flip = 0, mean = 0, std = 1, generator = defaultGenerator(x.device) } = options;
  if (x.rank !== 4) throw new ShapeError(`augment: expected x [B,H,W,C], got ${describe(x.shape)}`);
  if (!Number.isInteger(padding) || padding < 0 || padding > 65535) {
    throw new ConfigError(`augment: expected padding to be a whole number in 0..65535, got ${String(padding)}`);
  }
  if (!(flip >= 0 && flip <= 1)) throw new ConfigError(`augment: expected flip in 0..1, got ${String(flip)}`);
  if (!(generator instanceof Generator)) throw new ConfigError('augment: expected a Generator');
  const channels = x.shape[3];
  const [centre, spread] = (
    [
      ['mean', mean],
      ['std', std],
    ] as const
  ).map(([what, value]) => {
    if (typeof value === 'number') {
      if (!Number.isFinite(value) || (what === 'std' && value === 0)) {
        throw new ConfigError(
          `augment: expected a finite ${what}${what === 'std' ? ' other than 0' : ''}, got ${value}`,
        );
      }
      return value;
    }
    expectTensor('augment', value);
    if (value.dtype !== 'f32') throw new DTypeError(`augment: expected ${what} of dtype f32, got ${value.dtype}`);
    if (value.rank !== 1 || value.shape[0] !== channels) {
      throw new ShapeError(`augment: expected ${what} of shape [${channels}], got ${describe(value.shape)}`);
    }
    return value;
  });
  const scale = typeof spread === 'number' ? full([channels], 1 / spread, { device: x.device }) : div(1, spread);
  const shift = neg(mul(scale, centre));
  return augmentOp([x, scale, shift], { padding, flip, generator })[0];
}
