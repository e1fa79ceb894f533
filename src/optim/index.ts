export * from './adam.js';
export { Optimizer, type OptimizerMeta, type OptimizerOptions, type OptimizerState } from './optimizer.js';
export * as schedules from './schedules.js';
export type { Schedule } from './schedules.js';
export * from './sgd.js';
