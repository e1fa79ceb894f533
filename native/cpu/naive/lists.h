// Active neurons; lists of them are checked entry by entry.
#pragma once
#include <cstdint>

#include "core/view.h"
#include "kernels/active.h"
#include "kernels/indices.h"

namespace gyrus::cpu::naive {

// The active neurons of an axis of `size`: all, those of a list, or the first `count` of them.
struct List {
  const View* view = nullptr;
  std::int64_t count = 0;
  bool counted = false;

  List() = default;
  List(const char* op, const char* what, const View* v, Neurons kind, std::int64_t size) : count(size) {
    if (kind == Neurons::Counted) {
      counted = true;
      count = activeCount(*v, size);
    }
    if (kind != Neurons::Listed) return;
    view = v;
    count = v->shape[0];
    for (std::int64_t i = 0; i < count; ++i) {
      if ((*this)[i] < 0 || (*this)[i] >= size) throwIndexOutOfRange(op, (*this)[i], size);
      if (i > 0 && (*this)[i] <= (*this)[i - 1]) throwNotAscending(op, what, i);
    }
  }
  std::int64_t operator[](std::int64_t i) const { return view ? view->as<std::int32_t>()[i * view->stride[0]] : i; }
};

}  // namespace gyrus::cpu::naive
