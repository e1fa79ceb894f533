export * from './create.js';
export * from './dtype.js';
export * from './gradmode.js';
export * from './scope.js';
export * from './shape.js';
export * from './storage.js';
export * from './tensor.js';
export * from './track.js';
