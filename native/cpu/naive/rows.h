// Strided access for the naive kernels: element (row, column) of a view whose last axis is the column and whose other
// axes together are the row. Slow and plain on purpose: these kernels are the oracle of the tests.
#pragma once
#include <cstdint>

#include "core/error.h"
#include "core/view.h"
#include "kernels/contract.h"

namespace gyrus::cpu::naive {

// A view of any rank as [rows, cols]; rank 0 is [1, 1].
template <class T>
class Rows {
 public:
  explicit Rows(const View& v) : v_(v), data_(v.as<T>()) {
    cols = v.rank > 0 ? v.shape[v.rank - 1] : 1;
    rows = 1;
    for (int i = 0; i + 1 < v.rank; ++i) rows *= v.shape[i];
  }

  T& operator()(std::int64_t r, std::int64_t c) const {
    std::int64_t offset = v_.rank > 0 ? c * v_.stride[v_.rank - 1] : 0;
    for (int i = v_.rank - 2; i >= 0; --i) {
      offset += r % v_.shape[i] * v_.stride[i];
      r /= v_.shape[i];
    }
    return data_[offset];
  }

  std::int64_t rows, cols;

 private:
  View v_;
  T* data_;
};

// A view of rank 1 (or a number, rank 0).
template <class T>
class Line {
 public:
  explicit Line(const View& v) : data_(v.as<T>()), stride_(v.rank > 0 ? v.stride[v.rank - 1] : 0) {
    n = v.rank > 0 ? v.shape[v.rank - 1] : 1;
  }
  T& operator[](std::int64_t i) const { return data_[i * stride_]; }

  std::int64_t n;

 private:
  T* data_;
  std::int64_t stride_;
};

// Runs F<T>::run(args) for the type of the first output.
template <template <class> class F>
void byType(const Args& a) {
  if (a.out[0].dtype == DType::F64)
    F<double>::run(a);
  else
    F<float>::run(a);
}

}  // namespace gyrus::cpu::naive
