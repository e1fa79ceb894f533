// C [M, N] (+)= A [M, K] B [K, N] for operands that lie in the caches already: no packing, no threads. A is read number
// by number and may have any strides, so a transposed A costs nothing; B and C have rows of unit stride and N is a
// multiple of the vector, for which callers pad their scratch.
#pragma once
#include "cpu/gemm/microkernel.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

struct SmallTile {
#if GYRUS_VEC_AVX512
  static constexpr int MR = 12, NV = 2;  // 24 accumulators + 2 of B + 1 of A = 27 of 32 zmm
#elif GYRUS_VEC_AVX2
  static constexpr int MR = 6, NV = 2;  // 12 + 2 + 1 = 15 of 16 ymm
#elif GYRUS_VEC_NEON
  static constexpr int MR = 6, NV = 4;  // 24 + 4 + 1 = 29 of 32
#else
  static constexpr int MR = 4, NV = 4;  // 16 numbers
#endif
};

template <class T>
struct Product {
  int64_t k;
  const T* a;
  int64_t a_row, a_k;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
  bool add;
};

// The tile [MR, NV vectors] of a product.
template <class T, int MR, int NV>
void productTile(const Product<T>& p) {
  using V = Vec<T>;
  V acc[MR][NV];
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) GYRUS_UNROLL
  for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();
  const T *a = p.a, *b = p.b;
  const int64_t row = p.a_row;
  for (int64_t k = p.k; k > 0; --k) {
    V bv[NV];
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) bv[j] = V::load(b + j * V::N);
    GYRUS_UNROLL
    for (int i = 0; i < MR; ++i) {
      const V av = V::broadcast(a[i * row]);
      GYRUS_UNROLL
      for (int j = 0; j < NV; ++j) acc[i][j] = fma(av, bv[j], acc[i][j]);
    }
    a += p.a_k;
    b += p.ldb;
  }
  T* c = p.c;
  GYRUS_UNROLL
  for (int i = 0; i < MR; ++i) {
    GYRUS_UNROLL
    for (int j = 0; j < NV; ++j) {
      T* at = c + j * V::N;
      (p.add ? V::load(at) + acc[i][j] : acc[i][j]).store(at);
    }
    c += p.ldc;
  }
}

template <class T>
constexpr auto productTiles = kernelGrid<void (*)(const Product<T>&), SmallTile::MR, SmallTile::NV>([]<int M, int V>() {
  return &productTile<T, M, V>;
});

// M x N x p.k; p holds where the operands begin. A panel of B stays in the nearest cache while the rows of A go by.
template <class T>
inline void product(int64_t M, int64_t N, const Product<T>& p) {
  constexpr int VN = Vec<T>::N, MR = SmallTile::MR, NV = SmallTile::NV;
  for (int64_t n = 0; n < N; n += NV * VN) {
    const auto* run = productTiles<T>.of(static_cast<int>(minOf(NV, (N - n) / VN)));
    Product<T> tile = p;
    tile.b = p.b + n;
    for (int64_t m = 0; m < M; m += MR) {
      tile.a = p.a + m * p.a_row;
      tile.c = p.c + m * p.ldc + n;
      run[minOf(MR, M - m) - 1](tile);
    }
  }
}

}  // namespace gyrus::cpu::GYRUS_ISA
