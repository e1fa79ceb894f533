// What works row by row along the last axis (softmax, losses, layer norm): how many threads share a row, how they
// reduce over it, and which of it they keep in registers. Kernels are written once, for any such team.
#pragma once
#include "cuda/pack.cuh"
#include "cuda/reduce.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

constexpr int kRowBlock = 256;

// ---- teams: the threads that share a row ---------------------------------------------------------------------

// W lanes of a warp; short rows.
template <int W>
struct Lanes {
  static constexpr int kSize = W, kRows = kRowBlock / W;
  static __device__ __forceinline__ int rank() { return static_cast<int>(threadIdx.x % W); }
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x / W); }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(T x, Op op) {
    return warpReduce<W>(x, op);
  }
};

// The whole block; long rows.
struct Whole {
  static constexpr int kSize = kRowBlock, kRows = 1;
  static __device__ __forceinline__ int rank() { return static_cast<int>(threadIdx.x); }
  static __device__ __forceinline__ int row() { return 0; }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(T x, Op op) {
    return blockReduce<kRowBlock>(x, op);
  }
};

// One thread of each warp: neighbouring lanes work on neighbouring rows. For rows that lie across memory.
struct Stacked {
  static constexpr int kSize = kRowBlock / 32, kRows = 32;
  static __device__ __forceinline__ int rank() { return static_cast<int>(threadIdx.x / 32); }
  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x % 32); }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(T x, Op op) {
    using Partial = T[kSize][32];
    GYRUS_SHARED(Partial, partial);
    partial[rank()][row()] = x;
    __syncthreads();
    x = partial[0][row()];
#pragma unroll
    for (int i = 1; i < kSize; ++i) x = op(x, partial[i][row()]);
    __syncthreads();
    return x;
  }
};

// f(row, columns) for every row of this thread's team. Where the rows are out the team goes along, with no columns of
// the last row: f may reduce.
template <class Team, class F>
__device__ __forceinline__ void eachRow(std::int64_t rows, std::int64_t cols, F f) {
  for (std::int64_t first = std::int64_t{blockIdx.x} * Team::kRows; first < rows;
       first += std::int64_t{gridDim.x} * Team::kRows) {
    const std::int64_t row = first + Team::row();
    f(row < rows ? row : rows - 1, row < rows ? cols : 0);
  }
}

// f(j, c) for the packs of a row that are this thread's: number j, at column c. N > 0: N packs at most, unrolled.
template <class Team, int V, int N, class F>
__device__ __forceinline__ void eachPack(std::int64_t cols, F f) {
  if constexpr (N > 0) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int c = (Team::rank() + j * Team::kSize) * V;
      if (c < cols) f(j, std::int64_t{c});
    }
  } else {
    for (std::int64_t c = std::int64_t{Team::rank()} * V; c < cols; c += std::int64_t{Team::kSize} * V) f(0, c);
  }
}

// A thread's share of a row: in registers for N > 0, else read again each time.
template <class T, class Team, int V, int N>
class Share {
 public:
  __device__ __forceinline__ Share(const T* x, std::int64_t stride, std::int64_t cols) : x_(x), stride_(stride) {
    if constexpr (N > 0)
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) { held_[j] = loadPack<V>(x_, c, stride_); });
  }
  __device__ __forceinline__ Pack<T, V> at(int j, std::int64_t c) const {
    if constexpr (N > 0)
      return held_[j];
    else
      return loadPack<V>(x_, c, stride_);
  }
  __device__ __forceinline__ void keep(int j, const Pack<T, V>& pack) {
    if constexpr (N > 0) held_[j] = pack;
  }

 private:
  const T* x_;
  std::int64_t stride_;
  Pack<T, V> held_[N > 0 ? N : 1];
};

// ---- the host's side -------------------------------------------------------------------------------------------

// A view of rank 1, or none.
template <class T>
struct Line {
  T* data = nullptr;
  std::int64_t stride = 0;

  Line() = default;
  explicit Line(const View& v) : data(v.as<T>()), stride(v.stride[0]) {}
  __device__ T& operator[](std::int64_t i) const { return data[i * stride]; }
};

// K operands of one shape as rows along the last axis: which columns and rows there are and where they begin.
template <int K>
struct RowSet {
  std::int64_t rows, cols, stride[K];
  Mapper<K, Divisor64> start;  // divides only where the outer axes aren't one run

  explicit RowSet(const View* const (&v)[K]) {
    View outer[K];
    const View* pointers[K];
    for (int k = 0; k < K; ++k) {
      outer[k] = *v[k];
      outer[k].rank -= 1;
      pointers[k] = &outer[k];
      stride[k] = v[k]->stride[v[k]->rank - 1];
    }
    cols = v[0]->shape[v[0]->rank - 1];
    const Nest<K> nest(pointers);
    rows = nest.count;
    start = nest.template mapper<Divisor64>();
    fours_ = cols % 4 == 0;
    across_ = cols > 1 && nest.rank > 0;
    for (int k = 0; k < K; ++k) {
      fours_ = fours_ && stride[k] == 1 && aligned(v[k]->data, 16);
      for (int d = 0; d < nest.rank; ++d) fours_ = fours_ && nest.stride[k][d] % 4 == 0;
    }
    // The last input says how: it is read, and some kernels read it twice.
    across_ = across_ && stride[K - 1] != 1 && nest.stride[K - 1][nest.rank - 1] == 1;
  }
  // An operand of the columns that packs are read of as well.
  template <class T>
  void also(const Line<T>& line) {
    if (line.data) fours_ = fours_ && line.stride == 1 && aligned(line.data, 16);
  }
  // Packs of one element: for rows of which only the first ones count.
  void single() { fours_ = false; }
  bool empty() const { return rows == 0 || cols == 0; }

  // f.template operator()<Team, V, N>() with the team for these rows. f32 keeps what fits in 16 registers a thread (32
  // in a warp's widest rows); f64 is there to check gradients with, and stays plain.
  template <class T, class F>
  void byTeam(F f) const {
    if (across_) return f.template operator()<Stacked, 1, 0>();
    if constexpr (sizeof(T) == 8) {
      if (cols <= 512) return f.template operator()<Lanes<32>, 1, 0>();
      return f.template operator()<Whole, 1, 0>();
    } else if (fours_) {
      if (cols <= 32) return f.template operator()<Lanes<8>, 4, 1>();
      if (cols <= 128) return f.template operator()<Lanes<32>, 4, 1>();
      if (cols <= 512) return f.template operator()<Lanes<32>, 4, 4>();
      if (cols <= 1024) return f.template operator()<Lanes<32>, 4, 8>();
      if (cols <= 4096) return f.template operator()<Whole, 4, 4>();
      return f.template operator()<Whole, 4, 0>();
    } else {
      if (cols <= 16) return f.template operator()<Lanes<8>, 1, 2>();
      if (cols <= 128) return f.template operator()<Lanes<32>, 1, 4>();
      if (cols <= 512) return f.template operator()<Lanes<32>, 1, 16>();
      if (cols <= 4096) return f.template operator()<Whole, 1, 16>();
      return f.template operator()<Whole, 1, 0>();
    }
  }
  template <class Team>
  unsigned blocks() const {
    return blocksFor(rows, Team::kRows);
  }

 private:
  bool fours_, across_;
};

}  // namespace gyrus::cuda
