export * from './atomic.js';
export * from './checkpoint.js';
export * from './npy.js';
