import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { afterAll, describe, expect, it } from 'vitest';
import { baseOf, readEmojiSheets } from '../../src/data/index.js';
import { FormatError } from '../../src/device/index.js';
import { classCounts } from '../../src/longtail/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-emoji-'));
afterAll(() => rmSync(dir, { recursive: true }));

const COLUMNS = 8;
/** 18 flags, 6 fruits of which each has a variant, 5 locks: too few. */
const LIST = [
  ...Array.from({ length: 18 }, (_, i) => [`1F1${(16 + i).toString(16)}`, 'flag']),
  ...Array.from({ length: 6 }, (_, i) => [`1F46${i + 2}`, 'fruit']),
  ...Array.from({ length: 6 }, (_, i) => [`1F46${i + 2}-200D-2640-FE0F`, 'fruit']),
  ...Array.from({ length: 5 }, (_, i) => [`1F51${i}`, 'lock']),
].map(([unified, subcategory], i) => ({
  unified,
  subcategory,
  sheet_x: i % COLUMNS,
  sheet_y: Math.floor(i / COLUMNS),
}));

/** Every picture is of one colour that says which emoji and vendor it is; its margin is black. */
function vendor(name: string, blue: number, list: unknown = LIST, rows = Math.ceil(LIST.length / COLUMNS)) {
  const image = new PNG({ width: 34 * COLUMNS, height: 34 * rows });
  LIST.forEach(({ sheet_x, sheet_y }, i) => {
    for (let y = 1; y <= 32; y++) {
      for (let x = 1; x <= 32; x++) {
        const at = 4 * ((34 * sheet_y + y) * image.width + 34 * sheet_x + x);
        if (at < image.data.length) image.data.set([i, 255 - i, blue, 255], at);
      }
    }
  });
  const paths = { list: join(dir, `${name}.json`), sheet: join(dir, `${name}.png`) };
  writeFileSync(paths.list, typeof list === 'string' ? list : JSON.stringify(list));
  writeFileSync(paths.sheet, PNG.sync.write(image));
  return paths;
}

describe('emoji', () => {
  it('have the same base as their variants', () => {
    const base = baseOf('1F3C3');
    for (const unified of ['1F3C3-200D-2640-FE0F', '1F3C3-200D-2642-FE0F-200D-27A1-FE0F', '1F3C3-200D-27A1-FE0F']) {
      expect(baseOf(unified)).toBe(base);
    }
    expect(baseOf('1F468-200D-1F33E')).toBe(baseOf('1F469-200D-1F33E'));
    expect(baseOf('1F469-200D-1F33E')).not.toBe(baseOf('1F469-200D-1F373'));
    // The sign itself is an emoji as well.
    expect(baseOf('2640-FE0F')).toBe('2640-FE0F');
  });

  it('become pictures of the classes that are large enough, no emoji in both sets', async () => {
    const { train, test } = await readEmojiSheets([vendor('a', 1), vendor('b', 2)]);
    expect([train.classNames, train.shape]).toEqual([
      ['flag', 'fruit'],
      [32, 32, 3],
    ]);
    // Five of 18 flags and two of six fruits, by two vendors; a fruit has two variants, of which the test set takes one.
    expect(classCounts(test.labels, 2)).toEqual([10, 4]);
    expect(classCounts(train.labels, 2)).toEqual([26, 16]);
    const bases = [train, test].map((set) => {
      const found = new Set<string>();
      for (let row = 0; row < set.rows; row++) {
        const picture = set.data.subarray(row * 3072, (row + 1) * 3072);
        const [i, green, blue] = picture;
        picture.forEach((value, at) => value === picture[at % 3] || expect.fail(`row ${row}, ${at}: ${value}`));
        expect([green, [1, 2].includes(blue)]).toEqual([255 - i, true]);
        expect(train.classNames?.[set.labels[row]]).toBe(LIST[i].subcategory);
        found.add(baseOf(LIST[i].unified));
      }
      return found;
    });
    expect([...bases[0]].filter((base) => bases[1].has(base))).toEqual([]);
    expect(bases[0].size + bases[1].size).toBe(24);
  });

  it.each([
    ['a list that is none', '{}', /expected emoji with unified, subcategory, sheet_x and sheet_y/],
    ['an emoji without a place', [{ unified: '1', subcategory: 'x', sheet_x: 0 }], /expected emoji with unified/],
    ['a list cut off', '[{', /expected a list as JSON/],
    ['small classes only', LIST.slice(-5), /expected subcategories of at least 6 emoji, got none/],
    [
      'a place outside the sheet',
      LIST.map((e) => ({ ...e, sheet_x: 9 })),
      /expected room for .* at \(307, 1\), got 272x/,
    ],
  ])('are refused with %s', async (_name, list, message) => {
    const read = readEmojiSheets([vendor('c', 1, list)]);
    await expect(read).rejects.toThrow(FormatError);
    await expect(read).rejects.toThrow(message);
  });
});
