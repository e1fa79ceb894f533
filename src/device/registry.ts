/**
 * Which devices there are, by name. One CPU device is made per environment on first use.
 */
import { addon } from './addon.js';
import { CpuDevice } from './cpu.js';
import type { Device } from './device.js';
import { DeviceError } from './errors.js';

let cpu: Device | undefined;

/** Names of the devices that can be used here; 'cpu' is always among them. */
export function devices(): string[] {
  return ['cpu'];
}

/** The device of that name. Throws DeviceError, naming what was looked for, when it isn't there. Default 'cpu'. */
export function device(name = 'cpu'): Device {
  if (name === 'cpu') {
    if (!cpu || cpu.disposed) cpu = new CpuDevice();
    return cpu;
  }
  const why = name.startsWith('cuda') ? ` (${addon().cudaStatus})` : '';
  throw new DeviceError(`device: expected one of ${devices().join(', ')}, got '${name}'${why}`);
}
