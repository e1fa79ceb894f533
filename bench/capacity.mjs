/**
 * Suite `capacity`: training steps of multilayer perceptrons captured at the capacity of their widths, of which a share is active,
 * beside the same steps recorded at the active size (`recorded`, which is what the option saves recording again). One case per network
 * changes a width between steps, back and forth: there `recorded` records at each change, and both pay for the change itself.
 */
import { compare } from './format.mjs';
import { rate } from './measure.mjs';
import { makeStep } from './mlp.mjs';

export const NOTE =
  'capacity: `recorded` is the same step recorded at the active size; in "changes" it records anew at each change.';

const NETS = [
  { sizes: [784, 256, 256, 10], batch: 64, optimizer: 'sgd' },
  { sizes: [784, 1024, 1024, 10], batch: 128, optimizer: 'adam' },
];
const SHARES = [0.25, 0.5, 1];

/** The step with this share of each hidden width active, in both ways. */
function pair({ sizes, batch, optimizer }, share) {
  const last = sizes.length - 1;
  const active = sizes.map((size, i) => (i === 0 || i === last ? size : Math.round(size * share)));
  return [true, false].map((atCapacity) =>
    makeStep({ sizes: active, capacities: sizes, batch, optimizer, atCapacity }),
  );
}

/** Grows the first hidden width by an eighth and prunes it again, with a step after each. */
function changing({ run, widths: [width] }) {
  const more = width.size >> 3;
  return () => {
    width.grow(more);
    run();
    width.prune(Int32Array.from({ length: more }, (_, i) => i));
    run();
  };
}

export async function run({ seconds, rounds, threads, quick, wants }) {
  const entries = [];
  for (const net of NETS.slice(0, quick ? 1 : undefined)) {
    const label = `${net.sizes.join('-')}, batch ${net.batch}, ${net.optimizer}`;
    const cases = SHARES.map((share) => ({
      name: `${label}, ${share * 100} % active`,
      unit: 'steps/s',
      share,
      of: ({ run: step }) => step,
    }));
    cases.push({ name: `${label}, changes at 50 %`, unit: 'pairs of changes/s', share: 0.5, of: changing });
    for (const { name, unit, share, of } of cases) {
      if (!wants(name)) continue;
      const made = pair(net, share);
      const [captured, recorded] = made.map(of);
      for (const count of threads) {
        const engines = { gyrus: () => rate(captured, seconds), recorded: () => rate(recorded, seconds) };
        entries.push(...(await compare({ suite: 'capacity', name, unit, threads: count, rounds, engines })));
      }
      for (const step of made) step.dispose();
    }
  }
  return entries;
}
