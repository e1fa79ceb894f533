/**
 * Pictures in files, PNG and JPEG, as bytes, and folders of them.
 */
import { type Dirent, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, IOError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
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
    if (!statSync(folder).isDirectory()) {
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
