/**
 * Reference arithmetic in plain TypeScript and double precision: arrays of any rank as (shape, data), row-major. Slow and obvious.
 */

export interface Ref {
  shape: readonly number[];
  data: readonly number[];
}

export function count(shape: readonly number[]): number {
  return shape.reduce((n, extent) => n * extent, 1);
}

/** All index tuples of a shape, in row-major order. */
export function indices(shape: readonly number[]): number[][] {
  const out: number[][] = [];
  const walk = (index: number[]): void => {
    if (index.length === shape.length) {
      out.push(index);
      return;
    }
    for (let i = 0; i < shape[index.length]; i++) walk([...index, i]);
  };
  walk([]);
  return out;
}

export function build(shape: readonly number[], value: (index: number[]) => number): Ref {
  return { shape: [...shape], data: indices(shape).map(value) };
}

export function at(x: Ref, index: readonly number[]): number {
  let offset = 0;
  for (let i = 0; i < x.shape.length; i++) offset = offset * x.shape[i] + index[i];
  return x.data[offset];
}

/** The element of x that numpy's broadcasting shows at an index of a larger shape. */
export function spreadAt(x: Ref, index: readonly number[]): number {
  const own = index.slice(index.length - x.shape.length).map((i, axis) => (x.shape[axis] === 1 ? 0 : i));
  return at(x, own);
}

export function broadcast(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    const extents = shapes.map((shape) => shape[shape.length - rank + i] ?? 1);
    return extents.find((extent) => extent !== 1) ?? 1;
  });
}

export function map(x: Ref, f: (value: number) => number): Ref {
  return { shape: x.shape, data: x.data.map(f) };
}

export function zip(f: (...values: number[]) => number, ...xs: Ref[]): Ref {
  return build(broadcast(...xs.map((x) => x.shape)), (index) => f(...xs.map((x) => spreadAt(x, index))));
}

/** f over the elements that fall together when the axes are removed. */
export function reduce(x: Ref, axes: readonly number[], keepDims: boolean, f: (values: number[]) => number): Ref {
  const kept = x.shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
  const out = build(kept, (index) => {
    const values = indices(x.shape.map((extent, i) => (axes.includes(i) ? extent : 1))).map((inner) =>
      at(
        x,
        inner.map((n, i) => (axes.includes(i) ? n : index[i])),
      ),
    );
    return f(values);
  });
  return keepDims ? out : { shape: x.shape.filter((_, i) => !axes.includes(i)), data: out.data };
}

export function matmul(a: Ref, b: Ref): Ref {
  const left = a.shape.length === 1 ? { shape: [1, ...a.shape], data: a.data } : a;
  const right = b.shape.length === 1 ? { shape: [...b.shape, 1], data: b.data } : b;
  const [m, k] = left.shape.slice(-2);
  const n = right.shape[right.shape.length - 1];
  const batch = broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2));
  const full = build([...batch, m, n], (index) => {
    const [i, j] = index.slice(-2);
    const outer = index.slice(0, -2);
    let sum = 0;
    for (let l = 0; l < k; l++) {
      const x = spreadAt({ ...left }, [...outer, i, l]);
      sum += x * spreadAt(right, [...outer, l, j]);
    }
    return sum;
  });
  const shape = [...batch, ...(a.shape.length === 1 ? [] : [m]), ...(b.shape.length === 1 ? [] : [n])];
  return { shape, data: full.data };
}

/** Applies f to every row along an axis; f returns a row of the same length. */
export function alongAxis(x: Ref, axis: number, f: (row: number[]) => number[]): Ref {
  const n = x.shape[axis];
  const cache = new Map<string, number[]>();
  return build(x.shape, (index) => {
    const key = index.map((i, a) => (a === axis ? '*' : i)).join();
    let row = cache.get(key);
    if (!row) {
      row = f(
        Array.from({ length: n }, (_, i) =>
          at(
            x,
            index.map((own, a) => (a === axis ? i : own)),
          ),
        ),
      );
      cache.set(key, row);
    }
    return row[index[axis]];
  });
}

export function softmaxRow(row: number[]): number[] {
  const top = Math.max(...row);
  const e = row.map((v) => Math.exp(v - top));
  const total = e.reduce((sum, v) => sum + v, 0);
  return e.map((v) => v / total);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, v) => sum + v, 0) / values.length;
}

export function variance(values: readonly number[], correction: number): number {
  const centre = mean(values);
  return values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - correction);
}

/** The error function to double precision: its series near 0, a continued fraction of erfc beyond. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return NaN;
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 100; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 120; n > 0; n--) fraction = n / 2 / (z + fraction);
  const tail = Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction);
  return Math.sign(x) * (1 - tail);
}

export function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest < 0.5) return low;
  if (rest > 0.5) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}
