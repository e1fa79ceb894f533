export { createLoss } from './create-loss.js';
export {
  type DeferredReweighting,
  effectiveNumberWeights,
  inverseFrequencyWeights,
  ldamMargins,
  logPriors,
  type Loss,
  type LossInputs,
  type LossName,
  lossNames,
  type LossOptions,
  unmixable,
} from './losses.js';
export * from './metrics.js';
export * from './profiles.js';
export * from './samplers.js';
