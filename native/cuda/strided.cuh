// Any layout of K operands of one shape, as a kernel wants it: axes of extent 1 dropped, sorted by the output's
// strides, merged where they are contiguous in all operands; and from an element's number to the operands' offsets by
// multiplications instead of divisions where 32 bits will do.
#pragma once
#include "core/dtype.h"
#include "core/view.h"
#include "cuda/runtime.h"

namespace gyrus::cuda {

// n / d and n % d for 0 <= n < 2^31, 0 < d < 2^31: the quotient from the high half of a product.
struct Divisor32 {
  using Index = std::uint32_t;
  std::uint32_t d = 1, factor = 0, shift = 0;

  Divisor32() = default;
  explicit Divisor32(std::int64_t divisor) : d(static_cast<std::uint32_t>(divisor)) {
    while (shift < 32 && (std::uint64_t{1} << shift) < d) ++shift;
    factor = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ Index over(Index n) const { return (__umulhi(n, factor) + n) >> shift; }
};
// The same for 0 <= n, d < 2^63. A division of 64 bits would be a call, which costs a kernel registers.
struct Divisor64 {
  using Index = std::int64_t;
  std::int64_t d = 1;
  std::uint64_t factor = 1;
  int shift = 0;

  Divisor64() = default;
  explicit Divisor64(std::int64_t divisor) : d(divisor) {
    __extension__ using Wide = unsigned __int128;
    while ((std::uint64_t{1} << shift) < static_cast<std::uint64_t>(d)) ++shift;
    const auto above = (std::uint64_t{1} << shift) - static_cast<std::uint64_t>(d);
    if (above != 0 && d != 0) factor = static_cast<std::uint64_t>((Wide{above} << 64) / static_cast<Wide>(d)) + 1;
  }
  __device__ Index over(Index n) const {
    const auto u = static_cast<std::uint64_t>(n);
    return static_cast<Index>((__umul64hi(u, factor) + u) >> shift);
  }
};

// Offsets, in elements, of element i of the walk; R: how many axes there is room for.
template <int K, class Divisor, int R = kMaxRank>
struct Mapper {
  using Index = typename Divisor::Index;
  int rank;
  Divisor shape[R];  // innermost axis last
  Index stride[K][R];

  __device__ void offsets(Index i, Index (&at)[K]) const {
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] = 0;
#pragma unroll 1
    for (int d = rank - 1; d > 0; --d) {
      const Index quotient = shape[d].over(i), rest = i - quotient * shape[d].d;
#pragma unroll
      for (int k = 0; k < K; ++k) at[k] += rest * stride[k][d];
      i = quotient;
    }
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] += i * stride[k][0];
  }
};

// The host's side of it.
template <int K>
struct Nest {
  int rank = 0;
  std::int64_t shape[kMaxRank] = {};
  std::int64_t stride[K][kMaxRank] = {};
  std::int64_t count = 1;

  // Operand 0 is the output; all have its shape.
  explicit Nest(const View* const (&v)[K]) {
    const View& y = *v[0];
    int order[kMaxRank], n = 0;
    for (int d = 0; d < y.rank; ++d) {
      count *= y.shape[d];
      if (y.shape[d] != 1) order[n++] = d;
    }
    if (count == 0) return;
    for (int i = 1; i < n; ++i)  // stable insertion sort, widest output stride first
      for (int j = i; j > 0 && y.stride[order[j - 1]] < y.stride[order[j]]; --j) std::swap(order[j - 1], order[j]);
    for (int i = 0; i < n; ++i) {
      const int d = order[i];
      bool merges = rank > 0;
      for (int k = 0; k < K && merges; ++k) merges = stride[k][rank - 1] == v[k]->stride[d] * y.shape[d];
      if (merges)
        shape[rank - 1] *= y.shape[d];
      else
        shape[rank++] = y.shape[d];
      for (int k = 0; k < K; ++k) stride[k][rank - 1] = v[k]->stride[d];
    }
  }

  // Operand k is one run of elements, in the order of the walk.
  bool run(int k) const { return rank == 0 || (rank == 1 && stride[k][0] == 1); }
  // Operand k is one element everywhere.
  bool single(int k) const { return rank == 0 || (rank == 1 && stride[k][0] == 0); }

  // Whether numbers and offsets of all elements fit in 31 bits, with room for a grid's stride.
  bool small() const {
    if (count >= std::int64_t{1} << 30) return false;
    for (int k = 0; k < K; ++k) {
      std::int64_t last = 0;
      for (int d = 0; d < rank; ++d) last += (shape[d] - 1) * stride[k][d];
      if (last >= std::int64_t{1} << 31) return false;
    }
    return true;
  }
  template <class Divisor, int R = kMaxRank>
  Mapper<K, Divisor, R> mapper() const {
    Mapper<K, Divisor, R> m;
    m.rank = rank;
    for (int d = 0; d < R; ++d) {
      m.shape[d] = Divisor(d < rank ? shape[d] : 1);
      for (int k = 0; k < K; ++k) m.stride[k][d] = static_cast<typename Divisor::Index>(d < rank ? stride[k][d] : 0);
    }
    return m;
  }
};

// f(mapper) with the mapper whose arithmetic suffices.
template <int K, class F>
void withMapper(const Nest<K>& nest, F f) {
  if (nest.small())
    f(nest.template mapper<Divisor32>());
  else
    f(nest.template mapper<Divisor64>());
}

// f.template operator()<T>() for the floating type of a dtype, or an unsigned type of its size.
template <class F>
void byFloat(DType dtype, F f) {
  if (dtype == DType::F64)
    f.template operator()<double>();
  else
    f.template operator()<float>();
}
template <class F>
void bySize(std::size_t bytes, F f) {
  if (bytes == 8)
    f.template operator()<std::uint64_t>();
  else if (bytes == 4)
    f.template operator()<std::uint32_t>();
  else
    f.template operator()<std::uint8_t>();
}

inline bool aligned(const void* p, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % bytes == 0; }

}  // namespace gyrus::cuda
