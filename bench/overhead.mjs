/**
 * Suite `overhead`: what a call costs when there is next to nothing to compute. Rates are of enqueueing and running together,
 * since the queue is bounded.
 */
import Benchmark from 'benchmark';
import { add, capture, device, tensor, threads } from '../dist/index.js';
import { compare, torchAbsent, torchRate } from './format.mjs';

/** Calls per second, by the package `benchmark`. */
function rate(fn, seconds) {
  const bench = new Benchmark({ fn, maxTime: seconds, minSamples: 5 });
  bench.run();
  if (bench.error) throw bench.error;
  device().sync();
  return bench.hz;
}

export async function overhead({ seconds, rounds }) {
  const absent = torchAbsent();
  const torch = (name) => (absent ? { absent } : () => torchRate(name, 1, seconds));
  const a = tensor([1, 2, 3, 4]);
  const b = tensor([5, 6, 7, 8]);
  const ten = capture((x) => {
    let y = add(x, x);
    for (let i = 0; i < 9; i++) y = add(y, x);
    return y;
  });
  ten(a);
  const common = { suite: 'overhead', threads: threads(), rounds };
  const entries = [
    ...(await compare({
      ...common,
      name: 'add of 4 elements',
      unit: 'calls/s',
      engines: { gyrus: () => rate(() => add(a, b).dispose(), seconds), torch: torch('add') },
    })),
    ...(await compare({
      ...common,
      name: '10 such adds, captured and replayed',
      unit: 'replays/s',
      engines: { gyrus: () => rate(() => ten(a), seconds), torch: torch('graph') },
    })),
  ];
  ten.dispose();
  return entries;
}
