/**
 * Lists of seeds as a person writes them.
 */
import { ConfigError } from '../device/index.js';

/** Seeds as '0,1,2' or '0-4'. Throws ConfigError for anything else, and for a seed that comes twice. */
export function parseSeeds(text: string): number[] {
  const seeds = text.split(',').flatMap((part) => {
    const range = /^(\d+)-(\d+)$/.exec(part.trim());
    if (range) {
      const [from, to] = [Number(range[1]), Number(range[2])];
      if (to < from || to - from >= 10000) throw new ConfigError('Expected a rising range, e.g. 0-4.');
      return Array.from({ length: to - from + 1 }, (_, i) => from + i);
    }
    if (!/^\d+$/.test(part.trim())) throw new ConfigError('Expected whole numbers, e.g. 0,1,2 or 0-4.');
    return [Number(part)];
  });
  if (new Set(seeds).size < seeds.length) throw new ConfigError('Expected each seed once.');
  return seeds;
}
