/**
 * R's saved data (.rda): the data frames in it. Serialisation versions 2 and 3, XDR (big-endian), uncompressed, gzip or xz; the
 * layout is that of "R Internals", section Serialization Formats.
 */
import { FormatError } from '../device/index.js';
import { createDataset, type Dataset } from './dataset.js';
import { readBytes } from './files.js';

/** A column of a data frame. A factor's values count its levels from 1; what R calls NA is NaN, or the smallest i32. */
export interface RdaColumn {
  name: string;
  values: Float64Array | Int32Array | string[];
  levels?: string[];
}

export interface RdaFrame {
  name: string;
  columns: RdaColumn[];
}

interface Vector {
  values: Float64Array | Int32Array | string[] | Node[];
  attributes: Map<string, Node>;
}
/** A vector, a string or symbol, a pairlist, or nil. */
type Node = Vector | string | { tag: string; value: Node }[] | null;

const isVector = (node: Node | undefined): node is Vector =>
  typeof node === 'object' && node !== null && !Array.isArray(node);

const TYPE = { symbol: 1, pairlist: 2, chars: 9, logical: 10, int: 13, real: 14, strings: 16, list: 19 } as const;
const NIL = 254;
const REFERENCE = 255;
const ALTERNATIVE = 238;
const DEEPEST = 64;

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #path: string;
  readonly #symbols: string[] = [];
  #at: number;

  constructor(bytes: Uint8Array, path: string, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#path = path;
    this.#at = at;
  }

  fail(expected: string, got: string): FormatError {
    return new FormatError(`rda: ${this.#path}: expected ${expected}, got ${got} at byte ${this.#at}`);
  }

  /** Moves on by `size` bytes and says where they begin. */
  take(size: number): number {
    const left = this.#bytes.length - this.#at;
    if (size < 0 || size > left) throw this.fail(`${size} more bytes`, `${left}`);
    const from = this.#at;
    this.#at += size;
    return from;
  }

  int(): number {
    return this.#view.getInt32(this.take(4));
  }

  #length(): number {
    const length = this.int();
    if (length < 0) throw this.fail('a length of at most 2^31 - 1', String(length));
    return length;
  }

  #text(): string {
    const length = this.int();
    if (length < 0) return 'NA';
    const from = this.take(length);
    return Buffer.from(this.#bytes.subarray(from, from + length)).toString('utf8');
  }

  node(depth = 0, flags = this.int()): Node {
    if (depth > DEEPEST) throw this.fail(`at most ${DEEPEST} levels`, 'more');
    const type = flags & 0xff;
    const attributed = (flags & 0x200) !== 0;
    switch (type) {
      case NIL:
        return null;
      case REFERENCE: {
        const index = flags >>> 8 || this.int();
        if (!(index - 1 in this.#symbols)) throw this.fail('a known symbol', `${index}`);
        return this.#symbols[index - 1];
      }
      case TYPE.symbol: {
        const name = this.node(depth + 1);
        if (typeof name !== 'string') throw this.fail("a symbol's name", 'something else');
        this.#symbols.push(name);
        return name;
      }
      case TYPE.chars:
        return this.#text();
      case TYPE.pairlist:
        return this.#pairs(depth, flags);
      case TYPE.logical:
      case TYPE.int: {
        const length = this.#length();
        const from = this.take(4 * length);
        return this.#vector(
          Int32Array.from({ length }, (_, i) => this.#view.getInt32(from + 4 * i)),
          attributed,
          depth,
        );
      }
      case TYPE.real: {
        const length = this.#length();
        const from = this.take(8 * length);
        return this.#vector(
          Float64Array.from({ length }, (_, i) => this.#view.getFloat64(from + 8 * i)),
          attributed,
          depth,
        );
      }
      case TYPE.strings:
      case TYPE.list: {
        const length = this.#length();
        // Every item takes at least four bytes: a length that the file can't hold is refused before it is allocated.
        if (4 * length > this.#bytes.length - this.#at)
          throw this.fail(`${length} items`, 'fewer bytes than those take');
        const items = Array.from({ length }, () => this.node(depth + 1));
        return this.#vector(items, attributed, depth);
      }
      case ALTERNATIVE:
        throw this.fail('plain vectors (saved by R with version = 2)', 'a compact one');
      default:
        throw this.fail('a data frame of numbers, factors and strings', `a value of type ${type}`);
    }
  }

  #pairs(depth: number, first: number): { tag: string; value: Node }[] {
    const pairs: { tag: string; value: Node }[] = [];
    let flags = first;
    while ((flags & 0xff) === TYPE.pairlist) {
      if (flags & 0x200) this.node(depth + 1);
      const tag = flags & 0x400 ? this.node(depth + 1) : '';
      if (typeof tag !== 'string') throw this.fail('a name', 'something else');
      pairs.push({ tag, value: this.node(depth + 1) });
      flags = this.int();
    }
    if ((flags & 0xff) !== NIL) throw this.fail('the end of a list', `a value of type ${flags & 0xff}`);
    return pairs;
  }

  #vector(values: Vector['values'], attributed: boolean, depth: number): Vector {
    const attributes = attributed ? this.node(depth + 1) : [];
    if (!Array.isArray(attributes)) throw this.fail('attributes', 'something else');
    return { values, attributes: new Map(attributes.map(({ tag, value }) => [tag, value])) };
  }
}

function stringsOf(node: Node | undefined): string[] | undefined {
  if (!isVector(node) || !Array.isArray(node.values)) return undefined;
  return (node.values as unknown[]).every((item) => typeof item === 'string') ? (node.values as string[]) : undefined;
}

function frameOf(name: string, node: Node): RdaFrame | undefined {
  if (
    !isVector(node) ||
    !Array.isArray(node.values) ||
    !stringsOf(node.attributes.get('class'))?.includes('data.frame')
  ) {
    return undefined;
  }
  const names = stringsOf(node.attributes.get('names')) ?? [];
  const columns = (node.values as Node[]).map((column, i) => {
    const values = isVector(column) ? (stringsOf(column) ?? column.values) : [];
    return {
      name: names[i] ?? '',
      values: values as RdaColumn['values'],
      levels: isVector(column) ? stringsOf(column.attributes.get('levels')) : undefined,
    };
  });
  return { name, columns };
}

/** Decodes the bytes of an .rda file (uncompressed); `path` is for messages. Throws FormatError saying what was expected and came. */
export function parseRda(bytes: Uint8Array, path: string): RdaFrame[] {
  const magic = Buffer.from(bytes.subarray(0, 7)).toString('latin1');
  if (!/^RDX[23]\nX\n$/.test(magic)) {
    throw new FormatError(`rda: ${path}: expected the magic RDX2 or RDX3 in XDR form, got ${JSON.stringify(magic)}`);
  }
  const reader = new Reader(bytes, path, 7);
  const version = reader.int();
  reader.take(8);
  if (version === 3) reader.take(reader.int());
  else if (version !== 2) throw reader.fail('version 2 or 3', String(version));
  const saved = reader.node();
  const frames = (Array.isArray(saved) ? saved : []).map(({ tag, value }) => frameOf(tag, value));
  return frames.filter((frame) => frame !== undefined);
}

/**
 * A dataset from the only data frame of an .rda file: the factor `label` gives the classes, the other columns are features.
 * @throws FormatError for files that are truncated, foreign or hold another kind of frame; IOError when it can't be read
 */
export async function readRda(path: string, label: string, name = path): Promise<Dataset> {
  const frames = parseRda(await readBytes(path), path);
  if (frames.length !== 1) throw new FormatError(`rda: ${path}: expected one data frame, got ${frames.length}`);
  const { columns } = frames[0];
  const target = columns.find((column) => column.name === label);
  if (!target?.levels) {
    const names = columns.map((column) => column.name).join(', ');
    throw new FormatError(`rda: ${path}: expected a factor '${label}', got the columns ${names}`);
  }
  const inputs = columns.filter((column) => column !== target);
  // R keeps factors as whole numbers; anything else here would become a class by rounding.
  const codes = target.values;
  if (!(codes instanceof Int32Array)) {
    throw new FormatError(`rda: ${path}: expected whole numbers in the factor '${label}', got other values`);
  }
  const rows = codes.length;
  const data = new Float32Array(rows * inputs.length);
  inputs.forEach((column, c) => {
    if (column.values.length !== rows) {
      throw new FormatError(`rda: ${path}: expected ${rows} rows in '${column.name}', got ${column.values.length}`);
    }
    for (let r = 0; r < rows; r++) {
      const value = column.values[r];
      const missing = column.values instanceof Int32Array && value === -(2 ** 31);
      if (typeof value !== 'number' || !Number.isFinite(value) || missing) {
        throw new FormatError(`rda: ${path}: expected a number in row ${r + 1} of '${column.name}', got ${value}`);
      }
      data[r * inputs.length + c] = value;
    }
  });
  const labels = codes.map((level) => level - 1);
  const classNames = target.levels;
  return createDataset({ name, data, labels, shape: [inputs.length], classes: classNames.length, classNames });
}
