export * from './csv.js';
export * from './dataset.js';
export * from './files.js';
export * from './idx.js';
export * from './loader.js';
export * from './npy.js';
export * from './own.js';
export * from './registry.js';
