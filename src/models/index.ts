export * from './classifier.js';
export * from './mlp.js';
export { mixer, Mixer, type MixerOptions } from './mixer.js';
export { vit, VisionTransformer, type VitOptions } from './vit.js';
export * from './resnet.js';
export * from './vgg.js';
export * from './wideresnet.js';
export * from './cost.js';
