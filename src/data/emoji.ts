/**
 * Emoji as a data set of many classes with a natural tail: the pictures of several vendors, out of the sheets of the packages
 * emoji-datasource-*; a class is a subcategory of Unicode's list.
 */
import { FormatError } from '../device/index.js';
import { classCounts } from '../longtail/index.js';
import { createDataset, type Dataset, relabel, subset } from './dataset.js';
import { readJson } from './files.js';
import { decodeImage, putPixel } from './image.js';
import { balancedRows } from './split.js';

const SIDE = 32;
/** Pictures in a sheet have a pixel of nothing around them. */
const CELL = SIDE + 2;

/** A class needs that many base emoji, or its recall would be that of one or two pictures. */
const SMALLEST = 6;
/** Base emoji of the test set: five of each class, or a third of a smaller one. */
const SPLIT = { perClass: 5, share: 1 / 3, seed: 0 };

interface Emoji {
  unified: string;
  subcategory: string;
  sheet_x: number;
  sheet_y: number;
}

async function readEmoji(path: string): Promise<Emoji[]> {
  const list = await readJson('emoji', path, 'a list');
  const whole = (n: unknown): boolean => Number.isInteger(n) && (n as number) >= 0;
  const good = ({ unified, subcategory, sheet_x, sheet_y }: Partial<Emoji>): boolean =>
    typeof unified === 'string' && typeof subcategory === 'string' && whole(sheet_x) && whole(sheet_y);
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'object' && item !== null && good(item as Emoji))) {
    throw new FormatError(`emoji: ${path}: expected emoji with unified, subcategory, sheet_x and sheet_y`);
  }
  return list as Emoji[];
}

/**
 * What an emoji is a variant of, as code points: man, woman and person are one, and so are signs of gender, ways of facing and
 * forms of display. Variants look so much alike that one in the training set would give away the other in the test set.
 */
export function baseOf(unified: string): string {
  const codes = unified.split('-').filter((code) => !['FE0F', '2640', '2642', '27A1'].includes(code));
  const person = codes.map((code) => (code === '1F468' || code === '1F469' ? '1F9D1' : code));
  return person.join('-').replace(/(-200D)+$/, '') || unified;
}

/** Names of the classes with enough base emoji, and the class of every base emoji of theirs. */
function classify(list: readonly Emoji[]): { classNames: string[]; labelOf: Map<string, number> } {
  const bases = new Map<string, Set<string>>();
  for (const { subcategory, unified } of list) {
    const known = bases.get(subcategory) ?? new Set();
    bases.set(subcategory, known.add(baseOf(unified)));
  }
  const kept = [...bases].filter(([, set]) => set.size >= SMALLEST);
  const labelOf = new Map<string, number>();
  kept.forEach(([, set], label) => set.forEach((base) => labelOf.set(base, label)));
  return { classNames: kept.map(([name]) => name), labelOf };
}

/**
 * A training and a test set of pictures [32, 32, 3] on a white ground, without variants of skin tone. Classes are subcategories
 * with at least six base emoji, the most frequent first. Five base emoji of each class, or a third of a class with fewer than
 * fifteen, are chosen at random, always the same ones; the first variant of each, in the pictures of every vendor, is the test
 * set. Other variants of these are left out, so that no emoji is in both sets; all variants of the others are the training set.
 * @param sheets a list of emoji (emoji.json) and a sheet (sheets/32.png) of each vendor
 * @throws FormatError for lists without emoji or sheets too small for them; IOError
 */
export async function readEmojiSheets(
  sheets: readonly { list: string; sheet: string }[],
): Promise<{ train: Dataset; test: Dataset }> {
  const vendors = await Promise.all(
    sheets.map(async ({ list, sheet }) => ({ sheet, list: await readEmoji(list), picture: await decodeImage(sheet) })),
  );
  const { classNames, labelOf } = classify(vendors[0].list);
  if (classNames.length === 0) {
    throw new FormatError(`emoji: ${sheets[0].list}: expected subcategories of at least ${SMALLEST} emoji, got none`);
  }
  const bases = [...labelOf.keys()];
  const tested = new Set<string>();
  for (const row of balancedRows([...labelOf.values()], classNames.length, SPLIT)) tested.add(bases[row]);

  const items = vendors.flatMap(({ list, picture, sheet }) =>
    list.flatMap((emoji) => {
      const base = baseOf(emoji.unified);
      const label = labelOf.get(base);
      return label === undefined ? [] : [{ emoji, base, label, picture, sheet }];
    }),
  );
  const features = SIDE * SIDE * 3;
  const data = new Uint8Array(items.length * features);
  const rows: { train: number[]; test: number[] } = { train: [], test: [] };
  const seen = new Set<string>();
  items.forEach(({ emoji, base, picture, sheet }, row) => {
    const [left, top] = [emoji.sheet_x * CELL + 1, emoji.sheet_y * CELL + 1];
    if (left + SIDE > picture.width || top + SIDE > picture.height) {
      throw new FormatError(
        `emoji: ${sheet}: expected room for ${emoji.unified} at (${left}, ${top}), got ${picture.width}x${picture.height}`,
      );
    }
    for (let p = 0; p < SIDE * SIDE; p++) {
      putPixel(picture, left + (p % SIDE), top + Math.floor(p / SIDE), data, row * features + 3 * p);
    }
    const first = `${sheet} ${base}`;
    if (!tested.has(base)) rows.train.push(row);
    else if (!seen.has(first)) rows.test.push(row);
    seen.add(first);
  });
  const all = createDataset({
    name: 'emoji',
    data,
    labels: items.map(({ label }) => label),
    shape: [SIDE, SIDE, 3],
    classes: classNames.length,
    classNames,
  });
  const counts = classCounts(subset(all, rows.train).labels, all.classes);
  const order = counts.map((_, c) => c).sort((a, b) => counts[b] - counts[a] || a - b);
  const part = (name: 'train' | 'test'): Dataset => ({
    ...relabel(subset(all, rows[name]), order),
    name: `emoji ${name}`,
  });
  return { train: part('train'), test: part('test') };
}
