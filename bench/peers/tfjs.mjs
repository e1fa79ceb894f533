/**
 * TensorFlow.js: `node tfjs.mjs cpu|wasm|webgpu`. The wasm backend has SIMD and one thread in Node. For webgpu, which Node doesn't have
 * of its own, this folder must hold the packages webgpu and @tensorflow/tfjs-backend-webgpu too (some 200 MB, so they are installed by
 * hand); it runs on what Vulkan finds.
 */
import { createRequire } from 'node:module';
import { batchOf, serve, weights } from './serve.mjs';

const backend = process.argv[2];
console.warn = () => undefined;
const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs');
if (backend === 'wasm') {
  const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm');
  setWasmPaths(`${require.resolve('@tensorflow/tfjs-backend-wasm/package.json').replace(/package\.json$/, '')}dist/`);
}
if (backend === 'webgpu') {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]), userAgent: 'node' }, configurable: true });
  require('@tensorflow/tfjs-backend-webgpu');
}
if (!(await tf.setBackend(backend))) throw new Error(`the backend ${backend} of TensorFlow.js finds no device`);
await tf.ready();

/** On a GPU calls only enqueue: what a tensor has to wait for has been computed when a number of it is read. */
const settled = (tensor) =>
  backend === 'webgpu' ? tf.tidy(() => tf.slice(tf.reshape(tensor, [-1]), [0], [1])).data() : undefined;

/** @param optimizer 'sgd' (with momentum) or 'adam' */
function step({ sizes, batch, optimizer }) {
  const params = [];
  for (let i = 0; i + 1 < sizes.length; i++) {
    params.push(tf.variable(tf.tensor2d(weights(sizes[i], sizes[i + 1], i + 1), [sizes[i], sizes[i + 1]])));
    params.push(tf.variable(tf.zeros([sizes[i + 1]])));
  }
  const data = batchOf(batch, sizes[0], sizes[sizes.length - 1]);
  const x = tf.tensor2d(data.x, [batch, sizes[0]]);
  const y = tf.oneHot(tf.tensor1d(data.y, 'int32'), sizes[sizes.length - 1]).toFloat();
  const optim = optimizer === 'adam' ? tf.train.adam(0.001) : tf.train.momentum(0.01, 0.9);
  const loss = () => {
    let h = x;
    for (let i = 0; i < params.length; i += 2) {
      h = h.matMul(params[i]).add(params[i + 1]);
      if (i + 2 < params.length) h = h.relu();
    }
    return tf.losses.softmaxCrossEntropy(y, h);
  };
  return { run: () => optim.minimize(loss), settle: () => settled(params[0]) };
}

await serve({
  add() {
    const a = tf.tensor1d([1, 2, 3, 4]);
    const b = tf.tensor1d([5, 6, 7, 8]);
    return { run: () => tf.add(a, b).dispose() };
  },
  graph() {
    const x = tf.tensor1d([1, 2, 3, 4]);
    return {
      run: () =>
        tf
          .tidy(() => {
            let y = x;
            for (let i = 0; i < 10; i++) y = tf.add(y, x);
            return y;
          })
          .dispose(),
    };
  },
  step,
});
