/**
 * Reading whole data files, compressed or not, with errors that name the file.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { FormatError, IOError } from '../device/index.js';

const inflate = promisify(gunzip);

/** Bytes that come out of a compressed file at most: a small file may hold far more than there is memory. */
const MOST = 2 ** 32;

async function unxz(bytes: Uint8Array, most: number): Promise<Buffer> {
  // Few files are xz: the decoder, a WebAssembly module, is loaded when one comes.
  const { default: xz } = await import('xz-decompress');
  const reader = new xz.XzReadableStream(new Blob([bytes]).stream()).getReader();
  const parts: Buffer[] = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > most) {
      await reader.cancel();
      throw new Error(`more than ${most} bytes come out of it`);
    }
    parts.push(Buffer.from(part.value));
  }
  return Buffer.concat(parts);
}

interface Compression {
  name: string;
  magic: readonly number[];
  undo(bytes: Buffer, most: number): Promise<Buffer>;
}

const COMPRESSIONS: readonly Compression[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], undo: (bytes, most) => inflate(bytes, { maxOutputLength: most }) },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], undo: unxz },
];

/** Whether there is a folder, or a link to one. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/**
 * The bytes of a file; gzip and xz are undone, whatever the name says.
 * @param most bytes that may come out of a compressed file; default 4 GiB
 * @throws IOError when the file can't be read, FormatError when its compressed stream is damaged, cut off or too long
 */
export async function readBytes(path: string, most = MOST): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new IOError(`read: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  const compression = COMPRESSIONS.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
  if (!compression) return bytes;
  try {
    return await compression.undo(bytes, most);
  } catch (error) {
    throw new FormatError(
      `read: ${path}: expected a whole ${compression.name} stream, got a damaged one (${(error as Error).message})`,
      { cause: error },
    );
  }
}

/** SHA-256 of a file's bytes as they are, in hexadecimal. Throws what the file system throws. */
export function fileDigest(path: string): string {
  const digest = createHash('sha256');
  const part = Buffer.alloc(1 << 20);
  const file = openSync(path, 'r');
  try {
    for (let size = readSync(file, part); size > 0; size = readSync(file, part)) digest.update(part.subarray(0, size));
  } finally {
    closeSync(file);
  }
  return digest.digest('hex');
}

/**
 * The value in a JSON file.
 * @param what begins the messages
 * @param expected what the value should be, for the message
 * @throws IOError when the file can't be read, FormatError when it is no JSON
 */
export async function readJson(what: string, path: string, expected: string): Promise<unknown> {
  const text = (await readBytes(path)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FormatError(`${what}: ${path}: expected ${expected} as JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
