/**
 * Suite `overhead`: what a call costs when there is next to nothing to compute. Our calls are enqueued and run on the stream's thread;
 * "enqueue alone" is the time that the JavaScript thread spends on them, "and run" the time until all have been computed. The
 * peers' calls compute at once, so both cases hold the same figure of theirs.
 */
import { add, capture, device, tensor } from '../dist/index.js';
import { bar, compare, OURS } from './format.mjs';
import { rate } from './measure.mjs';
import { peerEngines } from './peers.mjs';
import { torchEngine } from './torch.mjs';

const ENQUEUE = 'add of 4 elements, enqueue alone';

/** Calls per second on the JavaScript thread: fewer calls than the queue holds, from a drained stream, without the drain's time. */
function enqueueRate(fn, seconds) {
  const CALLS = 2000;
  let spent = 0;
  let calls = 0;
  for (let warm = 20; spent < seconds * 1000; warm--) {
    device().sync();
    const began = performance.now();
    for (let i = 0; i < CALLS; i++) fn();
    if (warm > 0) continue;
    spent += performance.now() - began;
    calls += CALLS;
  }
  device().sync();
  return (calls / spent) * 1000;
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
  const addOnce = () => add(a, b).dispose();
  const cases = [
    { name: ENQUEUE, unit: 'calls/s', ours: () => enqueueRate(addOnce, seconds), peer: 'add' },
    { name: 'add of 4 elements, enqueued and run', unit: 'calls/s', ours: () => rate(addOnce, seconds), peer: 'add' },
    {
      name: '10 such adds, captured and replayed',
      unit: 'replays/s',
      ours: () => rate(() => ten(a), seconds),
      peer: 'graph',
    },
  ];
  const entries = [];
  for (const { name, unit, ours, peer } of cases.filter((c) => wants(c.name))) {
    for (const count of threads) {
      const engines = {
        [OURS]: ours,
        torch: torchEngine(peer, count, seconds),
        ...peerEngines(peer, count, seconds),
      };
      entries.push(...(await compare({ suite: 'overhead', name, unit, threads: count, rounds, engines })));
    }
  }
  ten.dispose();
  a.dispose();
  b.dispose();
  return entries;
}

export function bars(entries) {
  const ours = entries.filter(({ engine, case: name }) => engine === OURS && name === ENQUEUE);
  return ours.map(({ value, threads }) =>
    bar(`overhead: microseconds to enqueue an add of 4 elements, threads ${threads}`, 1e6 / value, { atMost: 0.5 }),
  );
}
