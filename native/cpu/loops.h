// Loops over strided operands of one shape. `Nest` drops axes of extent 1, sorts the axes by the output's strides and
// merges those that are contiguous in every operand; `eachRow` then hands out rows in parallel, cut by shape alone.
// `mapPieces` makes pieces of rows of them, and `mapBlocks` single rows, for kernels that are one contiguous loop.
#pragma once
#include "core/view.h"
#include "cpu/range.h"
#include "cpu/vec.h"

namespace gyrus::cpu::GYRUS_ISA {

GYRUS_INLINE int64_t countOf(const View& v) {
  int64_t n = 1;
  for (int d = 0; d < v.rank; ++d) n *= v.shape[d];
  return n;
}

template <int K>
struct Nest {
  int rank = 0;
  int64_t shape[kMaxRank + 1] = {};
  int64_t stride[K][kMaxRank + 1] = {};
  int64_t count = 1;
  int64_t unit[K] = {};  // strides of the innermost axis
  int64_t inner = 1;     // its extent

  // Operand 0 is the output; all have its shape. `sorted` may reorder the axes.
  Nest(const View* const (&v)[K], bool sorted = true) {
    const View& y = *v[0];
    int order[kMaxRank], n = 0;
    for (int d = 0; d < y.rank; ++d) {
      count *= y.shape[d];
      if (y.shape[d] != 1) order[n++] = d;
    }
    if (count == 0) return;
    if (sorted)  // stable insertion sort, widest output stride first
      for (int i = 1; i < n; ++i)
        for (int j = i; j > 0 && y.stride[order[j - 1]] < y.stride[order[j]]; --j) {
          const int swapped = order[j];
          order[j] = order[j - 1];
          order[j - 1] = swapped;
        }
    for (int i = 0; i < n; ++i) {
      const int d = order[i];
      bool merges = rank > 0;
      for (int k = 0; k < K && merges; ++k) merges = stride[k][rank - 1] == v[k]->stride[d] * y.shape[d];
      if (merges)
        shape[rank - 1] *= y.shape[d];
      else
        shape[rank++] = y.shape[d];
      for (int k = 0; k < K; ++k) stride[k][rank - 1] = v[k]->stride[d];
    }
    if (rank > 0) {
      --rank;  // from here on: the number of outer axes
      inner = shape[rank];
      for (int k = 0; k < K; ++k) unit[k] = stride[k][rank];
    }
  }

  // Offsets of outer position r.
  GYRUS_INLINE void offsets(int64_t r, int64_t (&at)[K]) const {
    for (int k = 0; k < K; ++k) at[k] = 0;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t i = r % shape[d];
      r /= shape[d];
      for (int k = 0; k < K; ++k) at[k] += i * stride[k][d];
    }
  }
};

// f(at, n): n consecutive elements of the innermost axis, starting at the operands' offsets.
template <int K, class F>
inline void eachRow(const Nest<K>& t, F f) {
  if (t.count == 0) return;
  const int64_t rows = t.count / t.inner;
  const int64_t pieces = ceilDiv(t.inner, kGrain);
  if (pieces > 1) {
    parallelFor(rows * pieces, [&](int64_t c) {
      int64_t at[K];
      t.offsets(c / pieces, at);
      const int64_t from = c % pieces * kGrain;
      for (int k = 0; k < K; ++k) at[k] += from * t.unit[k];
      f(at, minOf(kGrain, t.inner - from));
    });
    return;
  }
  parallelRange(rows, t.inner, [&](int64_t from, int64_t to) {
    int64_t at[K], place[kMaxRank + 1];
    t.offsets(from, at);
    int64_t left = from;
    for (int d = t.rank - 1; d >= 0; --d) {
      place[d] = left % t.shape[d];
      left /= t.shape[d];
    }
    for (int64_t r = from; r < to; ++r) {
      f(at, t.inner);
      for (int d = t.rank - 1; d >= 0; --d) {  // the next outer position
        for (int k = 0; k < K; ++k) at[k] += t.stride[k][d];
        if (++place[d] < t.shape[d]) break;
        for (int k = 0; k < K; ++k) at[k] -= t.stride[k][d] * t.shape[d];
        place[d] = 0;
      }
    }
  });
}

constexpr int64_t kBlock = 512;

// Moves the bits of an element of any type, which a plain assignment through another type may not do.
template <class U>
GYRUS_INLINE U loadBits(const void* p, int64_t i) {
  U u;
  ::memcpy(&u, static_cast<const char*>(p) + i * static_cast<int64_t>(sizeof(U)), sizeof(U));
  return u;
}
template <class U>
GYRUS_INLINE void storeBits(void* p, int64_t i, U u) {
  ::memcpy(static_cast<char*>(p) + i * static_cast<int64_t>(sizeof(U)), &u, sizeof(U));
}

// f.operator()<U>() for the unsigned type of 1, 4 or 8 bytes.
template <class F>
GYRUS_INLINE void bySize(size_t size, F f) {
  if (size == 1)
    f.template operator()<uint8_t>();
  else if (size == 4)
    f.template operator()<uint32_t>();
  else
    f.template operator()<uint64_t>();
}

// y[i * ys] = x[i * xs] for elements of 1, 4 or 8 bytes.
template <class U>
inline void moveAs(void* y, int64_t ys, const void* x, int64_t xs, int64_t n) {
  if (ys == 1 && xs == 0) {
    const U u = n > 0 ? loadBits<U>(x, 0) : U(0);
    for (int64_t i = 0; i < n; ++i) storeBits<U>(y, i, u);
  } else if (ys == 1)
    for (int64_t i = 0; i < n; ++i) storeBits<U>(y, i, loadBits<U>(x, i * xs));
  else
    for (int64_t i = 0; i < n; ++i) storeBits<U>(y, i * ys, loadBits<U>(x, i * xs));
}
inline void moveStrided(void* y, int64_t ys, const void* x, int64_t xs, int64_t n, size_t size) {
  if (ys == 1 && xs == 1)
    ::memcpy(y, x, static_cast<size_t>(n) * size);
  else
    bySize(size, [&]<class U>() { moveAs<U>(y, ys, x, xs, n); });
}

GYRUS_INLINE size_t sizeOfType(DType d) { return d == DType::F64 ? 8 : d == DType::F32 || d == DType::I32 ? 4 : 1; }

// From this size on an output is written past the caches: it would push out more than the next reader finds of it, and
// an ordinary store reads the line first.
constexpr int64_t kStreamFrom = int64_t{32} << 20;

// Copies bytes with streaming stores; fence() is left to the caller.
inline void streamCopy(void* to, const void* from, int64_t bytes) {
  constexpr int64_t line = 64, width = VecF::N * 4;
  auto* y = static_cast<char*>(to);
  const auto* x = static_cast<const char*>(from);
  int64_t i = 0;
  if constexpr (VecF::N >= 8) {
    i = minOf(bytes, (line - static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % line)) % line);
    ::memcpy(y, x, static_cast<size_t>(i));
    for (; i + line <= bytes; i += line)
      for (int64_t k = 0; k < line; k += width)
        VecF::load(reinterpret_cast<const float*>(x + i + k)).stream(reinterpret_cast<float*>(y + i + k));
  }
  ::memcpy(y + i, x + i, static_cast<size_t>(bytes - i));
}

// A piece of K operands of one shape: `rows` rows of n elements that follow each other. Row r of operand k begins
// r * ld[k] elements behind p[k]; single[k]: it is one number, which stands for the whole row. `streams`: operand 0
// lies on lines, and f is to write it past the caches.
template <int K>
struct Piece {
  void* p[K];
  int64_t ld[K];
  bool single[K];
  bool streams;
  int64_t rows, n;
};

// A block of an output that is written past the caches: it is made in L1 and leaves from there.
constexpr int64_t kStreamBlock = 256;

template <int K>
struct Sizes {
  int64_t of[K];
  Sizes(const View* const (&v)[K]) {
    for (int k = 0; k < K; ++k) of[k] = static_cast<int64_t>(sizeOfType(v[k]->dtype));
  }
};

// f on a piece in blocks, with the next block's inputs asked for meanwhile. Operand 0 is written past the caches.
template <int K, class F>
inline void streamBlocks(const Piece<K>& piece, const Sizes<K>& size, F& f) {
  alignas(64) char block[4 * kStreamBlock * 8];
  // Several short rows make a block, as many as fill whole lines if those are few.
  int64_t rows = maxOf(1, kStreamBlock / piece.n);
  for (int64_t lines = 1; lines <= 16 && lines * piece.n <= 4 * kStreamBlock; ++lines)
    if (lines * piece.n % 16 == 0) {
      rows = lines * maxOf(1, rows / lines);
      break;
    }
  Piece<K> q = piece;
  q.p[0] = block;
  for (int64_t r = 0; r < piece.rows; r += rows) {
    q.rows = minOf(rows, piece.rows - r);
    for (int64_t i = 0; i < piece.n; i += kStreamBlock) {
      q.n = q.rows > 1 ? piece.n : minOf(kStreamBlock, piece.n - i);
      q.ld[0] = q.n;
      for (int k = 1; k < K; ++k) {
        const int64_t at = r * piece.ld[k] + (piece.single[k] ? 0 : i);
        q.p[k] = static_cast<char*>(piece.p[k]) + at * size.of[k];
        if (piece.single[k] || (piece.ld[k] == 0 && piece.rows > 1)) continue;
        const int64_t bytes = q.rows * q.n * size.of[k];
        for (int64_t b = 0; b < bytes; b += 64) prefetch(static_cast<const char*>(q.p[k]) + 2 * bytes + b);
      }
      f(static_cast<const Piece<K>&>(q));
      streamCopy(static_cast<char*>(piece.p[0]) + (r * piece.ld[0] + i) * size.of[0], block, q.rows * q.n * size.of[0]);
      if (q.rows > 1) break;
    }
  }
  fence();
}

// f(piece) for pieces of the operands; operand 0 is written, the others are read. Operands whose innermost axis is
// strided are brought into contiguous form block by block, and so are broadcast ones where f takes no `single`.
template <bool singles, bool streaming, int K, class F>
inline void mapPieces(const View* const (&v)[K], F f) {
  const Nest<K> nest(v);
  if (nest.count == 0) return;
  const Sizes<K> size(v);
  const auto address = [&](int k, int64_t offset) { return static_cast<char*>(v[k]->data) + offset * size.of[k]; };
  Piece<K> whole{};
  bool plain = true;
  int single = 0;
  const int d = nest.rank - 1;  // the axis of the rows
  for (int k = 0; k < K; ++k) {
    whole.single[k] = singles && k > 0 && nest.unit[k] == 0 && nest.inner > 1;
    single += whole.single[k];
    plain = plain && (nest.unit[k] == 1 || nest.inner == 1 || whole.single[k]) && single <= 1;
    whole.ld[k] = d >= 0 ? nest.stride[k][d] : 0;
  }
  if (!plain) {
    eachRow(nest, [&](const int64_t(&at)[K], int64_t n) {
      alignas(64) char buffer[K][kBlock * 8];
      Piece<K> piece{};
      piece.rows = 1;
      for (int k = 1; k < K; ++k)  // a broadcast operand is the same in every block
        if (nest.unit[k] == 0)
          moveStrided(buffer[k], 1, address(k, at[k]), 0, minOf(n, kBlock), static_cast<size_t>(size.of[k]));
      for (int64_t i = 0; i < n; i += kBlock) {
        piece.n = minOf(kBlock, n - i);
        for (int k = 0; k < K; ++k) {
          char* here = address(k, at[k] + i * nest.unit[k]);
          piece.p[k] = nest.unit[k] == 1 ? here : buffer[k];
          if (k > 0 && nest.unit[k] > 1)
            moveStrided(buffer[k], 1, here, nest.unit[k], piece.n, static_cast<size_t>(size.of[k]));
        }
        f(static_cast<const Piece<K>&>(piece));
        if (nest.unit[0] != 1)
          moveStrided(address(0, at[0] + i * nest.unit[0]), nest.unit[0], buffer[0], 1, piece.n,
                      static_cast<size_t>(size.of[0]));
      }
    });
    return;
  }
  const int64_t M = d >= 0 ? nest.shape[d] : 1, n = minOf(nest.inner, kGrain), across = ceilDiv(nest.inner, n);
  // In sixteens, so that pieces begin where lines do.
  const int64_t most = kGrain / n, rows = minOf(M, most >= 16 ? most / 16 * 16 : maxOf(1, most));
  const int64_t down = ceilDiv(M, rows), outer = nest.count / (M * nest.inner);
  const bool streams = nest.count * size.of[0] >= kStreamFrom &&
                       (nest.inner >= kStreamBlock || (whole.ld[0] == nest.inner && M * nest.inner >= kBlock));
  parallelRange(outer * down * across, rows * n, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      const int64_t i = c % across * n, r = c / across % down * rows;
      int64_t at[K];
      nest.offsets(c / across / down * M + r, at);
      Piece<K> piece = whole;
      piece.rows = minOf(rows, M - r);
      piece.n = minOf(n, nest.inner - i);
      for (int k = 0; k < K; ++k) piece.p[k] = address(k, at[k] + i * nest.unit[k]);
      piece.streams = streaming && streams && piece.rows == 1 && reinterpret_cast<uintptr_t>(piece.p[0]) % 64 == 0;
      if (streams && !piece.streams) {
        streamBlocks(piece, size, f);
      } else {
        f(static_cast<const Piece<K>&>(piece));
        if (piece.streams) fence();
      }
    }
  });
}

// f(pointers, n) on contiguous blocks of the operands; pointers[0] is written, the others are read.
template <int K, class F>
inline void mapBlocks(const View* const (&v)[K], F f) {
  const Sizes<K> size(v);
  mapPieces<false, false>(v, [&](const Piece<K>& piece) {
    for (int64_t r = 0; r < piece.rows; ++r) {
      void* p[K];
      for (int k = 0; k < K; ++k) p[k] = static_cast<char*>(piece.p[k]) + r * piece.ld[k] * size.of[k];
      f(p, piece.n);
    }
  });
}

// y[i] = f(x[i]...) by vectors; the rest of the block by one partial vector.
template <class T, class F>
GYRUS_INLINE void mapVec(T* y, const T* x, int64_t n, F f) {
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) f(Vec<T>::load(x + i)).store(y + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0) f(Vec<T>::loadN(x + i, rest)).storeN(y + i, rest);
}
template <class T, class F>
GYRUS_INLINE void mapVec(T* y, const T* a, const T* b, int64_t n, F f) {
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) f(Vec<T>::load(a + i), Vec<T>::load(b + i)).store(y + i);
  const int rest = static_cast<int>(n - i);
  if (rest > 0) f(Vec<T>::loadN(a + i, rest), Vec<T>::loadN(b + i, rest)).storeN(y + i, rest);
}

// The same past the caches: each vector leaves as soon as it is made, which hides the arithmetic better than blocks do.
template <class F>
GYRUS_INLINE void streamVec(float* y, const float* x, int64_t n, F f) {
  constexpr int N = VecF::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    prefetch(x + i + 512);
    f(VecF::load(x + i)).stream(y + i);
  }
  mapVec(y + i, x + i, n - i, f);
}

// The same over the rows of a piece.
template <class T, class F>
GYRUS_INLINE void mapVec(const Piece<2>& piece, F f) {
  auto* y = static_cast<T*>(piece.p[0]);
  const auto* x = static_cast<const T*>(piece.p[1]);
  if constexpr (sizeof(T) == sizeof(float))
    if (piece.streams) return streamVec(y, x, piece.n, f);
  for (int64_t r = 0; r < piece.rows; ++r, y += piece.ld[0], x += piece.ld[1]) mapVec(y, x, piece.n, f);
}
template <class T, class F>
GYRUS_INLINE void mapVec(const Piece<3>& piece, F f) {
  using V = Vec<T>;
  auto* y = static_cast<T*>(piece.p[0]);
  const auto *a = static_cast<const T*>(piece.p[1]), *b = static_cast<const T*>(piece.p[2]);
  for (int64_t r = 0; r < piece.rows; ++r, y += piece.ld[0], a += piece.ld[1], b += piece.ld[2])
    if (piece.single[1]) {
      const V u = V::broadcast(*a);
      mapVec(y, b, piece.n, [=](V w) { return f(u, w); });
    } else if (piece.single[2]) {
      const V w = V::broadcast(*b);
      mapVec(y, a, piece.n, [=](V u) { return f(u, w); });
    } else {
      mapVec(y, a, b, piece.n, f);
    }
}

}  // namespace gyrus::cpu::GYRUS_ISA
