// A strided window on a buffer: what a kernel sees of a tensor. Strides are in elements and never negative;
// a stride of 0 broadcasts. An active block of a capacity-sized parameter has stride[0] > shape[1].
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace gyrus {

constexpr int kMaxRank = 8;

struct View {
  void* data = nullptr;
  DType dtype = DType::F32;
  int rank = 0;
  std::int64_t shape[kMaxRank] = {};
  std::int64_t stride[kMaxRank] = {};

  // Forgets extents and strides. A loop, since compilers make slow string instructions of an assignment.
  void clear() {
    for (int i = 0; i < kMaxRank; ++i) shape[i] = 0;
    for (int i = 0; i < kMaxRank; ++i) stride[i] = 0;
  }
  std::int64_t size() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  bool contiguous() const {
    std::int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  bool sameShape(const View& o) const {
    if (rank != o.rank) return false;
    for (int i = 0; i < rank; ++i)
      if (shape[i] != o.shape[i]) return false;
    return true;
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace gyrus
