// The sums of the gate scores.
#include <algorithm>

#include "cuda/gate.cuh"
#include "cuda/gate_tile.cuh"
#include "cuda/strided.cuh"
#include "kernels/counts.h"

namespace gyrus::cuda {
namespace {

constexpr int kTotals = static_cast<int>(kGateTotals);
constexpr int kCols = 32, kWarps = 8;  // of a block: each warp adds up samples of its own
constexpr std::int64_t kLeastPerSlice = 256, kMostSlices = 32;

// Classes a block has sums for: 32 KiB of them.
constexpr int classesOf(std::size_t size) { return static_cast<int>(128 / size); }

// a and g, as they are.
template <class T>
struct Rows {
  const T *a, *g;
  std::int64_t colA, colG, cols;
  T scale;
  const int* active;  // counts the active columns, null for all
  Mapper<2, Divisor64> rows;

  __device__ std::int64_t width() const { return activeOf(active, cols); }
  __device__ void load(std::int64_t row, std::int64_t col, T (&out)[kTotals]) const {
    std::int64_t at[2];
    rows.offsets(row, at);
    const T x = a[at[0] + col * colA];
    out[0] = x * (g[at[1] + col * colG] * scale);
    out[1] = x < T(0) ? -x : x;
    out[2] = x;
    out[3] = x == T(0) ? T(1) : T(0);
  }
};

// Those of samples of several rows: sums [samples, 4, cols].
template <class T>
struct SampleSums {
  const T* data;
  std::int64_t cols;
  const int* active;

  __device__ std::int64_t width() const { return activeOf(active, cols); }
  __device__ void load(std::int64_t sample, std::int64_t col, T (&out)[kTotals]) const {
#pragma unroll
    for (int i = 0; i < kTotals; ++i) out[i] = data[(sample * kTotals + i) * cols + col];
  }
};

// Sums over the positions of each sample: of the score; means of the rest.
template <class T>
__global__ void __launch_bounds__(kCols* kWarps)
    sumPositions(T* sums, Rows<T> rows, std::int64_t samples, std::int64_t positions) {
  using Parts = T[kTotals][kWarps][kCols];
  GYRUS_SHARED(Parts, parts);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const std::int64_t across = (rows.cols + kCols - 1) / kCols, cols = rows.width();
  for (std::int64_t block = blockIdx.x; block < samples * across; block += gridDim.x) {
    const std::int64_t sample = block / across, col = (block - sample * across) * kCols + tx;
    T sum[kTotals] = {};
    if (col < cols)
      for (std::int64_t p = ty; p < positions; p += kWarps) {
        T x[kTotals];
        rows.load(sample * positions + p, col, x);
#pragma unroll
        for (int i = 0; i < kTotals; ++i) sum[i] += x[i];
      }
#pragma unroll
    for (int i = 0; i < kTotals; ++i) parts[i][ty][tx] = sum[i];
    __syncthreads();
    if (ty < kTotals && col < cols) {
      T total = parts[ty][0][tx];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) total += parts[ty][w][tx];
      sums[(sample * kTotals + ty) * rows.cols + col] = ty == 0 ? total : total / static_cast<T>(positions);
    }
    __syncthreads();
  }
}

// By all threads of a block: the first place of a label out of range, or labels.n.
__device__ std::int64_t firstBad(const GateLabels& labels, unsigned long long& lowest, int me, int threads) {
  if (me == 0) lowest = static_cast<unsigned long long>(labels.n);
  __syncthreads();
  for (std::int64_t n = me; n < labels.n; n += threads)
    if (!labels.accepts(labels.data[n * labels.stride])) atomicMin(&lowest, static_cast<unsigned long long>(n));
  __syncthreads();
  return static_cast<std::int64_t>(lowest);
}

// Block (x, y, z): 32 columns, a slice of the samples, kClasses of the classes. Each warp adds up an eighth of
// the slice in its order; every column of its sums belongs to one thread. The first of the classes' blocks have the
// totals too.
template <class T, class Source>
__global__ void __launch_bounds__(kCols* kWarps)
    sumSamples(Source source, GateLabels labels, std::int64_t perSlice, GateSink<T> sink, Fault fault) {
  constexpr int kClasses = classesOf(sizeof(T));
  using Sums = T[kWarps][kClasses][kCols];
  using Totals = T[kWarps][kTotals][kCols];
  GYRUS_SHARED(Sums, sums);
  GYRUS_SHARED(Totals, totals);
  GYRUS_SHARED(unsigned long long, lowest);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  // A label out of range leaves stats as they are: either each block looks at all labels first, or the first does for
  // the kernel that adds the slices.
  const bool first = blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0;
  if (first || !sink.parts) {
    const int me = ty * kCols + tx;
    const std::int64_t bad = firstBad(labels, lowest, me, kCols * kWarps);
    if (first && me == 0) {
      if (sink.parts)
        *sink.bad = bad;
      else if (bad < labels.n)
        labels.raise(fault, bad);
    }
    if (bad < labels.n) return;
  }

  const std::int64_t col = std::int64_t{blockIdx.x} * kCols + tx, firstClass = std::int64_t{blockIdx.z} * kClasses;
  const std::int64_t left = labels.classes - firstClass;
  const int classes = left < kClasses ? static_cast<int>(left) : kClasses;
  const bool total = blockIdx.z == 0, inside = col < source.width();
  const std::int64_t begin = blockIdx.y * perSlice;
  const std::int64_t end = begin + perSlice < labels.n ? begin + perSlice : labels.n;
  const std::int64_t perWarp = (end - begin + kWarps - 1) / kWarps, from = begin + ty * perWarp;
  const std::int64_t to = from + perWarp < end ? from + perWarp : end;

  for (int c = 0; c < classes; ++c) sums[ty][c][tx] = T(0);
  T sum[kTotals] = {};
  constexpr int kAhead = 4;  // samples that are loaded before the first is added
  for (std::int64_t n = from; n < to; n += kAhead) {
    T x[kAhead][kTotals];
    int at[kAhead];  // the class within the block's, or -1
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const std::int64_t label = n + i < to ? labels.data[(n + i) * labels.stride] - firstClass : -1;
      at[i] = label >= 0 && label < classes ? static_cast<int>(label) : -1;
      if (inside && n + i < to && (total || at[i] >= 0)) source.load(n + i, col, x[i]);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (!inside || n + i >= to) continue;
      if (at[i] >= 0) sums[ty][at[i]][tx] += x[i][0] < T(0) ? -x[i][0] : x[i][0];
      if (!total) continue;
#pragma unroll
      for (int t = 0; t < kTotals - 1; ++t) sum[t] += x[i][t + 1];
      sum[3] = fma(x[i][0], x[i][0], sum[3]);
    }
  }
#pragma unroll
  for (int t = 0; t < kTotals; ++t) totals[ty][t][tx] = sum[t];
  __syncthreads();
  if (!inside) return;
  for (int c = ty; c < classes; c += kWarps) {
    T all = sums[0][c][tx];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) all += sums[w][c][tx];
    sink.put(blockIdx.y, firstClass + c, col, all);
  }
  if (total && ty < kTotals) {
    T all = totals[0][ty][tx];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) all += totals[w][ty][tx];
    sink.put(blockIdx.y, labels.classes + ty, col, all);
  }
}

// Adds the slices of 32 columns of a row of stats, each warp an eighth of them in their order. Of the labels the first
// of `bads` places is named, and then stats stay as they are.
template <class T>
__global__ void __launch_bounds__(kCols* kWarps) addSlices(GateSink<T> sink, std::int64_t slices, std::int64_t bads,
                                                           GateLabels labels, const int* active, Fault fault) {
  using Parts = T[kWarps][kCols];
  GYRUS_SHARED(Parts, parts);
  GYRUS_SHARED(unsigned long long, lowest);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y), me = ty * kCols + tx;
  if (me == 0) lowest = static_cast<unsigned long long>(labels.n);
  __syncthreads();
  for (std::int64_t i = me; i < bads; i += kCols * kWarps)
    if (sink.bad[i] < labels.n) atomicMin(&lowest, static_cast<unsigned long long>(sink.bad[i]));
  __syncthreads();
  if (const auto at = static_cast<std::int64_t>(lowest); at < labels.n) {
    if (blockIdx.x == 0 && me == 0) labels.raise(fault, at);
    return;
  }
  const std::int64_t across = (sink.cols + kCols - 1) / kCols, count = sink.rows * sink.cols;
  const std::int64_t cols = activeOf(active, sink.cols), perWarp = (slices + kWarps - 1) / kWarps;
  const std::int64_t from = ty * perWarp, to = from + perWarp < slices ? from + perWarp : slices;
  for (std::int64_t block = blockIdx.x; block < sink.rows * across; block += gridDim.x) {
    const std::int64_t row = block / across, col = (block - row * across) * kCols + tx;
    T sum = 0;
    if (col < cols) {
#pragma unroll 4
      for (std::int64_t s = from; s < to; ++s) sum += sink.parts[s * count + row * sink.cols + col];
    }
    parts[ty][tx] = sum;
    __syncthreads();
    if (ty == 0 && col < cols) {
#pragma unroll
      for (int w = 1; w < kWarps; ++w) sum += parts[w][tx];
      sink.stats[row * sink.rowStride + col * sink.colStride] += static_cast<float>(sum);
    }
    __syncthreads();
  }
}

template <class T>
void launchAddSlices(const GateSink<T>& sink, std::int64_t slices, std::int64_t bads, const GateLabels& labels,
                     const int* active, Fault fault) {
  const std::int64_t blocks = sink.rows * ((sink.cols + kCols - 1) / kCols);
  GYRUS_LAUNCH(blocksFor(blocks, 1), dim3(kCols, kWarps), 0, addSlices<T>, sink, slices, bads, labels, active, fault);
}

std::int64_t ceilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t slicesOf(std::int64_t samples) {
  return std::max<std::int64_t>(1, std::min(samples / kLeastPerSlice, kMostSlices));
}

template <class T, class Source>
void sumAll(const Args& args, const Source& source, const GateLabels& labels, GateSink<T> sink, Fault fault) {
  const std::int64_t slices = slicesOf(labels.n), perSlice = (labels.n + slices - 1) / slices;
  if (slices > 1) {
    sink.parts = args.scratch->array<T>(slices * sink.rows * sink.cols);
    sink.bad = args.scratch->array<std::int64_t>(1);
  }
  const dim3 grid(blocksFor(source.cols, kCols), static_cast<unsigned>(slices),
                  blocksFor(labels.classes, classesOf(sizeof(T))));
  GYRUS_LAUNCH(grid, dim3(kCols, kWarps), 0, (sumSamples<T, Source>), source, labels, perSlice, sink, fault);
  if (slices > 1) launchAddSlices<T>(sink, slices, 1, labels, source.active, fault);
}

GateLabels labelsOf(const Gate& gate) {
  const View& v = gate.labels;
  return {v.as<int>(), v.rank > 0 ? v.stride[0] : 0, gate.samples(), gate.classes()};
}
template <class T>
GateSink<T> sinkOf(const Gate& gate) {
  const View& v = gate.stats;
  return {v.as<float>(), v.stride[0], v.stride[1], nullptr, nullptr, v.shape[0], v.shape[1]};
}

template <class T>
void accumulate(const Args& args, const Gate& gate, const View& g, std::int64_t positions) {
  const View& a = gate.a;
  const int last = a.rank - 1;
  Rows<T> rows{a.as<T>(),   g.as<T>(), a.stride[last], g.stride[last], a.shape[last], static_cast<T>(gate.scale),
               gate.active, {}};
  // Row axes, merged where both go on at the same distance.
  auto& m = rows.rows;
  for (int d = 0; d < last; ++d) {
    if (a.shape[d] == 1) continue;
    const int top = m.rank - 1;
    if (top >= 0 && m.stride[0][top] == a.stride[d] * a.shape[d] && m.stride[1][top] == g.stride[d] * a.shape[d]) {
      m.shape[top] = Divisor64(m.shape[top].d * a.shape[d]);
    } else {
      m.shape[m.rank++] = Divisor64(a.shape[d]);
    }
    m.stride[0][m.rank - 1] = a.stride[d];
    m.stride[1][m.rank - 1] = g.stride[d];
  }
  const GateLabels labels = labelsOf(gate);
  if (labels.n == 0) return;
  const GateSink<T> sink = sinkOf<T>(gate);
  const Fault fault = faultOf(gate.op);
  if (positions == 0) rows.cols = 0;  // samples of nothing: only their labels are looked at
  if (positions <= 1 || rows.cols == 0) return sumAll<T>(args, rows, labels, sink, fault);

  T* sums = args.scratch->array<T>(labels.n * kTotals * rows.cols);
  const std::int64_t blocks = labels.n * ((rows.cols + kCols - 1) / kCols);
  GYRUS_LAUNCH(blocksFor(blocks, 1), dim3(kCols, kWarps), 0, sumPositions<T>, sums, rows, labels.n, positions);
  sumAll<T>(args, SampleSums<T>{sums, rows.cols, gate.active}, labels, sink, fault);
}

}  // namespace

void accumulateGate(const Args& args, const Gate& gate, const View& g, std::int64_t positions) {
  byFloat(g.dtype, [&]<class T>() { accumulate<T>(args, gate, g, positions); });
}

bool gatePaysByTiles(std::int64_t samples, std::int64_t classes, std::int64_t rowsPerTile) {
  if (samples == 0 || classes > kMostTileClasses) return false;
  const auto parts = [&](std::int64_t n) { return n > 1 ? 2 * n * (classes + kGateTotals) : 0; };
  return parts(ceilDiv(samples, rowsPerTile)) < samples + parts(slicesOf(samples));
}

template <class T>
TileGate<T> gateTiles(const Args& args, const Gate& gate, std::int64_t rowsPerTile) {
  const View& a = gate.a;
  constexpr std::int64_t vector = 16 / sizeof(T);
  const bool packs = a.stride[1] == 1 && a.stride[0] % vector == 0 && aligned(a.data, 16);
  GateSink<T> sink = sinkOf<T>(gate);
  const std::int64_t below = ceilDiv(gate.samples(), rowsPerTile);
  if (below > 1) {
    sink.parts = args.scratch->array<T>(below * sink.rows * sink.cols);
    sink.bad = args.scratch->array<std::int64_t>(below);
  }
  return {a.as<T>(),      a.stride[0], a.stride[1],     packs, static_cast<T>(gate.scale),
          labelsOf(gate), sink,        faultOf(gate.op)};
}

template <class T>
void addGateTiles(const Gate& gate, std::int64_t rowsPerTile, const TileGate<T>& tiles) {
  if (!tiles.sink.parts) return;
  const std::int64_t below = ceilDiv(tiles.labels.n, rowsPerTile);
  launchAddSlices<T>(tiles.sink, below, below, tiles.labels, gate.active, tiles.fault);
}

#define GYRUS_INSTANTIATE(T)                                                 \
  template TileGate<T> gateTiles<T>(const Args&, const Gate&, std::int64_t); \
  template void addGateTiles<T>(const Gate&, std::int64_t, const TileGate<T>&);
GYRUS_INSTANTIATE(float)
GYRUS_INSTANTIATE(double)
#undef GYRUS_INSTANTIATE

// stats [C + 4, K] <- a, g [M, K], labels [M / positions]
void registerGate(KernelTable& t) {
  t.set(Op::GateStats, [](const Args& args) {
    const auto& p = args.as<GateStatsParams>();
    const View* const count = countBehind(args, 3);
    const Gate gate{Op::GateStats, args.out[0], args.in[0], args.in[2], p.scale, count ? count->as<int>() : nullptr};
    accumulateGate(args, gate, args.in[1], static_cast<std::int64_t>(p.positions));
  });
}

}  // namespace gyrus::cuda
