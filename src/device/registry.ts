/**
 * Which devices there are, by name, and the one that is used where none is named. Each is made once per environment, on first use.
 */
import { addon } from './addon.js';
import { AddonDevice } from './addon-device.js';
import type { Device } from './device.js';
import { DeviceError } from './errors.js';
import type { CudaDeviceInfo } from './native.js';

const open = new Map<string, Device>();
let defaultName: string | undefined;

/** The CUDA devices that can be used here; without any, `status` says what was looked for and where. */
export function cudaDevices(): { devices: CudaDeviceInfo[]; status: string } {
  return addon().cudaDevices();
}

/** Names of the devices that can be used here; 'cpu' is always among them. */
export function devices(): string[] {
  return ['cpu', ...cudaDevices().devices.map(({ name }) => name)];
}

/** Throws DeviceError, naming what was looked for, when there is no device of that name. */
function expectDevice(op: string, name: string): void {
  if (name === 'cpu' || open.has(name)) return;
  const { devices: found, status } = cudaDevices();
  const names = ['cpu', ...found.map((info) => info.name)];
  if (names.includes(name)) return;
  const why = status === '' ? '' : ` (${status})`;
  throw new DeviceError(`${op}: expected one of ${names.join(', ')}, got '${name}'${why}`);
}

/**
 * The device of that name, the same each time. Throws DeviceError, naming what was looked for, when it isn't there. Default: the
 * default device.
 */
export function device(name = defaultDevice()): Device {
  const known = open.get(name);
  if (known && !known.disposed) return known;
  expectDevice('device', name);
  const made = new AddonDevice(name);
  open.set(name, made);
  return made;
}

/** Name of the device that tensors are made on where none is named: what setDefaultDevice said, GYRUS_DEVICE, or 'cpu'. */
export function defaultDevice(): string {
  return (defaultName ??= process.env.GYRUS_DEVICE || 'cpu');
}

/**
 * Tensors, generators and loaders made from now on lie on that device unless they name another; what is there stays where it is.
 * Throws DeviceError when there is no such device.
 */
export function setDefaultDevice(name: string): void {
  expectDevice('setDefaultDevice', name);
  defaultName = name;
}
