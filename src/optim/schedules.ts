/**
 * Learning-rate schedules: functions from progress (share of the training done, 0 to 1) to a factor on the base rate.
 */
import { ConfigError } from '../device/index.js';

export type Schedule = (progress: number) => number;

function fraction(what: string, value: number): number {
  if (!(value >= 0 && value <= 1)) throw new ConfigError(`${what}: expected a number in [0, 1], got ${String(value)}`);
  return value;
}

/** Always 1. */
export function constant(): Schedule {
  return () => 1;
}

/** Times gamma at each milestone (shares of the training). Default: x0.1 at 0.8 and 0.9. */
export function step(milestones: readonly number[] = [0.8, 0.9], gamma = 0.1): Schedule {
  for (const milestone of milestones) fraction('step schedule: milestone', milestone);
  if (!(gamma > 0)) throw new ConfigError(`step schedule: expected gamma > 0, got ${String(gamma)}`);
  return (progress) => gamma ** milestones.filter((milestone) => progress >= milestone).length;
}

/** From 1 to `end` along half a cosine. Source: Loshchilov and Hutter 2017, without restarts. */
export function cosine(end = 0): Schedule {
  fraction('cosine schedule: end', end);
  return (progress) => end + (1 - end) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, Math.max(0, progress))));
}

/**
 * Rises linearly from `start` to 1 over the first `share` of the training, then follows `schedule` over the rest.
 * @param start factor at progress 0, default 0
 */
export function warmup(share: number, schedule: Schedule = constant(), start = 0): Schedule {
  fraction('warmup: share', share);
  fraction('warmup: start', start);
  return (progress) => {
    if (progress < share) return start + (1 - start) * (progress / share);
    return share >= 1 ? 1 : schedule((progress - share) / (1 - share));
  };
}
