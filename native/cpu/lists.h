// Lists of active neurons: i32, strictly ascending, of an axis of `size` neurons. A null list means all of them.
#pragma once
#include "core/view.h"
#include "cpu/rows.h"
#include "kernels/indices.h"

namespace gyrus::cpu::GYRUS_ISA {

// The list, contiguous and checked; throws Error(Shape) for an index out of range or out of order.
inline const int32_t* readList(const char* op, const char* what, const Args& args, const View& v, int64_t size) {
  const int64_t n = v.shape[0], step = v.stride[0];
  const int32_t* from = v.as<int32_t>();
  int32_t* list = take<int32_t>(args, n);
  for (int64_t i = 0; i < n; ++i) {
    list[i] = from[i * step];
    if (list[i] < 0 || list[i] >= size) throwIndexOutOfRange(op, list[i], size);
    if (i > 0 && list[i] <= list[i - 1]) throwNotAscending(op, what, i);
  }
  return list;
}

}  // namespace gyrus::cpu::GYRUS_ISA
