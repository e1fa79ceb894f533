/**
 * What every command shares: exit codes, colours, files written for machines and for people.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import pc from 'picocolors';
import { ConfigError, IOError } from '../device/index.js';
import { makeFolder } from '../io/index.js';

export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** Colours for a stream: none where it is no terminal or NO_COLOR is set. */
export function colorsFor(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  const wanted = process.env.FORCE_COLOR !== undefined && process.env.FORCE_COLOR !== '0';
  return pc.createColors(!process.env.NO_COLOR && (wanted || stream.isTTY === true));
}

/** A line for the person at the terminal; on stderr, so that stdout stays clean for data. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Makes the folders of these files, so that a path that can't be written ends a command before its work. Throws IOError. */
export function expectWritable(...paths: (string | undefined)[]): void {
  for (const path of paths) {
    if (path === undefined || path === '-') continue;
    try {
      makeFolder(dirname(path));
      if (existsSync(path) && statSync(path).isDirectory()) throw new Error('expected a file, got a folder');
      accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
    } catch (error) {
      throw new IOError(`write: ${path} can't be written: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** Writes JSON to a file, making its folder, or to stdout for '-'. Throws IOError. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  if (path === '-') {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
    });
    return;
  }
  try {
    makeFolder(dirname(path));
    await writeFile(path, text);
  } catch (error) {
    throw new IOError(`write: ${path} can't be written: ${(error as Error).message}`, { cause: error });
  }
}

/** The exit code that an error calls for, and the text to show. */
export function explain(error: unknown): { code: number; text: string } {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ConfigError) {
    // A training that diverges is found at run time, whatever its type.
    const runtime = message.startsWith('train: expected a finite loss');
    return { code: runtime ? EXIT.failure : EXIT.usage, text: message };
  }
  const typed = error instanceof Error && 'code' in error;
  const stack = error instanceof Error ? error.stack : undefined;
  return { code: EXIT.failure, text: typed || stack === undefined ? message : stack };
}

/** A text as one word of a shell command. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command line of this process, as a person would type it. */
export function commandLine(args: readonly string[] = process.argv.slice(2)): string {
  return ['npx', 'gyrus', ...args.map(shellWord)].join(' ');
}
