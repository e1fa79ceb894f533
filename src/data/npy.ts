/**
 * npy, the array format of numpy: versions 1 to 3, little-endian, C order.
 */
import { FormatError } from '../device/index.js';
import { readBytes } from './files.js';

export type NpyData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
export type NpyType = 'f4' | 'f8' | 'i4' | 'i8' | 'u1' | 'b1';

export interface NpyArray {
  shape: number[];
  type: NpyType;
  /** b1 comes as bytes of 0 and 1. */
  data: NpyData;
}

export const NPY_MAGIC = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);
const BYTES: Record<NpyType, number> = { f4: 4, f8: 8, i4: 4, i8: 8, u1: 1, b1: 1 };
const ARRAYS: Record<NpyType, new (buffer: ArrayBuffer) => NpyData> = {
  f4: Float32Array,
  f8: Float64Array,
  i4: Int32Array,
  i8: BigInt64Array,
  u1: Uint8Array,
  b1: Uint8Array,
};

/** Decodes the bytes of an npy file; `path` is for messages. Throws FormatError saying what was expected and what came. */
export function parseNpy(bytes: Uint8Array, path: string): NpyArray {
  if (bytes.length < 10 || !NPY_MAGIC.every((b, i) => bytes[i] === b)) {
    throw new FormatError(
      `npy: ${path}: expected the magic \\x93NUMPY, got ${Buffer.from(bytes.subarray(0, 6)).toString('hex')}`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const major = bytes[6];
  if (major < 1 || major > 3) throw new FormatError(`npy: ${path}: expected version 1 to 3, got ${major}.${bytes[7]}`);
  const start = major === 1 ? 10 : 12;
  const length = bytes.length < start ? Infinity : major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (bytes.length < start + length) {
    throw new FormatError(`npy: ${path}: expected a header of ${length} bytes, got a file of ${bytes.length}`);
  }
  const header = Buffer.from(bytes.subarray(start, start + length)).toString(major === 3 ? 'utf8' : 'latin1');
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descr === undefined || order === undefined || extents === undefined) {
    throw new FormatError(`npy: ${path}: expected a header with descr, fortran_order and shape, got ${header.trim()}`);
  }
  const type = descr.slice(1) as NpyType;
  if (!Object.hasOwn(BYTES, type) || (descr[0] === '>' && BYTES[type] > 1) || !'<|=>'.includes(descr[0])) {
    throw new FormatError(`npy: ${path}: expected little-endian f4, f8, i4, i8, u1 or b1, got '${descr}'`);
  }
  if (order === 'True') throw new FormatError(`npy: ${path}: expected C order, got Fortran order`);
  const shape = extents
    .split(',')
    .map((s) => s.trim())
    .filter((s) => s !== '')
    .map(Number);
  if (shape.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new FormatError(`npy: ${path}: expected a shape of whole numbers, got (${extents})`);
  }
  const size = shape.reduce((a, b) => a * b, 1) * BYTES[type];
  const from = start + length;
  if (bytes.length !== from + size) {
    throw new FormatError(
      `npy: ${path}: expected ${size} bytes of data for shape [${shape.join(',')}], got ${bytes.length - from}`,
    );
  }
  return { shape, type, data: new ARRAYS[type](new Uint8Array(bytes.subarray(from)).buffer) };
}

/** Reads an npy file, gzipped or not. Throws FormatError for a truncated, foreign or unsupported one, IOError when unreadable. */
export async function readNpy(path: string): Promise<NpyArray> {
  return parseNpy(await readBytes(path), path);
}
