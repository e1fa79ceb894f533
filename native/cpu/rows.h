// Views as plain pointers for kernels that walk rows: a matrix with unit column stride and one leading dimension, or a
// contiguous line. A view that is neither (transposed, broadcast along the columns) is copied to scratch first; an
// output of that kind is written to scratch and copied back by flush().
#pragma once
#include "core/view.h"
#include "cpu/range.h"
#include "cpu/vec.h"
#include "kernels/contract.h"

// A kernel that runs fn<float> or fn<double>, as the first output has it.
#define GYRUS_BY_TYPE(fn) [](const Args& a) { a.out[0].dtype == DType::F64 ? fn<double>(a) : fn<float>(a); }

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
GYRUS_INLINE T* take(const Args& args, int64_t n) {
  return static_cast<T*>(args.scratch->take(static_cast<size_t>(maxOf(n, 1)) * sizeof(T)));
}

// Calls f(c, lanes) for the vectors of a line of n elements; only the last may have fewer than N lanes.
template <class T, class F>
GYRUS_INLINE void eachVector(int64_t n, F&& f) {
  int64_t c = 0;
  for (; c + Vec<T>::N <= n; c += Vec<T>::N) f(c, Vec<T>::N);
  if (c < n) f(c, static_cast<int>(n - c));
}
template <class T>
GYRUS_INLINE Vec<T> load(const T* p, int lanes) {
  return lanes == Vec<T>::N ? Vec<T>::load(p) : Vec<T>::loadN(p, lanes);
}
template <class T>
GYRUS_INLINE void store(Vec<T> v, T* p, int lanes) {
  if (lanes == Vec<T>::N)
    v.store(p);
  else
    v.storeN(p, lanes);
}
// v with the lanes beyond the line replaced.
template <class T>
GYRUS_INLINE Vec<T> inLine(Vec<T> v, int lanes, T rest) {
  return lanes == Vec<T>::N ? v : select(Vec<T>::M::firstN(lanes), v, Vec<T>::broadcast(rest));
}

// Offset of row r of a view whose last axis is the column.
GYRUS_INLINE int64_t rowOffset(const View& v, int64_t r) {
  int64_t offset = 0;
  for (int i = v.rank - 2; i >= 0; --i) {
    offset += r % v.shape[i] * v.stride[i];
    r /= v.shape[i];
  }
  return offset;
}

// Leading dimension when the row axes collapse into one, else -1.
GYRUS_INLINE int64_t leading(const View& v) {
  int64_t ld = -1, expected = -1;
  for (int i = v.rank - 2; i >= 0; --i) {
    if (v.shape[i] == 1) continue;
    if (ld < 0)
      ld = v.stride[i];
    else if (v.stride[i] != expected)
      return -1;
    expected = v.stride[i] * v.shape[i];
  }
  return ld < 0 ? 0 : ld;
}

template <class T>
struct Rows {
  T* data;
  int64_t rows, cols, ld;
  View view;
  bool copied;

  GYRUS_INLINE T* row(int64_t r) const { return data + r * ld; }

  // [R, C] of any strides; read: fill the copy if one is needed.
  Rows(const Args& args, const View& v, bool read) : view(v), copied(false) {
    cols = v.rank > 0 ? v.shape[v.rank - 1] : 1;
    rows = 1;
    for (int i = 0; i + 1 < v.rank; ++i) rows *= v.shape[i];
    data = v.as<T>();
    ld = leading(v);
    if (ld >= 0 && (cols <= 1 || v.stride[v.rank - 1] == 1)) return;
    copied = true;
    data = take<T>(args, rows * cols);
    ld = cols;
    if (read) each([](T& copy, T& original) { copy = original; });
  }

  void flush() const {
    if (copied) each([](T& copy, T& original) { original = copy; });
  }

 private:
  template <class F>
  void each(F&& f) const {
    const int64_t step = view.stride[view.rank - 1];
    parallelRange(rows, cols * 4, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; ++r) {
        T* original = view.as<T>() + rowOffset(view, r);
        for (int64_t c = 0; c < cols; ++c) f(row(r)[c], original[c * step]);
      }
    });
  }
};

template <class T>
GYRUS_INLINE Rows<T> readRows(const Args& args, const View& v) {
  return Rows<T>(args, v, true);
}
template <class T>
GYRUS_INLINE Rows<T> writeRows(const Args& args, const View& v) {
  return Rows<T>(args, v, false);
}

// A line [n] is one row of n columns: Rows of a rank-1 view, whatever its stride.
template <class T>
GYRUS_INLINE const T* readLine(const Args& args, const View& v) {
  return Rows<T>(args, v, true).data;
}

}  // namespace gyrus::cpu::GYRUS_ISA
