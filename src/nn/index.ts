export * from './carried.js';
export { GROWTH_INITS, type GrowthInit, type Newborn, type NewbornOptions } from './growth.js';
export * as init from './init.js';
export * from './layers.js';
export * from './module.js';
export * from './norm.js';
export * from './parameter.js';
export * from './width.js';
