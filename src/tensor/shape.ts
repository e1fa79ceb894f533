/**
 * Arithmetic on shapes, strides and axes. Strides count elements; row-major is the default layout.
 */
import { ShapeError } from '../device/index.js';

export type Shape = readonly number[];
export const MAX_RANK = 8;

export function sizeOf(shape: Shape): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i];
  return n;
}

/** Row-major strides of a shape. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/** Whether the strides are the very ones that stridesOf gives, also on axes of extent 1. */
export function isPacked(shape: Shape, strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (strides[i] !== step) return false;
    step *= shape[i];
  }
  return true;
}

export function isContiguous(shape: Shape, strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i];
  }
  return true;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Array.isArray as a plain boolean: narrowing a readonly array by the guard would give any[]. */
export function isList(x: unknown): boolean {
  return Array.isArray(x);
}

/** "[128,784]" */
export function describe(shape: Shape): string {
  return Array.isArray(shape)
    ? `[${shape.map((n) => (Array.isArray(n) ? describe(n) : String(n))).join(',')}]`
    : String(shape);
}

/** Throws ShapeError unless every extent is a whole number >= 0, the rank is at most 8 and the size is below 2^31. */
export function checkShape(op: string, shape: Shape): void {
  if (!Array.isArray(shape))
    throw new ShapeError(`${op}: expected a shape (an array of numbers), got ${String(shape)}`);
  if (shape.length > MAX_RANK) throw new ShapeError(`${op}: expected at most ${MAX_RANK} axes, got ${describe(shape)}`);
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 0) {
      throw new ShapeError(`${op}: expected extents that are whole numbers >= 0, got ${describe(shape)}`);
    }
  }
  if (sizeOf(shape) >= 2 ** 31)
    throw new ShapeError(`${op}: expected fewer than 2^31 elements, got ${describe(shape)}`);
}

/** An axis in 0..rank-1 from one that may count from the end. Throws ShapeError. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new ShapeError(`${op}: expected an axis in ${-rank}..${rank - 1}, got ${axis}`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** Distinct axes in ascending order; undefined means all. Throws ShapeError. */
export function normalizeAxes(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  if (typeof axes !== 'number' && !Array.isArray(axes)) {
    throw new ShapeError(`${op}: expected an axis or a list of axes, got ${axes === null ? 'null' : typeof axes}`);
  }
  const list = (typeof axes === 'number' ? [axes] : [...(axes as readonly number[])]).map((axis) =>
    normalizeAxis(op, axis, rank),
  );
  if (new Set(list).size !== list.length) throw new ShapeError(`${op}: expected distinct axes, got ${describe(list)}`);
  return list.sort((a, b) => a - b);
}

/** The common shape of two, numpy's rule. Throws ShapeError naming both. */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  if (sameShape(a, b)) return a as number[];
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(`${op}: shapes can't be broadcast together: ${describe(a)} and ${describe(b)}`);
    }
    out[i] = x === 1 ? y : x;
  }
  return out;
}

/** Strides that show a tensor of `shape` as one of shape `to` (stride 0 on stretched axes). */
export function broadcastStrides(shape: Shape, strides: readonly number[], to: Shape): number[] {
  const lead = to.length - shape.length;
  return to.map((extent, i) => (i < lead || (shape[i - lead] === 1 && extent !== 1) ? 0 : strides[i - lead]));
}
