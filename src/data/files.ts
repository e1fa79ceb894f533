/**
 * Reading whole data files, compressed or not, with errors that name the file.
 */
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { FormatError, IOError } from '../device/index.js';

const inflate = promisify(gunzip);

async function unxz(bytes: Uint8Array): Promise<Buffer> {
  // Few files are xz: the decoder, a WebAssembly module, is loaded when one comes.
  const { default: xz } = await import('xz-decompress');
  const stream = new xz.XzReadableStream(new Blob([bytes]).stream());
  return Buffer.from(await new Response(stream).arrayBuffer());
}

interface Compression {
  name: string;
  magic: readonly number[];
  undo(bytes: Buffer): Promise<Buffer>;
}

const COMPRESSIONS: readonly Compression[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], undo: (bytes) => inflate(bytes) },
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
 * @throws IOError when the file can't be read, FormatError when its compressed stream is damaged or cut off
 */
export async function readBytes(path: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new IOError(`read: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  const compression = COMPRESSIONS.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
  if (!compression) return bytes;
  try {
    return await compression.undo(bytes);
  } catch (error) {
    throw new FormatError(
      `read: ${path}: expected a whole ${compression.name} stream, got a damaged one (${(error as Error).message})`,
      { cause: error },
    );
  }
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
