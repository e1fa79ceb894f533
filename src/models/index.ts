export * from './cosine.js';
export * from './mlp.js';
