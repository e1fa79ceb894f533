// Movement kernels: fill, copy (rows, tiled transposes, casts), gathers and scatters along an axis, batches of rows.
#include "cpu/convert.h"
#include "cpu/families.h"
#include "cpu/loops.h"
#include "cpu/transpose.h"
#include "kernels/indices.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE char* byteAt(const View& v, int64_t offset) {
  return static_cast<char*>(v.data) + offset * static_cast<int64_t>(sizeOfType(v.dtype));
}

// The bits of a number as a dtype.
struct Element {
  alignas(8) char bits[8];
  Element(DType d, double x) { castFn(d, DType::F64)(bits, &x, 1); }
};

// Whether an output of contiguous rows is written past the caches.
template <int K>
bool streamsOut(const Nest<K>& nest, size_t size) {
  for (int k = 0; k < K; ++k)
    if (nest.unit[k] != 1) return false;
  return nest.inner >= kBlock && nest.count * static_cast<int64_t>(size) >= kStreamFrom;
}

// y[...] = value
void fill(const Args& args) {
  const View& y = args.out[0];
  const Element value(y.dtype, args.as<FillParams>().value);
  const size_t size = sizeOfType(y.dtype);
  const View* const v[1] = {&y};
  const Nest<1> nest(v);
  const bool streams = streamsOut(nest, size);
  eachRow(nest, [&](const int64_t(&at)[1], int64_t n) {
    if (!streams) return moveStrided(byteAt(y, at[0]), nest.unit[0], value.bits, 0, n, size);
    alignas(64) char block[kBlock * 8];
    moveStrided(block, 1, value.bits, 0, kBlock, size);
    for (int64_t i = 0; i < n; i += kBlock)
      streamCopy(byteAt(y, at[0] + i), block, minOf(kBlock, n - i) * static_cast<int64_t>(size));
    fence();
  });
}

// y[i] = start + i*step
void arange(const Args& args) {
  const auto& p = args.as<ArangeParams>();
  const View& y = args.out[0];
  const CastFn cast = castFn(y.dtype, DType::F64);
  parallelRange(y.shape[0], 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const double x = p.start + static_cast<double>(i) * p.step;
      cast(byteAt(y, i * y.stride[0]), &x, 1);
    }
  });
}

// Transposes go by tiles of x's rows and y's rows: the runs that are written are the longer ones.
constexpr int64_t kTileRows = 128, kTileColumns = 32;

constexpr bool kTurnsInRegisters = GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512;

// y [a, b] of rows ys apart <- x [b, a] of rows xs apart, in registers where there is a way.
template <class U>
void turnTile(char* y, int64_t ys, const char* x, int64_t xs, int64_t a, int64_t b) {
  int64_t j = 0;
#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
  if constexpr (sizeof(U) == 4) {
    const auto* from = reinterpret_cast<const float*>(x);
    auto* to = reinterpret_cast<float*>(y);
    // Whole lines of x are read and of y written, in squares of 16.
    const int64_t whole = a / 8 * 8;
    for (; j + 8 <= b; j += 16) {
      const int64_t wide = minOf(16, (b - j) / 8 * 8);
      for (int64_t i = 0; i < whole; i += 16)
        for (int64_t jj = j; jj < j + wide; jj += 8)
          for (int64_t ii = i; ii < minOf(i + 16, whole); ii += 8)
            Block<float, 8>::transpose(from + jj * xs + ii, xs, to + ii * ys + jj, ys);
      for (int64_t i = whole; i < a; ++i)
        for (int64_t k = j; k < j + wide; ++k) storeBits<U>(y, i * ys + k, loadBits<U>(x, k * xs + i));
    }
    j = b / 8 * 8;
  }
#endif
  for (; j < b; ++j)
    for (int64_t i = 0; i < a; ++i) storeBits<U>(y, i * ys + j, loadBits<U>(x, j * xs + i));
}

// The same; by a block in L1 from which y's rows go past the caches, or where numbers do not go by registers.
template <class U>
void transposeTile(char* y, int64_t ys, const char* x, int64_t xs, int64_t a, int64_t b, bool streams) {
  constexpr auto size = static_cast<int64_t>(sizeof(U));
  if (b < 8) {  // a few channels: their runs are too short to be worth a block
    for (int64_t i = 0; i < a; ++i) moveAs<U>(y + i * ys * size, 1, x + i * size, xs, b);
    return;
  }
  if (kTurnsInRegisters && size == 4 && !streams) return turnTile<U>(y, ys, x, xs, a, b);
  alignas(64) U block[kTileRows * kTileColumns];
  turnTile<U>(reinterpret_cast<char*>(block), kTileRows, x, xs, a, b);
  for (int64_t i = 0; i < a; ++i)
    if (streams)
      streamCopy(y + i * ys * size, block + i * kTileRows, b * size);
    else
      ::memcpy(y + i * ys * size, block + i * kTileRows, static_cast<size_t>(b * size));
}

// A copy in which axis `down` is contiguous in x and the innermost axis in y.
void transpose(const View& y, const View& x, const Nest<2>& nest, int down) {
  const size_t size = sizeOfType(y.dtype);
  Nest<2> outer = nest;  // without `down` and the innermost axis
  int64_t count = 1;
  outer.rank = 0;
  for (int d = 0; d < nest.rank; ++d) {
    if (d == down) continue;
    outer.shape[outer.rank] = nest.shape[d];
    for (int k = 0; k < 2; ++k) outer.stride[k][outer.rank] = nest.stride[k][d];
    ++outer.rank;
    count *= nest.shape[d];
  }
  const int64_t rows = nest.shape[down], cols = nest.inner;
  const int64_t bands = ceilDiv(rows, kTileColumns), blocks = ceilDiv(cols, kTileRows), tiles = bands * blocks;
  const int64_t ys = nest.stride[0][down], xs = nest.unit[1];
  const bool streams = nest.count * static_cast<int64_t>(size) >= kStreamFrom && cols >= 64;
  const bool flat = bands <= blocks;  // x's rows are the shorter ones: tiles follow each other along them
  parallelRange(count * tiles, kTileColumns * kTileRows, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      int64_t at[2];
      outer.offsets(c / tiles, at);
      const int64_t t = c % tiles, band = flat ? t % bands : t / blocks, block = flat ? t / bands : t % blocks;
      const int64_t i = band * kTileColumns, a = minOf(kTileColumns, rows - i);
      const int64_t j = block * kTileRows, b = minOf(kTileRows, cols - j);
      char* yp = byteAt(y, at[0] + i * ys + j);
      const char* xp = byteAt(x, at[1] + i + j * xs);
      bySize(size, [&]<class U>() { transposeTile<U>(yp, ys, xp, xs, a, b, streams); });
    }
    if (streams) fence();
  });
}

// y <- x, casting
void copy(const Args& args) {
  const View &y = args.out[0], &x = args.in[0];
  const View* const v[2] = {&y, &x};
  if (y.dtype != x.dtype) {
    const CastFn cast = castFn(y.dtype, x.dtype);
    mapBlocks(v, [=](void* const* q, int64_t n) { cast(q[0], q[1], n); });
    return;
  }
  const Nest<2> nest(v);
  if (nest.unit[0] == 1 && nest.unit[1] > 1)
    for (int d = nest.rank - 1; d >= 0; --d)
      if (nest.stride[1][d] == 1 && nest.shape[d] >= 4) return transpose(y, x, nest, d);
  const size_t size = sizeOfType(y.dtype);
  if (streamsOut(nest, size)) {
    eachRow(nest, [&](const int64_t(&at)[2], int64_t n) {
      streamCopy(byteAt(y, at[0]), byteAt(x, at[1]), n * static_cast<int64_t>(size));
      fence();
    });
    return;
  }
  eachRow(nest, [&](const int64_t(&at)[2], int64_t n) {
    moveStrided(byteAt(y, at[0]), nest.unit[0], byteAt(x, at[1]), nest.unit[1], n, size);
  });
}

// v without its axis.
View without(const View& v, int axis) {
  View s = v;
  s.rank = v.rank - 1;
  for (int d = axis; d < s.rank; ++d) {
    s.shape[d] = v.shape[d + 1];
    s.stride[d] = v.stride[d + 1];
  }
  return s;
}

GYRUS_INLINE int64_t indexAt(const View& index, int64_t offset) { return index.as<int32_t>()[offset]; }

// All indices of a list, before anything is written; -1 passes where `skip` says so.
void checkIndices(const char* op, const View& index, int64_t count, int64_t size, bool skip) {
  for (int64_t j = 0; j < count; ++j) {
    const int64_t i = indexAt(index, j * index.stride[0]);
    if (i >= size || i < (skip ? -1 : 0)) throwIndexOutOfRange(op, i, size);
  }
}

template <class U>
void gatherRow(const View& y, const View& x, const View& index, const int64_t (&at)[3], const Nest<3>& nest, int64_t n,
               int axis) {
  const int64_t size = x.shape[axis], step = x.stride[axis];
  for (int64_t i = 0; i < n; ++i) {
    const int64_t k = indexAt(index, at[2] + i * nest.unit[2]);
    if (k < 0 || k >= size) throwIndexOutOfRange("gather", k, size);
    storeBits<U>(y.data, at[0] + i * nest.unit[0], loadBits<U>(x.data, at[1] + i * nest.unit[1] + k * step));
  }
}

// y[i..k..] = x[i..index[i..k..]..]
void gather(const Args& args) {
  const int axis = static_cast<int>(args.as<GatherParams>().axis);
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  View origin = x;  // the position in x, but for the axis
  origin.stride[axis] = 0;
  const View* const v[3] = {&y, &origin, &index};
  const Nest<3> nest(v);
  const size_t size = sizeOfType(y.dtype);
  eachRow(nest, [&](const int64_t(&at)[3], int64_t n) {
    bySize(size, [&]<class U>() { gatherRow<U>(y, x, index, at, nest, n, axis); });
  });
}

GYRUS_INLINE float sum(float a, float b) { return a + b; }
GYRUS_INLINE double sum(double a, double b) { return a + b; }
GYRUS_INLINE int32_t sum(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

// Along the axis in order, so that equal indices always add up in the same order; parallel over everything else.
template <class T>
void scatterAddAs(const View& y, const View& index, const View& source, int axis) {
  const View ys = without(y, axis), is = without(index, axis), ss = without(source, axis);
  const View* const v[3] = {&is, &ss, &ys};
  const Nest<3> nest(v);
  const int64_t n = index.shape[axis], size = y.shape[axis];
  T* out = y.as<T>();
  const T* in = source.as<T>();
  parallelRange(nest.count, n, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      int64_t at[3];
      nest.offsets(c / nest.inner, at);
      for (int k = 0; k < 3; ++k) at[k] += c % nest.inner * nest.unit[k];
      for (int64_t j = 0; j < n; ++j) {
        const int64_t i = indexAt(index, at[0] + j * index.stride[axis]);
        if (i < 0 || i >= size) throwIndexOutOfRange("scatterAdd", i, size);
        T& target = out[at[2] + i * y.stride[axis]];
        target = sum(target, in[at[1] + j * source.stride[axis]]);
      }
    }
  });
}

// y[i..index[i..k..]..] += source[i..k..]
void scatterAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<ScatterAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  if (y.dtype == DType::F64)
    scatterAddAs<double>(y, index, source, axis);
  else if (y.dtype == DType::F32)
    scatterAddAs<float>(y, index, source, axis);
  else
    scatterAddAs<int32_t>(y, index, source, axis);
}

// y[..j..] = x[..index[j]..]; -1 gives the fill value
void indexSelect(const Args& args) {
  const auto& p = args.as<IndexSelectParams>();
  const int axis = static_cast<int>(p.axis);
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  const int64_t k = y.shape[axis], ya = y.stride[axis], xa = x.stride[axis], step = index.stride[0];
  if (countOf(y) == 0) return;
  checkIndices("indexSelect", index, k, x.shape[axis], true);
  const Element blank(y.dtype, p.fill);
  const View ys = without(y, axis), xs = without(x, axis);
  const View* const v[2] = {&ys, &xs};
  const Nest<2> nest(v);
  const size_t size = sizeOfType(y.dtype);
  const bool rows = nest.unit[0] == 1 && nest.unit[1] == 1 && nest.inner > 1;
  const int64_t inner = rows ? nest.inner : 1, count = nest.count / inner;
  // One item is a run of `inner` elements of one slice; the slices of a position follow each other.
  parallelRange(count * k, inner, [&](int64_t from, int64_t to) {
    int64_t at[2] = {};
    for (int64_t c = from; c < to; ++c) {
      const int64_t j = c % k, position = c / k * inner;
      if (c == from || j == 0) {
        nest.offsets(position / nest.inner, at);
        for (int o = 0; o < 2; ++o) at[o] += position % nest.inner * nest.unit[o];
      }
      const int64_t i = indexAt(index, j * step);
      char* target = byteAt(y, at[0] + j * ya);
      if (i < 0)
        moveStrided(target, 1, blank.bits, 0, inner, size);
      else
        moveStrided(target, 1, byteAt(x, at[1] + i * xa), 1, inner, size);
    }
  });
}

template <class T>
void indexAddAs(const View& y, const View& index, const View& source, int axis) {
  const int64_t k = source.shape[axis], ya = y.stride[axis], sa = source.stride[axis], step = index.stride[0];
  const View ys = without(y, axis), ss = without(source, axis);
  const View* const v[2] = {&ys, &ss};
  const Nest<2> nest(v);
  if (nest.count == 0) return;
  const bool rows = nest.unit[0] == 1 && nest.unit[1] == 1;
  // Pieces of a row of a slice, each with all k additions in order.
  const int64_t piece = rows ? minOf(nest.inner, maxOf(64, kGrain / maxOf(1, k))) : 1;
  const int64_t perRow = ceilDiv(nest.inner, piece);
  parallelRange(nest.count / nest.inner * perRow, piece * k, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      int64_t at[2];
      nest.offsets(c / perRow, at);
      const int64_t first = c % perRow * piece, n = minOf(piece, nest.inner - first);
      T* out = y.as<T>() + at[0] + first * nest.unit[0];
      const T* in = source.as<T>() + at[1] + first * nest.unit[1];
      for (int64_t j = 0; j < k; ++j) {
        const int64_t i = indexAt(index, j * step);
        if (i < 0) continue;
        T* target = out + i * ya;
        if (n == 1)
          *target = sum(*target, in[j * sa]);
        else
          mapVec(target, static_cast<const T*>(target), in + j * sa, n, [](Vec<T> a, Vec<T> b) { return a + b; });
      }
    }
  });
}

// y[..index[j]..] += source[..j..]; -1 is skipped
void indexAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<IndexAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  if (countOf(source) == 0) return;
  checkIndices("indexAdd", index, source.shape[axis], y.shape[axis], true);
  if (y.dtype == DType::F64)
    indexAddAs<double>(y, index, source, axis);
  else if (y.dtype == DType::F32)
    indexAddAs<float>(y, index, source, axis);
  else
    indexAddAs<int32_t>(y, index, source, axis);
}

// y [..., depth] <- index [...]
void oneHot(const Args& args) {
  const auto& p = args.as<OneHotParams>();
  const View &y = args.out[0], &index = args.in[0];
  const int last = y.rank - 1;
  const int64_t depth = y.shape[last], step = y.stride[last];
  const Element on(y.dtype, p.on), off(y.dtype, p.off);
  const View rows = without(y, last);
  const View* const v[2] = {&rows, &index};
  const Nest<2> nest(v);
  const size_t size = sizeOfType(y.dtype);
  parallelRange(nest.count, depth, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      int64_t at[2];
      nest.offsets(c / nest.inner, at);
      for (int k = 0; k < 2; ++k) at[k] += c % nest.inner * nest.unit[k];
      const int64_t i = indexAt(index, at[1]);
      if (i < 0 || i >= depth) throwIndexOutOfRange("oneHot", i, depth);
      moveStrided(byteAt(y, at[0]), step, off.bits, 0, depth, size);
      moveStrided(byteAt(y, at[0] + i * step), 1, on.bits, 1, 1, size);
    }
  });
}

// y f32 [B, F] <- x (u8|f32) [N, F], index i32 [B];  y[b] = x[index[b]] * scale + shift
void gatherRows(const Args& args) {
  const auto& p = args.as<GatherRowsParams>();
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  const int64_t B = y.shape[0], F = y.shape[1], ys = y.stride[1], xs = x.stride[1];
  checkIndices("gatherRows", index, B, x.shape[0], false);
  const float scale = static_cast<float>(p.scale), shift = static_cast<float>(p.shift);
  const VecF scales = VecF::broadcast(scale), shifts = VecF::broadcast(shift);
  const bool bytes = x.dtype != DType::F32, plain = ys == 1 && xs == 1;
  parallelRange(B, F, [&](int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      float* out = y.as<float>() + b * y.stride[0];
      const int64_t row = indexAt(index, b * index.stride[0]) * x.stride[0];
      const float* floats = x.as<float>() + (bytes ? 0 : row);
      const uint8_t* octets = x.as<uint8_t>() + (bytes ? row : 0);
      int64_t f = 0;
      if (plain && bytes)
        for (; f + VecF::N <= F; f += VecF::N) fma(VecF::loadU8(octets + f), scales, shifts).store(out + f);
      else if (plain)
        for (; f + VecF::N <= F; f += VecF::N) fma(VecF::load(floats + f), scales, shifts).store(out + f);
      for (; f < F; ++f) {
        const VecF v = VecF::broadcast(bytes ? static_cast<float>(octets[f * xs]) : floats[f * xs]);
        fma(v, scales, shifts).storeN(out + f * ys, 1);
      }
    }
  });
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

}  // namespace gyrus::cpu::GYRUS_ISA
