/**
 * Suite `eventloop`: how late a 10 ms timer of the same process is while a training runs. The value is the share of its ticks that
 * were late by at most 50 ms; the percentiles of the lateness stand beside it, and those of an idle process as reference.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { setThreads, train } from '../dist/index.js';

const PERIOD = 10;
const LIMIT = 50;

/** Lateness in milliseconds of a timer while `work` goes on. */
async function lateness(work) {
  const late = [];
  let running = true;
  let before = performance.now();
  const tick = () => {
    const now = performance.now();
    late.push(Math.max(0, now - before - PERIOD));
    before = now;
    if (running) setTimeout(tick, PERIOD);
  };
  setTimeout(tick, PERIOD);
  await work();
  running = false;
  return late;
}

function entry(name, threads, late) {
  const sorted = [...late].sort((a, b) => a - b);
  const at = (share) => Number(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))].toFixed(2));
  return {
    suite: 'eventloop',
    case: name,
    engine: 'gyrus',
    threads,
    value: late.filter((ms) => ms <= LIMIT).length / late.length,
    unit: `of ticks at most ${LIMIT} ms late`,
    ratio_to: {},
    detail: { ticks: late.length, 'p50 ms': at(0.5), 'p90 ms': at(0.9), 'p99 ms': at(0.99), 'max ms': at(1) },
  };
}

export async function run({ seconds, rounds, threads, wants, quick }) {
  const config = {
    dataset: { imbalanceFactor: null },
    model: { hidden: [512, 256] },
    epochs: 1,
    batchSize: 128,
    optimizer: { lr: 0.05 },
  };
  const data = await train.prepareData(train.parseConfig(config).dataset);
  const idleName = '10 ms timer, idle';
  const busyName = `10 ms timer, epochs of MLP 784-512-256-10 on ${data.name} (${data.train.rows} rows)`;
  const entries = [];
  for (const count of threads) {
    setThreads(count);
    const idle = [];
    const busy = [];
    for (let round = 0; round < rounds; round++) {
      if (wants(idleName)) idle.push(...(await lateness(() => sleep(seconds * 1000))));
      if (wants(busyName) && !quick) {
        busy.push(...(await lateness(() => train.train(config, { data, onProgress: () => undefined }))));
      }
    }
    if (idle.length > 0) entries.push(entry(idleName, count, idle));
    if (busy.length > 0) entries.push(entry(busyName, count, busy));
  }
  return entries;
}
