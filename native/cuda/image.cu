// Kernels for pictures: bilinear resize, its gradient as a sum per input pixel, and augmentation.
#include "core/crop.h"
#include "cuda/elements.cuh"
#include "cuda/families.h"
#include "cuda/pack.cuh"
#include "cuda/philox.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;

// ---- resize --------------------------------------------------------------------------------------------------

// Pixel i of `to` pixels lies at ((2i + 1) from - to) / (2 to) among `from` pixels: an exact quotient, so low and part
// are the CPU's without arithmetic in double.
template <class T, class Divisor>
struct Axis {
  using Index = typename Divisor::Index;
  Index from, to;
  Divisor twice, source;  // by 2 to and by from

  Axis() = default;
  Axis(std::int64_t f, std::int64_t t)
      : from(static_cast<Index>(f)), to(static_cast<Index>(t)), twice(2 * t), source(f) {}

  struct Place {
    Index low, high;
    T part;
  };
  __device__ Place place(Index i) const {
    const Index at = (2 * i + 1) * from;
    if (at <= to) return {0, from > 1 ? Index{1} : Index{0}, T(0)};
    const Index low = twice.over(at - to), rest = at - to - low * twice.d;
    if (low + 1 >= from) return {from - 1, from - 1, T(0)};
    return {low, low + 1, static_cast<T>(rest) / static_cast<T>(twice.d)};
  }
};

// Of a picture.
template <class Index>
struct Strides {
  Index b, i, j, c;
};
template <class Index>
Strides<Index> stridesOf(const View& v) {
  return {static_cast<Index>(v.stride[0]), static_cast<Index>(v.stride[1]), static_cast<Index>(v.stride[2]),
          static_cast<Index>(v.stride[3])};
}

// N neighbouring channels per thread: 4 where both pictures lie in 16-byte packs of floats, else 1.
template <class T, int N, class Divisor>
__global__ void __launch_bounds__(kBlock)
    resizeKernel(T* y, const T* x, Elements<Divisor> elements, Strides<typename Divisor::Index> ys,
                 Strides<typename Divisor::Index> xs, Axis<T, Divisor> rows, Axis<T, Divisor> cols) {
  using Index = typename Divisor::Index;
  using P = Pack<T, N>;
  const Index step = Index{gridDim.x} * kBlock;
  for (Index e = Index{blockIdx.x} * kBlock + threadIdx.x; e < elements.count; e += step) {
    Index b, i, j, c;
    elements.place(e, b, i, j, c);
    c *= N;
    const auto row = rows.place(i);
    const auto col = cols.place(j);
    const T* from = x + b * xs.b + c * xs.c;
    const auto at = [&](Index r, Index s) { return *reinterpret_cast<const P*>(from + r * xs.i + s * xs.j); };
    const P a = at(row.low, col.low), d = at(row.low, col.high), u = at(row.high, col.low), w = at(row.high, col.high);
    P out;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const T top = fma(col.part, d.v[k], (1 - col.part) * a.v[k]);
      const T bottom = fma(col.part, w.v[k], (1 - col.part) * u.v[k]);
      out.v[k] = fma(row.part, bottom, (1 - row.part) * top);
    }
    *reinterpret_cast<P*>(y + b * ys.b + i * ys.i + j * ys.j + c * ys.c) = out;
  }
}

// The output pixels [first, end) that touch input pixel r: those with r - 1 <= place < r + 1, and what is held at the
// border.
template <class T, class Divisor>
__device__ __forceinline__ void touching(const Axis<T, Divisor>& axis, typename Divisor::Index r,
                                         typename Divisor::Index& first, typename Divisor::Index& end) {
  using Index = typename Divisor::Index;
  first = r == 0 ? Index{0} : axis.source.over((2 * r - 1) * axis.to + axis.from - 1) / 2;
  end = r + 1 == axis.from ? axis.to : axis.source.over((2 * r + 3) * axis.to + axis.from - 1) / 2;
  if (end > axis.to) end = axis.to;
}

// Weight of input pixel r in an output pixel at `place`.
template <class Place, class Index>
__device__ __forceinline__ auto weightOf(const Place& place, Index r) {
  auto w = place.part;
  w = 0;
  if (place.low == r) w += 1 - place.part;
  if (place.high == r) w += place.part;
  return w;
}

// dx[b, r, s, c] = sum of g over the output pixels that saw it, by rows, then columns.
template <class T, int N, class Divisor>
__global__ void __launch_bounds__(kBlock)
    resizeGradKernel(T* dx, const T* g, Elements<Divisor> elements, Strides<typename Divisor::Index> xs,
                     Strides<typename Divisor::Index> gs, Axis<T, Divisor> rows, Axis<T, Divisor> cols) {
  using Index = typename Divisor::Index;
  using P = Pack<T, N>;
  const Index step = Index{gridDim.x} * kBlock;
  for (Index e = Index{blockIdx.x} * kBlock + threadIdx.x; e < elements.count; e += step) {
    Index b, r, s, c;
    elements.place(e, b, r, s, c);
    c *= N;
    Index top, bottom, left, right;
    touching(rows, r, top, bottom);
    touching(cols, s, left, right);
    const T* from = g + b * gs.b + c * gs.c;
    P sum;
#pragma unroll
    for (int k = 0; k < N; ++k) sum.v[k] = 0;
#pragma unroll 1
    for (Index i = top; i < bottom; ++i) {
      const T down = weightOf(rows.place(i), r);
#pragma unroll 1
      for (Index j = left; j < right; ++j) {
        const T weight = down * weightOf(cols.place(j), s);
        const P d = *reinterpret_cast<const P*>(from + i * gs.i + j * gs.j);
#pragma unroll
        for (int k = 0; k < N; ++k) sum.v[k] = fma(weight, d.v[k], sum.v[k]);
      }
    }
    *reinterpret_cast<P*>(dx + b * xs.b + r * xs.i + s * xs.j + c * xs.c) = sum;
  }
}

bool inPacks(const View& v, int n) {
  return v.stride[3] == 1 && v.stride[0] % n == 0 && v.stride[1] % n == 0 && v.stride[2] % n == 0 &&
         aligned(v.data, n * sizeOf(v.dtype));
}
// Whether offsets in the picture fit in 31 bits.
bool small(const View& v) {
  std::int64_t last = 0;
  for (int d = 0; d < 4; ++d) last += (v.shape[d] - 1) * v.stride[d];
  return last < std::int64_t{1} << 31 && v.size() < std::int64_t{1} << 30;
}

// Launches `kernel<T, N, Divisor>` for every element of y; rows and columns go from those of `in` to those of `out`.
template <bool gradient>
void resize(const Args& args) {
  const View &y = args.out[0], &x = args.in[0];
  if (y.size() == 0) return;
  const View &in = gradient ? y : x, &out = gradient ? x : y;
  const auto fits = [&](int d) {
    return (2 * out.shape[d] + 1) * in.shape[d] < std::int64_t{1} << 31 &&
           (2 * in.shape[d] + 1) * out.shape[d] + in.shape[d] < std::int64_t{1} << 31;
  };
  byFloat(y.dtype, [&]<class T>() {
    const auto run = [&]<int N, class Divisor>(std::integral_constant<int, N>, Divisor) {
      using Index = typename Divisor::Index;
      const auto elements = elementsOf<Divisor>(y, y.shape[0], N);
      const Axis<T, Divisor> rows(in.shape[1], out.shape[1]), cols(in.shape[2], out.shape[2]);
      constexpr auto kernel = gradient ? resizeGradKernel<T, N, Divisor> : resizeKernel<T, N, Divisor>;
      GYRUS_LAUNCH(blocksFor(y.size() / N, kBlock), kBlock, 0, kernel, y.as<T>(), x.as<T>(), elements,
                   stridesOf<Index>(y), stridesOf<Index>(x), rows, cols);
    };
    const bool narrow = small(y) && small(x) && fits(1) && fits(2);
    const auto byWidth = [&](auto width) {
      if (narrow)
        run(width, Divisor32());
      else
        run(width, Divisor64());
    };
    if (sizeof(T) == 4 && y.shape[3] % 4 == 0 && inPacks(y, 4) && inPacks(x, 4))
      byWidth(std::integral_constant < int, sizeof(T) == 4 ? 4 : 1 > ());
    else
      byWidth(std::integral_constant<int, 1>());
  });
}

// ---- augment -------------------------------------------------------------------------------------------------

// Elements of a picture that one block takes: the crop is drawn once for all of them.
constexpr std::int64_t kPiece = 16 * kBlock;

template <class X, class Divisor>
__global__ void __launch_bounds__(kBlock)
    augmentKernel(float* y, const X* x, Strides<std::int64_t> xs, const float* scale, std::int64_t scaleStride,
                  const float* shift, std::int64_t shiftStride, std::int64_t pictures, Divisor64 pieces,
                  std::int64_t height, Divisor width, Divisor channels, std::int64_t padding, double flip,
                  RandomState state, bool alone) {
  using Index = typename Divisor::Index;
  GYRUS_SHARED(Crop, crop);
  const RandomWords words(state);
  if (alone) {
    __syncthreads();
    if (threadIdx.x == 0) state.setCounter(words.counter + static_cast<std::uint64_t>(pictures));
  }
  const std::int64_t size = height * width.d * channels.d;
  for (std::int64_t p = blockIdx.x; p < pictures * pieces.d; p += gridDim.x) {
    const std::int64_t b = pieces.over(p), first = (p - b * pieces.d) * kPiece;
    if (threadIdx.x == 0) {
      std::uint32_t w[4];
      words.block(static_cast<std::uint64_t>(b), w);
      crop = drawCrop(padding, flip, w);
    }
    __syncthreads();
    const std::int64_t down = crop.down, right = crop.right;
    const bool mirrored = crop.mirrored;
    const X* picture = x + b * xs.b;
    const std::int64_t end = first + kPiece < size ? first + kPiece : size;
    for (std::int64_t e = first + threadIdx.x; e < end; e += kBlock) {
      const Index pixel = channels.over(static_cast<Index>(e)), c = static_cast<Index>(e) - pixel * channels.d;
      const Index i = width.over(pixel), j = pixel - i * width.d;
      const std::int64_t r = i + down, s = (mirrored ? width.d - 1 - j : j) + right;
      const bool inside = r >= 0 && r < height && s >= 0 && s < static_cast<std::int64_t>(width.d);
      const float value = inside ? static_cast<float>(picture[r * xs.i + s * xs.j + c * xs.c]) : 0.0f;
      // Two roundings, as on the CPU.
      y[b * size + e] = __fadd_rn(__fmul_rn(value, scale[c * scaleStride]), shift[c * shiftStride]);
    }
    __syncthreads();  // before the next crop
  }
}

// y f32 [B, H, W, C], inout state <- x (u8|f32), scale, shift [C]
void augment(const Args& args) {
  const auto& p = args.as<AugmentParams>();
  const View &y = args.out[0], &x = args.in[0], &scale = args.in[1], &shift = args.in[2];
  const std::int64_t pictures = y.shape[0], size = y.shape[1] * y.shape[2] * y.shape[3];
  if (pictures == 0) return;
  const RandomState state(args.out[1]);
  const auto words = static_cast<std::uint64_t>(pictures) * 4;
  if (size == 0) return advance(state, words);
  const std::int64_t pieces = (size + kPiece - 1) / kPiece;
  const unsigned blocks = blocksFor(pictures * pieces, 1);
  const auto run = [&]<class X, class Divisor>(X, Divisor) {
    GYRUS_LAUNCH(blocks, kBlock, 0, (augmentKernel<X, Divisor>), y.as<float>(), x.as<X>(), stridesOf<std::int64_t>(x),
                 scale.as<float>(), scale.stride[0], shift.as<float>(), shift.stride[0], pictures, Divisor64(pieces),
                 y.shape[1], Divisor(y.shape[2]), Divisor(y.shape[3]), static_cast<std::int64_t>(p.padding), p.flip,
                 state, blocks == 1);
  };
  const auto byExtent = [&](auto element) {
    if (size < std::int64_t{1} << 31)
      run(element, Divisor32());
    else
      run(element, Divisor64());
  };
  if (x.dtype == DType::U8)
    byExtent(std::uint8_t{});
  else
    byExtent(float{});
  if (blocks > 1) advance(state, words);
}

}  // namespace

void registerImage(KernelTable& t) {
  t.set(Op::ResizeBilinear, resize<false>);
  t.set(Op::ResizeBilinearGrad, resize<true>);
  t.set(Op::Augment, augment);
}

}  // namespace gyrus::cuda
