// The emulated CUDA device: what kernels meet at, what it notices, and its runtime.
#include <string>
#include <vector>

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
