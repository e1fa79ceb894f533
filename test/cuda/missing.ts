/**
 * Ops that the CUDA device has no kernel for yet. Tests that come upon one are left out on the emulated device; devices.test.ts fails
 * when an op of the list has got its kernel, so that the list can only shrink.
 */
import type { OpName } from '../../src/device/index.js';

export const MISSING: readonly OpName[] = ['attention', 'attentionGrad'];
