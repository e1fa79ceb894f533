// y[i] = f(x[i]...) over operands of any layout: a kernel of 16-byte accesses where all of them are runs of f32, and
// one with an index mapper for everything else. f is a struct with a __device__ operator().
#pragma once
#include "cuda/strided.cuh"

namespace gyrus::cuda {

constexpr int kMapBlock = 256;

// The four floats number i of an operand, which may be one float everywhere.
__device__ __forceinline__ float4 loadFour(const float* x, std::int64_t i, bool single) {
  if (!single) return reinterpret_cast<const float4*>(x)[i];
  const float v = *x;
  return make_float4(v, v, v, v);
}

template <class F>
__global__ void __launch_bounds__(kMapBlock) mapRun1(float* y, const float* x, bool single, std::int64_t n, F f) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kMapBlock + threadIdx.x,
                     step = std::int64_t{gridDim.x} * kMapBlock;
  for (std::int64_t i = first; i < n / 4; i += step) {
    const float4 v = loadFour(x, i, single);
    reinterpret_cast<float4*>(y)[i] = make_float4(f(v.x), f(v.y), f(v.z), f(v.w));
  }
  const std::int64_t rest = n / 4 * 4 + first;
  if (rest < n) y[rest] = f(x[single ? 0 : rest]);
}

template <class F>
__global__ void __launch_bounds__(kMapBlock)
    mapRun2(float* y, const float* a, const float* b, bool singleA, bool singleB, std::int64_t n, F f) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kMapBlock + threadIdx.x,
                     step = std::int64_t{gridDim.x} * kMapBlock;
  for (std::int64_t i = first; i < n / 4; i += step) {
    const float4 u = loadFour(a, i, singleA), v = loadFour(b, i, singleB);
    reinterpret_cast<float4*>(y)[i] = make_float4(f(u.x, v.x), f(u.y, v.y), f(u.z, v.z), f(u.w, v.w));
  }
  const std::int64_t rest = n / 4 * 4 + first;
  if (rest < n) y[rest] = f(a[singleA ? 0 : rest], b[singleB ? 0 : rest]);
}

template <class Y, class X, class Divisor, class F>
__global__ void __launch_bounds__(kMapBlock)
    mapStrided1(Y* y, const X* x, Mapper<2, Divisor> mapper, typename Divisor::Index n, F f) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kMapBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kMapBlock) {
    Index at[2];
    mapper.offsets(i, at);
    y[at[0]] = f(x[at[1]]);
  }
}

template <class Y, class A, class B, class Divisor, class F>
__global__ void __launch_bounds__(kMapBlock)
    mapStrided2(Y* y, const A* a, const B* b, Mapper<3, Divisor> mapper, typename Divisor::Index n, F f) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kMapBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kMapBlock) {
    Index at[3];
    mapper.offsets(i, at);
    y[at[0]] = f(a[at[1]], b[at[2]]);
  }
}

template <class Y, class A, class B, class C, class Divisor, class F>
__global__ void __launch_bounds__(kMapBlock)
    mapStrided3(Y* y, const A* a, const B* b, const C* c, Mapper<4, Divisor> mapper, typename Divisor::Index n, F f) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kMapBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kMapBlock) {
    Index at[4];
    mapper.offsets(i, at);
    y[at[0]] = f(a[at[1]], b[at[2]], c[at[3]]);
  }
}

// ---- the host's side -------------------------------------------------------------------------------------

// Whether all operands are runs (inputs: or one element) at 16-byte addresses.
template <int K>
bool inFours(const View* const (&v)[K], const Nest<K>& nest) {
  for (int k = 0; k < K; ++k)
    if (!(nest.run(k) && aligned(v[k]->data, 16)) && !(k > 0 && nest.single(k))) return false;
  return true;
}

template <class F>
void mapFours(const View& y, const View& x, const Nest<2>& nest, F f) {
  GYRUS_LAUNCH(blocksFor(nest.count, 4 * kMapBlock), kMapBlock, 0, mapRun1<F>, y.as<float>(), x.as<float>(),
               nest.single(1), nest.count, f);
}
template <class F>
void mapFours(const View& y, const View& a, const View& b, const Nest<3>& nest, F f) {
  GYRUS_LAUNCH(blocksFor(nest.count, 4 * kMapBlock), kMapBlock, 0, mapRun2<F>, y.as<float>(), a.as<float>(),
               b.as<float>(), nest.single(1), nest.single(2), nest.count, f);
}

template <class Y, class X, class F>
void mapAny(const View& y, const View& x, const Nest<2>& nest, F f) {
  withMapper(nest, [&]<class Divisor>(const Mapper<2, Divisor>& mapper) {
    GYRUS_LAUNCH(blocksFor(nest.count, kMapBlock), kMapBlock, 0, mapStrided1<Y, X, Divisor, F>, y.as<Y>(), x.as<X>(),
                 mapper, static_cast<typename Divisor::Index>(nest.count), f);
  });
}
template <class Y, class A, class B, class F>
void mapAny(const View& y, const View& a, const View& b, const Nest<3>& nest, F f) {
  withMapper(nest, [&]<class Divisor>(const Mapper<3, Divisor>& mapper) {
    GYRUS_LAUNCH(blocksFor(nest.count, kMapBlock), kMapBlock, 0, mapStrided2<Y, A, B, Divisor, F>, y.as<Y>(), a.as<A>(),
                 b.as<B>(), mapper, static_cast<typename Divisor::Index>(nest.count), f);
  });
}
template <class Y, class A, class B, class C, class F>
void mapAny(const View& y, const View& a, const View& b, const View& c, const Nest<4>& nest, F f) {
  withMapper(nest, [&]<class Divisor>(const Mapper<4, Divisor>& mapper) {
    GYRUS_LAUNCH(blocksFor(nest.count, kMapBlock), kMapBlock, 0, mapStrided3<Y, A, B, C, Divisor, F>, y.as<Y>(),
                 a.as<A>(), b.as<B>(), c.as<C>(), mapper, static_cast<typename Divisor::Index>(nest.count), f);
  });
}

}  // namespace gyrus::cuda
