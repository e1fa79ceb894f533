// Gate scores inside the kernel that makes the gradient: the block that stores a tile of it adds up the tile's scores
// while the tile is still in shared memory, so that the gradient is not read again. Tiles that lie below each other
// leave their sums for a second stage, which adds them in their order.
//
// Classes are looked for rather than indexed: a warp takes a class and 32 columns, finds the class's rows by a ballot
// over the labels and adds those rows up in registers. So the work is that of the rows, however many classes there are,
// the order is that of the rows, and one sum per class and column is all that is kept from one part of a tile to the
// next.
#pragma once
#include "cuda/fault.cuh"
#include "cuda/gate.cuh"
#include "cuda/lists.cuh"
#include "cuda/pack.cuh"
#include "cuda/reduce.cuh"

namespace gyrus::cuda {

struct GateLabels {
  const int* data;
  std::int64_t stride, n, classes;
  __device__ bool accepts(int label) const { return label >= 0 && label < classes; }
  __device__ void raise(const Fault& fault, std::int64_t at) const {
    fault.raise(FaultCode::Label, data[at * stride], at, classes);
  }
};

// Where sums go: added to stats, or the parts of a slice of the samples.
template <class T>
struct GateSink {
  float* stats;
  std::int64_t rowStride, colStride;
  T* parts;           // [slices, classes + 4, cols]; null: to stats
  std::int64_t* bad;  // beside the parts: first places of a label out of range, or the number of labels
  std::int64_t rows, cols;

  __device__ void put(std::int64_t slice, std::int64_t row, std::int64_t col, T sum) const {
    if (parts)
      parts[(slice * rows + row) * cols + col] = sum;
    else
      stats[row * rowStride + col * colStride] += static_cast<float>(sum);
  }
};

// What the kernel gets. Slices of the sink are rows of tiles.
template <class T>
struct TileGate {
  const T* a;
  std::int64_t rowA, colA;
  bool packs;  // a may be read 16 bytes at a time
  T scale;
  GateLabels labels;
  GateSink<T> sink;
  Fault fault;
};

// A kernel without scores.
struct NoScores {
  static constexpr bool on = false;
};

// A block's scores of a tile of Rows x Cols, which passes through a stage in shared memory StageRows at a time, rows
// Stride apart. `room` is shared memory of the block's own.
template <class T, int Rows, int Cols, int Threads, int StageRows, int Stride>
class TileScores {
  static constexpr int V = 16 / sizeof(T), perRow = Cols / V, step = Threads / perRow, chunks = Cols / 32;
  static constexpr int lanes = step < StageRows ? step : StageRows;  // threads with numbers of a column
  static_assert(Cols % 32 == 0 && Threads % perRow == 0);
  static constexpr int kTotals = static_cast<int>(kGateTotals);
  using Numbers = Pack<T, V>;

 public:
  static constexpr bool on = true;
  // Of the stage, when the totals go through it.
  static constexpr std::size_t totalBytes = sizeof(T) * lanes * kTotals * Cols;
  static constexpr std::size_t roomFor(std::int64_t classes) {
    return sizeof(T) * static_cast<std::size_t>(classes) * Cols + sizeof(int) * (Rows + 1);
  }

  // `active`: columns that count, of all of the product's.
  __device__ __forceinline__ TileScores(const TileGate<T>& gate, void* room, int tileRow, int tileCol,
                                        std::int64_t active)
      : gate_(gate), sums_(static_cast<T*>(room)), tileRow_(tileRow), tileCol_(tileCol), active_(active) {
    labels_ = reinterpret_cast<int*>(sums_ + gate.labels.classes * Cols);
  }

  // A barrier before the next call.
  __device__ __forceinline__ void readLabels() const {
    const GateLabels& labels = gate_.labels;
    for (int r = static_cast<int>(threadIdx.x); r < Rows; r += Threads)
      labels_[r] = firstRow() + r < labels.n ? labels.data[(firstRow() + r) * labels.stride] : -1;
    if (threadIdx.x == 0) labels_[Rows] = Rows;
  }
  // A barrier before the last part of the tile.
  __device__ __forceinline__ void checkLabels() const {
    for (int r = static_cast<int>(threadIdx.x); r < Rows; r += Threads)
      if (firstRow() + r < gate_.labels.n && !gate_.labels.accepts(labels_[r])) atomicMin(&labels_[Rows], r);
  }

  // Takes the rows of a part from the stage and leaves |score| there. A thread has the numbers that it stores in C.
  __device__ __forceinline__ void takeRows(T* stage, int part) {
    constexpr int kAhead = 4;  // rows of a that are on their way together
    const int c = static_cast<int>(threadIdx.x) % perRow * V;
    const std::int64_t col = firstCol() + c, row = firstRow() + part * StageRows;
    if (col >= active_) return;
    const bool whole = gate_.packs && col + V <= gate_.sink.cols;
#pragma unroll 1
    for (int r = static_cast<int>(threadIdx.x) / perRow; r < StageRows && row + r < gate_.labels.n;
         r += step * kAhead) {
      Numbers a[kAhead] = {};
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (!has(row, r + i * step)) continue;
        const T* from = gate_.a + (row + r + i * step) * gate_.rowA + col * gate_.colA;
        if (whole) {
          a[i] = *reinterpret_cast<const Numbers*>(from);
        } else {
#pragma unroll
          for (int j = 0; j < V; ++j)
            if (col + j < active_) a[i].v[j] = from[j * gate_.colA];
        }
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (!has(row, r + i * step)) continue;
        auto* const at = reinterpret_cast<Numbers*>(stage + (r + i * step) * Stride + c);
        Numbers g = *at;
#pragma unroll
        for (int j = 0; j < V; ++j) {
          const T x = a[i].v[j], score = x * (g.v[j] * gate_.scale);
          total_[0][j] += x < T(0) ? -x : x;
          total_[1][j] += x;
          total_[2][j] += x == T(0) ? T(1) : T(0);
          total_[3][j] = fma(score, score, total_[3][j]);
          g.v[j] = score < T(0) ? -score : score;
        }
        *at = g;
      }
    }
  }

  // Adds a part's rows to the sums of their classes, behind a barrier; the last part's sums go out. A barrier before
  // the stage is written again.
  __device__ __forceinline__ void addClasses(const T* stage, int part, bool last) const {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const auto tasks = static_cast<int>(gate_.labels.classes) * chunks;
    const bool out = last && sound();
#pragma unroll 1
    for (int task = warp; task < tasks; task += Threads / 32) {
      const int c = task / chunks, col = task % chunks * 32 + lane;
      T sum = part == 0 ? T(0) : sums_[c * Cols + col];
#pragma unroll 1
      for (int base = 0; base < StageRows; base += 32) {
        const int r = base + lane;
        unsigned rows =
            __ballot_sync(kAllLanes, r < StageRows && labels_[part * StageRows + (r < StageRows ? r : 0)] == c);
        for (; rows != 0; rows &= rows - 1) sum += stage[(base + __ffs(static_cast<int>(rows)) - 1) * Stride + col];
      }
      if (!last)
        sums_[c * Cols + col] = sum;
      else if (out && firstCol() + col < active_)
        gate_.sink.put(tileRow_, c, firstCol() + col, sum);
    }
  }

  // Behind a barrier, the totals, by way of the stage; says where a label is out of range. All threads of the block.
  __device__ __forceinline__ void finish(T* stage) const {
    const int c = static_cast<int>(threadIdx.x) % perRow * V, mine = static_cast<int>(threadIdx.x) / perRow;
    if (mine < lanes) {
#pragma unroll
      for (int t = 0; t < kTotals; ++t) {
        Numbers total;
#pragma unroll
        for (int j = 0; j < V; ++j) total.v[j] = total_[t][j];
        *reinterpret_cast<Numbers*>(stage + (mine * kTotals + t) * Cols + c) = total;
      }
    }
    __syncthreads();
    const GateLabels& labels = gate_.labels;
    if (tileCol_ == 0 && threadIdx.x == 0) {
      const std::int64_t at = labels_[Rows] < Rows ? firstRow() + labels_[Rows] : labels.n;
      if (gate_.sink.parts)
        gate_.sink.bad[tileRow_] = at;
      else if (at < labels.n)
        labels.raise(gate_.fault, at);
    }
    if (!sound()) return;
    for (int i = static_cast<int>(threadIdx.x); i < kTotals * Cols; i += Threads) {
      const int t = i / Cols, col = i % Cols;
      if (firstCol() + col >= active_) continue;
      T sum = stage[i];
#pragma unroll
      for (int l = 1; l < lanes; ++l) sum += stage[l * kTotals * Cols + i];
      gate_.sink.put(tileRow_, labels.classes + t, firstCol() + col, sum);
    }
  }

 private:
  __device__ std::int64_t firstRow() const { return std::int64_t{tileRow_} * Rows; }
  __device__ std::int64_t firstCol() const { return std::int64_t{tileCol_} * Cols; }
  __device__ bool has(std::int64_t row, int r) const { return r < StageRows && row + r < gate_.labels.n; }
  // Of tiles below each other the second stage asks all of them.
  __device__ bool sound() const { return gate_.sink.parts || labels_[Rows] == Rows; }

  const TileGate<T>& gate_;
  T* sums_;      // [classes, Cols]
  int* labels_;  // of the rows, and behind them the first row with a bad one
  int tileRow_, tileCol_;
  std::int64_t active_;
  T total_[kTotals][V] = {};
};

}  // namespace gyrus::cuda
