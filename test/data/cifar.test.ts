import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { PNG } from 'pngjs';
import { afterAll, describe, expect, it } from 'vitest';
import { decodeImage, openDataset, readCifar, readCifarSheets } from '../../src/data/index.js';
import { FormatError } from '../../src/device/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-cifar-'));
afterAll(() => rmSync(dir, { recursive: true }));

/** Value of a pixel that says where it is. */
const value = (picture: number, y: number, x: number, channel: number): number =>
  (picture * 31 + y * 7 + x * 3 + channel * 101) % 256;

/** CIFAR's binary form: planes. */
function binary(labels: number[], first = 0): Buffer {
  return Buffer.concat(
    labels.map((label, i) => {
      const bytes = Buffer.alloc(3073, label);
      let at = 1;
      for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) bytes[at++] = value(first + i, y, x, channel);
      }
      return bytes;
    }),
  );
}

/** A sheet: every row of it is a picture. */
function sheet(rows: number, first: number, width = 1024): Buffer {
  const png = new PNG({ width, height: rows });
  for (let r = 0; r < rows; r++) {
    for (let p = 0; p < width; p++) {
      const at = 4 * (r * width + p);
      for (let channel = 0; channel < 3; channel++) png.data[at + channel] = value(first + r, p >> 5, p & 31, channel);
      png.data[at + 3] = 255;
    }
  }
  return PNG.sync.write(png, { colorType: 2 });
}

function expectPictures(data: Uint8Array | Float32Array, rows: number, first = 0): void {
  const wrong: string[] = [];
  for (let r = 0, at = 0; r < rows; r++) {
    for (let y = 0; y < 32; y++) {
      for (let x = 0; x < 32; x++) {
        for (let c = 0; c < 3; c++, at++) if (data[at] !== value(first + r, y, x, c)) wrong.push(`${r},${y},${x},${c}`);
      }
    }
  }
  expect(data).toHaveLength(rows * 3072);
  expect(wrong).toEqual([]);
}

describe('the binary form', () => {
  it('becomes pictures with the channel last', async () => {
    const paths = [join(dir, 'a.bin'), join(dir, 'b.bin')];
    writeFileSync(paths[0], binary([3, 9]));
    writeFileSync(paths[1], gzipSync(binary([0], 2)));
    const set = await readCifar(paths, { classes: 10 });
    expect([[...set.labels], set.shape, set.classes]).toEqual([[3, 9, 0], [32, 32, 3], 10]);
    expectPictures(set.data, 3);
  });

  it('is refused when cut off, empty or with a label too high', async () => {
    const path = join(dir, 'c.bin');
    for (const bytes of [binary([1, 2]).subarray(0, 6000), Buffer.alloc(0)]) {
      writeFileSync(path, bytes);
      await expect(readCifar([path])).rejects.toThrow(FormatError);
      await expect(readCifar([path])).rejects.toThrow(/pictures of 3073 bytes.*got (6000|0) bytes/);
    }
    writeFileSync(path, binary([10]));
    await expect(readCifar([path], { classes: 10 })).rejects.toThrow(/labels from 0 to 9, got 10 in row 0/);
  });

  it('is opened as cifar-10 from the folder of its authors', async () => {
    const folder = join(dir, 'cifar-10-batches-bin');
    mkdirSync(folder);
    [1, 2, 3, 4, 5].forEach((i) => writeFileSync(join(folder, `data_batch_${i}.bin`), binary([i, 9], 2 * (i - 1))));
    await expect(openDataset('cifar-10', { dir: folder })).rejects.toThrow(
      /test_batch.bin; bring it with: npx gyrus data fetch cifar-10/,
    );
    writeFileSync(join(folder, 'test_batch.bin'), binary([7], 10));
    const { train, test } = await openDataset('cifar-10', { dir: folder });
    expect([[...train.labels], [...test.labels]]).toEqual([[1, 9, 2, 9, 3, 9, 4, 9, 5, 9], [7]]);
    expect(train.classNames?.[7]).toBe('horse');
    expectPictures(train.data, 10);
    expectPictures(test.data, 1, 10);
  });
});

describe('the sheets', () => {
  const folder = join(dir, 'sheets');
  mkdirSync(folder);
  const write = (): void => {
    [1, 2, 3, 4, 5].forEach((i) => writeFileSync(join(folder, `data_batch_${i}.png`), sheet(2, 2 * (i - 1))));
    writeFileSync(join(folder, 'test_batch.png'), sheet(3, 10));
    writeFileSync(join(folder, 'train_lables.json'), '[0,1,2,3,4,5,6,7,8,9]');
    writeFileSync(join(folder, 'test_lables.json'), '[9,8,7]');
  };

  it('become the same pictures', async () => {
    write();
    const seen: string[] = [];
    const { train, test } = await readCifarSheets(folder, (file) => seen.push(file));
    expect([[...train.labels], [...test.labels]]).toEqual([
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
      [9, 8, 7],
    ]);
    expectPictures(train.data, 10);
    expectPictures(test.data, 3, 10);
    expect(seen).toHaveLength(6);
  });

  it.each([
    ['too few labels', 'test_lables.json', '[1]', /expected 1024 pixels in each of at most 1 rows, got 1024 in 3/],
    ['too many labels', 'test_lables.json', '[1,2,3,4]', /expected 4 pictures, as many as labels, got 3/],
    ['a label too high', 'test_lables.json', '[1,2,10]', /labels from 0 to 9, got 10/],
    ['labels that are none', 'test_lables.json', '{"a": 1}', /expected an array of whole numbers/],
    ['labels that are no JSON', 'test_lables.json', '[1,', /expected labels as JSON/],
    ['another width', 'data_batch_3.png', sheet(2, 0, 1000), /data_batch_3.png: expected 1024 pixels.*got 1000 in 2/],
    ['a sheet cut off', 'data_batch_3.png', sheet(2, 0).subarray(0, 200), /expected a whole PNG file/],
  ])('are refused with %s', async (_name, file, content, message) => {
    write();
    writeFileSync(join(folder, file), content);
    const read = readCifarSheets(folder);
    await expect(read).rejects.toThrow(FormatError);
    await expect(read).rejects.toThrow(message);
  });
});

describe('pictures', () => {
  it('of another kind are refused by their first bytes', async () => {
    const path = join(dir, 'x.png');
    writeFileSync(path, 'GIF89a');
    await expect(decodeImage(path)).rejects.toThrow(/expected PNG or JPEG, got bytes 47494638/);
  });
});
