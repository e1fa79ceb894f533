// Lists of active neurons, checked entry by entry.
#pragma once
#include <cstdint>

#include "core/view.h"
#include "kernels/indices.h"

namespace gyrus::cpu::naive {

// A list of active neurons, or all of them.
struct List {
  const View* view = nullptr;

  List() = default;
  List(const char* op, const char* what, const View* v, std::int64_t size) : view(v) {
    for (std::int64_t i = 0; v && i < v->shape[0]; ++i) {
      if ((*this)[i] < 0 || (*this)[i] >= size) throwIndexOutOfRange(op, (*this)[i], size);
      if (i > 0 && (*this)[i] <= (*this)[i - 1]) throwNotAscending(op, what, i);
    }
  }
  std::int64_t operator[](std::int64_t i) const { return view ? view->as<std::int32_t>()[i * view->stride[0]] : i; }
};

}  // namespace gyrus::cpu::naive
