// gemm_<MR>x<NV>: C tile [MR, NV vectors] (+)= packed A panel x B panel, with bias and relu in the store.
#pragma once
#include "cpu/gemm/tiles.h"
#include "cpu/vec.h"
#include "kernels/ops.h"

#if defined(__clang__)
#define GYRUS_UNROLL _Pragma("unroll")
#else
#define GYRUS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace gyrus::cpu::GYRUS_ISA {

// What happens to C on its way to memory, after the last block of K. bias: one number per column of C, or null.
template <class T>
struct Epilogue {
  const T* bias = nullptr;
  ActivationKind activation = ActivationKind::None;
};

template <class T>
struct TileArgs {
  int64_t k;   // depth of this block
  const T* a;  // [k][MR], packed
  const T* b;  // [k][at least NV vectors], rows b_step apart, packed or not
  int64_t b_step;
  T* c;
  int64_t ldc;
  int last;       // lanes of the last vector that exist in C, 1..N
  bool add;       // not the first block of K: C holds a partial sum
  bool finish;    // the last block: apply bias and relu
  const T* bias;  // of this tile's first column
  bool relu;
};

template <class T>
using MicroKernel = void (*)(const TileArgs<T>&);

template <class T, int MR, int NV>
void microKernel(const TileArgs<T>& t) {
  using V = Vec<T>;
  V acc[MR][NV];
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();

  const T* a = t.a;
  const T* b = t.b;
  const int64_t step = t.b_step;
  for (int64_t k = t.k; k > 0; --k) {
    V bv[NV];
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) bv[j] = V::load(b + j * V::N);
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) {
      const V av = V::broadcast(a[i]);
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(av, bv[j], acc[i][j]);
    }
    a += MR;
    b += step;
  }

  T* c = t.c;
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) {
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) {
      const bool partial = j == NV - 1 && t.last < V::N;
      V v = acc[i][j];
      T* p = c + j * V::N;
      if (t.add) v = (partial ? V::loadN(p, t.last) : V::load(p)) + v;
      if (t.finish) {
        if (t.bias) {
          const T* bias = t.bias + j * V::N;
          v = v + (partial ? V::loadN(bias, t.last) : V::load(bias));
        }
        if (t.relu) v = max(V::zero(), v);  // the second operand where one is NaN: NaN passes
      }
      if (partial)
        v.storeN(p, t.last);
      else
        v.store(p);
    }
    c += t.ldc;
  }
}

// Fills table[m - 1] with the kernel of m rows, m = 1..MR.
template <class T, int MR, int NV>
struct KernelsOf {
  static void fill(MicroKernel<T>* table) {
    table[MR - 1] = microKernel<T, MR, NV>;
    if constexpr (MR > 1) KernelsOf<T, MR - 1, NV>::fill(table);
  }
};

// kernel[v - 1][m - 1]: v vectors wide, m rows high.
template <class T>
struct KernelSet {
  static constexpr int MaxNV = Tile<T>::NV > Tile<T>::SkinnyNV ? Tile<T>::NV : Tile<T>::SkinnyNV;
  MicroKernel<T> kernel[MaxNV][Tile<T>::MR];

  KernelSet() { fill<MaxNV>(); }

 private:
  template <int NV>
  void fill() {
    // Wider than a normal tile only exists for skinny products.
    KernelsOf<T, (NV <= Tile<T>::NV ? Tile<T>::MR : Tile<T>::SkinnyRows), NV>::fill(kernel[NV - 1]);
    if constexpr (NV > 1) fill<NV - 1>();
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
