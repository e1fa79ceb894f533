#include "cuda/conv/prepare.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kSide = 32, kDown = 8;

// A transpose through tiles in shared memory: channels of a tap are neighbours in w, outputs in what is written.
// Blocks (tile of outputs, tile of taps and channels, group).
template <class T>
__global__ void __launch_bounds__(kSide* kDown)
    byOutputKernel(T* to, Weights<T> w, int firstGroup, int outputs, int padded, int depth) {
  using Square = T[kSide][kSide + 1];
  GYRUS_SHARED(Square, tile);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int group = static_cast<int>(blockIdx.z) + firstGroup, firstOutput = static_cast<int>(blockIdx.y) * kSide;
  const int firstDepth = static_cast<int>(blockIdx.x) * kSide, from = firstDepth + tx;
  for (int j = ty; j < kSide; j += kDown) {
    const int output = firstOutput + j;
    tile[j][tx] = output < outputs && from < depth ? w.at(group * outputs + output, from / w.C, from % w.C) : T(0);
  }
  __syncthreads();
  for (int j = ty; j < kSide; j += kDown)
    if (firstDepth + j < depth && firstOutput + tx < padded)
      to[(std::int64_t{group} * depth + firstDepth + j) * padded + firstOutput + tx] = tile[tx][j];
}

template <class T>
__global__ void __launch_bounds__(256)
    byChannelKernel(T* to, Weights<T> w, std::int64_t n, int taps, int outputs, int padded) {
  for (std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x; i < n; i += std::int64_t{gridDim.x} * 256) {
    const std::int64_t row = i / padded, plane = row / outputs;
    const int channel = static_cast<int>(i - row * padded), output = static_cast<int>(row - plane * outputs);
    const auto group = static_cast<int>(plane / taps), tap = static_cast<int>(plane - std::int64_t{group} * taps);
    to[i] = channel < w.C ? w.at(group * outputs + output, tap, channel) : T(0);
  }
}

constexpr int paddedColumns(int columns) { return (columns + 3) / 4 * 4; }

// [group][tap, channel of the source][padded columns], in scratch.
template <class T>
DepthRows<T> packed(T* data, std::int64_t taps, std::int64_t depth, int padded) {
  return {data, taps * depth * padded, depth * padded, padded, padded};
}

}  // namespace

template <class T>
DepthRows<T> weightsByOutput(const Args& args, const Weights<T>& w, const Windows& windows) {
  const int outputs = w.F / windows.groups, padded = paddedColumns(outputs);
  const auto depth = static_cast<int>(windows.taps() * w.C);
  const std::int64_t n = std::int64_t{windows.groups} * depth * padded;
  T* to = args.scratch->array<T>(n);
  constexpr int most = 65535;  // of a grid's third axis
  for (int first = 0; n > 0 && first < windows.groups; first += most)
    GYRUS_LAUNCH(dim3(blocksFor(depth, kSide), blocksFor(padded, kSide), std::min(windows.groups - first, most)),
                 dim3(kSide, kDown), 0, byOutputKernel<T>, to, w, first, outputs, padded, depth);
  return packed(to, windows.taps(), w.C, padded);
}

template <class T>
DepthRows<T> weightsByChannel(const Args& args, const Weights<T>& w, const Windows& windows) {
  const int outputs = w.F / windows.groups, padded = paddedColumns(w.C);
  if (!w.outputs && !w.inputs && !w.outputCount && !w.inputCount && w.c == 1 && w.C == padded && w.f % 4 == 0 &&
      w.w % 4 == 0 && (w.h == w.w * w.kernelW || windows.h.kernel == 1) && aligned(w.data, 16))
    return {w.data, outputs * w.f, w.w, w.f, padded};
  const std::int64_t n = windows.taps() * w.F * padded;
  T* to = args.scratch->array<T>(n);
  if (n > 0)
    GYRUS_LAUNCH(blocksFor(n, 256), 256, 0, byChannelKernel<T>, to, w, n, static_cast<int>(windows.taps()), outputs,
                 padded);
  return packed(to, windows.taps(), outputs, padded);
}

#define GYRUS_INSTANTIATE(T)                                                                \
  template DepthRows<T> weightsByOutput<T>(const Args&, const Weights<T>&, const Windows&); \
  template DepthRows<T> weightsByChannel<T>(const Args&, const Weights<T>&, const Windows&);
GYRUS_INSTANTIATE(float)
GYRUS_INSTANTIATE(double)
#undef GYRUS_INSTANTIATE

}  // namespace gyrus::cuda
