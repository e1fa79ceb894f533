// Sums of columns: blocks of 32 columns and 8 rows of threads that walk down a slice of the rows each, then those of
// the slices.
#include <algorithm>

#include "cuda/gemm/column_sums.cuh"
#include "cuda/lists.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kCols = 32, kRows = 8;
constexpr std::int64_t kMostSlices = 64, kLeastPerSlice = 256;

template <class T>
struct Sums {
  T* data;
  std::int64_t stride, sliceStride;
  const int* list;
};

template <class T>
__global__ void __launch_bounds__(kCols* kRows) sumSlices(Matrix<T> x, std::int64_t perSlice, Sums<T> to) {
  using Parts = T[kRows][kCols];
  GYRUS_SHARED(Parts, parts);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const std::int64_t col = std::int64_t{blockIdx.x} * kCols + tx, first = blockIdx.y * perSlice;
  const std::int64_t end = first + perSlice < x.rows ? first + perSlice : x.rows;
  T sum = 0;
  if (col < activeOf(x.active, x.cols)) {
    const T* from = x.data + col * x.colStride;
#pragma unroll 4
    for (std::int64_t r = first + ty; r < end; r += kRows) sum += from[r * x.rowStride];
  }
  parts[ty][tx] = sum;
  __syncthreads();
  if (ty != 0 || col >= x.cols) return;
#pragma unroll
  for (int i = 1; i < kRows; ++i) sum += parts[i][tx];
  to.data[blockIdx.y * to.sliceStride + (to.list ? to.list[col] : col) * to.stride] = sum;
}

template <class T>
__global__ void __launch_bounds__(256) zeroLine(T* line, std::int64_t stride, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i < n) line[i * stride] = T(0);
}

}  // namespace

template <class T>
void columnSums(const Args& args, const Matrix<T>& x, const View& sums, const int* list, bool listed) {
  const std::int64_t n = sums.shape[0];
  if (listed && n > 0) GYRUS_LAUNCH(blocksFor(n, 256), 256, 0, zeroLine<T>, sums.as<T>(), sums.stride[0], n);
  if (x.cols == 0) return;
  const unsigned across = blocksFor(x.cols, kCols);
  const Sums<T> to{sums.as<T>(), sums.stride[0], 0, list};
  std::int64_t slices = std::min(x.rows / kLeastPerSlice, kMostSlices);
  if (slices <= 1) {
    GYRUS_LAUNCH(across, dim3(kCols, kRows), 0, sumSlices<T>, x, x.rows, to);
    return;
  }
  const std::int64_t perSlice = (x.rows + slices - 1) / slices;
  slices = (x.rows + perSlice - 1) / perSlice;
  T* parts = args.scratch->array<T>(slices * x.cols);
  GYRUS_LAUNCH(dim3(across, static_cast<unsigned>(slices)), dim3(kCols, kRows), 0, sumSlices<T>, x, perSlice,
               (Sums<T>{parts, 1, x.cols, nullptr}));
  GYRUS_LAUNCH(across, dim3(kCols, kRows), 0, sumSlices<T>, (Matrix<T>{parts, slices, x.cols, x.cols, 1, x.active}),
               slices, to);
}

template void columnSums<float>(const Args&, const Matrix<float>&, const View&, const int*, bool);
template void columnSums<double>(const Args&, const Matrix<double>&, const View&, const int*, bool);

}  // namespace gyrus::cuda
