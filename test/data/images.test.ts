import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import jpeg from 'jpeg-js';
import { PNG } from 'pngjs';
import { afterAll, describe, expect, it } from 'vitest';
import { openFiles, readImageFolder } from '../../src/data/index.js';
import { FormatError, IOError } from '../../src/device/index.js';
import { train } from '../../src/train/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-images-'));
afterAll(() => rmSync(dir, { recursive: true }));

type Rgba = [number, number, number, number];

function put(path: string, bytes: Uint8Array | string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

function png(width: number, height: number, pixel: (x: number, y: number) => Rgba): Buffer {
  const image = new PNG({ width, height });
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) image.data.set(pixel(x, y), 4 * (y * width + x));
  return PNG.sync.write(image);
}

/** A PNG whose header says one thing and whose pixels may be another. */
function rawPng(header: [width: number, height: number], pixels: Uint8Array, more: Buffer[] = []): Buffer {
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), body.length + 4);
    return out;
  };
  const info = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 0, 0]);
  header.forEach((extent, i) => info.writeUInt32BE(extent, 4 * i));
  const parts = [chunk('IHDR', info), ...more, chunk('IDAT', deflateSync(pixels)), chunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...parts]);
}

function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

const plain =
  (...colour: Rgba) =>
  (): Rgba =>
    colour;

describe('a folder of pictures per class', () => {
  it('becomes rows of height, width and colours; what shows through is white', async () => {
    const root = join(dir, 'a');
    put(
      join(root, 'elm', '1.png'),
      png(2, 1, (x) => (x === 0 ? [10, 20, 30, 255] : [200, 100, 0, 51])),
    );
    put(join(root, 'oak', '2.PNG'), png(2, 1, plain(1, 2, 3, 0)));
    put(join(root, 'oak', '1.png'), png(2, 1, plain(7, 8, 9, 255)));
    put(join(root, '.DS_Store'), 'x');
    const set = await readImageFolder(root);
    expect([set.rows, set.shape, set.classNames, [...set.labels]]).toEqual([3, [1, 2, 3], ['elm', 'oak'], [0, 1, 1]]);
    // 255 - (255 - 200) / 5 = 244, 255 - 155 / 5 = 224, 255 - 51 = 204
    expect([...set.data]).toEqual([10, 20, 30, 244, 224, 204, 7, 8, 9, 7, 8, 9, 255, 255, 255, 255, 255, 255]);
  });

  it('takes JPEG too', async () => {
    const root = join(dir, 'jpeg');
    const data = Buffer.from(new Array<number[]>(64).fill([200, 40, 90, 255]).flat());
    put(join(root, 'x', 'a.jpg'), jpeg.encode({ width: 8, height: 8, data }, 95).data);
    const set = await readImageFolder(root);
    expect(set.shape).toEqual([8, 8, 3]);
    set.data.forEach((value, i) => expect(Math.abs(value - [200, 40, 90][i % 3])).toBeLessThan(4));
  });

  it('takes the classes of a training folder for the test folder', async () => {
    for (const name of ['train', 'test']) {
      put(join(dir, 'pair', name, 'oak', '1.png'), png(2, 2, plain(5, 5, 5, 255)));
    }
    put(join(dir, 'pair', 'train', 'elm', '1.png'), png(2, 2, plain(9, 9, 9, 255)));
    const paths = { train: join(dir, 'pair', 'train'), test: join(dir, 'pair', 'test') };
    const pair = await openFiles(paths);
    expect([[...pair.train.labels], [...pair.test.labels], pair.test.classes]).toEqual([[0, 1], [1], 2]);
    put(join(dir, 'pair', 'test', 'ash', '1.png'), png(2, 2, plain(5, 5, 5, 255)));
    await expect(openFiles(paths)).rejects.toThrow(/expected a folder named elm, oak, got 'ash'/);
  });

  it.each<[string, string, Uint8Array | string, RegExp]>([
    [
      'a file among the folders',
      'notes.txt',
      'x',
      /notes.txt: expected a folder of pictures for each class, got a file/,
    ],
    ['another kind of file', 'elm/b.gif', 'x', /b.gif: expected a picture that ends in .png, .jpg or .jpeg/],
    ['another size', 'elm/b.png', png(3, 1, plain(1, 1, 1, 1)), /b.png: expected 2x1 pixels, as the first.*got 3x1/],
    ['a PNG cut off', 'elm/b.png', png(2, 1, plain(1, 1, 1, 1)).subarray(0, 40), /b.png: expected a whole PNG file/],
    ['a JPEG cut off', 'elm/b.jpg', Uint8Array.of(0xff, 0xd8, 0xff, 0xdb, 0), /b.jpg: expected a whole JPEG file/],
    [
      'fewer pixels than the header says',
      'elm/b.png',
      rawPng([2, 1], new Uint8Array(5)),
      /5 bytes of pixels instead of 9/,
    ],
    ['more pixels than the header says', 'elm/b.png', rawPng([2, 1], new Uint8Array(20)), /expected a whole PNG file/],
    [
      'pixels without end',
      'elm/b.png',
      rawPng([30000, 30000], new Uint8Array(9)),
      /30000x30000 pixels, where at most 100/,
    ],
    ['an enormous header', 'elm/b.png', rawPng([2 ** 31 - 1, 2 ** 31 - 1], new Uint8Array(9)), /where at most 100/],
    ['no extent', 'elm/b.png', rawPng([0, 7], new Uint8Array(9)), /expected a whole PNG file.*no pixels/],
    [
      'a second header',
      'elm/b.png',
      rawPng([2, 1], new Uint8Array(9), [rawPng([60000, 60000], new Uint8Array(9)).subarray(8, 33)]),
      /two headers/,
    ],
    ['text named like a picture', 'elm/b.png', 'hello', /b.png: expected PNG or JPEG, got bytes 68656c6c/],
    ['an empty file', 'elm/b.png', '', /b.png: expected PNG or JPEG, got bytes $/],
  ])('is refused with %s', async (name, file, bytes, message) => {
    const root = join(dir, `bad ${name}`);
    put(join(root, 'elm', 'a.png'), png(2, 1, plain(1, 2, 3, 255)));
    put(join(root, file), bytes);
    const read = readImageFolder(root);
    await expect(read).rejects.toThrow(FormatError);
    await expect(read).rejects.toThrow(message);
  });

  it('is refused when there is nothing in it', async () => {
    mkdirSync(join(dir, 'empty'));
    await expect(readImageFolder(join(dir, 'empty'))).rejects.toThrow(/a folder of pictures for each class, got none/);
    mkdirSync(join(dir, 'empty', 'elm'));
    await expect(readImageFolder(join(dir, 'empty'))).rejects.toThrow(/elm: expected pictures, got none/);
    await expect(readImageFolder(join(dir, 'nowhere'))).rejects.toThrow(IOError);
  });

  it('reads interlaced pictures of every size', async () => {
    // PNG interlaced by hand: 5x3 of one colour, filter 0; columns x rows of the passes are 1x1, 1x1, 2x0, 1x1, 3x1, 2x2, 5x1.
    const passes = [
      [1, 1],
      [1, 1],
      [1, 1],
      [3, 1],
      [2, 2],
      [5, 1],
    ];
    const row = (n: number): number[] => [0, ...Array.from({ length: n }, () => [9, 8, 7, 255]).flat()];
    const pixels = passes.flatMap(([columns, rows]) => Array.from({ length: rows }, () => row(columns)).flat());
    const bytes = rawPng([5, 3], Uint8Array.from(pixels));
    bytes[28] = 1;
    bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
    put(join(dir, 'laced', 'a', '1.png'), bytes);
    const set = await readImageFolder(join(dir, 'laced'));
    expect([...set.data]).toEqual(Array.from({ length: 15 }, () => [9, 8, 7]).flat());
  });

  it('refuses a link that leads nowhere', async () => {
    put(join(dir, 'links', 'a', '1.png'), png(2, 1, plain(1, 1, 1, 255)));
    symlinkSync(join(dir, 'nowhere'), join(dir, 'links', 'b'));
    await expect(readImageFolder(join(dir, 'links'))).rejects.toThrow(FormatError);
  });

  it('can be trained on from a configuration', async () => {
    for (const part of ['train', 'test']) {
      for (let i = 0; i < (part === 'train' ? 20 : 4); i++) {
        put(join(dir, 'run', part, 'dark', `${i}.png`), png(4, 4, plain(20 + i, 10, 10, 255)));
        put(join(dir, 'run', part, 'light', `${i}.png`), png(4, 4, plain(220, 230 - i, 240, 255)));
      }
    }
    const result = await train({
      dataset: { train: join(dir, 'run', 'train'), test: join(dir, 'run', 'test'), imbalanceFactor: null },
      model: { hidden: [8] },
      epochs: 10,
      batchSize: 8,
    });
    expect(result.dataset.classNames).toEqual(['dark', 'light']);
    expect(result.final.meanRecall).toBe(1);
  });
});
