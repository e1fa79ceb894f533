// Movement kernels: fill, arange, copy with casts.
#include "cuda/convert.cuh"
#include "cuda/families.h"
#include "cuda/map.cuh"

namespace gyrus::cuda {
namespace {

template <class U, class Divisor>
__global__ void __launch_bounds__(kMapBlock)
    fillKernel(U* y, Mapper<1, Divisor> mapper, typename Divisor::Index n, U value) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kMapBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kMapBlock) {
    Index at[1];
    mapper.offsets(i, at);
    y[at[0]] = value;
  }
}

// y[...] = value
void fill(const Args& args) {
  const View& y = args.out[0];
  const View* const v[1] = {&y};
  const Nest<1> nest(v);
  if (nest.count == 0) return;
  const double value = args.as<FillParams>().value;
  byType(y.dtype, [&]<class T>() {
    const T element = convert<T>(value);
    withMapper(nest, [&]<class Divisor>(const Mapper<1, Divisor>& mapper) {
      GYRUS_LAUNCH(blocksFor(nest.count, kMapBlock), kMapBlock, 0, fillKernel<T, Divisor>, y.as<T>(), mapper,
                   static_cast<typename Divisor::Index>(nest.count), element);
    });
  });
}

template <class T>
__global__ void __launch_bounds__(kMapBlock)
    arangeKernel(T* y, std::int64_t n, std::int64_t stride, double start, double step) {
  for (std::int64_t i = std::int64_t{blockIdx.x} * kMapBlock + threadIdx.x; i < n;
       i += std::int64_t{gridDim.x} * kMapBlock)
    y[i * stride] = convert<T>(start + static_cast<double>(i) * step);
}

// y[i] = start + i*step
void arange(const Args& args) {
  const auto& p = args.as<ArangeParams>();
  const View& y = args.out[0];
  if (y.shape[0] == 0) return;
  byType(y.dtype, [&]<class T>() {
    GYRUS_LAUNCH(blocksFor(y.shape[0], kMapBlock), kMapBlock, 0, arangeKernel<T>, y.as<T>(), y.shape[0], y.stride[0],
                 p.start, p.step);
  });
}

template <class To, class From>
struct Cast {
  __device__ To operator()(From x) const { return convert<To>(x); }
};

template <class U>
struct Same {
  __device__ U operator()(U x) const { return x; }
};

// Bytes of one run to another.
__global__ void __launch_bounds__(kMapBlock) copyRun(uint4* y, const uint4* x, std::int64_t bytes) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kMapBlock + threadIdx.x;
  for (std::int64_t i = first; i < bytes / 16; i += std::int64_t{gridDim.x} * kMapBlock) y[i] = x[i];
  const std::int64_t rest = bytes / 16 * 16 + first;
  if (rest < bytes) reinterpret_cast<unsigned char*>(y)[rest] = reinterpret_cast<const unsigned char*>(x)[rest];
}

constexpr int kTile = 32, kTileRows = 8;

// A copy in which x is contiguous along `down` and y along the innermost axis, through a tile in shared memory, so that
// both sides are read and written in runs. One block per tile; `outer` walks the other axes.
template <class U, class Divisor>
__global__ void __launch_bounds__(kTile* kTileRows)
    transposeKernel(U* y, const U* x, Mapper<2, Divisor> outer, std::int64_t tiles, Divisor across, Divisor perMatrix,
                    typename Divisor::Index rows, typename Divisor::Index cols, typename Divisor::Index yStride,
                    typename Divisor::Index xStride) {
  using Index = typename Divisor::Index;
  using Tile = U[kTile][kTile + 1];
  GYRUS_SHARED(Tile, tile);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  for (std::int64_t c = blockIdx.x; c < tiles; c += gridDim.x) {
    const Index matrix = perMatrix.over(static_cast<Index>(c)), t = static_cast<Index>(c) - matrix * perMatrix.d;
    const Index band = across.over(t);
    const Index row = band * kTile, col = (t - band * across.d) * kTile;
    Index at[2];
    outer.offsets(matrix, at);
    for (int j = ty; j < kTile; j += kTileRows)
      if (col + j < cols && row + tx < rows) tile[j][tx] = x[at[1] + (col + j) * xStride + row + tx];
    __syncthreads();
    for (int j = ty; j < kTile; j += kTileRows)
      if (row + j < rows && col + tx < cols) y[at[0] + (row + j) * yStride + col + tx] = tile[tx][j];
    __syncthreads();  // before the next tile is read in
  }
}

// A copy in which axis `down` of the nest is contiguous in x and the innermost axis in y.
void transpose(const View& y, const View& x, const Nest<2>& nest, int down) {
  const int last = nest.rank - 1;
  const std::int64_t rows = nest.shape[down], cols = nest.shape[last];
  const std::int64_t across = (cols + kTile - 1) / kTile, perMatrix = (rows + kTile - 1) / kTile * across;
  Nest<2> outer = nest;
  outer.rank = 0;
  std::int64_t matrices = 1;
  for (int d = 0; d < last; ++d) {
    if (d == down) continue;
    outer.shape[outer.rank] = nest.shape[d];
    for (int k = 0; k < 2; ++k) outer.stride[k][outer.rank] = nest.stride[k][d];
    ++outer.rank;
    matrices *= nest.shape[d];
  }
  const std::int64_t tiles = matrices * perMatrix;
  bySize(sizeOf(y.dtype), [&]<class U>() {
    const auto launch = [&]<class Divisor>(const Mapper<2, Divisor>& mapper) {
      using Index = typename Divisor::Index;
      GYRUS_LAUNCH(blocksFor(tiles, 1), dim3(kTile, kTileRows), 0, transposeKernel<U, Divisor>, y.as<U>(), x.as<U>(),
                   mapper, tiles, Divisor(across), Divisor(perMatrix), static_cast<Index>(rows),
                   static_cast<Index>(cols), static_cast<Index>(nest.stride[0][down]),
                   static_cast<Index>(nest.stride[1][last]));
    };
    if (nest.small())
      launch(outer.template mapper<Divisor32>());
    else
      launch(outer.template mapper<Divisor64>());
  });
}

// y <- x, casting
void copy(const Args& args) {
  const View &y = args.out[0], &x = args.in[0];
  const View* const v[2] = {&y, &x};
  const Nest<2> nest(v);
  if (nest.count == 0) return;
  if (y.dtype != x.dtype)
    return byType(y.dtype, [&]<class To>() {
      byType(x.dtype, [&]<class From>() {
        if constexpr (!std::is_same_v<To, From>) mapAny<To, From>(y, x, nest, Cast<To, From>{});
      });
    });
  const std::size_t size = sizeOf(y.dtype);
  if (nest.run(0) && nest.run(1) && aligned(y.data, 16) && aligned(x.data, 16)) {
    const std::int64_t bytes = nest.count * static_cast<std::int64_t>(size);
    GYRUS_LAUNCH(blocksFor(bytes, 16 * kMapBlock), kMapBlock, 0, copyRun, y.as<uint4>(), x.as<uint4>(), bytes);
    return;
  }
  const int last = nest.rank - 1;
  if (nest.rank > 1 && nest.stride[0][last] == 1 && nest.stride[1][last] > 1 && nest.shape[last] >= kTileRows)
    for (int d = last - 1; d >= 0; --d)
      if (nest.stride[1][d] == 1 && nest.shape[d] >= kTileRows) return transpose(y, x, nest, d);
  bySize(size, [&]<class U>() { mapAny<U, U>(y, x, nest, Same<U>{}); });
}

}  // namespace

void registerMovement(KernelTable& t) {
  t.set(Op::Fill, fill);
  t.set(Op::Arange, arange);
  t.set(Op::Copy, copy);
}

}  // namespace gyrus::cuda
