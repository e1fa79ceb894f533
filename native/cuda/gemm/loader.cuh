// Brings tiles of an operand into shared memory for kernels that multiply with FMAs, always as [depth][line], so that
// a thread reads the numbers of four lines at a depth at once. Where the operand lies across, or can't be read 16 bytes
// at a time, copies run beside the arithmetic; where it lies along K, a tile is turned on its way: through registers,
// read before the arithmetic and written behind it (Staged), or number by number.
#pragma once
#include "cuda/gemm/product.cuh"

namespace gyrus::cuda::gemm {

template <class T, int Extent, int Threads, bool Along, bool Staged>
class Loader {
  static constexpr int V = kVector<T>, depthStride = Extent + (Along ? V : 0);
  // Of packs: along K, a thread's are of one depth and `quadApart` lines apart, or else of some lines and depths apart.
  static constexpr int quads = Extent * kDepth / V / Threads, acrossQuads = (Along ? kDepth : Extent) / V;
  static constexpr int quadApart = Threads / acrossQuads;
  static constexpr int numbers = Extent * kDepth / Threads, across = Along ? kDepth : Extent;
  static constexpr int apart = Threads / across;
  static_assert(quads >= 1 && Threads % acrossQuads == 0 && Threads % across == 0);
  static constexpr bool packed = !Along || Staged;  // whether packs are used where the operand allows them

 public:
  static constexpr int size = kDepth * depthStride;
  __device__ static constexpr int at(int line, int depth) { return depth * depthStride + line; }

  // Lines from `line` on, of `lineEnd`; `steps` tiles from depth k on, of `depthEnd`.
  __device__ __forceinline__ Loader(const Operand<T>& o, const T* data, int thread, std::int64_t line,
                                    std::int64_t lineEnd, std::int64_t k, std::int64_t depthEnd, int steps)
      : o_(o), data_(data), line_(line), k_(k), steps_(steps) {
    lines_ = lineEnd - line < Extent ? static_cast<int>(lineEnd - line) : Extent;
    const std::int64_t last = depthEnd - k - std::int64_t{steps - 1} * kDepth;
    tail_ = last < kDepth ? static_cast<int>(last) : kDepth;
    byPacks_ = packed && o.fours;
    inner_ = byPacks_ ? thread % acrossQuads * V : thread % across;
    outer_ = byPacks_ ? thread / acrossQuads : thread / across;
    const std::int64_t l = line + (Along ? outer_ : inner_), d = k + (Along ? inner_ : outer_);
    next_ = data + l * o.lineStride + d * o.depthStride;
    step_ = (byPacks_ ? quadApart : apart) * (Along ? o.lineStride : o.depthStride);
    whole_ = lines_ == Extent && !o.lines && !o.depths;
  }

  // Starts the next tile's way, which is number `step`.
  __device__ __forceinline__ void start(T* tile, int step) {
    const int depths = step + 1 < steps_ ? kDepth : tail_;
    if (whole_ && depths == kDepth) {
      startWhole(tile);
    } else if (byPacks_) {
      if constexpr (Along)
        hold(depths, step);
      else
        copyPacks(tile, depths, step);
    } else {
      copyNumbers(tile, depths, step);
    }
    next_ += kDepth * o_.depthStride;
  }
  // Behind the arithmetic that ran meanwhile.
  __device__ __forceinline__ void finish(T* tile) {
    if constexpr (Along && Staged) {
      if (!byPacks_) return;
#pragma unroll
      for (int i = 0; i < quads; ++i)
#pragma unroll
        for (int j = 0; j < V; ++j) tile[at(outer_ + i * quadApart, inner_ + j)] = held_[i].v[j];
    }
  }

 private:
  // Nothing is beyond an edge, and there are no lists.
  __device__ __forceinline__ void startWhole(T* tile) {
    const T* from = next_;
    if (byPacks_) {
#pragma unroll
      for (int i = 0; i < quads; ++i, from += step_)
        if constexpr (Along)
          held_[Staged ? i : 0] = *reinterpret_cast<const Pack<T>*>(from);
        else
          copyAsync<16>(tile + at(inner_, outer_ + i * quadApart), from, 16);
    } else {
#pragma unroll
      for (int i = 0; i < numbers; ++i, from += step_)
        copyAsync<sizeof(T)>(tile + (Along ? at(outer_ + i * apart, inner_) : at(inner_, outer_ + i * apart)), from,
                             sizeof(T));
    }
  }
  __device__ const T* place(int line, int depth, int step) const {
    const std::int64_t l = line_ + line, d = k_ + std::int64_t{step} * kDepth + depth;
    return data_ + (o_.lines ? o_.lines[l] : l) * o_.lineStride + (o_.depths ? o_.depths[d] : d) * o_.depthStride;
  }
  __device__ __forceinline__ void hold(int depths, int step) {
    const T* from = next_;
#pragma unroll
    for (int i = 0; i < quads; ++i, from += step_) {
      const int l = outer_ + i * quadApart;
      held_[i] = {};
      if (l >= lines_) continue;
      const T* at = o_.lines ? place(l, inner_, step) : from;
      if (inner_ + V <= depths) {
        held_[i] = *reinterpret_cast<const Pack<T>*>(at);
      } else {
#pragma unroll
        for (int j = 0; j < V; ++j)
          if (inner_ + j < depths) held_[i].v[j] = at[j];
      }
    }
  }
  __device__ __forceinline__ void copyPacks(T* tile, int depths, int step) const {
    constexpr int number = static_cast<int>(sizeof(T));
    const int rest = lines_ - inner_, bytes = rest >= V ? 16 : rest > 0 ? rest * number : 0;
    const T* from = next_;
#pragma unroll
    for (int i = 0; i < quads; ++i, from += step_) {
      const int d = outer_ + i * quadApart;
      const bool inside = d < depths && bytes > 0;
      copyAsync<16>(tile + at(inner_, d),
                    !inside     ? data_
                    : o_.depths ? place(inner_, d, step)
                                : from,
                    inside ? bytes : 0);
    }
  }
  __device__ __forceinline__ void copyNumbers(T* tile, int depths, int step) const {
    constexpr int number = static_cast<int>(sizeof(T));
    const bool listed = o_.lines || o_.depths;
    const T* from = next_;
#pragma unroll 4
    for (int i = 0; i < numbers; ++i, from += step_) {
      const int l = Along ? outer_ + i * apart : inner_, d = Along ? inner_ : outer_ + i * apart;
      const bool inside = l < lines_ && d < depths;
      copyAsync<number>(tile + at(l, d), !inside ? data_ : listed ? place(l, d, step) : from, inside ? number : 0);
    }
  }

  const Operand<T>& o_;
  const T* data_;
  std::int64_t line_, k_;
  int steps_, tail_, lines_, inner_, outer_;
  bool byPacks_, whole_;
  const T* next_;      // the thread's first number of the next tile, where there are no lists
  std::int64_t step_;  // from one of its numbers to the next
  Pack<T> held_[Along && Staged ? quads : 1];
};

}  // namespace gyrus::cuda::gemm
