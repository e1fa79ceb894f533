/**
 * Writing a file so that a crash, a full disk or a second reader never sees half of it: into a temporary file in the same folder,
 * flushed to the disk, then renamed over the old one.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { IOError } from '../device/index.js';

/**
 * Makes a folder and those above it. Node's own `recursive` never returns where the system answers ENOENT inside a folder that
 * is there: under /proc, or when the working folder was deleted.
 * @throws the system's error when it can't be made, or when a file is in its place
 */
export function makeFolder(path: string): void {
  const missing: string[] = [];
  for (let folder = resolve(path); !existsSync(folder) && dirname(folder) !== folder; folder = dirname(folder)) {
    missing.push(folder);
  }
  // The path itself when nothing is missing: mkdir then tells a folder from a file.
  for (const folder of missing.length > 0 ? missing.reverse() : [path]) {
    try {
      mkdirSync(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(folder).isDirectory()) throw error;
    }
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at);
    if (bytesWritten === 0) throw new Error('no bytes could be written');
    at += bytesWritten;
  }
}

/** Makes the rename itself survive a power cut, where the system lets folders be flushed. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await open(dirname(path), 'r');
    await folder.sync().finally(() => folder.close());
  } catch {
    // Some file systems refuse; the file's own contents are safe.
  }
}

/**
 * Replaces or makes the file `path` with these chunks, and its folder where it is missing.
 * @throws IOError when anything fails; the old file is then as it was and the temporary one gone
 */
export async function writeFileAtomic(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  let made = false;
  try {
    makeFolder(dirname(path));
    const file = await open(temporary, 'wx');
    made = true;
    try {
      for (const chunk of chunks) await writeAll(file, chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    if (made) await unlink(temporary).catch(() => undefined);
    throw new IOError(`write: ${path} can't be written, it is as it was: ${(error as Error).message}`, {
      cause: error,
    });
  }
  await syncFolder(path);
}
