// The activations a matrix product can apply to a vector before it is stored.
#pragma once
#include "cpu/math.h"
#include "cpu/vec.h"
#include "kernels/ops.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
GYRUS_INLINE Vec<T> activate(ActivationKind kind, Vec<T> v) {
  switch (kind) {
    case ActivationKind::Relu:
      return max(Vec<T>::zero(), v);  // the second operand where one is NaN: NaN passes
    case ActivationKind::Tanh:
      return tanh(v);
    case ActivationKind::Sigmoid:
      return sigmoid(v);
    case ActivationKind::Gelu:
      return v * normalCdf(v);
    case ActivationKind::Silu:
      return v * sigmoid(v);
    default:
      return v;
  }
}

}  // namespace gyrus::cpu::GYRUS_ISA
