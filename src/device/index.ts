export * from './addon.js';
export * from './addon-device.js';
export * from './device.js';
export * from './errors.js';
export * from './native.js';
export * from './ops.js';
export * from './registry.js';
export * from './threads.js';
