// C = A B: which way it is computed, and which tiles by whom. Work is split over the tiles of C only, never over K, and
// the cut depends on the problem alone, so every number of threads gives the same bits.
//
//   for each block of RowsAtOnce rows, for as much of K as fits packed:
//     pack A (parallel over row tiles), unless it is read where it lies
//     for each group of row tiles x group of column panels (parallel):
//       for each few panels, for each block of K: pack B's panels, then run the micro-kernel on every row tile
//
// Other ways, for shapes where that wastes lanes or packing: dot products along K, a sweep over the rows of B, and the
// transposed product.
#pragma once
#include "core/pool.h"
#include "cpu/activation.h"
#include "cpu/gemm/dots.h"
#include "cpu/gemm/microkernel.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/tiles.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {

// Lists of the lines that take part, null for all: rows and columns of B (b_rows [K], b_cols [N]), rows and columns of
// C (c_rows [M], c_cols [N]), which are then scattered into. A is always compact.
struct Listed {
  const int32_t* b_rows = nullptr;
  const int32_t* b_cols = nullptr;
  const int32_t* c_rows = nullptr;
  const int32_t* c_cols = nullptr;

  bool any() const { return ofB() || ofC(); }
  bool ofB() const { return b_rows || b_cols; }
  bool ofC() const { return c_rows || c_cols; }
};

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
  Listed listed = {};

  using Shape = Tile<T>;
  static constexpr int MR = Shape::MR, NR = Shape::NR, VN = Shape::VN;

  // Numbers of scratch that run() must be given.
  int64_t scratchSize() const {
    if (M == 0 || N == 0 || K == 0 || alongDepth() || sweeps()) return 0;
    if (narrows()) return N * K;
    if (turns()) return N * M + turned(nullptr).packedSize();
    return packedSize();
  }

  void run(T* scratch) const {
    if (M == 0 || N == 0) return;
    if (K == 0)
      emptySum();
    else if (alongDepth())
      runDots();
    else if (sweeps())
      runSweep();
    else if (narrows())
      runNarrow(scratch);
    else if (turns())
      runTurned(scratch);
    else
      runBlocks(scratch);
  }

 private:
  // ---- which way ---------------------------------------------------------------------------------------

  // Few rows or few columns, and both operands contiguous along K.
  bool alongDepth() const {
    return !listed.any() && a_col == 1 && b_row == 1 && K >= 2 * VN && least(M, N) <= Shape::FewLines &&
           (VN > 1 || M <= 3);
  }
  // A vector or two times a matrix whose rows are contiguous.
  bool sweeps() const { return !listed.any() && M <= 3 && b_col == 1; }
  // The same once a small B is transposed.
  bool narrows() const {
    return !listed.any() && VN > 1 && N < NR && a_col == 1 && b_col == 1 && K >= 2 * VN && M >= 2 * N;
  }
  // C^T = B^T A^T is the better product: its vectors run along the rows of C. That saves packing a large B once for few
  // rows, or the lanes that a narrow C leaves empty.
  bool turns() const {
    if (VN == 1 || listed.any()) return false;
    const bool narrow = N < NR && a_row == 1 && M >= 4 * N;
    // A^T B: short lines are slower to pack than wide ones, so the shorter operand gets them.
    const bool tall = a_row == 1 && a_col != 1 && b_col == 1 && M > N && (M - N) * K > 2 * M * N;
    const bool flat = M <= 4 * NR && M > Shape::FewLines && b_row == 1 && b_col != 1 && N >= 4 * M;
    return narrow || tall || flat;
  }
  Gemm turned(T* result) const { return {N, M, K, b, b_col, b_row, a, a_col, a_row, result, M}; }

  // A is broadcast from where it lies when it is contiguous along K and too few panels of B share it to pay for
  // packing; very few where its rows fall on the same lines of the cache.
  bool readsInPlace() const { return a_col == 1 && N <= (crowded(a_row) ? 2 : 8) * NR; }
  static bool crowded(int64_t stride) { return stride * static_cast<int64_t>(sizeof(T)) % 1024 == 0; }

  int64_t depthOfBlock() const {
    const int64_t blocks = most(1, divUp(K, Shape::KC));
    return least(Shape::KC, divUp(divUp(K, blocks), 8) * 8);
  }
  // Depth of A that is packed at a time: as many blocks as fit. A panel of B then meets its blocks one after the other,
  // which reads B in long runs and keeps the panel's part of C in L1.
  int64_t depthAtOnce(int64_t depth) const {
    return least(K, most(1, Shape::PackedNumbers / (least(M, Shape::RowsAtOnce) * depth)) * depth);
  }
  int64_t packedSize() const { return readsInPlace() ? 0 : least(M, Shape::RowsAtOnce) * depthAtOnce(depthOfBlock()); }

  static const MicroKernel<T>* kernelsOf(int vectors) {
    static const KernelSet<T> set;
    return set.kernel[vectors - 1];
  }

  // ---- the ways ----------------------------------------------------------------------------------------

  // The shorter side stays in L1, a block of K at a time; a group of lines of the longer one is a piece of work.
  void runDots() const {
    const int64_t few = least(M, N), many = most(M, N);
    const int64_t fit = most(4 * VN, Shape::DotNumbers / few / 16 * 16), blocks = divUp(K, fit);
    const int64_t depth = blocks == 1 ? K : divUp(divUp(K, blocks), VN) * VN;
    const int64_t each = 2 * few * K, target = most(int64_t{1} << 18, each * many / 48);
    const int64_t step = most(1, target / (each * 12)) * 12;
    parallelFor(divUp(many, step), [&](int64_t chunk) {
      const int64_t from = chunk * step, to = least(many, from + step);
      for (int64_t k = 0; k < K; k += depth) {
        const int64_t now = least(depth, K - k);
        const T* bias = k + now == K ? epilogue.bias : nullptr;
        if (N <= M) {
          dotBlock(from, to, 0, N, now, a + k, a_row, b + k, b_col, k > 0, bias, c, ldc);
        } else {
          for (int64_t n = from; n < to; n += 4)
            dotBlock(0, M, n, least(to, n + 4), now, a + k, a_row, b + k, b_col, k > 0, bias, c, ldc);
        }
      }
      if (N <= M)
        finishTile(c + from * ldc, to - from, N);
      else
        finishTile(c + from, M, to - from);
    });
  }

  void runNarrow(T* scratch) const {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t n = 0; n < N; ++n) scratch[n * K + k] = b[k * b_row + n];
    Gemm other = *this;
    other.b = scratch;
    other.b_row = 1;
    other.b_col = K;
    other.runDots();
  }

  void runSweep() const {
    const int64_t step = most(8 * NR, least(4096, divUp(divUp(N, 16), NR) * NR));
    parallelFor(divUp(N, step), [&](int64_t chunk) {
      const int64_t from = chunk * step, to = least(N, from + step);
      const auto run = M == 1 ? sweepRows<T, 1> : M == 2 ? sweepRows<T, 2> : sweepRows<T, 3>;
      run(from, to, K, a, a_row, a_col, b, b_row, c, ldc, epilogue.bias);
      finishTile(c + from, M, to - from);
    });
  }

  void runTurned(T* scratch) const {
    const Gemm other = turned(scratch);
    other.runBlocks(scratch + N * M);
    constexpr int W = VN < 8 ? VN : 8;
    constexpr int64_t wide = 16;
    parallelRange(divUp(N, wide), M * wide * 2, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const int64_t n0 = i * wide, n1 = least(N, n0 + wide);
        for (int64_t m = 0; m < M; m += W)
          for (int64_t n = n0; n < n1; n += W) {
            if (m + W <= M && n + W <= n1) {
              Block<T, W>::transpose(scratch + n * M + m, M, c + m * ldc + n, ldc);
            } else {
              for (int64_t y = m; y < least(M, m + W); ++y)
                for (int64_t x = n; x < least(n1, n + W); ++x) c[y * ldc + x] = scratch[x * M + y];
            }
          }
        if (epilogue.bias)
          for (int64_t m = 0; m < M; ++m)
            eachVector<T>(n1 - n0, [&](int64_t j, int lanes) {
              T* p = c + m * ldc + n0 + j;
              store(load(p, lanes) + load(epilogue.bias + n0 + j, lanes), p, lanes);
            });
        finishTile(c + n0, M, n1 - n0);
      }
    });
  }

  void runBlocks(T* packed) const {
    const int64_t depth = depthOfBlock(), at_once = depthAtOnce(depth);
    for (int64_t m = 0; m < M; m += Shape::RowsAtOnce)
      for (int64_t k = 0; k < K; k += at_once)
        block(packed, m, least(Shape::RowsAtOnce, M - m), {k, least(K, k + at_once), depth});
  }

  // K = 0: no product, but the bias and the activation.
  void emptySum() const {
    for (int64_t m = 0; m < M; ++m)
      eachVector<T>(N, [&](int64_t n, int lanes) {
        const int64_t at = listed.c_rows ? listed.c_rows[m] : m;
        const Vec<T> v = epilogue.bias ? load(epilogue.bias + n, lanes) : Vec<T>::zero();
        store(v, c + at * ldc + n, lanes);
      });
    if (!listed.ofC()) finishTile(c, M, N);
  }

  // n lines cut into the fewest tiles of at most MR lines, as evenly as can be: no tile is so low that its few sums
  // wait for each other.
  struct Cut {
    int64_t tiles, low, higher;  // the first `higher` tiles have one line more than `low`
    explicit Cut(int64_t n) : tiles(divUp(n, MR)), low(n / tiles), higher(n % tiles) {}
    int64_t start(int64_t i) const { return i * low + least(i, higher); }
    int lines(int64_t i) const { return static_cast<int>(low + (i < higher)); }
  };

  struct Depths {
    int64_t from, to, step;
  };

  // Rows m0..m0+rows of C (+)= A[.., k] B[k, ..] for the given k.
  void block(T* packed, int64_t m0, int64_t rows, const Depths& ks) const {
    const Cut cut(rows);
    const int64_t tiles = cut.tiles, depth = ks.to - ks.from, blocks = divUp(depth, ks.step);
    const bool in_place = readsInPlace();
    if (!in_place)
      parallelRange(tiles * blocks, MR * ks.step, [&](int64_t first, int64_t end) {
        for (int64_t j = first; j < end; ++j) {
          const int64_t i = j % tiles, k = ks.from + j / tiles * ks.step, now = least(ks.step, ks.to - k);
          packPanel(a + (m0 + cut.start(i)) * a_row + k * a_col, a_row, a_col, cut.lines(i), now,
                    packed + (k - ks.from) * rows + cut.start(i) * now, cut.lines(i));
        }
      });

    constexpr int width = NR;
    const int64_t panels = divUp(N, width);
    // About 1/48 of the block for each piece of work, but no less than some 5 us.
    const int64_t flops = 2 * rows * N * depth, target = most(int64_t{1} << 19, flops / 48);
    const int64_t fit = most(1, Shape::BlockBytes / (MR * ks.step * static_cast<int64_t>(sizeof(T))));
    const int64_t row_groups = divUp(tiles, least(fit, most(1, target / (2 * MR * width * depth))));
    const int64_t row_step = divUp(tiles, row_groups);
    const int64_t together = panelsOf(row_step, ks.step);
    const int64_t wanted = most(1, target / (2 * row_step * MR * width * depth));
    const int64_t col_step = least(panels, divUp(wanted, together) * together);
    const int64_t col_groups = divUp(panels, col_step);
    parallelFor(divUp(tiles, row_step) * col_groups, [&](int64_t chunk) {
      const int64_t tile = chunk / col_groups * row_step, panel = chunk % col_groups * col_step;
      piece(in_place ? nullptr : packed, cut, m0, rows, ks, tile, least(tiles, tile + row_step), panel * width,
            least(N, (panel + col_step) * width));
    });
  }

  // What comes after the bias, over a tile just stored and still in L1. Inlined into the store of each vector of each
  // micro-kernel, the curved activations were nine tenths of the code.
  __attribute__((noinline)) void finishTile(T* tile, int64_t rows, int64_t cols, ActivationKind activation) const {
    if (activation == ActivationKind::None && !epilogue.residual) return;
    const T* residual = epilogue.residual ? epilogue.residual + (tile - c) : nullptr;
    for (int64_t i = 0; i < rows; ++i)
      eachVector<T>(cols, [&](int64_t n, int lanes) {
        T* p = tile + i * ldc + n;
        Vec<T> v = activate(activation, load(p, lanes));
        if (residual) v = v + load(residual + i * ldc + n, lanes);
        store(v, p, lanes);
      });
  }
  void finishTile(T* tile, int64_t rows, int64_t cols) const { finishTile(tile, rows, cols, epilogue.activation); }

  // Row tiles [tile, tile_end) x columns [n, n_end).
  void piece(const T* packed, const Cut& cut, int64_t m0, int64_t rows, const Depths& ks, int64_t tile,
             int64_t tile_end, int64_t n, int64_t n_end) const {
    // The store of the micro-kernel has done relu.
    const ActivationKind rest =
        epilogue.activation == ActivationKind::Relu ? ActivationKind::None : epilogue.activation;
    alignas(64) T buffer[PanelsAtOnce * (Shape::KC + 1) * NR];
    TileArgs<T> t;
    t.ldc = ldc;
    const int wide = panelsOf(tile_end - tile, ks.step) * NR;
    while (n < n_end) {
      int64_t cols = least(wide, n_end - n);
      // With few tiles to share it, or where the cache holds its lines as they lie, packing a panel costs more than it
      // saves. Not for one lane: GCC 12 vectorises that micro-kernel with a load of one line of B too many, so B must
      // be the panel with its slack.
      const bool in_place = cols >= VN && readsPanelInPlace(tile_end - tile, ks.step);
      if (in_place) cols = cols / VN * VN;
      for (int64_t k = ks.from; k < ks.to; k += ks.step) {
        const int64_t depth = least(ks.step, ks.to - k);
        const bool finish = k + depth == K;
        t.k = depth;
        t.add = k > 0;
        t.relu = finish && epilogue.activation == ActivationKind::Relu;
        if (!in_place) packPanels(k, n, cols, depth, buffer);
        for (int64_t j = 0; j < cols; j += NR) {
          const int width = static_cast<int>(least(NR, cols - j)), vectors = static_cast<int>(divUp(width, VN));
          const MicroKernel<T>* kernels = kernelsOf(vectors);
          t.last = (width - 1) % VN + 1;
          t.bias = finish && epilogue.bias ? epilogue.bias + n + j : nullptr;
          t.b = in_place ? b + k * b_row + n + j : buffer + j * depth;
          t.b_step = in_place ? b_row : vectors * VN;
          for (int64_t i = tile; i < tile_end; ++i) {
            const int lines = cut.lines(i);
            if (packed) {
              t.a = packed + (k - ks.from) * rows + cut.start(i) * depth;
              t.a_row = 1;
              t.a_col = lines;
            } else {
              t.a = a + (m0 + cut.start(i)) * a_row + k;
              t.a_row = a_row;
              t.a_col = 1;
            }
            if (listed.ofC()) {
              scattered(t, kernels[lines - 1], m0 + cut.start(i), lines, n + j, width);
              continue;
            }
            t.c = c + (m0 + cut.start(i)) * ldc + n + j;
            kernels[lines - 1](t);
            if (finish && epilogue.more()) finishTile(t.c, lines, width, rest);
          }
        }
      }
      n += cols;
    }
  }

  // Panels of B that are packed together: where B's rows are contiguous, longer runs of them are read at a time.
  static constexpr int PanelsAtOnce = 4;
  int panelsOf(int64_t tiles, int64_t depth) const {
    return b_col == 1 && !readsPanelInPlace(tiles, depth) ? PanelsAtOnce : 1;
  }
  bool readsPanelInPlace(int64_t tiles, int64_t depth) const {
    return !listed.ofB() && VN > 1 && b_col == 1 && (tiles <= 2 || spreads(b_row, depth));
  }

  // A tile of a C with listed rows or columns: made aside, then scattered. It has no epilogue.
  void scattered(TileArgs<T> t, MicroKernel<T> kernel, int64_t m, int lines, int64_t n, int width) const {
    alignas(64) T tile[MR * NR];
    const auto each = [&](auto&& move) {
      for (int i = 0; i < lines; ++i) {
        T* row = c + (listed.c_rows ? listed.c_rows[m + i] : m + i) * ldc;
        for (int j = 0; j < width; ++j) move(tile[i * NR + j], row[listed.c_cols ? listed.c_cols[n + j] : n + j]);
      }
    };
    if (t.add) each([](T& own, T& theirs) { own = theirs; });
    t.c = tile;
    t.ldc = NR;
    kernel(t);
    each([](T& own, T& theirs) { theirs = own; });
  }

  void packPanels(int64_t k, int64_t n, int64_t cols, int64_t depth, T* out) const {
    if (!listed.ofB()) return packWide(b + k * b_row + n * b_col, cols, depth, out);
    for (int64_t j = 0; j < cols; j += NR) {
      const int width = static_cast<int>(least(NR, cols - j)), padded = static_cast<int>(divUp(width, VN)) * VN;
      gatherPanel(k, n + j, width, depth, out + j * depth, padded);
      padPanel(out + j * depth, width, padded, depth);
    }
  }

  // packPanel for a B with lists.
  void gatherPanel(int64_t k, int64_t n, int width, int64_t depth, T* out, int padded) const {
    const auto rowOf = [&](int64_t i) { return (listed.b_rows ? listed.b_rows[k + i] : k + i) * b_row; };
    const auto colOf = [&](int j) { return (listed.b_cols ? listed.b_cols[n + j] : n + j) * b_col; };
    if (b_col == 1 && !listed.b_cols) {
      for (int64_t i = 0; i < depth; ++i)
        eachVector<T>(width, [&](int64_t j, int lanes) {
          store(load(b + rowOf(i) + n + j, lanes), out + i * padded + j, lanes);
        });
      return;
    }
    if (b_row == 1 && !listed.b_rows) {
      const T* line[NR];
      for (int j = 0; j < width; ++j) line[j] = b + colOf(j) + k;
      int64_t i = 0;
#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
      if constexpr (sizeof(T) == 4) {
        if (width == NR)
          for (; i + 8 <= depth; i += 8)
            for (int j = 0; j < NR; j += 8) {
              const T* const at[8] = {line[j] + i,     line[j + 1] + i, line[j + 2] + i, line[j + 3] + i,
                                      line[j + 4] + i, line[j + 5] + i, line[j + 6] + i, line[j + 7] + i};
              Block<T, 8>::transpose(at, out + i * padded + j, padded);
            }
      }
#endif
      for (; i < depth; ++i)
        for (int j = 0; j < width; ++j) out[i * padded + j] = line[j][i];
      return;
    }
    if (b_row == 1) {  // a line of B at a time, so that it is read in order
      for (int j = 0; j < width; ++j) {
        const T* line = b + colOf(j);
        for (int64_t i = 0; i < depth; ++i) out[i * padded + j] = line[rowOf(i)];
      }
      return;
    }
    for (int64_t i = 0; i < depth; ++i) {
      const T* line = b + rowOf(i);
      for (int j = 0; j < width; ++j) out[i * padded + j] = line[colOf(j)];
    }
  }

  // cols columns of B as panels one after the other, each depth lines; the last is padded to whole vectors.
  void packWide(const T* from, int64_t cols, int64_t depth, T* out) const {
    if (b_col == 1 && cols > NR && cols % NR == 0) {
      for (int64_t k = 0; k < depth; ++k)
        for (int64_t j = 0; j < cols; j += NR) {
          const T* in = from + k * b_row + j;
          T* to = out + j * depth + k * NR;
          GYRUS_UNROLL
          for (int v = 0; v < NR; v += VN) Vec<T>::load(in + v).store(to + v);
        }
      return;
    }
    for (int64_t j = 0; j < cols; j += NR) {
      const int width = static_cast<int>(least(NR, cols - j)), padded = static_cast<int>(divUp(width, VN)) * VN;
      packPanel(from + j * b_col, b_col, b_row, width, depth, out + j * depth, padded);
      padPanel(out + j * depth, width, padded, depth);
    }
  }

  // A panel of `depth` lines that lie `stride` numbers apart finds room in L1 (64 sets of 8 ways, lines of 64 bytes).
  static bool spreads(int64_t stride, int64_t depth) {
    const int64_t bytes = stride * static_cast<int64_t>(sizeof(T));
    if (bytes % 64 != 0) return false;
    int64_t sets = 64;
    for (int64_t lines = bytes / 64; sets > 1 && lines % 2 == 0; lines /= 2) sets /= 2;
    return depth * 5 <= sets * 8 * 4;
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
