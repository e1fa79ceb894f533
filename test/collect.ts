/**
 * Garbage collection on demand, for tests that count buffers: what was dropped without being disposed of is freed by finalisers.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { device } from '../src/device/index.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Collects, with turns of the event loop between, until `done`, 200 times at most. */
export async function collectUntil(done: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !done(); i++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
    collect();
  }
}

/** Collects until the number of buffers has stood still for a while. */
export async function collectAll(): Promise<void> {
  let last = -1;
  let still = 0;
  await collectUntil(() => {
    const { buffers } = device().memory();
    still = buffers === last ? still + 1 : 0;
    last = buffers;
    return still >= 5;
  });
}
