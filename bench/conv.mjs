/**
 * Suite `conv`: the convolutions of ResNet-20/32, WRN-16-4 and VGG-11 on 32x32 images, forward and both gradients, GFLOP/s (taps that
 * fall outside the image are counted, as everywhere), and depthwise layers as of MobileNet, which no bar is about. Ours is `conv2d` of the public interface and its gradients, many calls captured
 * and replayed. oneDNN gets its weights in the format it asks for, and its images in NHWC
 * too (`onednn`) or in the blocked format it asks for (`onednn-blocked`); PyTorch is the better of NHWC and NCHW.
 */
import { conv2d, gradients, uniform } from '../dist/index.js';
import { bar, compare, geometricMean, OURS, worstBar } from './format.mjs';
import { replayed } from './measure.mjs';
import { nativeEngine, peakEngine } from './native.mjs';
import { torchBestEngine } from './torch.mjs';

export const NOTE = 'conv: images are size x size x channels in; a gradient counts the FLOP of the forward pass.';

const PASSES = { forward: 'fwd', 'input gradient': 'bwd_data', 'weight gradient': 'bwd_weights' };

/** Image size, channels in and out, kernel, stride. */
const SHAPES = [
  // ResNet-20/32 (shortcuts have no weights); the first is the stem of the WRN too
  [32, 3, 16, 3, 1],
  [32, 16, 16, 3, 1],
  [32, 16, 32, 3, 2],
  [16, 32, 32, 3, 1],
  [16, 32, 64, 3, 2],
  [8, 64, 64, 3, 1],
  // WRN-16-4, with the 1x1 shortcuts
  [32, 16, 64, 3, 1],
  [32, 16, 64, 1, 1],
  [32, 64, 64, 3, 1],
  [32, 64, 128, 3, 2],
  [32, 64, 128, 1, 2],
  [16, 128, 128, 3, 1],
  [16, 128, 256, 3, 2],
  [16, 128, 256, 1, 2],
  [8, 256, 256, 3, 1],
  // VGG-11, pooling between
  [32, 3, 64, 3, 1],
  [16, 64, 128, 3, 1],
  [8, 128, 256, 3, 1],
  [4, 256, 512, 3, 1],
  [4, 512, 512, 3, 1],
  [2, 512, 512, 3, 1],
];

/** Depthwise: image size, channels, kernel, stride; batches of 32. */
const DEPTHWISE = [
  [32, 64, 3, 1],
  [32, 64, 3, 2],
  [16, 128, 3, 1],
  [16, 128, 3, 2],
  [8, 256, 5, 1],
];
const isDepthwise = ({ case: name }) => name.startsWith('depthwise');

function* cases(quick) {
  for (const batch of quick ? [64] : [64, 128]) {
    for (const [size, inputs, outputs, kernel, stride] of SHAPES) {
      if (quick && (size > 8 || outputs > 64)) continue;
      const shape = `${kernel}x${kernel}${stride > 1 ? `/${stride}` : ''} ${size}x${size} ${inputs}->${outputs}`;
      for (const [pass, direction] of Object.entries(PASSES)) {
        // The images need no gradient: nothing asks for that of the first layer.
        if (inputs === 3 && direction === 'bwd_data') continue;
        const name = `${shape}, batch ${batch}, ${pass}`;
        yield { name, batch, size, inputs, outputs, kernel, stride, direction, groups: 1 };
      }
    }
  }
  for (const [size, channels, kernel, stride] of quick ? [] : DEPTHWISE) {
    const shape = `depthwise ${kernel}x${kernel}${stride > 1 ? `/${stride}` : ''} ${size}x${size} ${channels}`;
    for (const [pass, direction] of Object.entries(PASSES)) {
      const of = { batch: 32, size, inputs: channels, outputs: channels, kernel, stride, direction };
      yield { name: `${shape}, batch 32, ${pass}`, ...of, groups: channels };
    }
  }
}

/** Ours, and what frees its memory. */
function ours({ batch, size, inputs, outputs, kernel, stride, direction, groups }, flop) {
  const options = { stride, padding: kernel >> 1, groups };
  const low = -1;
  const x = uniform([batch, size, size, inputs], { low, requiresGrad: direction === 'bwd_data' });
  const w = uniform([outputs, kernel, kernel, inputs / groups], { low, requiresGrad: direction === 'bwd_weights' });
  if (direction === 'fwd') {
    const forward = replayed((input) => conv2d(input, w, null, options), x, flop);
    return { measure: forward.measure, dispose: () => [forward, x, w].forEach((held) => held.dispose()) };
  }
  const y = conv2d(x, w, null, options);
  const by = direction === 'bwd_data' ? x : w;
  const g = uniform(y.shape, { low });
  const backward = replayed((gradient) => gradients(y, [by], { gradient, retainGraph: true }), g, flop);
  return { measure: backward.measure, dispose: () => [backward, y, x, w, g].forEach((held) => held.dispose()) };
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const shape of cases(quick)) {
    if (!wants(shape.name)) continue;
    const { name, batch, size, inputs, outputs, kernel, stride, direction, groups } = shape;
    const flop = (2 * batch * Math.ceil(size / stride) ** 2 * outputs * inputs * kernel ** 2) / groups;
    const mine = ours(shape, flop);
    const window = [batch, size, size, inputs, outputs, kernel, kernel, stride, kernel >> 1, groups].join(' ');
    const onednn = (count, layout) => nativeEngine('onednn', count, `conv ${direction} ${window} ${layout}`, seconds);
    const variant = { direction, n: batch, h: size, c: inputs, k: outputs, r: kernel, stride, groups };
    const variants = [true, false].map((channels_last) => ({ ...variant, channels_last }));
    for (const count of threads) {
      const engines = {
        gyrus: () => mine.measure(seconds),
        peak: await peakEngine(count, flop, Math.min(seconds, 0.2)),
        onednn: await onednn(count, 'nhwc'),
        'onednn-blocked': await onednn(count, 'any'),
        torch: torchBestEngine('torch_kernels:conv', count, seconds, variants),
      };
      const common = { suite: 'conv', name, unit: 'GFLOP/s', threads: count, rounds, scale: flop / 1e9 };
      entries.push(...(await compare({ ...common, engines })));
    }
    mine.dispose();
  }
  return entries;
}

export function bars(entries) {
  const counts = [...new Set(entries.map(({ threads }) => threads))];
  return counts.flatMap((count) => {
    const mine = entries.filter((entry) => entry.engine === OURS && entry.threads === count && !isDepthwise(entry));
    const against = (peer) =>
      mine
        .filter(({ ratio_to }) => ratio_to[peer] !== undefined)
        .map((entry) => ({ value: entry.ratio_to[peer], where: entry.case }));
    const mean = (peer) => {
      const values = against(peer).map(({ value }) => value);
      return values.length > 0 ? geometricMean(values) : null;
    };
    const at = `threads ${count}`;
    return [
      bar(`conv: geometric mean of gyrus/oneDNN, ${at}`, mean('onednn'), { atLeast: 1 }, `${mine.length} cases`),
      worstBar(`conv: gyrus/oneDNN of each case, ${at}`, against('onednn'), { atLeast: 0.9 }),
      bar(`conv: the same mean, oneDNN with images in its own blocked format, ${at}`, mean('onednn-blocked'), {
        atLeast: 1,
      }),
    ];
  });
}
