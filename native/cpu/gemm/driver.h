// C = A B in blocks: which tiles are computed by whom. Work is split over the tiles of C only, never over K, and the
// cut depends on the problem alone, so every number of threads gives the same bits.
//
//   for each block of RowsAtOnce rows, for each block of K:
//     pack A (parallel over row tiles)
//     for each group of row tiles x group of column panels (parallel):
//       for each panel: pack B's panel [KC, NR] on the stack, then run the micro-kernel on every row tile
#pragma once
#include "core/pool.h"
#include "cpu/activation.h"
#include "cpu/gemm/dots.h"
#include "cpu/gemm/microkernel.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/tiles.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
struct Gemm {
  int64_t M, N, K;
  const T* a;
  int64_t a_row, a_col;  // A [M, K]
  const T* b;
  int64_t b_row, b_col;  // B [K, N]
  T* c;
  int64_t ldc;  // C [M, N], unit column stride
  Epilogue<T> epilogue = {};

  using Shape = Tile<T>;
  static constexpr int MR = Shape::MR, NR = Shape::NR, VN = Shape::VN;

  static int64_t depthOfBlock(int64_t K) {
    const int64_t blocks = most(1, divUp(K, Shape::KC));
    return least(Shape::KC, divUp(divUp(K, blocks), 8) * 8);
  }
  // Numbers of scratch that `packed` must hold.
  static int64_t packedSize(int64_t M, int64_t K) { return least(M, Shape::RowsAtOnce) * depthOfBlock(K); }

  void run(T* packed) const {
    if (M == 0 || N == 0) return;
    if (K == 0) {
      emptySum();
      return;
    }
    if (M <= Shape::SkinnyRows && a_col == 1 && b_row == 1 && K >= 2 * VN) {
      alongDepth();
      return;
    }
    const int64_t depth = depthOfBlock(K);
    for (int64_t m = 0; m < M; m += Shape::RowsAtOnce)
      for (int64_t k = 0; k < K; k += depth) block(packed, m, least(Shape::RowsAtOnce, M - m), k, least(depth, K - k));
  }

 private:
  static const MicroKernel<T>* kernelsOf(int vectors) {
    static const KernelSet<T> set;
    return set.kernel[vectors - 1];
  }

  // Few rows, and both operands contiguous along K: a group of columns is a piece of work.
  void alongDepth() const {
    constexpr int64_t wide = 4;
    const int64_t each = 2 * M * K, target = most(int64_t{1} << 18, each * N / 48);
    const int64_t step = most(1, target / (each * wide)) * wide;
    parallelFor(divUp(N, step), [&](int64_t chunk) {
      const int64_t n = chunk * step, end = least(N, n + step);
      const auto run = M == 1 ? dotColumns<T, 1> : M == 2 ? dotColumns<T, 2> : dotColumns<T, 3>;
      run(n, end, K, a, a_row, b, b_col, c, ldc, epilogue);
      if (epilogue.activation != ActivationKind::None) activateTile(c + n, static_cast<int>(M), end - n);
    });
  }

  // K = 0: no product, but the bias and the activation.
  void emptySum() const {
    for (int64_t m = 0; m < M; ++m)
      for (int64_t n = 0; n < N; n += VN) {
        const int lanes = static_cast<int>(least(VN, N - n));
        const Vec<T> v = epilogue.bias ? Vec<T>::loadN(epilogue.bias + n, lanes) : Vec<T>::zero();
        activate(epilogue.activation, v).storeN(c + m * ldc + n, lanes);
      }
  }

  // Rows m0..m0+rows of C (+)= A[.., k0..k0+depth] B[k0..k0+depth, ..].
  void block(T* packed, int64_t m0, int64_t rows, int64_t k0, int64_t depth) const {
    const int64_t tiles = divUp(rows, MR);
    parallelRange(tiles, MR * depth, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        packPanel(a + (m0 + i * MR) * a_row + k0 * a_col, a_row, a_col, tileRows(rows, i), depth,
                  packed + i * MR * depth, tileRows(rows, i));
    });

    const bool skinny = rows <= Shape::SkinnyRows && b_col == 1;
    const int width = skinny ? Shape::SkinnyNV * VN : NR;
    const int64_t panels = divUp(N, width);
    // About 1/48 of the block for each piece of work, but no less than some 10 us.
    const int64_t flops = 2 * rows * N * depth, target = most(int64_t{1} << 20, flops / 48);
    const int64_t fit = most(1, Shape::BlockBytes / (MR * depth * static_cast<int64_t>(sizeof(T))));
    const int64_t row_groups = divUp(tiles, least(fit, most(1, target / (2 * MR * width * depth))));
    const int64_t row_step = divUp(tiles, row_groups);
    const int64_t col_step = most(1, least(panels, target / (2 * row_step * MR * width * depth)));
    const int64_t col_groups = divUp(panels, col_step);
    parallelFor(divUp(tiles, row_step) * col_groups, [&](int64_t chunk) {
      const int64_t tile = chunk / col_groups * row_step, panel = chunk % col_groups * col_step;
      piece(packed, m0, rows, k0, depth, tile, least(tiles, tile + row_step), panel * width,
            least(N, (panel + col_step) * width), width);
    });
  }

  static int tileRows(int64_t rows, int64_t tile) { return static_cast<int>(least(MR, rows - tile * MR)); }

  // Tanh and sigmoid get a pass of their own over a tile just stored: inlined into the store of each vector of each
  // micro-kernel they were nine tenths of the code.
  __attribute__((noinline)) void activateTile(T* tile, int rows, int64_t cols) const {
    for (int i = 0; i < rows; ++i)
      eachVector<T>(cols, [&](int64_t n, int lanes) {
        T* p = tile + i * ldc + n;
        store(activate(epilogue.activation, load(p, lanes)), p, lanes);
      });
  }

  // Row tiles [tile, tile_end) x columns [n, n_end).
  void piece(const T* packed, int64_t m0, int64_t rows, int64_t k0, int64_t depth, int64_t tile, int64_t tile_end,
             int64_t n, int64_t n_end, int width) const {
    alignas(64) T panel[(Shape::KC + 1) * NR];
    TileArgs<T> t;
    t.k = depth;
    t.ldc = ldc;
    t.add = k0 > 0;
    t.finish = k0 + depth == K;
    t.relu = epilogue.activation == ActivationKind::Relu;
    const bool curved =
        t.finish && (epilogue.activation == ActivationKind::Tanh || epilogue.activation == ActivationKind::Sigmoid);
    // With B's rows contiguous and few tiles to share it, packing a panel costs more than it saves. Not for one lane:
    // GCC 12 vectorises that micro-kernel with a load of one line of B too many, so B must be the panel with its slack.
    const bool in_place = VN > 1 && b_col == 1 && tile_end - tile <= 2;
    while (n < n_end) {
      int cols = static_cast<int>(least(width, n_end - n));
      const T* from = b + k0 * b_row + n * b_col;
      if (in_place && cols >= VN) {
        cols = cols / VN * VN;
        t.b = from;
        t.b_step = b_row;
      } else {
        cols = static_cast<int>(least(cols, NR));
        const int padded = static_cast<int>(divUp(cols, VN)) * VN;
        packPanel(from, b_col, b_row, cols, depth, panel, padded);
        padPanel(panel, cols, padded, depth);
        t.b = panel;
        t.b_step = padded;
      }
      const MicroKernel<T>* kernels = kernelsOf(static_cast<int>(divUp(cols, VN)));
      t.last = (cols - 1) % VN + 1;
      t.bias = epilogue.bias ? epilogue.bias + n : nullptr;
      for (int64_t i = tile; i < tile_end; ++i) {
        t.a = packed + i * MR * depth;
        t.c = c + (m0 + i * MR) * ldc + n;
        kernels[tileRows(rows, i) - 1](t);
        if (curved) activateTile(t.c, tileRows(rows, i), cols);
      }
      n += cols;
    }
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
