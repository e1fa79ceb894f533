/**
 * Finds and loads the native addon, once per environment (main thread or worker), and checks that its op list is ours.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DeviceError, typed } from './errors.js';
import type { NativeModule } from './native.js';
import { checkOps } from './ops.js';

let loaded: NativeModule | undefined;

/** The folder that holds package.json, found upwards from this file (src/device or dist/device). */
export function packageRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, 'package.json')) && dirname(dir) !== dir) dir = dirname(dir);
  return dir;
}

/**
 * The addon. Throws DeviceError, saying where it was looked for, when it is missing or can't be loaded here, and
 * ConfigError when GYRUS_ISA names an instruction set that this CPU doesn't have.
 */
export function addon(): NativeModule {
  if (loaded) return loaded;
  const path = process.env.GYRUS_ADDON ?? join(packageRoot(), 'build', 'Release', 'gyrus.node');
  if (!existsSync(path)) {
    throw new DeviceError(`load: expected the native addon at ${path}, found nothing; run 'npm run build:native'`);
  }
  let native: NativeModule;
  try {
    native = createRequire(import.meta.url)(path) as NativeModule;
  } catch (error) {
    const known = typed(error);
    if (known !== error) throw known;
    throw new DeviceError(`load: ${path} can't be loaded: ${(error as Error).message}`, { cause: error });
  }
  const problem = checkOps(native.ops, native.kinds);
  if (problem) throw new DeviceError(`load: ${path} is of another version: ${problem}`);
  loaded = native;
  return native;
}
