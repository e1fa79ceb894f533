import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { openDataset, parseRda, readBytes, readRda } from '../../src/data/index.js';
import { FormatError, IOError } from '../../src/device/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-rda-'));
afterAll(() => rmSync(dir, { recursive: true }));

// Written by R 4.2: d <- data.frame(a = c(1.5, -2, 1e10), n = c(3L, 4L, -7L), kind = factor(c('oak', 'elm', 'oak'))).
const XZ2 = Buffer.from(
  '/Td6WFoAAAFpIt42AgAhARwAAAAQz1jM4AFkAKpdACkRB1RXIuRuUsqfktkkYTyzHMdu+351IdX0vS3BaxnTIMbq1R/XtvrFDzkcb+6G5LaGte5NUxqTie3X5X8B' +
    'fOg7aIh47B/HuBNnpobK6RKubSgZOCoz3PlO2qYjBtHt/tQbdwKf3V7By6ihzgyDT6uxklhqPfLye+SF2LMv6uq2XTDiO5aVV+AnRSkWQ+lsNkd7p0SHUQN30m/6' +
    'gZb/BxUFckRPnw6HzjwAAAAAf5duxQABwgHlAgAAticwQD4wDYsCAAAAAAFZWg==',
  'base64',
);
const GZIP3 = Buffer.from(
  'H4sIAAAAAAAAAwtyiTDmiuBiYGBgZmBhYmJgZgUyGVhDQ9x0LRiAIkAOIwMLAyeITgEqEgarZGDgA9H2PxjA4ACEYnBiWhCvAGHyQtWBMMv///9/ApkwMYihYBrF' +
    'Arac1LLUnGIgSwAsCxFlTs3JhTHzE7PR9LAm5yQWw7TADUpLTC7JLwKy/qErz0vMTYUpZ4Z5LBHGyIMyWLIz81IgWpn/oxnOlZJYkqiXVgQ0CM1wzqL8cj2YBSDP' +
    'MjUACaDn/0JcwvAPAHTttaNuAQAA',
  'base64',
);
/** data.frame(a = c(1, NA), kind = factor(c('x', 'y'))) */
const MISSING = Buffer.from(
  'H4sIAAAAAAAAAwtyiTDiiuBiYGBgYmBhYmJgYgYyWZiABCMDCwMniM5gYGAWBitgYOAD0fYfGMCgHkyzLwLK80LlGSE0igFsOallqTnFQJYAxBqIsRUwRiWaetbk' +
    'nMRimHK4IWmJySX5RUDWP3TleYm5qRimJ0IZLNmZeSkQHcz/0czkSkksSdRLKwLqRzOTsyi/XA9mLthvDUDi/////yAOYPgHAJNcrNo4AQAA',
  'base64',
);
/** data.frame(a = 1:3, kind = factor(c('x', 'y', 'x'))) in version 3, which keeps 1:3 as a formula. */
const COMPACT = Buffer.from(
  'H4sIAAAAAAAAAwtyiTDmiuBiYGBgZmBhYmJgZgUyGVhDQ9x0LRiAIkAOIwMLAyeITgUqEgYyQILvoDRMki85P7cgMbkkPjOvpDi1EE2WJSmxOBUqxgsWh9D/QDpB' +
    'djtwMICB/QdUGqKGmRfsPog+iLmoTmPLSS1LzSkGsgTAKqAOroAxKtHUsybnJBbDlMMNSQO6P78IYiWq8rzE3FQM0xNhnsvOzEuB6GD9j2YmV0piSaJeWhFQP5qZ' +
    'nEX55Xowc0H+Y2oAEv////8LDZd/AJ66D0abAQAA',
  'base64',
);
/** list(1, 2) */
const LIST = Buffer.from(
  'H4sIAAAAAAAAAwtyiTDiiuBiYGBgYmBhYmJgYgYyWZiABCMDCwMniE4HEsJgBQwMfCAB+w8MMADmO8C5DP8AnRJR3VAAAAA=',
  'base64',
);

/** A data frame of one feature and a factor whose values are these words: serialised by hand, as R would never write it. */
function factorOfStrings(...words: string[]): Buffer {
  const int = (n: number): Buffer => {
    const out = Buffer.alloc(4);
    out.writeInt32BE(n);
    return out;
  };
  const text = (s: string): Buffer => Buffer.concat([int(9), int(s.length), Buffer.from(s)]);
  const texts = (list: string[], flags = 0): Buffer =>
    Buffer.concat([int(16 | flags), int(list.length), ...list.map(text)]);
  const field = (name: string, value: Buffer): Buffer => Buffer.concat([int(0x402), int(1), text(name), value]);
  const end = int(254);
  const numbers = Buffer.concat([int(13), int(words.length), ...words.map((_, i) => int(i))]);
  const kind = Buffer.concat([texts(words, 0x200), field('levels', texts(['elm', 'oak'])), end]);
  const names = [field('names', texts(['a', 'kind'])), field('class', texts(['data.frame']))];
  const frame = Buffer.concat([int(0x213), int(2), numbers, kind, ...names, end]);
  return Buffer.concat([Buffer.from('RDX2\nX\n'), int(2), int(0), int(0), field('d', frame), end]);
}

let files = 0;
function file(bytes: Uint8Array): string {
  const path = join(dir, `f${files++}.rda`);
  writeFileSync(path, bytes);
  return path;
}

describe('rda', () => {
  it.each([
    ['version 2, xz', XZ2],
    ['version 3, gzip', GZIP3],
    ['version 3, uncompressed', gunzipSync(GZIP3)],
  ])('reads a data frame: %s', async (_name, bytes) => {
    const { data, labels, classNames, shape } = await readRda(file(bytes), 'kind');
    expect([...data]).toEqual([1.5, 3, -2, 4, 1e10, -7]);
    expect([...labels]).toEqual([1, 0, 1]);
    expect([classNames, shape]).toEqual([['elm', 'oak'], [2]]);
  });

  it('refuses files cut off at any byte', () => {
    const whole = gunzipSync(GZIP3);
    expect(parseRda(whole, 'whole')).toHaveLength(1);
    for (let length = 0; length < whole.length; length++) {
      expect(() => parseRda(whole.subarray(0, length), 'x.rda'), `${length} bytes`).toThrow(FormatError);
    }
  });

  it('never fails otherwise on a wrong byte', () => {
    const whole = gunzipSync(GZIP3);
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0x00, 0x7f, 0xff]) {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        try {
          parseRda(bytes, 'x.rda');
        } catch (error) {
          expect(error, `${value} at ${at}`).toBeInstanceOf(FormatError);
        }
      }
    }
  });

  it.each([
    ['a damaged xz stream', XZ2.subarray(0, 150), 'kind', /expected a whole xz stream/],
    ['another format', Buffer.from('RDA3\nA\n'), 'kind', /expected the magic RDX2 or RDX3 in XDR form/],
    ['another column', XZ2, 'tree', /expected a factor 'tree', got the columns a, n, kind/],
    ['a column without levels', XZ2, 'a', /expected a factor 'a'/],
    ['a missing value', MISSING, 'kind', /expected a number in row 2 of 'a', got NaN/],
    ['a compact vector', COMPACT, 'kind', /saved by R with version = 2/],
    ['a factor of strings', factorOfStrings('oak', 'oak'), 'kind', /expected whole numbers in the factor 'kind'/],
    ['no data frame', LIST, 'kind', /expected one data frame, got 0/],
  ])('refuses %s', async (_name, bytes, label, message) => {
    const read = readRda(file(bytes), label);
    await expect(read).rejects.toThrow(FormatError);
    await expect(read).rejects.toThrow(message);
  });

  it.each([
    ['xz', XZ2],
    ['gzip', GZIP3],
  ])('is not read on where more comes out of %s than may', async (_name, bytes) => {
    const path = file(bytes);
    const { length } = await readBytes(path);
    expect((await readBytes(path, length)).length).toBe(length);
    await expect(readBytes(path, length - 1)).rejects.toThrow(FormatError);
    await expect(readBytes(path, length - 1)).rejects.toThrow(/more than|larger than/);
  });

  it('is looked for under its name in the folder of a set', async () => {
    const folder = join(dir, 'sets');
    mkdirSync(folder);
    await expect(openDataset('shuttle', { dir: folder })).rejects.toThrow(IOError);
    await expect(openDataset('shuttle', { dir: folder })).rejects.toThrow(/apt-get install r-cran-mlbench/);
    writeFileSync(join(folder, 'LetterRecognition.rda'), XZ2);
    await expect(openDataset('letter', { dir: folder })).rejects.toThrow(/expected a factor 'lettr'/);
    expect((await readBytes(join(folder, 'LetterRecognition.rda'))).toString('latin1', 0, 5)).toBe('RDX2\n');
  });
});
