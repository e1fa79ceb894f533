export * from './collector.js';
export * from './context.js';
export * from './cycle.js';
export * from './events.js';
export * from './fold.js';
export { type CycleOptions, cycleSchema, type CycleSettings, growthEpochs } from './options.js';
export * from './scores.js';
