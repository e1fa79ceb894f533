// C = A B: which way it is computed, and which tiles by whom. Work is split over the tiles of C only, never over K, and
// the cut depends on the problem alone, so every number of threads gives the same bits.
//
//   pack B (parallel over panels) if it is small and several groups of rows share it
//   for each block of RowsAtOnce rows, for as much of K as fits packed:
//     pack A (parallel over row tiles), unless it is read where it lies
//     for each group of row tiles x group of column panels (parallel):
//       for each few panels, for each block of K: pack B's panels if they aren't, then run the micro-kernel on every
//       row tile
//
// Other ways, for shapes where that wastes lanes or packing: dot products along K, a sweep over the rows of B, and the
// transposed product.
#pragma once
#include "core/pool.h"
#include "core/scratch.h"
#include "cpu/activation.h"
#include "cpu/gemm/dots.h"
#include "cpu/gemm/microkernel.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/tiles.h"
#include "cpu/rows.h"
#include "cpu/spread.h"

namespace gyrus::cpu::GYRUS_ISA {

// Lists of the lines that take part, null for all: rows and columns of B (b_rows [K], b_cols [N]), rows and columns of
// C (c_rows [M], c_cols [N]), which are then scattered into. A is always compact. Rows of C that are not listed stay as
// they are; between listed columns zeros are written, from the first to the last of ldc.
struct Listed {
  const int32_t* b_rows = nullptr;
  const int32_t* b_cols = nullptr;
  const int32_t* c_rows = nullptr;
  const int32_t* c_cols = nullptr;

  bool any() const { return ofB() || c_rows || c_cols; }
  bool ofB() const { return b_rows || b_cols; }
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
  bool across = false;  // C(i, j) lies at c[j * ldc + i]; the epilogue is that of the memory's rows and columns
  const Spread<T>* spread = nullptr;  // of c_cols

  using Shape = Tile<T>;
  static constexpr int MR = Shape::MR, NR = Shape::NR, VN = Shape::VN;

  // Numbers of scratch that run() must be given.
  int64_t scratchSize() const {
    if (M == 0 || N == 0 || K == 0 || alongDepth() || sweeps()) return 0;
    if (narrows()) return N * K;
    return turns() ? turned().blocksSize() : blocksSize();
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
      turned().runBlocks(scratch);
    else
      runBlocks(scratch);
  }

 private:
  // ---- which way ---------------------------------------------------------------------------------------

  // Few rows or few columns, and both operands contiguous along K.
  bool alongDepth() const {
    return !listed.any() && a_col == 1 && b_row == 1 && K >= 2 * VN && minOf(M, N) <= Shape::FewLines &&
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
    // A^T B: short lines are slower to pack than wide ones, so the shorter operand gets them, as long as few groups of
    // its rows pack the other. A B^T: the shorter one is packed. Both where it outweighs a C that has to be transposed.
    const bool tall = a_row == 1 && a_col != 1 && b_col == 1 && M > N && N < 8 * NR && (M - N) * K > 2 * M * N;
    const bool flat = b_row == 1 && b_col != 1 && M > Shape::FewLines && N >= 2 * M && (N - M) * K > M * N &&
                      M * K <= Shape::SharedNumbers;
    return narrow || tall || flat;
  }
  Gemm turned() const { return {N, M, K, b, b_col, b_row, a, a_col, a_row, c, ldc, epilogue, {}, true}; }

  // A is broadcast from where it lies when it is contiguous along K, as long as a group of few rows, which stay in the
  // caches from panel to panel, doesn't mean that B is packed again and again. Rows that fall on the same lines of L1
  // are better packed, but not those of a large operand of which few columns are made.
  bool readsInPlace() const {
    if (a_col != 1) return false;
    const bool crowded = !across && a_row * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
    if (N <= (crowded ? 2 : 8) * NR || M <= InPlaceTiles * MR) return true;
    return sharable() && !readsPanels(ceilDiv(M, MR)) && !crowded;
  }
  bool sharable() const { return N * K <= Shape::SharedNumbers; }
  static constexpr int64_t InPlaceTiles = 12;

  int64_t depthOfBlock() const {
    const int64_t blocks = maxOf(1, ceilDiv(K, Shape::KC));
    return minOf(Shape::KC, ceilDiv(ceilDiv(K, blocks), 8) * 8);
  }
  // Depth of A that is packed at a time: as many blocks as fit. A panel of B then meets its blocks one after the other,
  // which reads B in long runs and keeps the panel's part of C in L1.
  int64_t depthAtOnce(int64_t depth) const {
    return minOf(K, maxOf(1, Shape::PackedNumbers / (minOf(M, Shape::RowsAtOnce) * depth)) * depth);
  }
  int64_t packedSize() const { return readsInPlace() ? 0 : minOf(M, Shape::RowsAtOnce) * depthAtOnce(depthOfBlock()); }
  int64_t blocksSize() const { return (sharesPanels() ? paddedColumns() * K : 0) + packedSize(); }
  int64_t paddedColumns() const { return ceilDiv(N, NR) * NR; }

  // Row tiles of one piece of work. Columns are cut first: each group of rows packs B for itself.
  int64_t rowStep(int64_t tiles, int64_t depth, int64_t target) const {
    const int64_t bytes = sharable() ? Shape::SharingBlockBytes : Shape::BlockBytes;
    const int64_t fit = maxOf(1, bytes / (MR * depthOfBlock() * static_cast<int64_t>(sizeof(T))));
    const int64_t share = target / (2 * MR * NR * depth);
    const int64_t wanted = groups()                       ? maxOf(InPlaceTiles, minOf(fit, share))
                           : ceilDiv(N, NR) >= ManyPanels ? fit
                                                          : maxOf(1, minOf(fit, share));
    return ceilDiv(tiles, ceilDiv(tiles, wanted));
  }
  // A piece goes through its rows in groups of InPlaceTiles, so that they stay in L2 from panel to panel.
  bool groups() const { return across || (readsInPlace() && N > 8 * NR); }
  static constexpr int64_t ManyPanels = 24;
  // About 1/48 of a block's work for each piece, but no less than some 5 us.
  static int64_t pieceFlops(int64_t rows, int64_t cols, int64_t depth) {
    return maxOf(int64_t{1} << 19, 2 * rows * cols * depth / 48);
  }
  // Whether B is packed once for all groups of rows: not where the first tile of each group packs it in passing.
  bool sharesPanels() const {
    const int64_t rows = minOf(M, Shape::RowsAtOnce), tiles = ceilDiv(rows, MR);
    const int64_t step = groups() ? InPlaceTiles : rowStep(tiles, K, pieceFlops(rows, N, K));
    return sharable() && step < ceilDiv(M, MR) && !readsPanels(step);
  }
  // Micro-kernels read B's lines where they lie, the first of a group packing them in passing: where few tiles share
  // them, or where the lines that are asked for ahead find room in L1. Not with one lane: GCC 12 vectorises that
  // micro-kernel with a load of one line too many, so B must be a panel with its slack.
  bool readsPanels(int64_t tiles) const {
    return VN > 1 && b_col == 1 && !listed.ofB() && (tiles <= 2 || spreads(b_row, minOf(K, depthOfBlock())));
  }
  bool packsInPassing(int64_t tiles) const { return tiles > 2 && N * K * static_cast<int64_t>(sizeof(T)) > 16384; }

  // Panels of B that are packed together: where B's rows are contiguous, longer runs of them are read at a time.
  static constexpr int PanelsAtOnce = 4;

  static const MicroKernel<T>* kernelsOf(int vectors, bool packing) {
    return packing ? microKernels<T, true>.of(vectors) : microKernels<T, false>.of(vectors);
  }

  // ---- the ways ----------------------------------------------------------------------------------------

  // The shorter side stays in L1, a block of K at a time; a group of lines of the longer one is a piece of work.
  void runDots() const {
    const int64_t few = minOf(M, N), many = maxOf(M, N);
    const int64_t fit = maxOf(4 * VN, Shape::DotNumbers / few / 16 * 16), blocks = ceilDiv(K, fit);
    const int64_t depth = blocks == 1 ? K : ceilDiv(ceilDiv(K, blocks), VN) * VN;
    const int64_t each = 2 * few * K, target = maxOf(int64_t{1} << 18, each * many / 48);
    const int64_t step = maxOf(1, target / (each * 12)) * 12;
    parallelFor(ceilDiv(many, step), [&](int64_t chunk) {
      const int64_t from = chunk * step, to = minOf(many, from + step);
      for (int64_t k = 0; k < K; k += depth) {
        const int64_t now = minOf(depth, K - k);
        const T* bias = k + now == K ? epilogue.bias : nullptr;
        if (N <= M) {
          dotBlock(from, to, 0, N, now, a + k, a_row, b + k, b_col, k > 0, bias, c, ldc);
        } else {
          for (int64_t n = from; n < to; n += 4)
            dotBlock(0, M, n, minOf(to, n + 4), now, a + k, a_row, b + k, b_col, k > 0, bias, c, ldc);
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
    const int64_t step = maxOf(8 * NR, minOf(4096, ceilDiv(ceilDiv(N, 16), NR) * NR));
    parallelFor(ceilDiv(N, step), [&](int64_t chunk) {
      const int64_t from = chunk * step, to = minOf(N, from + step);
      const auto run = M == 1 ? sweepRows<T, 1> : M == 2 ? sweepRows<T, 2> : sweepRows<T, 3>;
      run(from, to, K, a, a_row, a_col, b, b_row, c, ldc, epilogue.bias);
      finishTile(c + from, M, to - from);
    });
  }

  void runBlocks(T* scratch) const {
    const int64_t depth = depthOfBlock(), at_once = readsInPlace() ? K : depthAtOnce(depth);
    const T* panels = nullptr;
    if (sharesPanels()) {
      sharePanels(scratch, depth);
      panels = scratch;
      scratch += paddedColumns() * K;
    }
    for (int64_t m = 0; m < M; m += Shape::RowsAtOnce)
      for (int64_t k = 0; k < K; k += at_once)
        block(scratch, panels, m, minOf(Shape::RowsAtOnce, M - m), {k, minOf(K, k + at_once), depth});
  }

  // All of B packed, one block of K after the other, panel by panel.
  void sharePanels(T* out, int64_t step) const {
    const int64_t wide = b_col == 1 ? PanelsAtOnce * NR : NR, count = ceilDiv(N, wide);
    parallelRange(count * ceilDiv(K, step), wide * step, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const int64_t n = i % count * wide, k = i / count * step, depth = minOf(step, K - k);
        packPanels(k, n, minOf(wide, N - n), depth, out + k * paddedColumns() + n * depth);
      }
    });
  }

  // K = 0: no product, but the bias and the activation. C has no lists.
  void emptySum() const {
    for (int64_t m = 0; m < M; ++m)
      eachVector<T>(N, [&](int64_t n, int lanes) {
        store(epilogue.bias ? load(epilogue.bias + n, lanes) : Vec<T>::zero(), c + m * ldc + n, lanes);
      });
    finishTile(c, M, N);
  }

  // n lines cut into the fewest tiles of at most MR lines, as evenly as can be: no tile is so low that its few sums
  // wait for each other.
  struct Cut {
    int64_t tiles, low, higher;  // the first `higher` tiles have one line more than `low`
    explicit Cut(int64_t n) : tiles(ceilDiv(n, MR)), low(n / tiles), higher(n % tiles) {}
    int64_t start(int64_t i) const { return i * low + minOf(i, higher); }
    int lines(int64_t i) const { return static_cast<int>(low + (i < higher)); }
  };

  struct Depths {
    int64_t from, to, step;
  };

  // Rows m0..m0+rows of C (+)= A[.., k] B[k, ..] for the given k.
  void block(T* packed, const T* panels, int64_t m0, int64_t rows, const Depths& ks) const {
    const Cut cut(rows);
    const int64_t tiles = cut.tiles, depth = ks.to - ks.from, blocks = ceilDiv(depth, ks.step);
    const bool in_place = readsInPlace();
    if (!in_place) {
      constexpr int64_t together = 8;  // tiles
      const int64_t groups = ceilDiv(tiles, together);
      parallelRange(groups * blocks, together * MR * ks.step, [&](int64_t first, int64_t end) {
        for (int64_t j = first; j < end; ++j) {
          const int64_t i = j % groups * together, k = ks.from + j / groups * ks.step, now = minOf(ks.step, ks.to - k);
          packTiles(cut, i, minOf(tiles, i + together), a + m0 * a_row + k * a_col, now, packed + (k - ks.from) * rows);
        }
      });
    }

    constexpr int64_t width = NR;
    const int64_t count = ceilDiv(N, width), target = pieceFlops(rows, N, depth);
    const int64_t row_step = rowStep(tiles, depth, target);
    const int64_t col_step = minOf(count, maxOf(1, target / (2 * row_step * MR * width * depth)));
    const int64_t col_groups = ceilDiv(count, col_step), group = groups() ? InPlaceTiles : row_step;
    parallelFor(ceilDiv(tiles, row_step) * col_groups, [&](int64_t chunk) {
      const int64_t first = chunk / col_groups * row_step, end = minOf(tiles, first + row_step);
      const int64_t n = chunk % col_groups * col_step * width, n_end = minOf(N, n + col_step * width);
      for (int64_t tile = first; tile < end; tile += group)
        piece(in_place ? nullptr : packed, panels, cut, m0, rows, ks, tile, minOf(end, tile + group), n, n_end);
    });
  }

  // Tiles [tile, end) of A, `depth` lines each, one after the other. Where a line of all of them is contiguous it is
  // read at once, as whole vectors of which the next line overwrites what is too much.
  void packTiles(const Cut& cut, int64_t tile, int64_t end, const T* from, int64_t depth, T* out) const {
    int64_t done = 0;
    if (a_row == 1 && a_col >= VN && cut.low * 2 >= VN && cut.low + 1 <= VN) {
      done = depth - 1;
      for (int64_t k = 0; k < done; ++k) {
        const T* in = from + k * a_col + cut.start(tile);
        T* to = out + cut.start(tile) * depth;
        for (int64_t i = tile; i < end; ++i) {
          const int lines = cut.lines(i);
          Vec<T>::load(in).store(to + k * lines);
          in += lines;
          to += lines * depth;
        }
      }
    }
    for (int64_t i = tile; i < end; ++i) {
      const int lines = cut.lines(i);
      packPanel(from + cut.start(i) * a_row + done * a_col, a_row, a_col, lines, depth - done,
                out + cut.start(i) * depth + done * lines, lines);
    }
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
  void piece(const T* packed, const T* panels, const Cut& cut, int64_t m0, int64_t rows, const Depths& ks, int64_t tile,
             int64_t tile_end, int64_t n, int64_t n_end) const {
    // The store of the micro-kernel has done relu.
    const ActivationKind rest =
        epilogue.activation == ActivationKind::Relu ? ActivationKind::None : epilogue.activation;
    T* const buffer = static_cast<T*>(threadScratch(sizeof(T) * PanelsAtOnce * (Shape::KC + 1) * NR));
    alignas(64) T held[InPlaceTiles * MR * NR];  // of C, on its way across
    TileArgs<T> t;
    t.ldc = across ? NR : ldc;
    t.packed = buffer;
    t.rows = nullptr;
    const bool reads = !panels && readsPanels(tile_end - tile);
    const int64_t wide = b_col == 1 && !reads && !panels && !across ? PanelsAtOnce * NR : NR;
    while (n < n_end) {
      int64_t cols = minOf(wide, n_end - n);
      const bool direct = reads && cols >= VN, packs = direct && packsInPassing(tile_end - tile);
      if (direct) cols = cols / VN * VN;
      for (int64_t k = ks.from; k < ks.to; k += ks.step) {
        const int64_t depth = minOf(ks.step, ks.to - k);
        const bool finish = k + depth == K && !across;
        t.k = depth;
        t.add = k > (across ? ks.from : 0);
        t.relu = finish && epilogue.activation == ActivationKind::Relu;
        const T* lines_of_b = panels ? panels + k * paddedColumns() + n * depth : buffer;
        if (!direct && !panels) packPanels(k, n, cols, depth, buffer);
        for (int64_t j = 0; j < cols; j += NR) {
          const int width = static_cast<int>(minOf(NR, cols - j)), vectors = static_cast<int>(ceilDiv(width, VN));
          t.last = (width - 1) % VN + 1;
          t.bias = finish && epilogue.bias ? epilogue.bias + n + j : nullptr;
          t.b = direct ? b + k * b_row + n : lines_of_b + j * depth;
          t.b_step = direct ? b_row : vectors * VN;
          const MicroKernel<T>* kernels = kernelsOf(vectors, packs);
          if (packed) {
            t.a = packed + (k - ks.from) * rows + cut.start(tile) * depth;
            t.a_row = 1;
          } else {
            t.a = a + (m0 + cut.start(tile)) * a_row + k;
            t.a_row = a_row;
            t.a_col = 1;
          }
          const int64_t a_step = packed ? depth : a_row;
          t.c = across ? held : c + (listed.c_rows ? 0 : (m0 + cut.start(tile)) * ldc) + n + j;
          if (listed.c_rows && !listed.c_cols) t.rows = listed.c_rows + m0 + cut.start(tile);
          // Tiles of the same height go to the micro-kernel together, unless something is done after each.
          const bool alone = listed.c_cols || (finish && epilogue.more());
          for (int64_t i = tile; i < tile_end; i += t.tiles) {
            const int lines = cut.lines(i);
            const bool first = packs && i == tile;
            t.tiles =
                alone || first ? 1 : static_cast<int>((i < cut.higher ? minOf(cut.higher, tile_end) : tile_end) - i);
            t.a_next = lines * a_step;
            t.c_next = t.rows ? 0 : lines * t.ldc;
            if (packed) t.a_col = lines;
            if (listed.c_cols) {
              scattered(t, kernels[lines - 1], m0 + cut.start(i), lines, n + j, width);
            } else {
              kernels[lines - 1](t);
              if (alone) finishTile(t.c, lines, width, rest);
            }
            t.a += t.tiles * t.a_next;
            t.c += t.tiles * t.c_next;
            if (t.rows) t.rows += t.tiles * lines;
            if (first) {
              t.b = buffer;
              t.b_step = vectors * VN;
              kernels = kernelsOf(vectors, false);
            }
          }
        }
      }
      if (across) {
        const int64_t m = cut.start(tile);
        moveAcross(held, m0 + m, cut.start(tile_end) - m, n, cols, ks);
      }
      n += cols;
    }
  }

  // Rows [m, m + lines) x columns [n, n + cols) of C go where they lie: a row of the memory has `lines` of them.
  void moveAcross(const T* held, int64_t m, int64_t lines, int64_t n, int64_t cols, const Depths& ks) const {
    constexpr int W = VN < 8 ? VN : 8;
    T* const to = c + n * ldc + m;
    alignas(64) T block[W * W];
    for (int64_t i = 0; i < lines; i += W)
      for (int64_t j = 0; j < cols; j += W) {
        T* const corner = to + j * ldc + i;
        if (i + W <= lines && j + W <= cols) {
          T* const to_block = ks.from == 0 ? corner : block;
          Block<T, W>::transpose(held + i * NR + j, NR, to_block, ks.from == 0 ? ldc : W);
          if (ks.from > 0)
            for (int64_t y = 0; y < W; ++y)
              for (int64_t x = 0; x < W; x += VN < W ? VN : W)
                (Vec<T>::load(corner + y * ldc + x) + Vec<T>::load(block + y * W + x)).store(corner + y * ldc + x);
          continue;
        }
        for (int64_t y = 0; y < minOf(W, cols - j); ++y)
          for (int64_t x = 0; x < minOf(W, lines - i); ++x) {
            const T own = held[(i + x) * NR + j + y];
            corner[y * ldc + x] = ks.from == 0 ? own : corner[y * ldc + x] + own;
          }
      }
    if (ks.to < K) return;
    if (epilogue.bias)
      for (int64_t j = 0; j < cols; ++j)
        eachVector<T>(lines, [&](int64_t i, int lanes) {
          T* p = to + j * ldc + i;
          store(load(p, lanes) + load(epilogue.bias + m + i, lanes), p, lanes);
        });
    finishTile(to, cols, lines);
  }

  // A tile of a C with listed columns: made aside, then spread. It has no epilogue.
  void scattered(TileArgs<T> t, MicroKernel<T> kernel, int64_t m, int lines, int64_t n, int width) const {
    const auto row = [&](int i) { return c + (listed.c_rows ? listed.c_rows[m + i] : m + i) * ldc; };
    alignas(64) T tile[MR * NR];
    if (t.add)
      for (int i = 0; i < lines; ++i)
        for (int j = 0; j < width; ++j) tile[i * NR + j] = row(i)[listed.c_cols[n + j]];
    t.c = tile;
    t.ldc = NR;
    t.last = VN;  // there is room, and its whole vectors are loaded again
    kernel(t);
    for (int j = 0; j < width; j += VN) spread->store((n + j) / VN, lines, tile + j, NR, row);
  }

  // Columns n.. of rows k.. of B as panels one after the other, each depth lines; the last is padded to whole vectors.
  void packPanels(int64_t k, int64_t n, int64_t cols, int64_t depth, T* out) const {
    const int32_t* rows = listed.b_rows ? listed.b_rows + k : nullptr;
    const T* from = b + (rows ? 0 : k * b_row) + (listed.b_cols ? 0 : n * b_col);
    if (b_col == 1 && !listed.b_cols && cols > NR && cols % NR == 0) {
      for (int64_t i = 0; i < depth; ++i)
        for (int64_t j = 0; j < cols; j += NR) {
          const T* in = from + (rows ? rows[i] : i) * b_row + j;
          T* to = out + j * depth + i * NR;
          GYRUS_UNROLL
          for (int v = 0; v < NR; v += VN) Vec<T>::load(in + v).store(to + v);
        }
      return;
    }
    for (int64_t j = 0; j < cols; j += NR) {
      const int width = static_cast<int>(minOf(NR, cols - j)), padded = static_cast<int>(ceilDiv(width, VN)) * VN;
      T* to = out + j * depth;
      if (listed.ofB())
        gatherPanel(listed.b_cols ? from : from + j * b_col, b_col, b_row,
                    listed.b_cols ? listed.b_cols + n + j : nullptr, rows, width, depth, to, padded);
      else
        packPanel(from + j * b_col, b_col, b_row, width, depth, to, padded);
      padPanel(to, width, padded, depth);
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
