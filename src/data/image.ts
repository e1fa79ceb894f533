/**
 * Pictures in files, PNG and JPEG, as bytes, and folders of them.
 */
import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { FormatError, IOError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
import { isFolder, readBytes } from './files.js';

export interface Picture {
  width: number;
  height: number;
  /** [height, width, 4] */
  rgba: Uint8Array;
}

/** Pixels of the largest picture, as the JPEG decoder has it. */
const MOST_PIXELS = 1e8;
/** Numbers per pixel by colour type. */
const PNG_SAMPLES: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** First column and row, and steps, of the passes of an interlaced PNG; a plain one is a single pass over all. */
const PLAIN = [[0, 0, 1, 1]] as const;
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/**
 * Throws unless the pixels in a PNG file are as many as its header says. The decoder allocates by the header alone, and takes memory
 * that was never written for pixels that are missing.
 */
function checkPng(bytes: Buffer): void {
  if (bytes.length < 33 || bytes.toString('latin1', 12, 16) !== 'IHDR') throw new Error('no header');
  const [width, height] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
  if (width * height > MOST_PIXELS) {
    throw new Error(`${width}x${height} pixels, where at most ${MOST_PIXELS / 1e6} million are read`);
  }
  const pixels: Buffer[] = [];
  for (let at = 33; at + 12 <= bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (type === 'IHDR') throw new Error('two headers');
    if (type === 'IDAT') pixels.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  }
  const bits = bytes[24] * (PNG_SAMPLES[bytes[25]] ?? 0);
  let expected = 0;
  for (const [left, top, right, down] of bytes[28] === 0 ? PLAIN : ADAM7) {
    const [columns, rows] = [Math.ceil((width - left) / right), Math.ceil((height - top) / down)];
    // A row begins with a byte for its filter.
    if (columns > 0 && rows > 0) expected += rows * (1 + Math.ceil((columns * bits) / 8));
  }
  if (expected === 0) throw new Error('no pixels');
  const { length } = inflateSync(Buffer.concat(pixels), { maxOutputLength: expected });
  if (length !== expected) throw new Error(`${length} bytes of pixels instead of ${expected}`);
}

/**
 * Decodes a PNG or JPEG file, whichever its first bytes say; 16-bit colours become 8-bit ones.
 * @throws FormatError for other or damaged files and more than 100 million pixels, IOError when it can't be read
 */
export async function decodeImage(path: string): Promise<Picture> {
  const bytes = await readBytes(path);
  const png = bytes.subarray(0, 4).toString('latin1') === '\x89PNG';
  if (!png && !(bytes[0] === 0xff && bytes[1] === 0xd8)) {
    throw new FormatError(`image: ${path}: expected PNG or JPEG, got bytes ${bytes.subarray(0, 4).toString('hex')}`);
  }
  try {
    if (png) {
      checkPng(bytes);
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

/** Red, green and blue of the pixel at (x, y) over a white ground, into `out` at `at`. */
export function putPixel({ width, rgba }: Picture, x: number, y: number, out: Uint8Array, at: number): void {
  const from = 4 * (y * width + x);
  const alpha = rgba[from + 3];
  for (let c = 0; c < 3; c++)
    out[at + c] = alpha === 255 ? rgba[from + c] : 255 - Math.round(((255 - rgba[from + c]) * alpha) / 255);
}

const ENDINGS = /\.(png|jpe?g)$/i;

async function entriesOf(dir: string): Promise<Dirent[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(dir, { withFileTypes: true });
  } catch (error) {
    throw new IOError(`images: ${dir} can't be read: ${(error as Error).message}`, { cause: error });
  }
  // By code units: the same order in every language.
  return entries.filter(({ name }) => !name.startsWith('.')).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * A dataset from a folder with a folder of pictures, PNG or JPEG, for each class, named after it. Rows are
 * [height, width, 3], on a white ground where a picture is transparent; all pictures have the same size. Names that begin with
 * a dot are left out.
 * @param classNames classes in order, each of which may be missing here; default: the names of the folders, sorted
 * @throws FormatError naming the file for other files, damaged pictures, pictures of another size, folders of other classes and,
 * without `classNames`, empty ones; IOError
 */
export async function readImageFolder(dir: string, classNames?: readonly string[]): Promise<Dataset> {
  const folders = await entriesOf(dir);
  const names = classNames ?? folders.map(({ name }) => name);
  const pictures: { path: string; label: number }[] = [];
  for (const { name } of folders) {
    const folder = join(dir, name);
    if (!isFolder(folder)) {
      throw new FormatError(`images: ${folder}: expected a folder of pictures for each class, got a file`);
    }
    const label = names.indexOf(name);
    if (label < 0)
      throw new FormatError(`images: ${folder}: expected a folder named ${names.join(', ')}, got '${name}'`);
    const files = await entriesOf(folder);
    if (files.length === 0 && !classNames) throw new FormatError(`images: ${folder}: expected pictures, got none`);
    for (const file of files) {
      const path = join(folder, file.name);
      if (!ENDINGS.test(file.name))
        throw new FormatError(`images: ${path}: expected a picture that ends in .png, .jpg or .jpeg`);
      pictures.push({ path, label });
    }
  }
  if (pictures.length === 0)
    throw new FormatError(`images: ${dir}: expected a folder of pictures for each class, got none`);

  let shape: number[] = [];
  let data = new Uint8Array();
  for (const [row, { path }] of pictures.entries()) {
    const picture = await decodeImage(path);
    const { width, height } = picture;
    if (row === 0) {
      shape = [height, width, 3];
      data = new Uint8Array(pictures.length * height * width * 3);
    } else if (height !== shape[0] || width !== shape[1]) {
      throw new FormatError(
        `images: ${path}: expected ${shape[1]}x${shape[0]} pixels, as the first picture has, got ${width}x${height}`,
      );
    }
    for (let p = 0, at = row * width * height * 3; p < width * height; p++, at += 3) {
      putPixel(picture, p % width, Math.floor(p / width), data, at);
    }
  }
  return createDataset({
    name: dir,
    data,
    labels: pictures.map(({ label }) => label),
    shape,
    classes: names.length,
    classNames: names,
  });
}
