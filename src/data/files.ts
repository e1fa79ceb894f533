/**
 * Reading whole data files, compressed or not, with errors that name the file.
 */
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { FormatError, IOError } from '../device/index.js';

const inflate = promisify(gunzip);

/**
 * The bytes of a file; gzip is undone, whatever the name says.
 * @throws IOError when the file can't be read, FormatError when its gzip stream is damaged or cut off
 */
export async function readBytes(path: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new IOError(`read: ${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
  if (bytes.length < 2 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await inflate(bytes);
  } catch (error) {
    throw new FormatError(
      `read: ${path}: expected a whole gzip stream, got a damaged one (${(error as Error).message})`,
      {
        cause: error,
      },
    );
  }
}
