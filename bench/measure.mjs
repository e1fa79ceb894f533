/**
 * Timing of our own engine.
 */
import { capture, device } from '../dist/index.js';
import { onGpu } from './device.mjs';

/** FLOP of a graph of some milliseconds, and the most calls in one. */
const [GRAPH_FLOP, MOST_CALLS] = onGpu ? [1e10, 256] : [1e8, 64];

/**
 * Calls per second of `run`, which enqueues work on the stream of a device, by default the default one. The clock runs from a drained stream to a drained stream; calls go in
 * batches of some milliseconds, so that neither the clock nor the drain shows.
 */
export function rate(run, seconds, measured = device()) {
  const timed = (count) => {
    const began = performance.now();
    for (let i = 0; i < count; i++) run();
    measured.sync();
    return performance.now() - began;
  };
  timed(1);
  let batch = 1;
  let ms = timed(batch);
  while (ms < Math.min(5, seconds * 200) && batch < 1 << 20) {
    batch *= ms < 1 ? 4 : 2;
    ms = timed(batch);
  }
  let calls = 0;
  let spent = 0;
  while (spent < seconds * 1000) {
    spent += timed(batch);
    calls += batch;
  }
  return (calls / spent) * 1000;
}

const disposeAll = (results) => {
  for (const tensor of [results].flat()) tensor?.dispose();
};

/**
 * A kernel without the call around it: `fn` is captured many times over in one graph, each time into the memory that the results of
 * the time before have left.
 * @param fn a function of the input that gives a tensor or several
 * @param flop of one call, to choose how many make a graph of some milliseconds
 * @returns measure(seconds): calls per second; dispose()
 */
export function replayed(fn, input, flop) {
  const calls = Math.max(1, Math.min(MOST_CALLS, Math.ceil(GRAPH_FLOP / flop)));
  const many = capture((x) => {
    let results = fn(x);
    for (let i = 1; i < calls; i++) {
      disposeAll(results);
      results = fn(x);
    }
    return results;
  });
  many(input);
  return {
    measure: (seconds) => rate(() => many(input), seconds, input.device) * calls,
    dispose: () => many.dispose(),
  };
}
