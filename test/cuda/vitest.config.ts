/**
 * Tests on the emulated CUDA device: what belongs to it alone, and those that every device passes: ops, tensors, gradients,
 * layers, optimisers, growth and pruning, and networks beside PyTorch's.
 * `npm run test:cuda` builds the addon they need.
 */
import { defineConfig, mergeConfig } from 'vitest/config';
import base from '../vitest.config.js';

const config = mergeConfig(
  base,
  defineConfig({
    test: {
      env: {
        GYRUS_ADDON: new URL('../../build/emulated/Release/gyrus.node', import.meta.url).pathname,
        GYRUS_DEVICE: 'cuda-emulated',
      },
    },
  }),
);
config.test!.include = ['cuda', 'ops', 'tensor', 'autograd', 'nn', 'optim', 'parity', 'plasticity'].map(
  (area) => `test/${area}/**/*.test.ts`,
);
config.test!.exclude = [];
export default config;
