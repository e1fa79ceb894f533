/**
 * Typed errors. Every error that Gyrus throws on purpose is a GyrusError with a `code`; its message names the operation,
 * what was expected and what came.
 */
export type ErrorCode =
  'SHAPE' | 'DTYPE' | 'DEVICE' | 'DISPOSED' | 'OUT_OF_MEMORY' | 'FORMAT' | 'IO' | 'CONFIG' | 'AUTOGRAD' | 'INTERNAL';

/** Base class of all errors thrown by Gyrus. */
export class GyrusError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}
/** Shapes, axes or indices that don't fit the operation. */
export class ShapeError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('SHAPE', message, options);
  }
}
/** An element type that the operation doesn't take. */
export class DTypeError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('DTYPE', message, options);
  }
}
/** A device that is absent, or tensors of different devices. */
export class DeviceError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('DEVICE', message, options);
  }
}
/** Use of a tensor, graph or device after it was disposed of. */
export class DisposedError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('DISPOSED', message, options);
  }
}
/** The system or the configured limit has no memory left for a buffer. */
export class OutOfMemoryError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('OUT_OF_MEMORY', message, options);
  }
}
/** A file that is truncated, foreign or of an unknown version. */
export class FormatError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('FORMAT', message, options);
  }
}
/** A file that can't be opened, read or written: missing, not permitted, no space left. */
export class IOError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('IO', message, options);
  }
}
/** An option, configuration field or argument value that is not allowed. */
export class ConfigError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('CONFIG', message, options);
  }
}
/** A second backward over freed tensors, a write into a saved tensor, a gradient that doesn't exist. */
export class AutogradError extends GyrusError {
  constructor(message: string, options?: ErrorOptions) {
    super('AUTOGRAD', message, options);
  }
}

/** A value as a message shows it: strings in quotes, objects by their kind, long ones cut. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}...` : value}'`;
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'function' ? 'a function' : `a ${value.constructor?.name ?? 'plain'} object`;
}

/** A message of the schema library without its preamble and without what came, which our messages show themselves. */
export function expectation(message: string): string {
  return message
    .replace(/^(Invalid input|Invalid option|Too small|Too big): /, '')
    .replace(/, received .*$/, '')
    .replace(/^expected int\b/, 'expected a whole number')
    .replace(/"\|"/g, '", "');
}

/** Throws ConfigError unless `options` is an object whose keys are all among `known`. */
export function expectKeys(op: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new ConfigError(`${op}: expected options to be an object, got ${shown(options)}`);
  }
  const strange = Object.keys(options).find((key) => !known.includes(key));
  if (strange !== undefined) {
    throw new ConfigError(`${op}: expected options among ${known.join(', ')}, got '${strange}'`);
  }
}

const CLASSES: Partial<Record<ErrorCode, new (message: string, options?: ErrorOptions) => GyrusError>> = {
  SHAPE: ShapeError,
  DTYPE: DTypeError,
  DEVICE: DeviceError,
  DISPOSED: DisposedError,
  OUT_OF_MEMORY: OutOfMemoryError,
  FORMAT: FormatError,
  CONFIG: ConfigError,
};

/** Turns what the addon threw into the typed error of the same code; anything else comes back unchanged. */
export function typed(error: unknown): unknown {
  if (error instanceof GyrusError || !(error instanceof Error)) return error;
  const code = (error as Error & { code?: ErrorCode }).code;
  if (code === 'INTERNAL') return new GyrusError('INTERNAL', error.message, { cause: error });
  const Class = code && CLASSES[code];
  return Class ? new Class(error.message, { cause: error }) : error;
}
