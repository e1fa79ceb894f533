/**
 * Suite `overhead`: what a call costs when there is next to nothing to compute. Rates are of enqueueing and running together,
 * since the queue is bounded.
 */
import Benchmark from 'benchmark';
import { add, capture, device, tensor } from '../dist/index.js';
import { compare } from './format.mjs';
import { torchEngine } from './torch.mjs';

/** Calls per second, by the package `benchmark`. */
function rate(fn, seconds) {
  const bench = new Benchmark({ fn, maxTime: seconds, minSamples: 5 });
  bench.run();
  if (bench.error) throw bench.error;
  device().sync();
  return bench.hz;
}

export async function run({ seconds, rounds, threads, wants }) {
  const a = tensor([1, 2, 3, 4]);
  const b = tensor([5, 6, 7, 8]);
  const ten = capture((x) => {
    let y = add(x, x);
    for (let i = 0; i < 9; i++) y = add(y, x);
    return y;
  });
  ten(a);
  const cases = [
    { name: 'add of 4 elements', unit: 'calls/s', ours: () => add(a, b).dispose(), torch: 'add' },
    { name: '10 such adds, captured and replayed', unit: 'replays/s', ours: () => ten(a), torch: 'graph' },
  ];
  const entries = [];
  for (const { name, unit, ours, torch } of cases.filter((c) => wants(c.name))) {
    for (const count of threads) {
      const engines = { gyrus: () => rate(ours, seconds), torch: torchEngine(torch, count, seconds) };
      entries.push(...(await compare({ suite: 'overhead', name, unit, threads: count, rounds, engines })));
    }
  }
  ten.dispose();
  return entries;
}
