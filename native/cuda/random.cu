// Random kernels. A thread computes whole blocks of the stream; what a block gives is the CPU's arithmetic in double,
// operation by operation, so the values are the CPU's.
#include <cmath>

#include "cuda/families.h"
#include "cuda/fault.cuh"
#include "cuda/lists.cuh"
#include "cuda/philox.cuh"
#include "cuda/strided.cuh"
#include "kernels/counts.h"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;
// Blocks of threads enough for any device; each thread reads the state once, then goes through many blocks of words.
constexpr std::int64_t kMostBlocks = 4096;

__global__ void advanceKernel(RandomState state, std::uint64_t blocks) {
  state.setCounter(RandomWords(state).counter + blocks);
}

template <class T>
struct Uniform {
  double low, width;
  T a, b, last;  // last: the largest number below b, for rounding may reach b itself

  __device__ void operator()(const std::uint32_t (&w)[4], T (&v)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const T y = static_cast<T>(__dadd_rn(low, __dmul_rn(width, static_cast<double>(w[k] >> 8) * 0x1p-24)));
      v[k] = y >= b && a < b ? last : y;
    }
  }
};

template <class T>
struct Bernoulli {
  std::uint32_t threshold;  // of 24 bits
  T on;

  __device__ void operator()(const std::uint32_t (&w)[4], T (&v)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = w[k] >> 8 < threshold ? on : T(0);
  }
};

// Box-Muller: two words give two normals.
template <class T>
struct Normal {
  double mean, std;

  __device__ void operator()(const std::uint32_t (&w)[4], T (&v)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
      const double radius = std * sqrt(-2 * log((static_cast<double>(w[k]) + 1) * 0x1p-32));
      double s, c;
      sincos(6.28318530717958647693 * (static_cast<double>(w[k + 1]) * 0x1p-32), &s, &c);
      v[k] = static_cast<T>(__dadd_rn(mean, __dmul_rn(radius, c)));
      v[k + 1] = static_cast<T>(__dadd_rn(mean, __dmul_rn(radius, s)));
    }
  }
};

__device__ __forceinline__ void storeFour(float* y, const float (&v)[4]) {
  *reinterpret_cast<float4*>(y) = make_float4(v[0], v[1], v[2], v[3]);
}
__device__ __forceinline__ void storeFour(double* y, const double (&v)[4]) {
  reinterpret_cast<double2*>(y)[0] = make_double2(v[0], v[1]);
  reinterpret_cast<double2*>(y)[1] = make_double2(v[2], v[3]);
}

// `alone`: the only block of its grid, which then moves the state on itself.
template <class T, class Draw>
__global__ void __launch_bounds__(kBlock)
    randomKernel(T* y, std::int64_t n, RandomState state, Draw draw, bool fours, bool alone) {
  const RandomWords words(state);
  if (alone) {
    __syncthreads();
    if (threadIdx.x == 0) state.setCounter(words.counter + static_cast<std::uint64_t>((n + 3) / 4));
  }
  const std::int64_t step = std::int64_t{gridDim.x} * kBlock;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x; i < (n + 3) / 4; i += step) {
    std::uint32_t w[4];
    words.block(static_cast<std::uint64_t>(i), w);
    T v[4];
    draw(w, v);
    if (fours && 4 * i + 4 <= n) {
      storeFour(y + 4 * i, v);
      continue;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (4 * i + k < n) y[4 * i + k] = v[k];
  }
}

// The same where the columns of y [rows, cols] beyond a count become 0 and the others are drawn as if they were all.
template <class T, class Draw>
__global__ void __launch_bounds__(kBlock)
    countedRandomKernel(T* y, std::int64_t rows, std::int64_t cols, const int* count, RandomState state, Draw draw) {
  const RandomWords words(state);
  const std::int64_t active = activeOf(count, cols), n = rows * active, step = std::int64_t{gridDim.x} * kBlock;
  const std::int64_t first = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  for (std::int64_t i = first; i < (n + 3) / 4; i += step) {
    std::uint32_t w[4];
    words.block(static_cast<std::uint64_t>(i), w);
    T v[4];
    draw(w, v);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (4 * i + k < n) {
        const std::int64_t row = (4 * i + k) / active;
        y[row * cols + 4 * i + k - row * active] = v[k];
      }
  }
  for (std::int64_t i = first; i < rows * (cols - active); i += step) {
    const std::int64_t row = i / (cols - active);
    y[row * cols + active + i - row * (cols - active)] = T(0);
  }
}

__global__ void countedAdvanceKernel(RandomState state, std::int64_t rows, std::int64_t cols, const int* count) {
  const auto n = static_cast<std::uint64_t>(rows * activeOf(count, cols));
  state.setCounter(RandomWords(state).counter + (n + 3) / 4);
}

template <class T, class Draw>
void draw(const View& y, const View* count, const RandomState& state, const Draw& d) {
  const std::int64_t n = y.size();
  if (count) {
    const std::int64_t cols = y.shape[y.rank - 1];
    const int* const active = count->as<int>();
    GYRUS_LAUNCH(blocksFor(n, kBlock, kMostBlocks), kBlock, 0, (countedRandomKernel<T, Draw>), y.as<T>(), n / cols,
                 cols, active, state, d);
    GYRUS_LAUNCH(1, 1, 0, countedAdvanceKernel, state, n / cols, cols, active);
    return;
  }
  const unsigned blocks = blocksFor(n, 4 * kBlock, kMostBlocks);
  GYRUS_LAUNCH(blocks, kBlock, 0, (randomKernel<T, Draw>), y.as<T>(), n, state, d, aligned(y.data, 16), blocks == 1);
  if (blocks > 1) advance(state, static_cast<std::uint64_t>(n));
}

// y T contiguous, inout state (<- count)
void random(const Args& args) {
  const auto& p = args.as<RandomParams>();
  const View& y = args.out[0];
  if (y.size() == 0) return;
  const RandomState state(args.out[1]);
  const View* const count = countBehind(args, 0);
  byFloat(y.dtype, [&]<class T>() {
    const T a = static_cast<T>(p.a), b = static_cast<T>(p.b);
    switch (static_cast<RandomKind>(static_cast<int>(p.kind))) {
      case RandomKind::Uniform:
        return draw<T>(y, count, state, Uniform<T>{p.a, p.b - p.a, a, b, std::nextafter(b, a)});
      case RandomKind::Bernoulli:
        // k / 2^24 < p for a whole k where k < ceil(2^24 p)
        return draw<T>(y, count, state, Bernoulli<T>{static_cast<std::uint32_t>(std::ceil(p.a * 0x1p24)), b});
      default:
        return draw<T>(y, count, state, Normal<T>{p.a, p.b});
    }
  });
}

// ---- permutation ---------------------------------------------------------------------------------------------
// Fisher-Yates from the end swaps p[i] and p[j_i], j_i <= i, for i = n-1..1. All steps at once: what lies at position x
// just before step x (V(x)) came from the step that last wrote there, the smallest m > x with j_m = x; that step put in
// V(m), or else x lies there still. So V follows a chain of such steps upwards, of length O(log n) as targets are
// random. Step i itself puts at i what lay at j_i: V(k) of the smallest k > i with j_k = j_i, or j_i. Steps of one
// target hang in a list per target, in any order, as only minima are taken.

constexpr std::int32_t kNone = 0x7FFFFFFF;

__global__ void __launch_bounds__(kBlock) permutationClear(std::int32_t* head, std::int32_t* next, std::int64_t n) {
  for (std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x; i < n; i += std::int64_t{gridDim.x} * kBlock)
    head[i] = next[i] = kNone;
}

// target[i] = j_i; head[x], link[...]: the list of steps with target x; next[x] = the smallest of them above x.
__global__ void __launch_bounds__(kBlock) permutationLink(std::int32_t* target, std::int32_t* head, std::int32_t* link,
                                                          std::int32_t* next, std::int64_t n, RandomState state) {
  const RandomWords words(state);
  const std::int64_t step = std::int64_t{gridDim.x} * kBlock;
  for (std::int64_t b = std::int64_t{blockIdx.x} * kBlock + threadIdx.x; 4 * b < n; b += step) {
    std::uint32_t w[4];
    words.block(static_cast<std::uint64_t>(b), w);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const std::int64_t i = n - 1 - (4 * b + k);
      if (i < 0) continue;
      const auto j = static_cast<std::int32_t>(std::uint64_t{w[k]} * static_cast<std::uint64_t>(i + 1) >> 32);
      const auto at = static_cast<std::int32_t>(i);
      target[i] = j;
      link[i] = atomicExch(head + j, at);
      if (at > j) atomicMin(next + j, at);
    }
  }
}

__global__ void __launch_bounds__(kBlock)
    permutationResolve(std::int32_t* y, std::int64_t stride, const std::int32_t* target, const std::int32_t* head,
                       const std::int32_t* link, const std::int32_t* next, std::int64_t n, RandomState state) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kBlock + threadIdx.x;
  // Nothing here reads the state.
  if (first == 0) state.setCounter(RandomWords(state).counter + static_cast<std::uint64_t>((n + 3) / 4));
  for (std::int64_t i = first; i < n; i += std::int64_t{gridDim.x} * kBlock) {
    const std::int32_t j = target[i];
    std::int32_t value = static_cast<std::int32_t>(i), up = kNone;
    if (j == value) {
      up = next[i];
    } else {
      value = j;
      for (std::int32_t k = head[j]; k != kNone; k = link[k])
        if (k > i && k < up) up = k;
    }
    for (; up != kNone; up = next[up]) value = up;
    y[i * stride] = value;
  }
}

// y i32 [n], inout state
void permutation(const Args& args) {
  const View& y = args.out[0];
  const std::int64_t n = y.shape[0];
  if (n == 0) return;
  const RandomState state(args.out[1]);
  auto* lists = args.scratch->array<std::int32_t>(4 * n);
  std::int32_t *target = lists, *head = lists + n, *link = lists + 2 * n, *next = lists + 3 * n;
  GYRUS_LAUNCH(blocksFor(n, kBlock, kMostBlocks), kBlock, 0, permutationClear, head, next, n);
  GYRUS_LAUNCH(blocksFor(n, 4 * kBlock, kMostBlocks), kBlock, 0, permutationLink, target, head, link, next, n, state);
  GYRUS_LAUNCH(blocksFor(n, kBlock, kMostBlocks), kBlock, 0, permutationResolve, y.as<std::int32_t>(), y.stride[0],
               target, head, link, next, n, state);
}

// ---- categorical ---------------------------------------------------------------------------------------------

// Running sums of a row, a warp for each. The sum goes through the classes one after the other, as on the CPU: its
// roundings decide which class a draw on an edge gets. A row that is no distribution gets the total -1.
template <class T>
__global__ void __launch_bounds__(kBlock)
    categoricalSums(double* cdf, const T* weights, std::int64_t rowStride, std::int64_t stride, std::int64_t rows,
                    std::int64_t classes, Fault fault) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t step = std::int64_t{gridDim.x} * (kBlock / 32);
  for (std::int64_t r = std::int64_t{blockIdx.x} * (kBlock / 32) + threadIdx.x / 32; r < rows; r += step) {
    const T* row = weights + r * rowStride;
    double sum = 0;
    bool good = true;
    for (std::int64_t c = 0; c < classes; c += 32) {
      const double w = c + lane < classes ? static_cast<double>(row[(c + lane) * stride]) : 0.0;
      good = good && w >= 0;
      double mine = 0;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        sum += __shfl_sync(0xFFFFFFFFu, w, i);
        if (lane == i) mine = sum;
      }
      if (c + lane < classes) cdf[r * classes + c + lane] = mine;
    }
    good = __all_sync(0xFFFFFFFFu, good) && sum > 0 && sum <= 1.7976931348623157e308;
    if (good || lane != 0) continue;
    fault.raise(FaultCode::BadWeights, 0, r, 0);
    if (classes > 0) cdf[r * classes + classes - 1] = -1;
  }
}

__global__ void __launch_bounds__(kBlock)
    categoricalDraw(std::int32_t* y, std::int64_t rowStride, std::int64_t stride, const double* cdf, std::int64_t draws,
                    std::int64_t count, std::int64_t classes, RandomState state) {
  const RandomWords words(state);
  const std::int64_t step = std::int64_t{gridDim.x} * kBlock;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kBlock + threadIdx.x; i < count; i += step) {
    const std::int64_t r = i / draws;
    const double* sums = cdf + r * classes;
    std::int64_t low = 0, high = classes - 1;
    const double total = high < 0 ? -1 : sums[high];
    if (!(total >= 0)) high = 0;
    const double target = static_cast<double>(words.word(static_cast<std::uint64_t>(i))) * 0x1p-32 * total;
    // The first class whose running sum exceeds the target: a class of weight 0 is never drawn.
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (sums[middle] > target || sums[middle] >= total)
        high = middle;
      else
        low = middle + 1;
    }
    y[r * rowStride + (i - r * draws) * stride] = static_cast<std::int32_t>(low);
  }
}

// y i32 [R, S], inout state <- weights T [R, C]
void categorical(const Args& args) {
  const View &y = args.out[0], &w = args.in[0];
  const std::int64_t rows = y.shape[0], draws = y.shape[1], classes = w.shape[1];
  if (rows == 0) return;
  const RandomState state(args.out[1]);
  double* cdf = args.scratch->array<double>(rows * classes > 0 ? rows * classes : 1);
  byFloat(w.dtype, [&]<class T>() {
    GYRUS_LAUNCH(blocksFor(rows, kBlock / 32), kBlock, 0, categoricalSums<T>, cdf, w.as<T>(), w.stride[0], w.stride[1],
                 rows, classes, faultOf(Op::Categorical));
  });
  if (draws == 0) return;
  GYRUS_LAUNCH(blocksFor(rows * draws, kBlock, kMostBlocks), kBlock, 0, categoricalDraw, y.as<std::int32_t>(),
               y.stride[0], y.stride[1], cdf, draws, rows * draws, classes, state);
  advance(state, static_cast<std::uint64_t>(rows * draws));
}

}  // namespace

void advance(const RandomState& state, std::uint64_t words) {
  GYRUS_LAUNCH(1, 1, 0, advanceKernel, state, (words + 3) / 4);
}

void registerRandom(KernelTable& t) {
  t.set(Op::Random, random);
  t.set(Op::Permutation, permutation);
  t.set(Op::Categorical, categorical);
}

}  // namespace gyrus::cuda
