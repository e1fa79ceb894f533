/**
 * Directions among the rows of small matrices, on the host in double precision: eigenvectors for gradmax, orthogonal rows for newborn
 * neurons. Written for matrices of up to some hundred rows; the work grows with the cube.
 */

const SWEEPS = 60;

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** a <- c a - s b, b <- s a + c b */
function rotate(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i], b[i]];
    a[i] = c * x - s * y;
    b[i] = s * x + c * y;
  }
}

/**
 * Eigenvalues, largest first, and unit eigenvectors of a symmetric positive semi-definite matrix given by its rows, by one-sided Jacobi
 * rotations. A vanishing eigenvalue comes with a vector of zeros. Source: Hestenes 1958.
 */
export function eigen(matrix: readonly Float64Array[]): { values: Float64Array; vectors: Float64Array[] } {
  const rows = matrix.map((row) => Float64Array.from(row));
  const largest = rows.reduce((most, row) => Math.max(most, dot(row, row)), 0);
  const nothing = largest * 1e-28;
  let turned = true;
  for (let sweep = 0; turned && sweep < SWEEPS; sweep++) {
    turned = false;
    for (let p = 0; p < rows.length; p++) {
      for (let q = p + 1; q < rows.length; q++) {
        const [a, b, c] = [dot(rows[p], rows[p]), dot(rows[q], rows[q]), dot(rows[p], rows[q])];
        if (a <= nothing || b <= nothing || Math.abs(c) <= 1e-14 * Math.sqrt(a * b)) continue;
        const zeta = (b - a) / (2 * c);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        rotate(rows[p], rows[q], cosine, cosine * tangent);
        turned = true;
      }
    }
  }
  const lengths = rows.map((row) => Math.sqrt(dot(row, row)));
  const order = lengths.map((_, i) => i).sort((i, j) => lengths[j] - lengths[i] || i - j);
  const empty = Math.sqrt(nothing);
  return {
    values: Float64Array.from(order, (i) => (lengths[i] > empty ? lengths[i] : 0)),
    vectors: order.map((i) => rows[i].map((x) => (lengths[i] > empty ? x / lengths[i] : 0))),
  };
}

/** values [rows * columns] as rows. */
export function rowsOf(values: ArrayLike<number>, rows: number): Float64Array[] {
  const columns = rows > 0 ? values.length / rows : 0;
  return Array.from({ length: rows }, (_, i) =>
    Float64Array.from({ length: columns }, (__, j) => values[i * columns + j]),
  );
}

/** A A^T of the matrix with these rows. */
export function gram(rows: readonly Float64Array[]): Float64Array[] {
  const out = rows.map(() => new Float64Array(rows.length));
  for (let i = 0; i < rows.length; i++) for (let j = 0; j <= i; j++) out[i][j] = out[j][i] = dot(rows[i], rows[j]);
  return out;
}

/** The matrix with these rows on its side. */
function onSide(rows: readonly Float64Array[]): Float64Array[] {
  return Array.from(rows[0] ?? [], (_, j) => Float64Array.from(rows, (row) => row[j]));
}

/**
 * Singular values, largest first, and left singular vectors of the matrix with these rows, as many as its smaller side has and without
 * those whose value is below a millionth of the largest: their direction is rounding.
 */
export function leftSingular(matrix: readonly Float64Array[]): { values: Float64Array; vectors: Float64Array[] } {
  const tall = matrix.length > (matrix[0]?.length ?? 0);
  const { values, vectors } = eigen(gram(tall ? onSide(matrix) : matrix));
  const kept = values.findIndex((value) => !(value > 1e-12 * values[0]));
  const count = kept < 0 ? values.length : kept;
  const left = tall
    ? vectors.slice(0, count).map((v) => {
        const image = Float64Array.from(matrix, (row) => dot(row, v));
        const length = Math.sqrt(dot(image, image));
        return image.map((x) => x / length);
      })
    : vectors.slice(0, count);
  return { values: values.slice(0, count).map(Math.sqrt), vectors: left };
}

/** What is left of `row` beside the space of the orthonormal `basis`; twice, since rounding leaves a trace the first time. */
function beside(row: Float64Array, basis: readonly Float64Array[]): Float64Array {
  const left = Float64Array.from(row);
  for (let pass = 0; pass < 2; pass++) {
    for (const axis of basis) {
      const along = dot(left, axis);
      for (let i = 0; i < left.length; i++) left[i] -= along * axis[i];
    }
  }
  return left;
}

/**
 * The fresh rows made orthogonal to the old ones and to one another, each with the length it had. Where no direction is left, a row stays
 * as it is.
 */
export function orthogonalTo(old: readonly Float64Array[], fresh: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = [];
  const take = (row: Float64Array): Float64Array | undefined => {
    if (basis.length >= row.length) return undefined;
    const [left, before] = [beside(row, basis), Math.sqrt(dot(row, row))];
    const after = Math.sqrt(dot(left, left));
    if (!(after > 1e-6 * before)) return undefined;
    basis.push(left.map((x) => x / after));
    return left.map((x) => (x * before) / after);
  };
  for (const row of old) take(row);
  return fresh.map((row) => take(row) ?? row);
}
