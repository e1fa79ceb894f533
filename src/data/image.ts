/**
 * Pictures in files, PNG and JPEG, as bytes of red, green, blue and alpha.
 */
import { FormatError } from '../device/index.js';
import { readBytes } from './files.js';

export interface Picture {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
}

/**
 * Decodes a PNG or JPEG file, whichever its first bytes say; 16-bit colours become 8-bit ones.
 * @throws FormatError for other or damaged files, IOError when it can't be read
 */
export async function decodeImage(path: string): Promise<Picture> {
  const bytes = await readBytes(path);
  const png = bytes.subarray(0, 4).toString('latin1') === '\x89PNG';
  if (!png && !(bytes[0] === 0xff && bytes[1] === 0xd8)) {
    throw new FormatError(`image: ${path}: expected PNG or JPEG, got bytes ${bytes.subarray(0, 4).toString('hex')}`);
  }
  try {
    if (png) {
      const { PNG } = await import('pngjs');
      const { width, height, data } = PNG.sync.read(bytes);
      return { width, height, rgba: data };
    }
    const { default: jpeg } = await import('jpeg-js');
    const { width, height, data } = jpeg.decode(bytes, { useTArray: true });
    return { width, height, rgba: data };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new FormatError(
      `image: ${path}: expected a whole ${png ? 'PNG' : 'JPEG'} file, got a damaged one (${message})`,
      {
        cause: error,
      },
    );
  }
}
