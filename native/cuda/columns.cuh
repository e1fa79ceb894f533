// What goes down the columns of [B, R, C], row by row of threads: batch and group norm, and the gradients of gamma and
// beta. A block takes a tile of columns and a piece of the rows; each thread stays at its own columns, so that what
// belongs to a column lies in registers. Statistics are made in two stages, per piece and over the pieces, and the cut
// depends on shapes alone.
#pragma once
#include "cuda/lists.cuh"
#include "cuda/rows.cuh"

namespace gyrus::cuda {

constexpr int kColumnBlock = 256;

// A matrix per sample.
template <class T>
struct Cube {
  T* data = nullptr;
  std::int64_t sample = 0, row = 0, col = 0;  // strides

  Cube() = default;
  // [R, C] or [B, R, C]
  explicit Cube(const View& v) : data(v.as<T>()), row(v.stride[v.rank - 2]), col(v.stride[v.rank - 1]) {
    if (v.rank == 3) sample = v.stride[0];
  }
  __device__ T* at(std::int64_t b, std::int64_t r) const { return data + b * sample + r * row; }
  bool fours() const { return !data || (col == 1 && row % 4 == 0 && sample % 4 == 0 && aligned(data, 16)); }
};

// The cut of B x R x C into blocks and threads.
struct Tiling {
  std::int64_t samples, rows, cols;
  int lanes;                   // threads side by side along a row: 2^k <= 32
  int pack;                    // columns each of them takes
  std::int64_t tiles;          // of columns
  std::int64_t pieces, piece;  // of rows; how many rows one has
  const int* count = nullptr;  // counts the active columns, null for all: packs of others do nothing

  // `across`: rows are neighbours in memory, not columns.
  Tiling(std::int64_t B, std::int64_t R, std::int64_t C, bool fours, bool across) : samples(B), rows(R), cols(C) {
    pack = fours && C % 4 == 0 ? 4 : 1;
    // 32 columns make a line of memory of f32; wider where rows are few.
    const int most = across ? 1 : R <= 8 ? 32 : 32 / pack;
    lanes = 1;
    while (lanes < most && lanes * pack < C) lanes *= 2;
    tiles = (C + width() - 1) / width();
    // Enough blocks to fill a large device, and not fewer than 4 rows a thread.
    const std::int64_t wanted = (512 + tiles * B - 1) / (tiles * B > 0 ? tiles * B : 1);
    const std::int64_t sensible = (R + 4 * depth() - 1) / (4 * depth());
    pieces = wanted < sensible ? wanted : sensible;
    piece = pieces > 1 ? (R + pieces - 1) / pieces : R;
    pieces = pieces > 1 ? (R + piece - 1) / piece : 1;
  }
  int width() const { return lanes * pack; }
  int depth() const { return kColumnBlock / lanes; }
  __host__ __device__ std::int64_t blocks() const { return samples * tiles * pieces; }
  bool empty() const { return samples == 0 || rows == 0 || cols == 0; }
  unsigned grid() const { return blocksFor(blocks(), 1); }
};

// Where a thread stands in block number `block` of a tiling.
struct Place {
  std::int64_t sample, piece, col, from, to, step;  // rows from, from + step, ... < to
  bool active;                                      // has columns at all
  bool leads;                                       // gets the sums over the block

  __device__ __forceinline__ Place(const Tiling& t, std::int64_t block) {
    const int lane = static_cast<int>(threadIdx.x) & (t.lanes - 1), depth = kColumnBlock / t.lanes;
    const int line = static_cast<int>(threadIdx.x) / t.lanes;
    const std::int64_t tile = block % t.tiles, rest = block / t.tiles;
    piece = rest % t.pieces;
    sample = rest / t.pieces;
    col = (tile * t.lanes + lane) * t.pack;
    active = col < activeOf(t.count, t.cols);
    const std::int64_t first = piece * t.piece, end = first + t.piece;
    to = end < t.rows ? end : t.rows;
    if (!active) to = first;
    from = first + line;
    step = depth;
    leads = active && line == 0;
  }
};

// Combines the values of a block's threads that stand at the same columns: first down each warp, then over the warps,
// for the threads of the first line, or of all for `everyone`. A is a struct of 4- or 8-byte numbers with
// merge(const A&) and shuffled(lanes); the order is fixed.
template <class A>
__device__ __forceinline__ void combine(A& a, int lanes, bool everyone) {
  constexpr int kWarps = kColumnBlock / 32;
  using Partial = A[kWarps][32];
  GYRUS_SHARED(Partial, partial);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  for (int down = 16; down >= lanes; down /= 2) a.merge(a.shuffled(down));
  if (lane < lanes) partial[warp][lane] = a;
  __syncthreads();
  if (everyone || (warp == 0 && lane < lanes)) {
    a = partial[0][lane & (lanes - 1)];
    for (int i = 1; i < kWarps; ++i) a.merge(partial[i][lane & (lanes - 1)]);
  }
  __syncthreads();
}

// ---- accumulators, for V columns ---------------------------------------------------------------------------------

// K sums.
template <class T, int V, int K>
struct Sums {
  T v[K][V];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int k = 0; k < K; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) v[k][i] = T(0);
  }
  __device__ __forceinline__ void merge(const Sums& o) {
#pragma unroll
    for (int k = 0; k < K; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) v[k][i] += o.v[k][i];
  }
  __device__ __forceinline__ Sums shuffled(int down) const {
    Sums o;
#pragma unroll
    for (int k = 0; k < K; ++k)
#pragma unroll
      for (int i = 0; i < V; ++i) o.v[k][i] = __shfl_down_sync(kAllLanes, v[k][i], down);
    return o;
  }
};

// Number, mean and sum of squared deviations, merged by Chan's formula.
template <class T, int V>
struct Moments {
  T n, mean[V], m2[V];

  __device__ __forceinline__ void merge(const Moments& o) {
    const T total = n + o.n, share = total > T(0) ? o.n / total : T(0);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const T delta = o.mean[i] - mean[i];
      // Without rows it has nothing to say, not even a NaN.
      if (o.n > T(0)) {
        mean[i] = n > T(0) ? fma(delta, share, mean[i]) : o.mean[i];
        m2[i] = n > T(0) ? m2[i] + fma(delta * delta, n * share, o.m2[i]) : o.m2[i];
      }
    }
    n = total;
  }
  __device__ __forceinline__ Moments shuffled(int down) const {
    Moments o;
    o.n = __shfl_down_sync(kAllLanes, n, down);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      o.mean[i] = __shfl_down_sync(kAllLanes, mean[i], down);
      o.m2[i] = __shfl_down_sync(kAllLanes, m2[i], down);
    }
    return o;
  }
};

// Of a thread's rows of x. Sums are shifted by its first row: itself one of the numbers, it can't be so far from them
// that the difference of the sums loses the variance.
template <class T, int V>
__device__ __forceinline__ Moments<T, V> momentsOf(const Cube<const T>& x, const Place& p) {
  Moments<T, V> m;
  T first[V], sum[V], squares[V];
  const std::int64_t n = p.from < p.to ? (p.to - p.from + p.step - 1) / p.step : 0;
#pragma unroll
  for (int i = 0; i < V; ++i) first[i] = sum[i] = squares[i] = T(0);
  if (n > 0) {
    const Pack<T, V> pack = loadPack<V>(x.at(p.sample, p.from), p.col, x.col);
#pragma unroll
    for (int i = 0; i < V; ++i) first[i] = pack.v[i];
  }
#pragma unroll 4
  for (std::int64_t r = p.from; r < p.to; r += p.step) {
    const Pack<T, V> pack = loadPack<V>(x.at(p.sample, r), p.col, x.col);
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const T d = pack.v[i] - first[i];
      sum[i] += d;
      squares[i] = fma(d, d, squares[i]);
    }
  }
  m.n = static_cast<T>(n);
  const T share = n > 0 ? T(1) / m.n : T(0);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const T mean = sum[i] * share, m2 = fma(-sum[i], mean, squares[i]);
    m.mean[i] = first[i] + mean;
    m.m2[i] = m2 < T(0) ? T(0) : m2;
  }
  return m;
}

// ---- the second stage ----------------------------------------------------------------------------------------------

// Partial results lie as part[sample][piece][k][column].
template <class T>
struct Partials {
  T* data;
  std::int64_t pieces, cols;
  int lines;
  __device__ T* at(std::int64_t sample, std::int64_t piece, int k) const {
    return data + ((sample * pieces + piece) * lines + k) * cols;
  }
};
template <class T>
Partials<T> takePartials(const Args& args, const Tiling& t, int lines) {
  return {args.scratch->array<T>(t.samples * t.pieces * lines * t.cols), t.pieces, t.cols, lines};
}
template <class T, int V, int K>
__device__ __forceinline__ void storeSums(const Partials<T>& part, const Place& p, const Sums<T, V, K>& sums) {
#pragma unroll
  for (int k = 0; k < K; ++k)
#pragma unroll
    for (int i = 0; i < V; ++i) part.at(p.sample, p.piece, k)[p.col + i] = sums.v[k][i];
}

// Blocks of 32 columns by 32 lines, of which the line is the first piece this thread sees.
constexpr int kFinishLines = 32;

// The sum over all lines of a block of the second stage; everyone gets it.
__device__ __forceinline__ double sumOverLines(double x) {
  using Partial = double[kFinishLines][32];
  GYRUS_SHARED(Partial, partial);
  const int lane = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
  partial[line][lane] = x;
  __syncthreads();
  x = 0;
#pragma unroll
  for (int i = 0; i < kFinishLines; ++i) x += partial[i][lane];
  __syncthreads();
  return x;
}

}  // namespace gyrus::cuda
