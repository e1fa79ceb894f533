/**
 * The classifier of a model, its last layer, and what goes into it. Any model has these: nothing but the order of its fields is asked
 * of it.
 */
import { ConfigError } from '../device/index.js';
import type { Tensor } from '../tensor/index.js';
import { CosineLinear } from './cosine.js';
import { Linear } from './layers.js';
import type { Module } from './module.js';

export type Classifier = Linear | CosineLinear;

/**
 * The module that is last in the order of definition, at whatever depth.
 * @throws ConfigError when that is neither a Linear nor a CosineLinear
 */
export function lastLayer(model: Module): Classifier {
  let last = model;
  while (!(last instanceof CosineLinear || last instanceof Linear)) {
    const next = [...last.children.values()].at(-1);
    if (!next) {
      throw new ConfigError(
        `lastLayer: expected a model that ends in a Linear or a CosineLinear, got a ${last.constructor.name}`,
      );
    }
    last = next;
  }
  return last;
}

/** The layer that has a classifier's weight [classes, features] and bias. */
export function linearOf(classifier: Classifier): Linear {
  return classifier instanceof CosineLinear ? classifier.inner : classifier;
}

/** Runs `model` with another forward pass of its classifier. */
function withForward(model: Module, classifier: Classifier, x: Tensor, forward: (h: Tensor) => Tensor): Tensor {
  // An own property hides the class's method for as long as the pass takes.
  classifier.forward = forward;
  try {
    return model.forward(x);
  } finally {
    delete (classifier as { forward?: unknown }).forward;
  }
}

/** The logits of model(x), and the features [N, F] that went into its classifier. */
export function forwardWithFeatures(
  model: Module,
  classifier: Classifier,
  x: Tensor,
): { logits: Tensor; features: Tensor } {
  const classify = classifier.forward.bind(classifier);
  let features = x;
  const logits = withForward(model, classifier, x, (h) => classify((features = h)));
  return { logits, features };
}

/** The features [N, F] of x alone. */
export function featuresOf(model: Module, classifier: Classifier, x: Tensor): Tensor {
  return withForward(model, classifier, x, (h) => h);
}
