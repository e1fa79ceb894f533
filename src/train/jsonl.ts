/**
 * Metrics as JSON lines: appended as they come, one complete line per write, so that a file can be followed while a run goes on
 * and survives its end.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { IOError } from '../device/index.js';
import { makeFolder } from '../io/index.js';

/** Appends to a file of JSON lines; makes its folder. */
export class JsonlWriter {
  readonly path: string;
  #file: number | undefined;

  /** Throws IOError when the file can't be opened. */
  constructor(path: string) {
    this.path = path;
    try {
      makeFolder(dirname(path));
      this.#file = openSync(path, 'a');
    } catch (error) {
      throw new IOError(`metrics: ${path} can't be opened for appending: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /** Throws IOError when the line can't be written. NaN and infinities become null. */
  write(line: object): void {
    if (this.#file === undefined) throw new IOError(`metrics: ${this.path} was closed`);
    const bytes = Buffer.from(JSON.stringify(line) + '\n');
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      throw new IOError(`metrics: ${this.path} can't be written: ${(error as Error).message}`, { cause: error });
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
