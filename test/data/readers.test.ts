import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { parseCsv, readBytes, readCsv, readIdx, readIdxPair, readNpy } from '../../src/data/index.js';
import { FormatError, IOError } from '../../src/device/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-readers-'));
afterAll(() => rmSync(dir, { recursive: true }));

let files = 0;
function file(bytes: Uint8Array | string): string {
  const path = join(dir, `f${files++}`);
  writeFileSync(path, bytes);
  return path;
}

function idx(type: number, shape: number[], elements: Uint8Array): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header[2] = type;
  header[3] = shape.length;
  shape.forEach((n, i) => header.writeUInt32BE(n, 4 + 4 * i));
  return Buffer.concat([header, elements]);
}

async function refused(
  run: Promise<unknown>,
  message: RegExp,
  Class: typeof FormatError | typeof IOError = FormatError,
): Promise<void> {
  const error = await run.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(Class);
  expect((error as Error).message).toMatch(message);
}

describe('files', () => {
  it('undoes gzip, whatever the name', async () => {
    expect([...(await readBytes(file(gzipSync(Buffer.from([1, 2, 3])))))]).toEqual([1, 2, 3]);
  });
  it('says so when a gzip stream is cut off or the file is missing', async () => {
    const path = file(gzipSync(Buffer.alloc(1000, 7)).subarray(0, 20));
    await refused(readBytes(path), new RegExp(`${path}: expected a whole gzip stream`));
    await refused(readBytes(join(dir, 'nothing')), /nothing can't be read: ENOENT/, IOError);
  });
});

describe('idx', () => {
  it('reads bytes, raw and gzipped', async () => {
    const bytes = idx(8, [2, 3], Uint8Array.of(1, 2, 3, 4, 5, 255));
    for (const path of [file(bytes), file(gzipSync(bytes))]) {
      const { shape, data } = await readIdx(path);
      expect(shape).toEqual([2, 3]);
      expect([...data]).toEqual([1, 2, 3, 4, 5, 255]);
    }
  });

  it('reads the wider types, big-endian', async () => {
    const elements = Buffer.alloc(8);
    elements.writeFloatBE(1.5, 0);
    elements.writeFloatBE(-2, 4);
    expect([...(await readIdx(file(idx(0x0d, [2], elements)))).data]).toEqual([1.5, -2]);
    expect([...(await readIdx(file(idx(0x0b, [1], Uint8Array.of(0xff, 0xfe))))).data]).toEqual([-2]);
  });

  it('refuses what is truncated, too long or foreign, naming file, expected and got', async () => {
    const path = file(idx(8, [2, 3], Uint8Array.of(1, 2, 3)));
    await refused(readIdx(path), new RegExp(`idx: ${path}: expected 18 bytes for shape \\[2,3\\], got 15`));
    await refused(readIdx(file(idx(8, [1], Uint8Array.of(1, 2)))), /expected 9 bytes for shape \[1\], got 10/);
    await refused(readIdx(file('PNG and more')), /expected magic 0000TTRR .*, got 504e4720/);
    await refused(readIdx(file(Uint8Array.of(0, 0))), /header of at least 4 bytes, got 2/);
    await refused(readIdx(file(Uint8Array.of(0, 0, 8, 3, 0))), /header of 16 bytes for 3 axes, got 5/);
    await refused(readIdx(file(idx(0x0a, [1], Uint8Array.of(1)))), /got 00000a01/);
  });

  it('makes a dataset of a pair, and refuses pairs that do not fit', async () => {
    const images = file(idx(8, [2, 1, 2], Uint8Array.of(0, 255, 51, 102)));
    const labels = file(idx(8, [2], Uint8Array.of(1, 0)));
    const set = await readIdxPair(images, labels, { name: 'two', classes: 3 });
    expect({ ...set, data: [...set.data], labels: [...set.labels] }).toMatchObject({
      rows: 2,
      features: 2,
      shape: [1, 2, 1],
      classes: 3,
      labels: [1, 0],
      scale: 1 / 255,
    });
    await refused(
      readIdxPair(images, file(idx(8, [1], Uint8Array.of(1))), { name: 'x' }),
      /expected 2 labels, .*got 1/,
    );
    await refused(readIdxPair(images, labels, { name: 'x', classes: 1 }), /labels from 0 to 0, got 1 in row 0/);
    await refused(readIdxPair(labels, labels, { name: 'x' }), /expected images of type 08 and at least 2 axes/);
    await refused(readIdxPair(images, images, { name: 'x' }), /expected labels of type 08 and 1 axis/);
  });
});

describe('csv', () => {
  it('splits quotes, line ends and blank lines as RFC 4180 does', () => {
    expect(parseCsv('\ufeffa,"b ""c"", d"\r\n\r\n1,"x\ny"\n')).toEqual([
      ['a', 'b "c", d'],
      ['1', 'x\ny'],
    ]);
  });

  it('reads features and named classes, with a header found by itself', async () => {
    const set = await readCsv(file('width,kind,height\n1,oak,2.5\n3,elm,-4e1\n'), { label: 'kind', name: 'trees' });
    expect([...set.data]).toEqual([1, 2.5, 3, -40]);
    expect([...set.labels]).toEqual([1, 0]);
    expect(set.classNames).toEqual(['elm', 'oak']);
    expect([set.rows, set.features, set.scale]).toEqual([2, 2, 1]);
  });

  it('reads numbered classes without a header', async () => {
    const set = await readCsv(file('1,2,0\n3,4,2\n'));
    expect([...set.labels]).toEqual([0, 2]);
    expect(set.classes).toBe(3);
  });

  it('names row and column of what is wrong', async () => {
    await refused(readCsv(file('1,2,0\n3,x,1\n')), /expected a number in row 2, column 2, got 'x'/);
    await refused(readCsv(file('1,2,0\n3,1\n')), /expected 3 cells in row 2, got 2/);
    await refused(readCsv(file('a,b\n1,2\n'), { label: 'c' }), /expected a column 'c', got a, b/);
    await refused(readCsv(file('')), /at least one row/);
    await refused(
      readCsv(file('1,2,elm\n'), { classNames: ['oak'] }),
      /expected a label of oak in data row 1, got 'elm'/,
    );
    await refused(readCsv(file('1,NaN,0\n'), { header: false }), /column 2, got 'NaN'/);
  });
});

describe('npy', () => {
  const npy = (header: string, data: Uint8Array, version = 1): Buffer => {
    const text = Buffer.from(header + '\n');
    const fixed = Buffer.alloc(version === 1 ? 10 : 12);
    Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]).copy(fixed);
    if (version === 1) fixed.writeUInt16LE(text.length, 8);
    else fixed.writeUInt32LE(text.length, 8);
    return Buffer.concat([fixed, text, data]);
  };
  const head = (descr: string, shape: string, fortran = 'False'): string =>
    `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`;

  it.each([1, 2, 3])('reads version %i', async (version) => {
    const data = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    const array = await readNpy(file(npy(head('<f4', '(2, 3)'), data, version)));
    expect(array.shape).toEqual([2, 3]);
    expect([...(array.data as Float32Array)]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('reads scalars, 64-bit integers, bytes and booleans', async () => {
    const wide = await readNpy(file(npy(head('<i8', '(1,)'), new Uint8Array(BigInt64Array.of(-5n).buffer))));
    expect(wide.data).toEqual(BigInt64Array.of(-5n));
    expect((await readNpy(file(npy(head('|b1', '()'), Uint8Array.of(1))))).shape).toEqual([]);
    expect((await readNpy(file(npy(head('|u1', '(0, 4)'), new Uint8Array(0))))).data.length).toBe(0);
  });

  it('refuses what it cannot read', async () => {
    const four = new Uint8Array(16);
    await refused(readNpy(file('hello, this is no array')), /expected the magic/);
    await refused(readNpy(file(npy(head('<f4', '(4,)', 'True'), four))), /expected C order/);
    await refused(readNpy(file(npy(head('>f4', '(4,)'), four))), /got '>f4'/);
    await refused(readNpy(file(npy(head('<c8', '(2,)'), four))), /got '<c8'/);
    await refused(readNpy(file(npy(head('<f4', '(5,)'), four))), /expected 20 bytes of data for shape \[5\], got 16/);
    await refused(readNpy(file(npy(head('<f4', '(4,)'), four, 9))), /version 1 to 3, got 9.0/);
    await refused(readNpy(file(npy("{'shape': (4,)}", four))), /a header with descr/);
    await refused(readNpy(file(npy(head('<f4', '(4,)'), four).subarray(0, 30))), /expected a header of/);
  });
});
