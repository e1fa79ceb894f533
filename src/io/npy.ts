/**
 * Writing npy files (version 1.0, little-endian, C order), to be read by numpy and by data/npy.ts.
 */
import { DTypeError, ShapeError } from '../device/index.js';
import { NPY_MAGIC } from '../data/index.js';
import { describe, sizeOf, Tensor } from '../tensor/index.js';
import type { DType } from '../tensor/index.js';
import { writeFileAtomic } from './atomic.js';
import type { HostTensor } from './checkpoint.js';

const DESCR: Record<DType, string> = { f32: '<f4', f64: '<f8', i32: '<i4', u8: '|u1', bool: '|b1' };

/** The bytes of an npy file. Throws ShapeError when the data don't fill the shape. */
export function encodeNpy({ dtype, shape, data }: HostTensor): Uint8Array[] {
  const descr = DESCR[dtype];
  if (!descr) throw new DTypeError(`npy: expected dtype f32, f64, i32, u8 or bool, got ${String(dtype)}`);
  if (sizeOf(shape) !== data.length) {
    throw new ShapeError(`npy: expected ${sizeOf(shape)} elements for shape ${describe(shape)}, got ${data.length}`);
  }
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${extents}), }`;
  const padded = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const header = Buffer.alloc(10 + padded, ' ');
  header.set(NPY_MAGIC, 0);
  header[6] = 1;
  header[7] = 0;
  header.writeUInt16LE(padded, 8);
  header.write(text, 10, 'latin1');
  header[header.length - 1] = 0x0a;
  return [header, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)];
}

/** Writes a tensor, on the device or the host, atomically. Throws IOError when the file can't be written. */
export async function writeNpy(path: string, tensor: Tensor | HostTensor): Promise<void> {
  const host =
    tensor instanceof Tensor ? { dtype: tensor.dtype, shape: tensor.shape, data: await tensor.data() } : tensor;
  await writeFileAtomic(path, encodeNpy(host));
}
