/**
 * Training steps of multilayer perceptrons, for the suites `step`, `scale` and `score`: forward, softmax cross-entropy, backward,
 * optimiser, on one batch that stays in memory.
 */
import { capture, crossEntropy, manualSeed, nn, optim, plasticity, tensor, uniform } from '../dist/index.js';

/** Floating-point operations of the products in one step: forward, both gradients, but for the input's. */
export function stepFlop(sizes, batch) {
  let products = 0;
  for (let i = 0; i + 1 < sizes.length; i++) products += sizes[i] * sizes[i + 1] * (i > 0 ? 3 : 2);
  return 2 * batch * products;
}

/**
 * @param sizes neurons of the input and of each layer; ReLU between
 * @param optimizer 'sgd' (momentum 0.9) or 'adam'
 * @param scored class-taylor of every hidden width is collected
 * @param capacities of the hidden widths, at the places of their sizes. Default: the sizes
 * @param atCapacity the step is captured at these capacities
 * @returns run(): enqueues one captured step; widths: the hidden ones; dispose()
 */
export function makeStep({ sizes, batch, optimizer, scored = false, capacities = sizes, atCapacity = false }) {
  manualSeed(0);
  const classes = sizes[sizes.length - 1];
  const hidden = sizes.slice(1, -1).map((size, i) => new nn.Width(size, { capacity: capacities[i + 1] }));
  const axes = [sizes[0], ...hidden, classes];
  const layers = [];
  for (let i = 0; i + 1 < axes.length; i++) {
    layers.push(new nn.Linear(axes[i], axes[i + 1], { activation: i + 2 < axes.length ? 'relu' : 'none' }));
  }
  const net = new nn.Sequential(...layers);
  const gates = scored ? hidden.map((width) => plasticity.GateCollector.attach(width, classes)) : [];
  for (const gate of gates) gate.active = true;
  const params = net.parameters();
  const mover =
    optimizer === 'adam' ? new optim.Adam(params, { lr: 0.001 }) : new optim.SGD(params, { lr: 0.01, momentum: 0.9 });
  const x = uniform([batch, sizes[0]]);
  const y = tensor(Int32Array.from({ length: batch }, (_, i) => i % classes));
  const step = capture(
    (input, labels) => {
      for (const gate of gates) gate.setLabels(labels);
      mover.zeroGrad();
      const loss = crossEntropy(net.forward(input), labels);
      loss.backward();
      mover.step();
      return loss.detach();
    },
    { atCapacity },
  );
  step(x, y);
  return {
    run: () => step(x, y),
    widths: hidden,
    dispose: () => {
      step.dispose();
      for (const gate of gates) gate.dispose();
      mover.dispose();
      net.dispose();
      x.dispose();
      y.dispose();
    },
  };
}
