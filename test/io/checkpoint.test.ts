import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import ts from 'typescript';
import { afterAll, describe, expect, it } from 'vitest';
import { readNpy } from '../../src/data/index.js';
import { FormatError, IOError } from '../../src/device/index.js';
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  loadCheckpoint,
  makeFolder,
  saveCheckpoint,
  toHost,
  writeFileAtomic,
  writeNpy,
} from '../../src/io/index.js';
import { tensor } from '../../src/tensor/index.js';

const dir = mkdtempSync(join(tmpdir(), 'gyrus-io-'));
afterAll(() => rmSync(dir, { recursive: true }));

const example = (): Checkpoint => ({
  meta: { epoch: 3, list: [1, 'two', null] },
  tensors: new Map([
    ['w', { dtype: 'f32' as const, shape: [2, 2], data: Float32Array.of(1, NaN, -Infinity, 1e-45) }],
    ['steps', { dtype: 'i32' as const, shape: [3], data: Int32Array.of(1, -2, 3) }],
    ['none', { dtype: 'f64' as const, shape: [0], data: new Float64Array(0) }],
    ['mask', { dtype: 'bool' as const, shape: [], data: Uint8Array.of(1) }],
  ]),
});

describe('checkpoint', () => {
  it('gives back what was saved, bit for bit', async () => {
    const path = join(dir, 'deep', 'a.ckpt');
    await saveCheckpoint(path, example());
    expect(await loadCheckpoint(path)).toEqual(example());
    expect(readdirSync(join(dir, 'deep'))).toEqual(['a.ckpt']);
  });

  it('takes tensors from the device', async () => {
    using x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(await toHost(new Map([['x', x]]))).toEqual(
      new Map([['x', { dtype: 'f32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }]]),
    );
  });

  it('refuses files that are cut off anywhere', () => {
    const whole = Buffer.concat([...encodeCheckpoint(example())]);
    expect(decodeCheckpoint(whole, 'x')).toEqual(example());
    // The last array ends before its padding.
    const end = whole.length - 63;
    for (let length = 0; length < end; length += 7) {
      expect(() => decodeCheckpoint(whole.subarray(0, length), 'cut.ckpt')).toThrow(FormatError);
    }
  });

  it('refuses damaged, foreign and newer files, saying what it expected and got', async () => {
    const whole = Buffer.concat([...encodeCheckpoint(example())]);
    const flip = (at: number): Buffer => {
      const copy = Buffer.from(whole);
      copy[at] ^= 1;
      return copy;
    };
    expect(() => decodeCheckpoint(flip(0), 'f')).toThrow(/checkpoint: f: expected the magic GYRUSCKP, got "FYRUSCKP"/);
    expect(() => decodeCheckpoint(flip(8), 'f')).toThrow(/expected version 1, got 0/);
    expect(() => decodeCheckpoint(flip(30), 'f')).toThrow(/a header with its checksum/);
    const first = whole.indexOf(Buffer.from(Float32Array.of(1, NaN).buffer));
    expect(() => decodeCheckpoint(flip(first), 'f')).toThrow(/w with its checksum, got damaged elements/);
    // A header of a right checksum that says something else.
    for (const header of ['{', '3', 'null', '{"meta":{}}', '{"arrays":[]}', '{"meta":{},"arrays":[null]}']) {
      const bytes = Buffer.from(header);
      const fixed = Buffer.from(whole.subarray(0, 24));
      fixed.writeUInt32LE(crc32(bytes), 12);
      fixed.writeBigUInt64LE(BigInt(bytes.length), 16);
      expect(() => decodeCheckpoint(Buffer.concat([fixed, bytes]), 'f'), header).toThrow(FormatError);
    }
    const path = join(dir, 'foreign');
    writeFileSync(path, 'PK this is something else altogether');
    await expect(loadCheckpoint(path)).rejects.toThrow(FormatError);
    await expect(loadCheckpoint(join(dir, 'missing'))).rejects.toThrow(IOError);
  });
});

describe('writeFileAtomic', () => {
  it('leaves the old file alone, and nothing behind, when a write fails half-way', async () => {
    const path = join(dir, 'kept');
    writeFileSync(path, 'old');
    function* failing(): Generator<Uint8Array> {
      yield new Uint8Array(1000);
      throw new Error('no space left on device');
    }
    await expect(writeFileAtomic(path, failing())).rejects.toThrow(IOError);
    await expect(writeFileAtomic(path, failing())).rejects.toThrow(
      /kept can't be written, it is as it was: no space left/,
    );
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('says so when the folder cannot be made', async () => {
    const path = join(dir, 'kept', 'below-a-file');
    writeFileSync(join(dir, 'kept'), 'old');
    await expect(writeFileAtomic(path, [new Uint8Array(1)])).rejects.toThrow(IOError);
  });

  it('survives a file system that takes no more', () => {
    // The real thing: with a limit on file sizes the operating system refuses the rest of the write, as a full disk does.
    const compile = (from: string, to: string): void => {
      const source = readFileSync(new URL(`../../src/${from}`, import.meta.url), 'utf8');
      const { outputText } = ts.transpileModule(source, {
        compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
      });
      writeFileSync(join(dir, to), outputText.replace('../device/index.js', './errors.mjs'));
    };
    compile('device/errors.ts', 'errors.mjs');
    compile('io/atomic.ts', 'atomic.mjs');
    const path = join(dir, 'limited.ckpt');
    writeFileSync(path, 'old');
    writeFileSync(
      join(dir, 'limited.mjs'),
      `import { writeFileAtomic } from './atomic.mjs';
       try { await writeFileAtomic(process.argv[2], [new Uint8Array(1 << 20)]); console.log('written'); }
       catch (error) { console.log(error.code, error.message); }`,
    );
    const args = ['-c', `trap '' XFSZ; ulimit -f 64; exec "$0" "$@"`, process.execPath, join(dir, 'limited.mjs'), path];
    const { stdout, stderr } = spawnSync('sh', args, { encoding: 'utf8' });
    expect(stdout, stderr).toMatch(/^IO write: .*limited.ckpt can't be written, it is as it was: EFBIG/);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('writeNpy', () => {
  it('is read back by readNpy', async () => {
    using x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const path = join(dir, 'x.npy');
    await writeNpy(path, x);
    expect(await readNpy(path)).toEqual({ shape: [2, 3], type: 'f4', data: Float32Array.of(1, 2, 3, 4, 5, 6) });
    expect(readFileSync(path).indexOf('\n') % 64).toBe(63);
    for (const [dtype, data] of [
      ['i32', Int32Array.of(-1)],
      ['f64', Float64Array.of(0.1)],
      ['bool', Uint8Array.of(1)],
    ] as const) {
      await writeNpy(path, { dtype, shape: [1], data });
      expect((await readNpy(path)).data).toEqual(data);
    }
  });
});

it('makeFolder ends where the system has no such place, and tells a file from a folder', () => {
  expect(() => makeFolder('/proc/nowhere/deeper')).toThrow();
  makeFolder(join(dir, 'a', 'b', 'c'));
  writeFileSync(join(dir, 'a', 'b', 'c', 'file'), '');
  expect(() => makeFolder(join(dir, 'a', 'b', 'c', 'file'))).toThrow(/EEXIST/);
});
