// Sums of the columns of a matrix in a fixed order: the gradient of a bias.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

// A matrix as the sums read it.
template <class T>
struct Matrix {
  const T* data;
  std::int64_t rows, cols, rowStride, colStride;
  const int* active = nullptr;  // counts the active columns, null for all; the sums of the others are 0
};

// sums[list[c]] = sum over the rows of column c, and 0 where nothing is listed; list null: column c's is sums[c].
template <class T>
void columnSums(const Args& args, const Matrix<T>& x, const View& sums, const int* list, bool listed);

}  // namespace gyrus::cuda
