export * from './atomic.js';
export * from './checkpoint.js';
export * from './fetch.js';
export * from './npy.js';
