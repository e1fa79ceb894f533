/**
 * Spectra of small symmetric matrices, on the host in f64: Householder reflections to tridiagonal form (4/3 n^3 multiply-adds), then
 * bisection by Sturm counts (some 60 n^2 divisions). For diagnostics of layers, not for training steps.
 */
import { ShapeError } from '../device/index.js';

/** Diagonal and subdiagonal of a tridiagonal matrix with the eigenvalues of the symmetric n x n matrix. */
function tridiagonal(matrix: ArrayLike<number>, n: number): { diagonal: Float64Array; sub: Float64Array } {
  const a = Float64Array.from(matrix);
  const sub = new Float64Array(Math.max(0, n - 1));
  const v = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k + 1 < n; k++) {
    let norm = 0;
    for (let i = k + 1; i < n; i++) norm = Math.hypot(norm, a[i * n + k]);
    const first = a[(k + 1) * n + k];
    sub[k] = first > 0 ? -norm : norm;
    if (k + 2 >= n || norm === 0) {
      if (k + 2 >= n) sub[k] = first;
      continue;
    }
    // v reflects column k below the diagonal onto its first element: A <- (I - b v v^T) A (I - b v v^T).
    let square = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = a[i * n + k] - (i === k + 1 ? sub[k] : 0);
      square += v[i] * v[i];
    }
    const b = 2 / square;
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * v[j];
      w[i] = b * sum;
      along += w[i] * v[i];
    }
    for (let i = k + 1; i < n; i++) w[i] -= 0.5 * b * along * v[i];
    for (let i = k + 1; i < n; i++) for (let j = k + 1; j < n; j++) a[i * n + j] -= v[i] * w[j] + w[i] * v[j];
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => a[i * n + i]), sub };
}

/** Eigenvalues of the symmetric n x n matrix, ascending, to about 1e-15 of the largest. Throws ShapeError for another length. */
export function symmetricEigenvalues(matrix: ArrayLike<number>, n: number): Float64Array {
  if (matrix.length !== n * n)
    throw new ShapeError(`symmetricEigenvalues: expected ${n} x ${n} elements, got ${matrix.length}`);
  const { diagonal, sub } = tridiagonal(matrix, n);
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < n; i++) {
    const radius = Math.abs(i > 0 ? sub[i - 1] : 0) + Math.abs(i + 1 < n ? sub[i] : 0);
    low = Math.min(low, diagonal[i] - radius);
    high = Math.max(high, diagonal[i] + radius);
  }
  const tiny = Number.MIN_VALUE / Number.EPSILON;
  /** Eigenvalues below x: negative pivots of the elimination of T - x. */
  const below = (x: number): number => {
    let count = 0;
    let pivot = 1;
    for (let i = 0; i < n; i++) {
      pivot = diagonal[i] - x - (i > 0 ? (sub[i - 1] * sub[i - 1]) / pivot : 0);
      if (Math.abs(pivot) < tiny) pivot = -tiny;
      if (pivot < 0) count++;
    }
    return count;
  };
  return Float64Array.from({ length: n }, (_, k) => {
    let [from, to] = [low, high];
    for (let pass = 0; pass < 100; pass++) {
      const middle = 0.5 * (from + to);
      if (middle <= from || middle >= to) break;
      if (below(middle) > k) to = middle;
      else from = middle;
    }
    return 0.5 * (from + to);
  });
}

/**
 * Effective rank of a [rows, columns] matrix: exp of the entropy of its singular values divided by their sum; 0 for a matrix of zeros.
 * Singular values below 1e-7 of the largest count as 0, since they come as roots of the eigenvalues of A^T A.
 * Source: Roy and Vetterli 2007, "The effective rank".
 */
export function effectiveRank(matrix: ArrayLike<number>, rows: number, columns: number): number {
  if (matrix.length !== rows * columns)
    throw new ShapeError(`effectiveRank: expected ${rows} x ${columns} elements, got ${matrix.length}`);
  const gram = new Float64Array(columns * columns);
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < columns; i++) {
      const x = matrix[r * columns + i];
      if (x === 0) continue;
      for (let j = 0; j < columns; j++) gram[i * columns + j] += x * matrix[r * columns + j];
    }
  const eigenvalues = symmetricEigenvalues(gram, columns);
  const most = eigenvalues[columns - 1];
  if (!(most > 0)) return 0;
  const singular = eigenvalues.map((value) => (value > 1e-14 * most ? Math.sqrt(value) : 0));
  const total = singular.reduce((sum, s) => sum + s, 0);
  return Math.exp(singular.reduce((sum, s) => (s > 0 ? sum - (s / total) * Math.log(s / total) : sum), 0));
}
