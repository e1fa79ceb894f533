/**
 * IDX, the format of MNIST and its kin: two zero bytes, a type byte, the number of axes, big-endian extents, the elements.
 */
import { FormatError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
import { readBytes } from './files.js';

export interface IdxArray {
  shape: number[];
  data: Uint8Array | Int8Array | Int16Array | Int32Array | Float32Array | Float64Array;
}

const TYPES: Record<number, { bytes: number; Array: new (n: number) => IdxArray['data']; get: keyof DataView }> = {
  0x08: { bytes: 1, Array: Uint8Array, get: 'getUint8' },
  0x09: { bytes: 1, Array: Int8Array, get: 'getInt8' },
  0x0b: { bytes: 2, Array: Int16Array, get: 'getInt16' },
  0x0c: { bytes: 4, Array: Int32Array, get: 'getInt32' },
  0x0d: { bytes: 4, Array: Float32Array, get: 'getFloat32' },
  0x0e: { bytes: 8, Array: Float64Array, get: 'getFloat64' },
};

/** Decodes the bytes of an IDX file; `path` is for messages. Throws FormatError saying what was expected and what came. */
export function parseIdx(bytes: Uint8Array, path: string): IdxArray {
  if (bytes.length < 4)
    throw new FormatError(`idx: ${path}: expected a header of at least 4 bytes, got ${bytes.length}`);
  const type = TYPES[bytes[2]];
  if (bytes[0] !== 0 || bytes[1] !== 0 || !type) {
    const magic = [...bytes.subarray(0, 4)].map((b) => b.toString(16).padStart(2, '0')).join('');
    throw new FormatError(`idx: ${path}: expected magic 0000TTRR (type 08, 09, 0b..0e), got ${magic}`);
  }
  const rank = bytes[3];
  const header = 4 + 4 * rank;
  if (bytes.length < header) {
    throw new FormatError(`idx: ${path}: expected a header of ${header} bytes for ${rank} axes, got ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const size = shape.reduce((a, b) => a * b, 1);
  if (bytes.length !== header + size * type.bytes) {
    throw new FormatError(
      `idx: ${path}: expected ${header + size * type.bytes} bytes for shape [${shape.join(',')}], got ${bytes.length}`,
    );
  }
  // Bytes stay where they are: the large files are images.
  if (type.Array === Uint8Array) return { shape, data: new Uint8Array(bytes.buffer, bytes.byteOffset + header, size) };
  const data = new type.Array(size);
  const get = view[type.get] as (at: number) => number;
  for (let i = 0; i < size; i++) data[i] = get.call(view, header + i * type.bytes);
  return { shape, data };
}

/** The bytes of an IDX file of type 08, to be written one after the other. */
export function encodeIdx(shape: readonly number[], data: Uint8Array): Uint8Array[] {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = 0x08;
  header[3] = shape.length;
  shape.forEach((extent, i) => header.writeUInt32BE(extent, 4 + 4 * i));
  return [header, data];
}

/** Reads an IDX file, gzipped or not. Throws FormatError for a truncated or foreign file, IOError for one that can't be read. */
export async function readIdx(path: string): Promise<IdxArray> {
  return parseIdx(await readBytes(path), path);
}

/**
 * A dataset from an IDX file of images (u8, first axis rows) and one of labels (u8, one axis).
 * @throws FormatError for files that are truncated, foreign or don't belong together, and for labels outside the classes
 */
export async function readIdxPair(
  images: string,
  labels: string,
  options: { name: string; classes?: number; classNames?: readonly string[] },
): Promise<Dataset> {
  const [x, y] = await Promise.all([readIdx(images), readIdx(labels)]);
  if (!(x.data instanceof Uint8Array) || x.shape.length < 2) {
    throw new FormatError(
      `idx: ${images}: expected images of type 08 and at least 2 axes, got shape [${x.shape.join(',')}]`,
    );
  }
  if (!(y.data instanceof Uint8Array) || y.shape.length !== 1) {
    throw new FormatError(`idx: ${labels}: expected labels of type 08 and 1 axis, got shape [${y.shape.join(',')}]`);
  }
  if (x.shape[0] !== y.shape[0]) {
    throw new FormatError(
      `idx: ${labels}: expected ${x.shape[0]} labels, as many as ${images} has images, got ${y.shape[0]}`,
    );
  }
  const shape = x.shape.length === 3 ? [...x.shape.slice(1), 1] : x.shape.slice(1);
  return createDataset({ ...options, data: x.data, labels: y.data, shape });
}
