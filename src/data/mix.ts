/**
 * Mixing of the rows of a batch, as a {@link DataLoader} does it on its own thread: what may be asked for, and how the device takes it.
 */
import { ConfigError, expectKeys } from '../device/index.js';
import { Philox } from '../tensor/index.js';
import type { Dataset } from './dataset.js';

/** In the order of the device's numbers for them. */
export const mixMethods = ['mixup', 'remix', 'cutmix'] as const;
export type MixMethod = (typeof mixMethods)[number];

/**
 * Each row is mixed with another of its batch, by a share of its own. mixup: l x + (1 - l) x2, l ~ Beta(alpha, alpha), labels by the
 * same share (Zhang et al. 2018). remix: as mixup, but of two classes whose sizes differ by a factor of kappa or more the rarer takes
 * the whole label where its share is above 1 - tau (Chou et al. 2020). cutmix: a box of the second picture of the area 1 - l, labels by
 * the area (Yun et al. 2019).
 */
export interface LoaderMix {
  method: MixMethod;
  /** Default 1: all shares are equally likely. */
  alpha?: number;
  /** Of a row to be mixed. Default 1. */
  probability?: number;
  /** Remix: default 3. */
  kappa?: number;
  /** Remix: default 0.5. */
  tau?: number;
  /** Rows are mixed in that many epochs from 0 on. Default: in all. */
  epochs?: number;
  /** What a row draws follows from the seed, the epoch and the row's place in it alone; its partner also from where batches begin. Default 0. */
  seed?: number;
}

const ALWAYS = 2 ** 32 - 1;

/** The mixing as the device takes it. Throws ConfigError for fields out of range, and for CutMix of rows that are no pictures. */
export function mixRecord({ name, shape }: Dataset, options: LoaderMix | undefined): number[] {
  if (options === undefined) return [];
  expectKeys('DataLoader: mix', options, ['method', 'alpha', 'probability', 'kappa', 'tau', 'epochs', 'seed']);
  const { method, alpha = 1, probability = 1, kappa = 3, tau = 0.5, epochs = ALWAYS, seed = 0 } = options;
  const kind = mixMethods.indexOf(method);
  if (kind < 0) {
    throw new ConfigError(`DataLoader: mix: expected a method among ${mixMethods.join(', ')}, got '${String(method)}'`);
  }
  for (const [field, value, low, high] of [
    ['alpha', alpha, Number.MIN_VALUE, 1e6],
    ['probability', probability, 0, 1],
    ['kappa', kappa, 1, 1e9],
    ['tau', tau, 0, 1],
    ['epochs', epochs, 0, ALWAYS],
  ] as const) {
    if (!(value >= low && value <= high) || (field === 'epochs' && !Number.isInteger(value)))
      throw new ConfigError(`DataLoader: mix: expected ${field} from ${low} to ${high}, got ${value}`);
  }
  if (method === 'cutmix' && shape.length !== 3) {
    throw new ConfigError(
      `DataLoader: mix: expected rows that are pictures [height,width,channels] for cutmix, got [${shape.join(',')}] of ${name}`,
    );
  }
  const random = new Philox(seed, 'mix');
  const picture = method === 'cutmix' ? shape : [0, 0, 0];
  return [kind, alpha, probability, kappa, tau, epochs, ...picture, random.u32(), random.u32()];
}
