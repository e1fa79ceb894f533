// What is done to the sums of a matrix product or convolution before they are stored: y = act((sum + bias) * scale +
// shift) + residual, or the residual inside of act. Every part may be missing.
#pragma once
#include "cuda/runtime.h"
#include "kernels/ops.h"

namespace gyrus::cuda {

template <class T>
__device__ __forceinline__ T activate(ActivationKind kind, T x) {
  switch (kind) {
    case ActivationKind::Relu:
      return x < T(0) ? T(0) : x;  // NaN passes
    case ActivationKind::Tanh:
      return tanh(x);
    case ActivationKind::Sigmoid:
      return T(1) / (T(1) + exp(-x));
    case ActivationKind::Gelu:
      return T(0.5) * x * erfc(-x * T(0.70710678118654752440));
    case ActivationKind::Silu:
      return x / (T(1) + exp(-x));
    default:
      return x;
  }
}

// A line of numbers, one per column of the output.
template <class T>
struct PerColumn {
  const T* data = nullptr;
  std::int64_t stride = 1;

  __device__ T at(std::int64_t n, T otherwise) const { return data ? data[n * stride] : otherwise; }
};

template <class T>
struct Epilogue {
  PerColumn<T> bias, scale, shift;
  const int* list = nullptr;    // which of those numbers belong to the columns; null: all, in their order
  const T* residual = nullptr;  // contiguous, in the shape of the output
  ActivationKind activation = ActivationKind::None;
  bool residualFirst = false;

  // Loaded once for a thread's column.
  struct Column {
    T bias, scale, shift;
  };
  __device__ Column column(std::int64_t n) const {
    const std::int64_t at = list ? list[n] : n;
    return {bias.at(at, T(0)), scale.at(at, T(1)), shift.at(at, T(0))};
  }
  // `residual` is 0 where there is none. Written so that a sum comes out as it is where nothing is to be done, -0 too.
  __device__ T apply(T sum, const Column& c, T added) const {
    if (bias.data) sum += c.bias;
    if (scale.data) sum = fma(sum, c.scale, c.shift);
    if (residual && residualFirst) sum += added;
    sum = activate(activation, sum);
    return residual && !residualFirst ? sum + added : sum;
  }
  bool none() const { return !bias.data && !scale.data && !residual && activation == ActivationKind::None; }
};

}  // namespace gyrus::cuda
