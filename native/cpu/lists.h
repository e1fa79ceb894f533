// Active neurons of an axis of `size`: lists, i32, strictly ascending, or counts of the first ones.
#pragma once
#include "core/view.h"
#include "cpu/rows.h"
#include "kernels/active.h"
#include "kernels/indices.h"

namespace gyrus::cpu::GYRUS_ISA {

// The active neurons of an axis: those of a list or, where they are neighbours, a run that needs none.
struct Active {
  const int32_t* list;  // contiguous; null for a run
  int64_t first;        // of a run
  int64_t count, size;

  bool all() const { return count == size; }
  int64_t operator[](int64_t i) const { return list ? list[i] : first + i; }
};

// The active ones; a list is checked. Throws Error(Shape) for an index out of range or out of order.
inline Active readActiveNeurons(const char* op, const char* what, const Args& args, Neurons kind, const View* v,
                                int64_t size) {
  if (kind == Neurons::All) return {nullptr, 0, size, size};
  if (kind == Neurons::Counted) return {nullptr, 0, activeCount(*v, size), size};
  const int64_t n = v->shape[0], step = v->stride[0];
  const int32_t* from = v->as<int32_t>();
  int32_t* list = take<int32_t>(args, n);
  for (int64_t i = 0; i < n; ++i) {
    list[i] = from[i * step];
    if (list[i] < 0 || list[i] >= size) throwIndexOutOfRange(op, list[i], size);
    if (i > 0 && list[i] <= list[i - 1]) throwNotAscending(op, what, i);
  }
  if (n == 0) return {nullptr, 0, 0, size};
  if (list[n - 1] - list[0] == n - 1) return {nullptr, list[0], n, size};
  return {list, 0, n, size};
}

// The numbers of a line [size] that belong to active neurons, contiguous.
template <class T>
const T* readActive(const Args& args, const View& line, const Active& active) {
  const T* all = readLine<T>(args, line);
  if (!active.list) return all + active.first;
  T* own = take<T>(args, active.count);
  for (int64_t i = 0; i < active.count; ++i) own[i] = all[active.list[i]];
  return own;
}

// The other way: a line [size] of zeros but for the active.
template <class T>
void writeActive(const Args& args, const View& line, const Active& active, const T* own) {
  const Rows<T> all = writeRows<T>(args, line);
  for (int64_t i = 0; i < active.size; ++i) all.data[i] = T(0);
  for (int64_t i = 0; i < active.count; ++i) all.data[active[i]] = own[i];
  all.flush();
}

// Zeros the rows of C [rows.size, cols.size] that are not active and, in those that are, what lies beside a run of
// columns. Between listed columns Spread does it.
template <class T>
void clearInactive(T* c, const Active& rows, const Active& cols) {
  const int64_t after = cols.first + cols.count;
  const auto zero = [&](int64_t r, int64_t from, int64_t to) {
    memset(c + r * cols.size + from, 0, static_cast<size_t>(to - from) * sizeof(T));
  };
  parallelRange(rows.size, cols.size, [&](int64_t from, int64_t to) {
    int64_t next = 0;
    while (next < rows.count && rows[next] < from) ++next;
    for (int64_t r = from; r < to; ++r) {
      const bool active = next < rows.count && rows[next] == r;
      if (active) ++next;
      if (!active || cols.count == 0) {
        zero(r, 0, cols.size);
      } else if (!cols.list) {
        zero(r, 0, cols.first);
        zero(r, after, cols.size);
      }
    }
  });
}

// Zeros the columns of v from `from` on.
template <class T>
void clearColumns(const View& v, int64_t from) {
  const int64_t cols = v.shape[v.rank - 1], step = v.stride[v.rank - 1];
  int64_t rows = 1;
  for (int i = 0; i + 1 < v.rank; ++i) rows *= v.shape[i];
  if (from >= cols) return;
  parallelRange(rows, cols - from, [&](int64_t first, int64_t end) {
    for (int64_t r = first; r < end; ++r) {
      T* const row = v.as<T>() + rowOffset(v, r);
      if (step == 1)
        memset(row + from, 0, static_cast<size_t>(cols - from) * sizeof(T));
      else
        for (int64_t c = from; c < cols; ++c) row[c * step] = T(0);
    }
  });
}

}  // namespace gyrus::cpu::GYRUS_ISA
