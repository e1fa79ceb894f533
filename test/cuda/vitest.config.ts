/**
 * Tests on a CUDA device: what belongs to it alone, and those that every device passes: ops, tensors, gradients, layers,
 * optimisers, growth and pruning, and networks beside PyTorch's. On the emulated device, whose addon `npm run test:cuda`
 * builds, or on the GPU that GYRUS_DEVICE names, with the addon as it is built on that machine.
 */
import { defineConfig, mergeConfig } from 'vitest/config';
import base from '../vitest.config.js';

const device = process.env.GYRUS_DEVICE?.startsWith('cuda:') ? process.env.GYRUS_DEVICE : 'cuda-emulated';
const emulated = device === 'cuda-emulated';
const built = new URL(`../../build/${emulated ? 'emulated/' : ''}Release/gyrus.node`, import.meta.url).pathname;

const config = mergeConfig(
  base,
  defineConfig({
    test: {
      env: {
        GYRUS_ADDON: emulated ? built : (process.env.GYRUS_ADDON ?? built),
        GYRUS_DEVICE: device,
      },
    },
  }),
);
config.test!.include = ['cuda', 'ops', 'tensor', 'autograd', 'nn', 'optim', 'parity', 'plasticity'].map(
  (area) => `test/${area}/**/*.test.ts`,
);
config.test!.exclude = emulated ? [] : ['test/cuda/emulated.test.ts'];
export default config;
