/**
 * What the peers' processes share: requests come as lines of JSON on stdin, { "case": NAME, "seconds": S, "args": {...} }, answers go as
 * lines on stdout, { "rate": runs per second } or { "error": text }. See bench/child.mjs for the other side.
 */
import { createInterface } from 'node:readline';

/**
 * Runs per second. `run` may return a promise; `settle`, when given, waits until what was started has been computed, and is called
 * after every batch; `batch`: at most so many runs between two of these.
 */
async function measure({ run, settle = () => undefined, batch: most = 1 << 16 }, seconds) {
  const timed = async (count) => {
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      const pending = run();
      if (pending instanceof Promise) await pending;
    }
    await settle();
    return performance.now() - began;
  };
  for (let i = 0; i < 3; i++) await timed(1);
  let batch = 1;
  let ms = await timed(batch);
  while (ms < Math.min(5, seconds * 200) && batch < most) {
    batch = Math.min(most, batch * 2);
    ms = await timed(batch);
  }
  let runs = 0;
  let spent = 0;
  while (spent < seconds * 1000) {
    spent += await timed(batch);
    runs += batch;
  }
  return (runs / spent) * 1000;
}

/**
 * Answers requests until stdin ends. Packages that write to stdout as they load would be taken for answers, so console.log goes to
 * stderr.
 * @param cases by name: (args) => { run, settle?, batch? }, may be async. The last one made is kept for the next request
 */
export async function serve(cases) {
  console.log = console.error;
  let key;
  let made;
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      const wanted = JSON.stringify([request.case, request.args]);
      if (key !== wanted) {
        key = undefined;
        if (!Object.hasOwn(cases, request.case)) throw new Error(`no case ${request.case}`);
        made = await cases[request.case](request.args);
        key = wanted;
      }
      answer = { rate: await measure(made, request.seconds) };
    } catch (error) {
      answer = { error: `${request.case}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  // Some packages keep threads or timers.
  process.exit(0);
}

/** He-initialised weights [rows, columns] by a small generator of its own: the peers' numbers need not be ours. */
export function weights(rows, columns, seed = 1) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const bound = Math.sqrt(6 / columns);
  return Float32Array.from({ length: rows * columns }, () => (2 * next() - 1) * bound);
}

/** Inputs in [0, 1) and labels, class i mod classes. */
export function batchOf(rows, features, classes) {
  return {
    x: weights(rows, features).map((v) => Math.abs(v % 1)),
    y: Int32Array.from({ length: rows }, (_, i) => i % classes),
  };
}
