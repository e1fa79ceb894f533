/**
 * The suites of `npm run bench`. A suite has one or more modules under bench/; each exports
 *   run(options)      measures and returns entries (bench/format.mjs). Options: { rounds, seconds, threads: number[], quick,
 *                     wants(case) }; cases that `wants` refuses are left out, `quick` asks for the cheapest few
 *   bars(entries)     optional: the bars of bench/format.mjs, computed from its entries
 *   NOTE              optional: what a reader of the table has to know
 */
export const SUITES = {
  gemm: { text: 'matrix products', modules: ['./gemm.mjs'] },
  conv: { text: 'convolutions', modules: ['./conv.mjs'] },
  mask: { text: 'layers of which a share of the neurons is active', modules: ['./mask.mjs'] },
  capacity: { text: 'steps captured at the capacity of widths that are partly active', modules: ['./capacity.mjs'] },
  ops: { text: 'kernels that memory bounds, 1e3 to 1e8 elements', modules: ['./ops.mjs'] },
  score: { text: 'importance scores, and what they add to a step', modules: ['./score.mjs'] },
  overhead: { text: 'what a call costs', modules: ['./overhead.mjs'] },
  step: {
    text: 'training steps of MLPs, ResNets and a ViT',
    modules: ['./step.mjs', './step-resnet.mjs', './step-vit.mjs'],
  },
  train: { text: 'whole trainings beside their bare step', modules: ['./train.mjs'] },
  scale: { text: 'the time of a step against its FLOP', modules: ['./scale.mjs'] },
  eventloop: { text: 'lateness of a timer during a training', modules: ['./eventloop.mjs'] },
};
