// The emulated CUDA device: what kernels meet at, what it notices, and its runtime.
#include <string>
#include <vector>

#include "cuda/async_copy.cuh"
#include "cuda/mma.cuh"
#include "cuda/runtime.h"
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::cuda;
using emulation::Order;

namespace {

// The sum of 256 numbers by a tree in shared memory; without its barriers other threads' numbers are missed.
template <bool barriers>
__global__ void treeSum(float* y, const float* x) {
  using Line = float[256];
  GYRUS_SHARED(Line, line);
  const unsigned t = threadIdx.x;
  line[t] = x[blockIdx.x * 256 + t];
  __syncthreads();
  for (unsigned half = 128; half > 0; half /= 2) {
    if (t < half) line[t] += line[t + half];
    if (barriers) __syncthreads();
  }
  if (t == 0) y[blockIdx.x] = line[0];
}

std::vector<float> sums(bool barriers, Order order) {
  const test::ThreadOrder scope(order);
  std::vector<float> x(1024), y(4, -1.0f);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 256 + i / 256);
  if (barriers)
    GYRUS_LAUNCH(4, 256, 0, treeSum<true>, y.data(), x.data());
  else
    GYRUS_LAUNCH(4, 256, 0, treeSum<false>, y.data(), x.data());
  checked(cudaDeviceSynchronize(), "treeSum");
  return y;
}

}  // namespace

TEST_CASE("emulation: barriers make the order of threads indifferent, and a missing one shows") {
  const std::vector<float> right = {32640, 32896, 33152, 33408};
  bool differs = false;
  for (const Order order : {Order{Order::Forward, 0}, Order{Order::Reverse, 0}, Order{Order::Shuffled, 3}}) {
    CHECK(sums(true, order) == right);
    differs = differs || sums(false, order) != right;
  }
  CHECK(differs);
}

namespace {

// The error that a kernel ends in; "" if it doesn't. Leaves the device usable.
template <class F>
std::string errorOf(F launch) {
  std::string text;
  try {
    launch();
    checked(cudaDeviceSynchronize(), "kernel");
  } catch (const Error& e) {
    text = e.what();
  }
  emulation::reset();
  return text;
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

__global__ void barrierOfSome(int most) {
  if (static_cast<int>(threadIdx.x) < most) __syncthreads();
}
__global__ void barriersOfTwoPlaces() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void exitsBeforeShuffle(int* y) {
  if (threadIdx.x == 31) return;
  y[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1, 1);
}
__global__ void shufflesFromOutside(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(0xFFFFu, 1, 8);
}
__global__ void waitsAndTraps() {
  if (threadIdx.x == 5) __trap();
  __syncthreads();
}
__global__ void nothing() {}

}  // namespace

TEST_CASE("emulation: threads that don't meet are an error that says where") {
  const std::string some = errorOf([] { GYRUS_LAUNCH(dim3(2, 3), 64, 0, barrierOfSome, 40); });
  CHECK(contains(some, "barrierOfSome: block (0, 0, 0)"));
  CHECK(contains(some, "40 of 64 threads"));
  CHECK(contains(some, "24 have returned"));
  CHECK(errorOf([] { GYRUS_LAUNCH(2, 64, 0, barrierOfSome, 64); }) == "");
  const std::string places = errorOf([] { GYRUS_LAUNCH(1, 64, 0, barriersOfTwoPlaces); });
  CHECK(contains(places, "divergent barrier"));
  int y[32] = {};
  const std::string exited = errorOf([&] { GYRUS_LAUNCH(1, 32, 0, exitsBeforeShuffle, y); });
  CHECK(contains(exited, "31 threads wait for lanes of their warp"));
  CHECK(contains(exited, "1 have returned"));
  const std::string outside = errorOf([&] { GYRUS_LAUNCH(1, 32, 0, shufflesFromOutside, y); });
  CHECK(contains(outside, "which isn't in its mask"));
  const std::string trapped = errorOf([] { GYRUS_LAUNCH(1, 64, 0, waitsAndTraps); });
  CHECK(contains(trapped, "waitsAndTraps: block (0, 0, 0), thread (5, 0, 0): __trap"));
}

TEST_CASE("emulation: an error sticks to the device until it is reset") {
  GYRUS_LAUNCH(1, 64, 0, barrierOfSome, 40);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  void* p = nullptr;
  CHECK(cudaMalloc(&p, 4) == cudaErrorLaunchFailure);
  CHECK_THROWS_AS(GYRUS_LAUNCH(1, 1, 0, nothing), Error);
  emulation::reset();
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMalloc(&p, 4) == cudaSuccess);
  const emulation::Allocated held = emulation::allocated();
  GYRUS_LAUNCH(1, 64, 0, barrierOfSome, 40);
  CHECK(cudaFree(p) == cudaErrorLaunchFailure);
  CHECK(emulation::allocated().count == held.count);
  emulation::reset();
  CHECK(emulation::allocated().count == held.count - 1);
  CHECK(emulation::allocated().bytes == held.bytes - 4);
}

namespace {

__global__ void warpOperations(int* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int sum = lane;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
  y[0] = sum;
  const int down = __shfl_down_sync(0xFFFFFFFFu, lane, 3), up = __shfl_up_sync(0xFFFFFFFFu, lane, 3, 8);
  y[1 + threadIdx.x] = down * 100 + up;
  const double pi = __shfl_sync(0xFFFFFFFFu, lane == 7 ? 3.25 : 0.0, 7);
  y[100 + threadIdx.x] = pi == 3.25;
  // Half a warp, on its own.
  unsigned odd = 0;
  if (lane < 16) odd = __ballot_sync(0xFFFFu, lane % 2);
  __syncwarp();
  const int any = __any_sync(0xFFFFFFFFu, lane == 31), all = __all_sync(0xFFFFFFFFu, lane != 31);
  y[200 + threadIdx.x] = static_cast<int>(odd) * 4 + any * 2 + all;
}

}  // namespace

TEST_CASE("emulation: shuffles and votes") {
  for (const Order order : {Order{Order::Forward, 0}, Order{Order::Reverse, 0}, Order{Order::Shuffled, 11}}) {
    const test::ThreadOrder scope(order);
    std::vector<int> y(264);
    GYRUS_LAUNCH(1, 64, 0, warpOperations, y.data());
    checked(cudaDeviceSynchronize(), "warpOperations");
    CHECK(y[0] == 496);
    for (int t = 0; t < 64; ++t) {
      const int lane = t % 32, down = lane + 3 < 32 ? lane + 3 : lane, up = lane % 8 < 3 ? lane : lane - 3;
      CHECK(y[static_cast<std::size_t>(1 + t)] == down * 100 + up);
      CHECK(y[static_cast<std::size_t>(100 + t)] == 1);
      CHECK(y[static_cast<std::size_t>(200 + t)] == (lane < 16 ? 0xAAAA * 4 : 0) + 2);
    }
  }
}

namespace {

__global__ void countsAndMaximum(int* count, unsigned* most, int* voted) {
  atomicAdd(count, 1);
  atomicMax(most, threadIdx.x * 7 % 100);
  voted[threadIdx.x] = __syncthreads_count(threadIdx.x % 3 == 0);
}

template <class T>
__device__ T& lastOfShared() {
  using Line = T[4];
  GYRUS_SHARED(Line, line);
  return line[3];
}
__global__ void sharedMemory(float* y, unsigned* poisoned) {
  GYRUS_DYNAMIC_SHARED(float, dynamic);
  if (threadIdx.x == 0) {
    poisoned[0] = __float_as_uint(lastOfShared<float>());
    poisoned[1] = __float_as_uint(dynamic[63]);
    poisoned[2] = static_cast<unsigned>(lastOfShared<int>());
  }
  __syncthreads();
  if (threadIdx.x == 1) lastOfShared<float>() = 2.0f;
  if (threadIdx.x == 2) lastOfShared<int>() = 5;
  dynamic[threadIdx.x] = static_cast<float>(blockIdx.x);
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] =
      lastOfShared<float>() + static_cast<float>(lastOfShared<int>()) + dynamic[63 - threadIdx.x];
}
__global__ void tooMuchShared(char* y) {
  using Large = char[49153];
  GYRUS_SHARED(Large, large);
  large[0] = *y;
}

}  // namespace

TEST_CASE("emulation: atomics, counting barriers") {
  int count = 0, voted[64] = {};
  unsigned most = 0;
  GYRUS_LAUNCH(3, 64, 0, countsAndMaximum, &count, &most, voted);
  checked(cudaDeviceSynchronize(), "countsAndMaximum");
  CHECK(count == 192);
  CHECK(most == 99);
  for (const int v : voted) CHECK(v == 22);
}

TEST_CASE("emulation: shared memory is the block's, by call site and type, and poisoned when a block begins") {
  std::vector<float> y(128);
  unsigned poisoned[3] = {};
  GYRUS_LAUNCH(2, 64, 64 * sizeof(float), sharedMemory, y.data(), poisoned);
  checked(cudaDeviceSynchronize(), "sharedMemory");
  for (const unsigned p : poisoned) CHECK(p == emulation::kPoison);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == 7.0f + static_cast<float>(i / 64));
  CHECK(contains(errorOf([&] { GYRUS_LAUNCH(1, 64, 0, sharedMemory, y.data(), poisoned); }), "dynamic shared memory"));
  char c = 0;
  CHECK(contains(errorOf([&] { GYRUS_LAUNCH(1, 1, 0, tooMuchShared, &c); }), "static shared memory of 49153 bytes"));
}

TEST_CASE("emulation: launches beyond the device's limits are refused") {
  const auto refused = [](dim3 grid, dim3 block, std::size_t bytes) {
    return errorOf([&] { GYRUS_LAUNCH(grid, block, bytes, nothing); });
  };
  CHECK(refused(1, 1024, 0) == "");
  CHECK(contains(refused(1, 1025, 0), "nothing: cudaErrorInvalidConfiguration"));
  CHECK(contains(refused(1, dim3(32, 33), 0), "cudaErrorInvalidConfiguration"));
  CHECK(contains(refused(1, dim3(1, 1, 65), 0), "cudaErrorInvalidConfiguration"));
  CHECK(contains(refused(0, 32, 0), "cudaErrorInvalidConfiguration"));
  CHECK(contains(refused(dim3(1, 65536), 32, 0), "cudaErrorInvalidConfiguration"));
  CHECK(refused(1, 1, 48 << 10) == "");
  CHECK(contains(refused(1, 1, (48 << 10) + 1), "cudaErrorInvalidValue"));
  CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 99 << 10) == cudaSuccess);
  CHECK(refused(1, 1, 99 << 10) == "");
  CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, (99 << 10) + 1) ==
        cudaErrorInvalidValue);
  cudaGetLastError();
}

namespace {

// Each lane's words of four matrices, of which row r of matrix m holds 100 m + 4 r to 100 m + 4 r + 3. They lie in
// shared memory with a gap of 16 bytes behind each row.
__global__ void readMatrices(unsigned* y) {
  using Rows = uint4[32 * 2];
  GYRUS_SHARED(Rows, rows);
  const unsigned lane = threadIdx.x, first = lane / 8 * 100 + lane % 8 * 4;
  rows[lane * 2] = make_uint4(first, first + 1, first + 2, first + 3);
  __syncthreads();
  unsigned words[4];
  for (int turn = 0; turn < 3; ++turn) {  // they may follow each other
    loadMatrices(words, &rows[(lane + static_cast<unsigned>(turn)) % 32 * 2]);
    if (turn > 0) continue;
    for (unsigned m = 0; m < 4; ++m) y[lane * 4 + m] = words[m];
  }
}
// Reads what copies bring, before or after waiting for them, at an offset of some bytes from where they are.
__global__ void readCopies(unsigned* y, const uint4* x, bool wait, int offset, bool fromGlobal) {
  using Rows = uint4[32];
  GYRUS_SHARED(Rows, rows);
  copyAsync<16>(&rows[threadIdx.x], x + threadIdx.x, 16);
  commitCopies();
  if (wait) waitCopies<0>();
  __syncthreads();
  unsigned words[4];
  const void* const row = fromGlobal ? static_cast<const void*>(x + threadIdx.x) : &rows[threadIdx.x];
  loadMatrices(words, static_cast<const char*>(row) + offset);
  y[threadIdx.x] = words[0];
  waitCopies<0>();
}

}  // namespace

TEST_CASE("emulation: matrices are read from shared memory, as a lane of a warp has them") {
  std::vector<unsigned> y(128);
  GYRUS_LAUNCH(1, 32, 0, readMatrices, y.data());
  checked(cudaDeviceSynchronize(), "readMatrices");
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned m = 0; m < 4; ++m) CHECK(y[lane * 4 + m] == m * 100 + lane / 4 * 4 + lane % 4);

  std::vector<uint4> x(32, make_uint4(7, 7, 7, 7));
  const auto error = [&](bool wait, int offset, bool fromGlobal) {
    return errorOf([&] { GYRUS_LAUNCH(1, 32, 0, readCopies, y.data(), x.data(), wait, offset, fromGlobal); });
  };
  CHECK(error(true, 0, false) == "");
  for (unsigned lane = 0; lane < 32; ++lane) CHECK(y[lane] == 7);
  CHECK(error(false, 0, false) == "");  // only what was waited for is there
  for (unsigned lane = 0; lane < 32; ++lane) CHECK(y[lane] == emulation::kPoison);
  CHECK(contains(error(true, 8, false), "a row of a matrix at a misaligned address"));
  CHECK(contains(error(true, 16, false), "a row of a matrix outside of shared memory"));  // the last lane's
  CHECK(contains(error(true, 0, true), "a row of a matrix outside of shared memory"));
}

TEST_CASE("emulation: 16-bit floats round to nearest even") {
  // All halves come back; between two neighbours the even one is taken.
  for (unsigned bits = 0; bits < 0x7C00; ++bits) {
    const float x = __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
    const float next = __half2float(__ushort_as_half(static_cast<unsigned short>(bits + 1)));
    const bool same = __half_as_ushort(__float2half_rn(x)) == bits;
    REQUIRE(same);
    if (bits + 1 == 0x7C00) break;
    const bool even = __half_as_ushort(__float2half_rn((x + next) / 2)) == (bits % 2 ? bits + 1 : bits);
    REQUIRE(even);
  }
  CHECK(__half_as_ushort(__float2half_rn(-65520.0f)) == 0xFC00);
  CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(1.0f)) == 0x3F80);
  CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(__uint_as_float(0x3F808000))) == 0x3F80);
  CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(__uint_as_float(0x3F818000))) == 0x3F82);
  CHECK(__bfloat162float(__float2bfloat16_rn(NAN)) != __bfloat162float(__float2bfloat16_rn(NAN)));
}
