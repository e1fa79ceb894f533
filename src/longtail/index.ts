export * from './losses.js';
export * from './metrics.js';
export * from './profiles.js';
export * from './samplers.js';
