/**
 * Gyrus: a tensor engine for Node.js whose layers gain and lose neurons while they train. Tensors, their operations,
 * differentiation and devices are exported flat; everything above them in namespaces.
 */
import { device as deviceNamed, type Device, type MemoryInfo } from './device/index.js';

export {
  AddonDevice,
  AutogradError,
  ConfigError,
  type CudaDeviceInfo,
  cudaDevices,
  defaultDevice,
  type Device,
  device,
  DeviceError,
  type DeviceOptions,
  devices,
  DisposedError,
  DTypeError,
  type ErrorCode,
  FormatError,
  type Graph,
  GyrusError,
  IOError,
  type MemoryInfo,
  OutOfMemoryError,
  setDefaultDevice,
  setThreads,
  ShapeError,
  threads,
} from './device/index.js';
export {
  type AnyHostArray,
  type DType,
  empty,
  type HostArray,
  keep,
  noGrad,
  Philox,
  type PhiloxState,
  type Shape,
  Tensor,
  tensor,
  type TensorOptions,
  tidy,
  track,
  type Versioned,
} from './tensor/index.js';
export * from './ops/index.js';
export * from './autograd/index.js';

export * as nn from './nn/index.js';
export * as optim from './optim/index.js';
export * as plasticity from './plasticity/index.js';
export * as longtail from './longtail/index.js';
export * as data from './data/index.js';
export * as models from './models/index.js';
export * as io from './io/index.js';
export * as train from './train/index.js';

/** Bytes in use, held and in captured graphs on a device (default: the default device). */
export function memory(device?: Device | string): MemoryInfo {
  return (typeof device === 'object' ? device : deviceNamed(device)).memory();
}
