/**
 * Timing of our own engine.
 */
import { device } from '../dist/index.js';

/**
 * Calls per second of `run`, which enqueues work on the stream. The clock runs from a drained stream to a drained stream; calls go in
 * batches of some milliseconds, so that neither the clock nor the drain shows.
 */
export function rate(run, seconds) {
  const cpu = device();
  const timed = (count) => {
    const began = performance.now();
    for (let i = 0; i < count; i++) run();
    cpu.sync();
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
