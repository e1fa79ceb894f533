// Where the windows of a convolution lie: along one axis, and the walks over taps and channels that the kernels share.
//
// The gradient of the input is a convolution too. Along an axis of stride s, the pixels of the input fall into s
// classes by their remainder; the taps that meet a class are every (s / gcd(s, dilation))-th, and seen from the class
// they lie on the output's gradient with stride 1. So every class is a convolution of stride 1 with its own few taps,
// and no product is with a zero between strides.
#pragma once
#include <algorithm>
#include <numeric>

#include "cuda/runtime.h"
#include "kernels/contract.h"

namespace gyrus::cuda {

constexpr std::int64_t kMostIndex = (std::int64_t{1} << 30);  // positions that a kernel counts in 32 bits

// One axis of a Conv2dShapeParams.
struct WindowAxis {
  int kernel, stride, pad, dilation;
  int x, y;    // extents of input and output
  int common;  // gcd(stride, dilation)

  // Whether each position of the output sees that of the input and no other.
  bool single() const { return kernel == 1 && stride == 1 && pad == 0 && x == y; }
  // Classes of the input's pixels that aren't empty.
  __host__ __device__ int classes() const { return stride < x ? stride : x; }
};

// A walk over the output positions of a convolution, or over the input's of one class for its gradient: position i
// stands at outStart + i*outStep and its tap t meets position i*move + start + t*step of what is gathered.
struct Axis {
  int taps, firstTap, tapStep;  // tap t is number firstTap + t*tapStep of the kernel
  int move, start, step;
  int in;  // the gathered extent
  int out, outStart, outStep;
};

__device__ __forceinline__ Axis forwardAxis(const WindowAxis& a) {
  return {a.kernel, 0, 1, a.stride, -a.pad, a.dilation, a.x, a.y, 0, 1};
}
__device__ __forceinline__ Axis backwardAxis(const WindowAxis& a, int cls) {
  const int tapStep = a.stride / a.common, first = cls + a.pad;
  int tap = 0;
  const int most = tapStep < a.kernel ? tapStep : a.kernel;
  while (tap < most && (first - tap * a.dilation) % a.stride != 0) ++tap;
  const int taps = tap < most ? (a.kernel - tap + tapStep - 1) / tapStep : 0;
  return {taps,
          tap,
          tapStep,
          1,
          (first - tap * a.dilation) / a.stride,
          -(a.dilation / a.common),
          a.y,
          (a.x - cls + a.stride - 1) / a.stride,
          cls,
          a.stride};
}

// Whether tap `step` further than `first` lies inside. kOutside never does.
constexpr int kOutside = -2147483647 - 1;
__device__ __forceinline__ bool inside(int first, int step, int extent) {
  return static_cast<unsigned>(first) + static_cast<unsigned>(step) < static_cast<unsigned>(extent);
}

// A number of the depth of the product: channel c of tap (h, w).
struct Walk {
  int c, h, w;

  __device__ __forceinline__ void advance(int n, int channels, int tapsW) {
    c += n;
    while (c >= channels) {
      c -= channels;
      if (++w == tapsW) {
        w = 0;
        ++h;
      }
    }
  }
};

// A view [N, H, W, C].
template <class T>
struct Pixels {
  T* data;
  std::int64_t n, h, w, c;  // strides

  explicit Pixels(const View& v) : data(v.as<T>()), n(v.stride[0]), h(v.stride[1]), w(v.stride[2]), c(v.stride[3]) {}
  Pixels() : data(nullptr), n(0), h(0), w(0), c(0) {}

  // Whether four neighbouring channels, the first a multiple of 4, can be taken as one.
  bool quads() const {
    return c == 1 && n % 4 == 0 && h % 4 == 0 && w % 4 == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  }
};

inline int countable(const char* op, double n) {
  if (n > static_cast<double>(kMostIndex))
    throw Error(Code::Shape, std::string(op) + ": a picture with its padding and windows is beyond 2^30 positions");
  return static_cast<int>(n);
}
inline WindowAxis windowAxis(const char* op, double stride, double pad, double dilation, double kernel, std::int64_t x,
                             std::int64_t y) {
  // The furthest that any position of a walk can be.
  countable(op, static_cast<double>(y) * stride + pad + kernel * dilation + static_cast<double>(x));
  const int s = static_cast<int>(stride), d = static_cast<int>(dilation);
  return {
      static_cast<int>(kernel), s, static_cast<int>(pad), d, static_cast<int>(x), static_cast<int>(y), std::gcd(s, d)};
}
// As many of the samples as have no more positions than can be counted, when a sample has `each`.
inline int samplesAtOnce(const char* op, std::int64_t samples, double each) {
  return static_cast<int>(std::min(samples, kMostIndex / std::max(countable(op, each), 1)));
}

// What a call's record and shapes come to.
struct Windows {
  WindowAxis h, w;
  int samples, groups, C, F;  // channels of x and y

  Windows(const char* op, const Conv2dShapeParams& p, const View& x, const View& y, const View& weight) {
    h = windowAxis(op, p.strideH, p.padTop, p.dilationH, static_cast<double>(weight.shape[1]), x.shape[1], y.shape[1]);
    w = windowAxis(op, p.strideW, p.padLeft, p.dilationW, static_cast<double>(weight.shape[2]), x.shape[2], y.shape[2]);
    groups = countable(op, p.groups);
    samples = countable(op, static_cast<double>(x.shape[0]));
    C = countable(op, static_cast<double>(x.shape[3]));
    F = countable(op, static_cast<double>(y.shape[3]));
    countable(op, static_cast<double>(taps()) * std::max(C, F));
  }
  std::int64_t taps() const { return std::int64_t{h.kernel} * w.kernel; }
  bool depthwise() const { return groups == C && groups > 1 && F > 0; }
  // Every pixel by itself: a dense layer.
  bool pointwise() const { return h.single() && w.single() && groups == 1; }
};

}  // namespace gyrus::cuda
