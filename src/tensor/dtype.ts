/**
 * Element types and the typed arrays that hold them on the host.
 */
import { DTypeError, shown } from '../device/index.js';

/** f32 computes; f64 is for gradient checks; i32 holds labels and indices; u8 raw bytes; bool 0 or 1, one byte each. */
export type DType = 'f32' | 'f64' | 'i32' | 'u8' | 'bool';

/** In wire order, see native/core/dtype.h. */
export const DTYPES: readonly DType[] = ['f32', 'f64', 'i32', 'u8', 'bool'];
export const DTYPE_CODE: Record<DType, number> = { f32: 0, f64: 1, i32: 2, u8: 3, bool: 4 };
export const BYTES: Record<DType, number> = { f32: 4, f64: 8, i32: 4, u8: 1, bool: 1 };

/** The host array of a dtype. */
export interface HostArray {
  f32: Float32Array;
  f64: Float64Array;
  i32: Int32Array;
  u8: Uint8Array;
  bool: Uint8Array;
}
export type AnyHostArray = HostArray[DType];

/** A zeroed host array of n elements. */
export function hostArray<D extends DType>(dtype: D, n: number): HostArray[D] {
  switch (dtype) {
    case 'f32':
      return new Float32Array(n) as HostArray[D];
    case 'f64':
      return new Float64Array(n) as HostArray[D];
    case 'i32':
      return new Int32Array(n) as HostArray[D];
    default:
      return new Uint8Array(n) as HostArray[D];
  }
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f64';
}

/** Throws DTypeError unless dtype is one of `allowed`. */
export function expectDType(op: string, dtype: DType, allowed: readonly DType[]): void {
  if (!allowed.includes(dtype))
    throw new DTypeError(
      `${op}: expected dtype ${allowed.join(' or ')}, got ${DTYPES.includes(dtype) ? dtype : shown(dtype)}`,
    );
}
