export * from './backward.js';
export * from './capture.js';
export * from './functional.js';
