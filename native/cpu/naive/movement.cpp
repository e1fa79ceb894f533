// Naive movement kernels: fill, copy with casts, gathers and scatters along an axis.
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/strided.h"
#include "kernels/indices.h"

namespace gyrus::cpu::naive {
namespace {

// y[...] = value
void fill(const Args& args) {
  const View& y = args.out[0];
  for (Walk w(y); !w.done(); w.next()) put(y, w.in(y), args.as<FillParams>().value);
}

// y[i] = start + i*step
void arange(const Args& args) {
  const auto& p = args.as<ArangeParams>();
  const View& y = args.out[0];
  for (Walk w(y); !w.done(); w.next()) put(y, w.in(y), p.start + static_cast<double>(w.at[0]) * p.step);
}

// y <- x, casting
void copy(const Args& args) {
  const View &y = args.out[0], &x = args.in[0];
  for (Walk w(y); !w.done(); w.next()) put(y, w.in(y), fetch(x, w.in(x)));
}

// y += x at one place, in the dtype's own arithmetic
void accumulate(const View& y, std::int64_t at, const View& x, std::int64_t from) {
  if (y.dtype == DType::I32)
    y.as<std::int32_t>()[at] = wrap(std::int64_t{y.as<std::int32_t>()[at]} + x.as<std::int32_t>()[from]);
  else
    put(y, at, fetch(y, at) + fetch(x, from));
}

std::int64_t checkedIndex(const char* op, std::int32_t index, std::int64_t size) {
  if (index < 0 || index >= size) throwIndexOutOfRange(op, index, size);
  return index;
}

// y[i..k..] = x[i..index[i..k..]..]
void gather(const Args& args) {
  const int axis = static_cast<int>(args.as<GatherParams>().axis);
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  for (Walk w(y); !w.done(); w.next()) {
    const std::int64_t k = checkedIndex("gather", index.as<std::int32_t>()[w.in(index)], x.shape[axis]);
    put(y, w.in(y), fetch(x, w.in(x) + (k - w.at[axis]) * x.stride[axis]));
  }
}

// y[i..index[i..k..]..] += source[i..k..], in index order
void scatterAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<ScatterAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  for (Walk w(index); !w.done(); w.next()) {
    const std::int64_t k = checkedIndex("scatterAdd", index.as<std::int32_t>()[w.in(index)], y.shape[axis]);
    accumulate(y, w.in(y) + (k - w.at[axis]) * y.stride[axis], source, w.in(source));
  }
}

// y[..j..] = x[..index[j]..]; -1 gives the fill value
void indexSelect(const Args& args) {
  const auto& p = args.as<IndexSelectParams>();
  const int axis = static_cast<int>(p.axis);
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  for (Walk w(y); !w.done(); w.next()) {
    const std::int32_t i = index.as<std::int32_t>()[w.at[axis] * index.stride[0]];
    if (i == -1) {
      put(y, w.in(y), p.fill);
      continue;
    }
    const std::int64_t k = checkedIndex("indexSelect", i, x.shape[axis]);
    put(y, w.in(y), fetch(x, w.in(x) + (k - w.at[axis]) * x.stride[axis]));
  }
}

// y[..index[j]..] += source[..j..], in order of j; -1 is skipped
void indexAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<IndexAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  for (Walk w(source); !w.done(); w.next()) {
    const std::int32_t i = index.as<std::int32_t>()[w.at[axis] * index.stride[0]];
    if (i == -1) continue;
    const std::int64_t k = checkedIndex("indexAdd", i, y.shape[axis]);
    accumulate(y, w.in(y) + (k - w.at[axis]) * y.stride[axis], source, w.in(source));
  }
}

// y [..., depth] <- index [...]
void oneHot(const Args& args) {
  const auto& p = args.as<OneHotParams>();
  const View &y = args.out[0], &index = args.in[0];
  const int last = y.rank - 1;
  for (Walk w(index); !w.done(); w.next()) {
    const std::int64_t k = checkedIndex("oneHot", index.as<std::int32_t>()[w.in(index)], y.shape[last]);
    const std::int64_t row = w.in(y, 0, last);
    for (std::int64_t c = 0; c < y.shape[last]; ++c) put(y, row + c * y.stride[last], c == k ? p.on : p.off);
  }
}

}  // namespace

void registerMovement(KernelTable& t) {
  t.set(Op::Fill, fill);
  t.set(Op::Arange, arange);
  t.set(Op::Copy, copy);
  t.set(Op::Gather, gather);
  t.set(Op::ScatterAdd, scatterAdd);
  t.set(Op::IndexSelect, indexSelect);
  t.set(Op::IndexAdd, indexAdd);
  t.set(Op::OneHot, oneHot);
  t.set(Op::GatherRows, gatherRows);
}

}  // namespace gyrus::cpu::naive
