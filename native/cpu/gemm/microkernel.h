// gemm_<MR>x<NV>: C tile [MR, NV vectors] (+)= packed A panel x B panel, with bias and relu in the store.
#pragma once
#include "cpu/gemm/tiles.h"
#include "cpu/kernel_grid.h"
#include "cpu/vec.h"
#include "kernels/ops.h"

#if defined(__clang__)
#define GYRUS_UNROLL _Pragma("unroll")
#else
#define GYRUS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace gyrus::cpu::GYRUS_ISA {

// What happens to C on its way to memory, after the last block of K: act(C + bias) + residual. bias: one number per
// column of C, or null; residual: as large as C and as far between rows, or null.
template <class T>
struct Epilogue {
  const T* bias = nullptr;
  ActivationKind activation = ActivationKind::None;
  const T* residual = nullptr;

  // What the micro-kernel's store doesn't do itself.
  bool more() const { return residual || (activation != ActivationKind::None && activation != ActivationKind::Relu); }
};

template <class T>
struct TileArgs {
  int64_t k;   // depth of this block
  const T* a;  // A(i, k) = a[i * a_row + k * a_col], packed or where it lies
  int64_t a_row, a_col;
  const T* b;  // [k][at least NV vectors], rows b_step apart, packed or not
  int64_t b_step;
  T* packed;  // of a packing kernel: B's lines, one after the other, for the tiles that follow
  T* c;
  int64_t ldc;
  int tiles;  // one below the other, this far apart in A and in C
  int64_t a_next, c_next;
  const int32_t* rows;  // of C, listed, from its first on; null: one after the other
  int last;             // lanes of the last vector that exist in C, 1..N
  bool add;             // not the first block of K: C holds a partial sum
  const T* bias;        // of this tile's first column; null but in the last block of K
  bool relu;            // in the last block of K only
};

template <class T>
using MicroKernel = void (*)(const TileArgs<T>&);

// The way of a tile from its registers to C. Each choice is made once for the tile, not for every vector.
template <bool Partial, bool Listed, class T, int MR, int NV>
GYRUS_INLINE void storeTile(Vec<T> (&acc)[MR][NV], const TileArgs<T>& t, T* c, const int32_t* rows) {
  using V = Vec<T>;
  const int last = t.last;
  const auto read = [last](const T* p, int j) {
    return Partial && j == NV - 1 ? V::loadN(p + j * V::N, last) : V::load(p + j * V::N);
  };
  const int64_t ldc = t.ldc;
  const auto row = [c, ldc, rows](int i) GYRUS_INLINED { return c + (Listed ? rows[i] : i) * ldc; };
  if (t.add) {
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = read(row(i), j) + acc[i][j];
  }
  if (t.bias) {
    V bias[NV];
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) bias[j] = read(t.bias, j);
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = acc[i][j] + bias[j];
  }
  if (t.relu) {  // the second operand where one is NaN: NaN passes
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = max(V::zero(), acc[i][j]);
  }
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) {
    T* p = row(i) + j * V::N;
    if (Partial && j == NV - 1)
      acc[i][j].storeN(p, last);
    else
      acc[i][j].store(p);
  }
}

// Packing: B is read where it lies and left packed. Its lines may come from far and none predicts the next, so they are
// asked for some steps ahead.
template <class T, int MR, int NV, bool Packing>
void microKernel(const TileArgs<T>& t) {
  using V = Vec<T>;
  // Three rows to a pointer: base, base + row and base + 2 row are all one addressing mode away.
  constexpr int bases = (MR + 2) / 3;
  constexpr int ahead = 16;
  const int64_t row = t.a_row, col = t.a_col, step = t.b_step;
  const T* tile = t.a;
  T* c = t.c;
  const int32_t* rows = t.rows;
  for (int i = t.tiles;;) {
    V acc[MR][NV];
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();

    const T* a[bases];
    GYRUS_UNROLL
    for (int g = 0; g < bases; ++g) a[g] = tile + 3 * g * row;
    const T* b = t.b;
    T* packed = t.packed;
    for (int64_t k = t.k; k > 0; --k) {
      V bv[NV];
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) bv[j] = V::load(b + j * V::N);
      if constexpr (Packing) {
        GYRUS_UNROLL
        for (int j = 0; j < NV; ++j) bv[j].store(packed + j * V::N);
        packed += NV * V::N;
        if (k > ahead) __builtin_prefetch(b + ahead * step);
      }
      GYRUS_UNROLL
      for (int i = 0; i < MR; ++i) {
        const V av = V::broadcast(a[i / 3][i % 3 * row]);
        GYRUS_UNROLL
        for (int j = 0; j < NV; ++j) acc[i][j] = fma(av, bv[j], acc[i][j]);
      }
      GYRUS_UNROLL
      for (int g = 0; g < bases; ++g) a[g] += col;
      b += step;
    }

    const bool partial = t.last != V::N;
    if (rows)
      partial ? storeTile<true, true>(acc, t, c, rows) : storeTile<false, true>(acc, t, c, rows);
    else
      partial ? storeTile<true, false>(acc, t, c, rows) : storeTile<false, false>(acc, t, c, rows);
    if (--i == 0) return;
    if (rows) rows += MR;
    tile += t.a_next;
    c += t.c_next;
  }
}

template <class T, bool Packing>
constexpr auto microKernels = kernelGrid<MicroKernel<T>, Tile<T>::MR, Tile<T>::NV>([]<int M, int V>() {
  return &microKernel<T, M, V, Packing>;
});

}  // namespace gyrus::cpu::GYRUS_ISA
