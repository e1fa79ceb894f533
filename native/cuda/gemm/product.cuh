// What all kernels of a matrix product C [M, N] = A [M, K] B [K, N] share: how they see the operands, how tiles of them
// come into shared memory, and how the sums go out.
//
// Both operands are walked in "lines" (rows of A, columns of B) of K numbers. An operand lies along K (consecutive
// numbers of a line are neighbours in memory) or across it (neighbouring lines are); tiles in shared memory lie as
// their operand does, so that copies are of 16 bytes on both sides wherever the operand allows, and nothing is
// transposed on the way in.
#pragma once
#include "cuda/async_copy.cuh"
#include "cuda/gate.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/lists.cuh"
#include "cuda/pack.cuh"
#include "cuda/strided.cuh"
#include "kernels/contract.h"

namespace gyrus::cuda::gemm {

constexpr int kDepth = 16;  // of a tile along K

template <class T>
inline constexpr int kVector = 16 / sizeof(T);

template <class T>
using Pack = cuda::Pack<T, kVector<T>>;

template <class T>
struct Operand {
  const T* data = nullptr;
  std::int64_t lineStride = 0, depthStride = 0;
  const int* lines = nullptr;   // list: line i is line lines[i] in memory
  const int* depths = nullptr;  // the same along K
  bool along = true;
  bool fours = false;  // may be read 16 bytes at a time in that direction
};

// Where sums go: row r, column c to data[rows[r] * ld + cols[c]].
template <class T>
struct Target {
  T* data = nullptr;
  std::int64_t ld = 0, batchStride = 0, splitStride = 0;
  const int* rows = nullptr;
  const int* cols = nullptr;
  bool fours = false;
};

constexpr int kBand = 8;  // rows of tiles that are done together

template <class T>
struct Product {
  std::int64_t M = 0, N = 0, K = 0;
  Operand<T> a, b;
  Target<T> c;
  std::int64_t batch = 1;
  Mapper<2, Divisor64> batches = {};  // offsets of a and b
  // Counts of the active rows, columns and depths, null for all; then there is one item. Sums that aren't active are 0.
  const int *activeM = nullptr, *activeN = nullptr, *activeK = nullptr;
  // Set by the launcher. Split s of K covers [s * kPerSplit, (s + 1) * kPerSplit), a multiple of the depth of a tile.
  std::int64_t splits = 1, kPerSplit = 0, tilesM = 1, tilesN = 1;
  // A block's number becomes its place by multiplications: a division of 64 bits takes as long as a small tile.
  Divisor64 byTiles = {}, bySplits = {}, byBand = {};

  __host__ __device__ std::int64_t blocks() const { return batch * splits * tilesM * tilesN; }
  void cut(int rows, int cols) {
    tilesM = (M + rows - 1) / rows;
    tilesN = (N + cols - 1) / cols;
    byTiles = Divisor64(tilesM * tilesN);
    bySplits = Divisor64(splits);
    byBand = Divisor64(kBand * tilesN);
  }
  bool counted() const { return activeM || activeN || activeK; }
};

// What of a product is active.
struct Extents {
  std::int64_t M, N, K;
};
template <bool Counted, class T>
__device__ __forceinline__ Extents extentsOf(const Product<T>& p) {
  if constexpr (Counted) return {activeOf(p.activeM, p.M), activeOf(p.activeN, p.N), activeOf(p.activeK, p.K)};
  return {p.M, p.N, p.K};
}

// A block's tile of C, part of K and item of the batch. Few registers, for they live as long as the sums.
struct Place {
  int tileRow, tileCol, steps;  // steps: tiles along K
  std::int64_t k;               // where its part of K begins
};
// Number of a block: the grid has a second axis where the first is not enough.
__device__ __forceinline__ std::int64_t blockNumber() { return std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x; }
inline dim3 gridOf(std::int64_t blocks) {
  constexpr std::int64_t most = 1 << 30;
  return blocks <= most ? dim3(static_cast<unsigned>(blocks))
                        : dim3(static_cast<unsigned>(most), static_cast<unsigned>((blocks + most - 1) / most));
}
template <int Depth = kDepth, class T>
__device__ __forceinline__ Place placeOf(const Product<T>& p, std::int64_t K) {
  const std::int64_t block = blockNumber(), item = p.byTiles.over(block), tile = block - item * p.byTiles.d;
  Place at;
  at.k = (item - p.bySplits.over(item) * p.splits) * p.kPerSplit;
  const std::int64_t left = K - at.k < p.kPerSplit ? K - at.k : p.kPerSplit;
  at.steps = static_cast<int>((left + Depth - 1) / Depth);  // a split that begins behind K has none, or fewer
  // Bands of rows of tiles, down each column first: blocks that run together share what they read in L2.
  const std::int64_t band = p.byBand.over(tile), rowsLeft = p.tilesM - band * kBand;
  const auto inBand = static_cast<unsigned>(tile - band * p.byBand.d);
  const unsigned high = rowsLeft < kBand ? static_cast<unsigned>(rowsLeft) : kBand, col = inBand / high;
  at.tileCol = static_cast<int>(col);
  at.tileRow = static_cast<int>(band * kBand + (inBand - col * high));
  return at;
}
// Where the sums of the block's part and item go.
template <class T>
__device__ __forceinline__ T* outputOf(const Product<T>& p) {
  const std::int64_t item = p.byTiles.over(blockNumber()), batch = p.bySplits.over(item);
  return p.c.data + batch * p.c.batchStride + (item - batch * p.splits) * p.c.splitStride;
}
template <class T>
__device__ __forceinline__ void batchOffsets(const Product<T>& p, std::int64_t (&offset)[2]) {
  offset[0] = offset[1] = 0;
  if (p.batch > 1) p.batches.offsets(p.bySplits.over(p.byTiles.over(blockNumber())), offset);
}

constexpr int kStagePad = 8;  // rows of the stage are 8 banks apart, as a warp's four rows of sums want it

// Rows [row, row + Rows) of a tile's sums, from shared memory through the epilogue to C; those of the slices, one
// behind the other, are added in their order; Keep: and left in place of the first slice's. All columns of a thread's
// numbers are the same in each row, so what belongs to columns is loaded once. RowAt: where in shared memory a row is.
struct InOrder {
  __device__ static int of(int row) { return row; }
};
template <class T, int Rows, int Cols, int Threads, bool Counted, int Slices = 1, class RowAt = InOrder,
          bool Keep = false>
__device__ __forceinline__ void storeRows(const Product<T>& p, const Extents& e, const Epilogue<T>& epilogue, T* stage,
                                          T* out, std::int64_t row, std::int64_t firstCol) {
  constexpr int vector = kVector<T>, perRow = Cols / vector, step = Threads / perRow;
  static_assert(Threads % perRow == 0 && (Rows % step == 0 || step % Rows == 0));
  const int c = static_cast<int>(threadIdx.x) % perRow * vector;
  const std::int64_t col = firstCol + c;
  if (col >= p.N) return;
  const bool whole = p.c.fours && col + vector <= p.N;
  const auto idle = [&](int r, int j) { return Counted && (row + r >= e.M || col + j >= e.N); };
  typename Epilogue<T>::Column of[vector];
#pragma unroll
  for (int j = 0; j < vector; ++j) of[j] = epilogue.column(col + j < p.N ? col + j : col);
#pragma unroll 1
  for (int r = static_cast<int>(threadIdx.x) / perRow; r < Rows && row + r < p.M; r += step) {
    Pack<T> sum = *reinterpret_cast<const Pack<T>*>(stage + RowAt::of(r) * (Cols + kStagePad) + c), added = {};
#pragma unroll
    for (int s = 1; s < Slices; ++s) {
      const Pack<T> more = *reinterpret_cast<const Pack<T>*>(stage + (s * Rows + r) * (Cols + kStagePad) + c);
#pragma unroll
      for (int j = 0; j < vector; ++j) sum.v[j] += more.v[j];
    }
    if constexpr (Keep && Slices > 1) *reinterpret_cast<Pack<T>*>(stage + r * (Cols + kStagePad) + c) = sum;
    const T* residual = epilogue.residual ? epilogue.residual + (row + r) * p.N + col : nullptr;
    T* const to = out + (p.c.rows ? p.c.rows[row + r] : row + r) * p.c.ld;
    if (whole) {
      if (residual) added = *reinterpret_cast<const Pack<T>*>(residual);
#pragma unroll
      for (int j = 0; j < vector; ++j) {
        sum.v[j] = epilogue.apply(sum.v[j], of[j], added.v[j]);
        if (idle(r, j)) sum.v[j] = T(0);
      }
      *reinterpret_cast<Pack<T>*>(to + col) = sum;
    } else {
#pragma unroll
      for (int j = 0; j < vector; ++j)
        if (col + j < p.N)
          to[p.c.cols ? p.c.cols[col + j] : col + j] =
              idle(r, j) ? T(0) : epilogue.apply(sum.v[j], of[j], residual ? residual[j] : T(0));
    }
  }
}

// Two ways to launch a product: FMAs for float and double, with Large, Medium, Small and Thin tiles; tensor cores for
// float, with Huge, Large, Tall and Medium ones (bfloat16 that isn't packed has Large ones for Huge).
enum class TileSize {
  Huge,    // 256 x 128
  Large,   // 128 x 128
  Tall,    // 128 x 64
  Medium,  // 64 x 64
  Small,   // 32 x 32
  Thin,    // 32 x 32, for many or small K
};
template <class T>
void launchFma(TileSize size, const Product<T>& p, const Epilogue<T>& epilogue);
// With scores of C; a lies along K and b across.
template <class T>
void launchFma(TileSize size, const Product<T>& p, const TileGate<T>& gate);
void launchTf32(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue);
void launchBf16(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue);

// The operands of a product, of one item, as pairs of bfloat16: along K, a number that is not there is 0, lists are
// followed. M, N and the active counts are as they were; K and the operands are in words, of a pair each.
Product<float> packBf16(const Args& args, const Product<float>& p);
void launchPackedBf16(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue);

// The ops' door: any shape, empty ones too. M, N, K, a, b (data, strides, lists), c (data, ld, lists), batch are set.
// True where the kernel that stores C has added the scores of the gate too, which wants no epilogue.
template <class T>
bool multiply(const Args& args, Product<T> p, const Epilogue<T>& epilogue, const Gate* gate = nullptr);

}  // namespace gyrus::cuda::gemm
