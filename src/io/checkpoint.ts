/**
 * Checkpoint files: one file with a JSON header and named arrays, every part with a checksum.
 *   "GYRUSCKP", u32 version, u32 crc of the header, u64 length of the header, header JSON, then arrays at multiples of 64 bytes
 *   header: { meta, arrays: [{ name, dtype, shape, offset, bytes, crc }] }; offsets count from the end of the header's padding
 * All numbers little-endian.
 */
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { FormatError, IOError } from '../device/index.js';
import { type AnyHostArray, BYTES, type DType, DTYPES, hostArray, sizeOf, type Tensor } from '../tensor/index.js';
import { writeFileAtomic } from './atomic.js';

/** An array in host memory. */
export interface HostTensor {
  dtype: DType;
  shape: readonly number[];
  /** Row-major. */
  data: AnyHostArray;
}

/** What a checkpoint holds: anything JSON can say, and arrays by name. */
export interface Checkpoint {
  meta: Record<string, unknown>;
  tensors: Map<string, HostTensor>;
}

interface Entry {
  name: string;
  dtype: DType;
  shape: number[];
  offset: number;
  bytes: number;
  crc: number;
}

const MAGIC = Buffer.from('GYRUSCKP');
const VERSION = 1;
const FIXED = 24;
const ALIGN = 64;

function aligned(n: number): number {
  return Math.ceil(n / ALIGN) * ALIGN;
}

function bytesOf(data: AnyHostArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Copies tensors to the host, all as of this point of the stream. */
export async function toHost(tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, HostTensor>> {
  const reads = [...tensors].map(async ([name, t]): Promise<[string, HostTensor]> => {
    const { dtype, shape } = t;
    return [name, { dtype, shape: [...shape], data: await t.data() }];
  });
  return new Map(await Promise.all(reads));
}

/** The bytes of a checkpoint file, in pieces. */
export function* encodeCheckpoint(checkpoint: Checkpoint): Generator<Uint8Array> {
  let offset = 0;
  const arrays: Entry[] = [];
  for (const [name, { dtype, shape, data }] of checkpoint.tensors) {
    const bytes = bytesOf(data);
    arrays.push({ name, dtype, shape: [...shape], offset, bytes: bytes.length, crc: crc32(bytes) });
    offset = aligned(offset + bytes.length);
  }
  const header = Buffer.from(JSON.stringify({ meta: checkpoint.meta, arrays }));
  const fixed = Buffer.alloc(FIXED);
  MAGIC.copy(fixed);
  fixed.writeUInt32LE(VERSION, 8);
  fixed.writeUInt32LE(crc32(header), 12);
  fixed.writeBigUInt64LE(BigInt(header.length), 16);
  yield fixed;
  yield header;
  yield new Uint8Array(aligned(FIXED + header.length) - FIXED - header.length);
  for (const { data } of checkpoint.tensors.values()) {
    const bytes = bytesOf(data);
    yield bytes;
    yield new Uint8Array(aligned(bytes.length) - bytes.length);
  }
}

/**
 * Writes a checkpoint atomically.
 * @throws IOError when the file can't be written (no space, no permission); an older file of that name is then as it was
 */
export async function saveCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  await writeFileAtomic(path, encodeCheckpoint(checkpoint));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isEntry(value: unknown): value is Entry {
  if (!isObject(value)) return false;
  const { name, shape, offset, bytes, crc } = value;
  const counts: unknown[] = [offset, bytes, crc, ...(Array.isArray(shape) ? (shape as unknown[]) : [-1])];
  return typeof name === 'string' && counts.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}

function headerOf(bytes: Buffer): { meta: Record<string, unknown>; arrays: Entry[] } | undefined {
  try {
    const header: unknown = JSON.parse(bytes.toString('utf8'));
    if (!isObject(header) || !isObject(header.meta) || !Array.isArray(header.arrays)) return undefined;
    return header.arrays.every(isEntry) ? { meta: header.meta, arrays: header.arrays } : undefined;
  } catch {
    return undefined;
  }
}

/** Decodes the bytes of a checkpoint file; `path` is for messages. Throws FormatError saying what was expected and what came. */
export function decodeCheckpoint(file: Buffer, path: string): Checkpoint {
  const bad: (expected: string, got: string) => never = (expected, got) => {
    throw new FormatError(`checkpoint: ${path}: expected ${expected}, got ${got}`);
  };
  if (file.length < FIXED) bad(`at least ${FIXED} bytes`, `${file.length}`);
  if (!file.subarray(0, 8).equals(MAGIC))
    bad(`the magic ${MAGIC.toString()}`, JSON.stringify(file.toString('latin1', 0, 8)));
  const version = file.readUInt32LE(8);
  if (version !== VERSION) bad(`version ${VERSION}`, `${version}`);
  const length = Number(file.readBigUInt64LE(16));
  if (file.length < FIXED + length) bad(`a header of ${length} bytes`, `a file of ${file.length}`);
  const bytes = file.subarray(FIXED, FIXED + length);
  if (crc32(bytes) !== file.readUInt32LE(12)) bad('a header with its checksum', 'a damaged one');
  const { meta, arrays } = headerOf(bytes) ?? bad('a header of meta and arrays', 'another one');
  const base = aligned(FIXED + length);
  const tensors = new Map<string, HostTensor>();
  for (const entry of arrays) {
    const { name, dtype, shape } = entry;
    if (!DTYPES.includes(dtype) || entry.bytes !== sizeOf(shape) * BYTES[dtype]) {
      bad(
        `${name} of a known dtype and as many bytes as its shape has`,
        `${dtype} [${shape.join(',')}] in ${entry.bytes} bytes`,
      );
    }
    const from = base + entry.offset;
    if (file.length < from + entry.bytes) bad(`${from + entry.bytes} bytes for ${name}`, `a file of ${file.length}`);
    const part = file.subarray(from, from + entry.bytes);
    if (crc32(part) !== entry.crc) bad(`${name} with its checksum`, 'damaged elements');
    const data = hostArray(dtype, sizeOf(shape));
    bytesOf(data).set(part);
    tensors.set(name, { dtype, shape, data });
  }
  return { meta, tensors };
}

/**
 * Reads a checkpoint.
 * @throws IOError when the file can't be read, FormatError when it is truncated, damaged, foreign or of another version
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  let file: Buffer;
  try {
    file = await readFile(path);
  } catch (error) {
    throw new IOError(`checkpoint: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  return decodeCheckpoint(file, path);
}
